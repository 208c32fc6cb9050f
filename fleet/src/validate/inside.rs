//! What only the board itself can find out, asked over ssh: whether its slot holds the image that was flashed, to the last byte;
//! its card, memory, temperature, power and links, measured; whether the tests of the image's expectation file hold; and by which
//! identity it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Checked, Validation, Verdict};
use crate::answer::clean;
use crate::exec::Ended;
use crate::hosts::Host;
use crate::ssh::{self, Refusal, Ssh};

/// Boards that are measured side by side: an ssh client for each.
const SIDE_BY_SIDE: usize = 32;
/// Reading a whole slot from a slow card (10 MB/s) takes two minutes.
const PATIENCE: Duration = Duration::from_mins(15);
/// Measures of a board, and tests of an image.
const MEASURES: usize = 100;
const TESTS: usize = 5_000;
/// Largest answer.
const LIMIT: usize = 8 * 1024 * 1024;
/// Exit code of an agent that does not know the command (clap).
const USAGE: i32 = 2;
/// Failed checks that a note names.
const NAMED: usize = 3;

/// What boards are asked.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Seconds under load.
    pub seconds: u64,
    /// The release index of the image, as it is.
    pub index: Vec<u8>,
    /// The expectation file of the image, as it is.
    pub tests: Vec<u8>,
}

/// What a board found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inside {
    id: String,
    disk: Option<String>,
    version: String,
    checks: BTreeMap<String, Checked>,
}

/// The last line of `hypriot-agent measure --json`.
#[derive(Debug, Deserialize)]
struct Measured {
    id: String,
    disk: Option<String>,
    version: String,
    measures: BTreeMap<String, Measure>,
}

#[derive(Debug, Deserialize)]
struct Measure {
    status: String,
    value: Option<f64>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    output: String,
}

