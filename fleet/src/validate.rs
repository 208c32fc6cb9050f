//! Validation of freshly flashed boards: has this board tested itself since it started, did what is required hold, is it the image
//! that was flashed, and is it itself: no two boards of a rack may have one identity.
//!
//! The board runs its tests itself; this only asks for the result, so it is the same verdict that decides over an update.
//!
//! * [`flashed`]: the image that was flashed
//! * [`inside`]: what only the board can find out: its image to the last byte, its hardware
//! * [`format`]: TAP, JUnit, JSON
//! * [`rack`]: what can only be seen over several boards
//! * [`report`]: the signed report, and what differs between two

pub mod flashed;
pub mod format;
pub mod inside;
pub mod rack;
pub mod report;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::answer::{self, Row, State, clean};
use crate::ask::Reply;

/// The check under which a board reports its self-tests (draft-inadarei, section 4: `component:measurement`).
const CHECK: &str = "selftests:failed";
/// A board has about thirty checks.
const CHECKS: usize = 500;

/// What is known about a board's self-tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// As its owner calls it.
    pub host: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Version that was tested.
    pub version: Option<String>,
    /// Kind of board.
    #[serde(default)]
    pub board: Option<String>,
    /// This boot of it.
    #[serde(default)]
    pub boot: Option<String>,
    /// Its ssh host keys, as `ssh-keyscan` has them; none when they were not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Its identity for a fleet, which follows from its machine-id; known of boards that were asked over ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The signature of its card, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Counts, or why nothing is known.
    pub note: String,
    /// Each check of its.
    #[serde(default)]
    pub checks: BTreeMap<String, Checked>,
}

/// One check, as the board reports it: card, memory, power, temperature, link, clock, services, self-tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// `pass`, `warn` or `fail`.
    pub status: String,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// In what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

// A board does not report NaN: JSON has none.
impl Eq for Checked {}

#[derive(Debug, Default, Deserialize)]
struct Document {
    board: Option<String>,
    #[serde(rename = "bootId")]
    boot: Option<String>,
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
    #[serde(rename = "observedUnit", default)]
    unit: String,
}

/// What was flashed, as far as it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its version.
    pub version: Option<String>,
    /// The kind of board it is for.
    pub board: Option<String>,
}

/// Reads what `host` replied to `/health`.
pub fn read(host: &str, reply: &Result<Reply>, expected: &Expected) -> Validation {
    let row = answer::read(host, reply);
    let mut of = Validation {
        host: host.to_owned(),
        verdict: Verdict::Waiting,
        version: row.version.clone(),
        board: None,
        boot: None,
        keys: Vec::new(),
        id: None,
        disk: None,
        note: String::new(),
        checks: BTreeMap::new(),
    };
    let why = |row: &Row| row.note.clone().unwrap_or_else(|| "no answer".into());
    let Some(reply) = reply.as_ref().ok().filter(|_| row.state <= State::Fail) else {
        of.note = why(&row);
        return of;
    };
    let document = serde_json::from_slice::<Document>(&reply.body).unwrap_or_default();
    of.board = document.board.as_deref().map(clean);
    of.boot = document.boot.as_deref().map(clean);
    let first = |(name, mut all): (String, Vec<Check>)| {
        (!all.is_empty()).then(|| (clean(&name), all.remove(0)))
    };
    for (name, check) in document.checks.into_iter().filter_map(first).take(CHECKS) {
        let checked = Checked {
            status: clean(&check.status),
            value: check.observed,
            unit: clean(&check.unit),
            output: clean(&check.output),
        };
        of.checks.insert(name, checked);
    }
    let Some(tests) = of.checks.get(CHECK) else {
        of.note = "its self-tests are still running".into();
        return of;
    };
    let counts = tests
        .value
        .map_or_else(String::new, |n| format!("{n} self-tests do not hold"));
    of.note = if tests.output.is_empty() {
        counts
    } else {
        tests.output.clone()
    };
    of.verdict = if tests.status == "fail" {
        Verdict::Invalid
    } else {
        Verdict::Valid
    };
    if let Some(other) = another_image(&of, expected) {
        of.verdict = Verdict::Invalid;
        of.note = other;
    }
    of
}

/// An old card in the slot, or the image of another board, tests itself as well.
fn another_image(of: &Validation, expected: &Expected) -> Option<String> {
    let differs = |what: &str, is: &Option<String>, wanted: &Option<String>| {
        let (wanted, is) = (wanted.as_deref()?, is.as_deref().unwrap_or("unknown"));
        (wanted != is).then(|| {
            format!("its {what} is {is}, not {wanted}: this is not the image that was flashed")
        })
    };
    differs("version", &of.version, &expected.version)
        .or_else(|| differs("board", &of.board, &expected.board))
}

#[cfg(test)]
mod tests;
