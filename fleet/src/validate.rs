//! Validation of freshly flashed boards: has this board tested itself since it started, and did what is required hold?
//!
//! The board runs its tests itself; this only asks for the result, so it is the same verdict that decides over an update.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::answer::{self, Row, State};
use crate::ask::Reply;

/// The check under which a board reports its self-tests (draft-inadarei, section 4: `component:measurement`).
const CHECK: &str = "selftests:failed";

/// What is known about a board's self-tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that is required holds.
    Valid,
    /// Something required does not hold.
    Invalid,
    /// Not known yet: the board starts, or is still testing.
    Waiting,
}

/// One board's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// As its owner calls it.
    pub host: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Version that was tested.
    pub version: Option<String>,
    /// Counts, or why nothing is known.
    pub note: String,
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    checks: BTreeMap<String, Vec<Check>>,
}

#[derive(Debug, Deserialize)]
struct Check {
    status: String,
    #[serde(default)]
    output: String,
    #[serde(rename = "observedValue")]
    observed: Option<f64>,
}

/// Reads what `host` replied to `/health`.
pub fn read(host: &str, reply: &Result<Reply>) -> Validation {
    let row = answer::read(host, reply);
    let of = |verdict, note: String| Validation {
        host: host.to_owned(),
        verdict,
        version: row.version.clone(),
        note,
    };
    let waiting = |row: &Row, why: &str| {
        of(
            Verdict::Waiting,
            row.note.clone().unwrap_or_else(|| why.to_owned()),
        )
    };
    let Some(reply) = reply.as_ref().ok().filter(|_| row.state <= State::Fail) else {
        return waiting(&row, "no answer");
    };
    let document = serde_json::from_slice::<Document>(&reply.body).ok();
    let check = document.and_then(|d| {
        d.checks
            .get(CHECK)?
            .first()
            .map(|c| (c.status.clone(), c.observed, c.output.clone()))
    });
    match check {
        None => of(Verdict::Waiting, "its self-tests are still running".into()),
        Some((status, failed, output)) => {
            let verdict = if status == "fail" {
                Verdict::Invalid
            } else {
                Verdict::Valid
            };
            let counts = failed.map_or_else(String::new, |n| format!("{n} self-tests do not hold"));
            of(
                verdict,
                if output.is_empty() {
                    counts
                } else {
                    answer::clean(&output)
                },
            )
        }
    }
}

/// The results as Test Anything Protocol, version 14.
pub fn tap(results: &[Validation]) -> String {
    let mut lines = vec!["TAP version 14".to_owned(), format!("1..{}", results.len())];
    for (n, result) in (1..).zip(results) {
        let ok = if result.verdict == Verdict::Valid {
            "ok"
        } else {
            "not ok"
        };
        let version = result.version.as_deref().unwrap_or("-");
        // `#` would begin a directive
        let note = result.note.replace('#', " ");
        lines.push(format!("{ok} {n} - {} {version}: {note}", result.host));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn of(status: u16, body: &str) -> Validation {
        read(
            "h",
            &Ok(Reply {
                status,
                body: body.into(),
            }),
        )
    }

    #[test]
    fn only_a_board_that_tested_itself_is_valid() {
        let document = |check: &str| {
            format!(
                r#"{{"status":"warn","version":"1.0.0","time":"2026-11-23T14:00:00Z","checks":{{{check}}}}}"#
            )
        };
        for (danger, body, expected) in [
            (
                "tests hold",
                document(r#""selftests:failed":[{"status":"pass","observedValue":0}]"#),
                Verdict::Valid,
            ),
            (
                "a wanted one fails",
                document(r#""selftests:failed":[{"status":"warn","observedValue":1}]"#),
                Verdict::Valid,
            ),
            (
                "a required one fails",
                document(r#""selftests:failed":[{"status":"fail","output":"docker"}]"#),
                Verdict::Invalid,
            ),
            ("still testing", document(""), Verdict::Waiting),
            (
                "empty list",
                document(r#""selftests:failed":[]"#),
                Verdict::Waiting,
            ),
            ("some other server", "<html>".into(), Verdict::Waiting),
        ] {
            assert_eq!(of(200, &body).verdict, expected, "{danger}");
        }
        assert_eq!(
            read("h", &Err(anyhow!("refused"))).verdict,
            Verdict::Waiting
        );
    }

    #[test]
    fn tap_counts_and_cannot_be_driven_from_the_network() {
        let bad = of(
            200,
            r#"{"status":"fail","version":"1","time":"2026-11-23T14:00:00Z","checks":{"selftests:failed":[{"status":"fail","output":"x\nok 2 # skip"}]}}"#,
        );
        let text = tap(&[bad]);
        assert_eq!(
            text,
            "TAP version 14\n1..1\nnot ok 1 - h 1: x ok 2   skip\n"
        );
    }
}