/// `hypriot-agent selftest validate -f json`: goss's fields, and ours.
#[derive(Debug, Deserialize)]
struct Tested {
    results: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Test {
    id: String,
    successful: bool,
    #[serde(default)]
    skipped: bool,
    severity: String,
    #[serde(default)]
    summary_line_compact: String,
}

/// Asks those boards whose verdict is known already; the others still start.
pub async fn ask(results: &mut [Validation], hosts: &[Host], ssh: Ssh, wanted: Wanted) {
    let (ssh, wanted) = (Arc::new(ssh), Arc::new(wanted));
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut set = JoinSet::new();
    for (n, (result, host)) in results.iter().zip(hosts).enumerate() {
        if result.verdict == Verdict::Waiting {
            continue;
        }
        let (ssh, wanted, places) = (ssh.clone(), wanted.clone(), places.clone());
        let host = host.clone();
        set.spawn(async move {
            let _place = places.acquire().await;
            (n, one(&ssh, &host, &wanted).await)
        });
    }
    while let Some(done) = set.join_next().await {
        if let Ok((n, found)) = done {
            add(&mut results[n], found);
        }
    }
}

async fn one(ssh: &Ssh, host: &Host, wanted: &Wanted) -> Result<Inside, String> {
    let seconds = wanted.seconds.to_string();
    let mut arguments = vec!["measure", "--json", "--seconds", &*seconds];
    if !wanted.index.is_empty() {
        arguments.extend(["--index", "-"]);
    }
    let limit = PATIENCE + Duration::from_secs(wanted.seconds);
    let mut tell = |line: &str| {
        if let Some(step) = step(line) {
            eprintln!("hypriot-fleet: {host}: {step}");
        }
    };
    let told = ssh.agent_with(host, &arguments, &wanted.index, limit, &mut tell);
    let ended = told.await.map_err(|r: Refusal| r.to_string())?;
    let mut inside = measured(&ended.last).ok_or_else(|| said(&ended, "measure"))?;
    if !wanted.tests.is_empty() {
        let arguments = ["selftest", "-g", "-", "validate", "-f", "json"];
        let mut text = String::new();
        let mut tell = |line: &str| {
            if text.len() + line.len() < LIMIT {
                text += line;
                text.push('\n');
            }
        };
        let told = ssh.agent_with(host, &arguments, &wanted.tests, PATIENCE, &mut tell);
        let ended = told.await.map_err(|r| r.to_string())?;
        let tests = tested(&text).ok_or_else(|| said(&ended, "selftest"))?;
        inside.checks.extend(tests);
    }
    Ok(inside)
}

fn said(ended: &Ended, command: &str) -> String {
    if ended.code == Some(USAGE) {
        return format!("its agent is older than `hypriot-agent {command}`");
    }
    let words = if ended.words.trim().is_empty() {
        &ended.last
    } else {
        &ended.words
    };
    format!("`hypriot-agent {command}`: {}", ssh::last_line(words))
}

/// One line of progress, for people. A board says ten of them for each stage; the first is enough.
fn step(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        event: String,
        stage: String,
        percent: u64,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    (line.event == "measuring" && line.percent < 10)
        .then(|| format!("measuring {}", clean(&line.stage)))
}

fn measured(last: &str) -> Option<Inside> {
    let found: Measured = serde_json::from_str(last).ok()?;
    let check = |(name, m): (String, Measure)| {
        let check = Checked {
            status: clean(&m.status),
            value: m.value.filter(|v| v.is_finite()),
            unit: clean(&m.unit),
            output: clean(&m.output),
        };
        (format!("measured:{}", clean(&name)), check)
    };
    Some(Inside {
        id: clean(&found.id),
        disk: found.disk.as_deref().map(clean),
        version: clean(&found.version),
        checks: found
            .measures
            .into_iter()
            .take(MEASURES)
            .map(check)
            .collect(),
    })
}

/// The tests of the image by their weight: what is required and does not hold fails, what is wanted warns.
fn tested(text: &str) -> Option<BTreeMap<String, Checked>> {
    let found: Tested = serde_json::from_str(text).ok()?;
    let check = |test: Test| {
        let status = match (test.successful || test.skipped, test.severity.as_str()) {
            (true, _) | (false, "info") => "pass",
            (false, "wanted") => "warn",
            (false, _) => "fail",
        };
        let check = Checked {
            status: status.into(),
            value: None,
            unit: String::new(),
            output: clean(&test.summary_line_compact),
        };
        (format!("image-test:{}", clean(&test.id)), check)
    };
    Some(found.results.into_iter().take(TESTS).map(check).collect())
}

/// Adds what a board found out. One that could not be asked is not known to be good.
fn add(result: &mut Validation, found: Result<Inside, String>) {
    let inside = match found {
        Ok(inside) => inside,
        Err(why) => {
            if result.verdict == Verdict::Valid {
                result.verdict = Verdict::Waiting;
            }
            result.note = format!("could not be measured: {why}");
            return;
        }
    };
    result.id = Some(inside.id).filter(|i| !i.is_empty());
    result.disk = inside.disk;
    let over_http = result.version.as_deref().unwrap_or_default();
    let mut bad: Vec<String> = Vec::new();
    if inside.version != over_http {
        bad.push(format!(
            "it runs {over_http} over HTTP and {} over ssh: the two names lead to two boards, or one lies",
            inside.version
        ));
    }
    for (name, check) in &inside.checks {
        if check.status == "fail" {
            bad.push(format!("{name}: {}", check.output));
        }
    }
    result.checks.extend(inside.checks);
    if !bad.is_empty() {
        let more = match bad.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        bad.truncate(NAMED);
        if result.verdict == Verdict::Invalid {
            bad.insert(0, std::mem::take(&mut result.note));
        }
        result.verdict = Verdict::Invalid;
        result.note = bad.join("; ") + &more;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, of};
    use super::*;

    fn good() -> Validation {
        of(
            "h",
            &document(r#""selftests:failed":[{"status":"pass","observedValue":0}]"#),
        )
    }

    fn inside(measures: &str) -> Result<Inside, String> {
        let line = format!(
            r#"{{"event":"end","result":"pass","board":"rpi4","version":"1.0.0","id":"i1","disk":"a1b2c3d4","measures":{{{measures}}}}}"#
        );
        measured(&line).ok_or_else(|| "not understood".into())
    }

    #[test]
    fn what_a_board_measured_is_part_of_the_verdict() {
        for (danger, found, verdict, words) in [
            (
                "all well",
                inside(
                    r#""card-speed":{"status":"pass","value":18.5,"unit":"MB/s","output":"writes"}"#,
                ),
                Verdict::Valid,
                "",
            ),
            (
                "another image",
                inside(
                    r#""image":{"status":"fail","value":600,"unit":"segments","output":"another image was flashed"}"#,
                ),
                Verdict::Invalid,
                "another image was flashed",
            ),
            (
                "a slow card",
                inside(r#""card-speed":{"status":"warn","output":"slow"}"#),
                Verdict::Valid,
                "",
            ),
            (
                "hostile words",
                inside(r#""x\u001b[2J":{"status":"fail","output":"\u001b]0;evil\u0007"}"#),
                Verdict::Invalid,
                "measured:x [2J:  ]0;evil ",
            ),
            (
                "no way in",
                Err("Permission denied".into()),
                Verdict::Waiting,
                "could not be measured: Permission denied",
            ),
            ("rubbish", inside("]"), Verdict::Waiting, "not understood"),
        ] {
            let mut result = good();
            add(&mut result, found);
            assert_eq!(result.verdict, verdict, "{danger}: {}", result.note);
            assert!(result.note.contains(words), "{danger}: {}", result.note);
        }
        let mut result = good();
        result.version = Some("0.9.0".into());
        add(&mut result, inside(""));
        assert!(result.note.contains("one lies"), "{}", result.note);
        assert_eq!(result.id.as_deref(), Some("i1"));
    }

    #[test]
    fn tests_of_the_image_weigh_what_they_say() {
        let test = |id: &str, successful: bool, severity: &str| {
            format!(
                r#"{{"id":"{id}","successful":{successful},"skipped":false,"severity":"{severity}","summary-line-compact":"{id} doesn't match"}}"#
            )
        };
        let all = [
            test("a", true, "required"),
            test("b", false, "required"),
            test("c", false, "wanted"),
            test("d", false, "info"),
        ];
        let document = format!(r#"{{"results":[{}]}}"#, all.join(","));
        let checks = tested(&document).expect("read");
        let status: Vec<&str> = checks.values().map(|c| c.status.as_str()).collect();
        assert_eq!(status, ["pass", "fail", "warn", "pass"]);
        assert!(tested("{}").is_none(), "no result is no success");
    }

    #[test]
    fn progress_is_told_once_for_each_stage() {
        let line =
            |percent: u64| format!(r#"{{"event":"measuring","stage":"load","percent":{percent}}}"#);
        assert_eq!(step(&line(0)).as_deref(), Some("measuring load"));
        assert_eq!(step(&line(50)), None);
        assert_eq!(step("{}"), None);
    }
}
