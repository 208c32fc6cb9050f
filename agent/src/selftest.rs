//! Self-tests: YAML files in goss's vocabulary say what must hold on a board; this looks whether it does.
//!
//! * `yaml`: files as trees with lines, bounded, without duplicate keys
//! * `schema`: the vocabulary; `suite`: from files to tests; `matcher`, `pattern`: what is expected
//! * `resource`: what is; `run`: all tests, some at a time, with waiting
//! * `owner`: the owner's tests, in a unit of their own, again and again
//! * `output`: results for people and programs; `validate`: from the command line to them
//! * `add`, `emit`: files of tests are written out of what is; `edit`: without harm to what stands in them
//!
//! Results are compared by their ids with those from before an update ([`hypriot_updater::health`]); nothing is judged
//! here.

mod add;
mod edit;
mod emit;
mod gjson;
mod glob;
mod matcher;
pub mod output;
pub mod owner;
mod pattern;
mod regexp;
mod resource;
mod run;
mod schema;
mod suite;
mod template;
pub mod unit;
mod validate;
mod version;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use hypriot_keys::time::Timestamp;
use hypriot_updater::health::{Severity as Weight, TestResult as Vote};

use crate::probe::Root;
use crate::report::{self, Report, Severity, TestsView};
pub use add::{Wish, add, autoadd};
pub use emit::{debug, rendered};
pub use output::{Format, Style, Times, render};
pub use run::{Outcome, Seen, Setting, TestResult, WORKERS, run};
pub use suite::{Suite, load, load_with};
pub use template::Vars;
use unit::Run;
pub use validate::{Options, validate};

/// The tests that come with the image.
pub const IMAGE: &str = "/usr/share/hypriot/selftest.d";
/// The owner's; a file of the same name replaces the image's, an empty one masks it.
pub const OWNER: &str = "/etc/hypriot/selftest.d";

/// The exit codes of goss.
pub mod exit {
    /// All that was looked at holds, save what is only wanted or for information.
    pub const HOLDS: u8 = 0;
    /// Something required does not hold.
    pub const FAILED: u8 = 1;
    /// Nagios: something required does not hold.
    pub const CRITICAL: u8 = 2;
    /// It did not hold until the time of `--retry-timeout` was up.
    pub const STILL: u8 = 3;
    /// Nagios: nothing could be found out.
    pub const UNKNOWN: u8 = 3;
    /// There are no tests, or the files are wrong (EX_CONFIG).
    pub const CONFIG: u8 = 78;
}

/// The variables of `--vars` and `--vars-inline`.
pub fn vars(file: Option<&Path>, inline: Option<&str>) -> Result<Vars> {
    let text = file.map(|path| {
        suite::text_of(path)
            .map_err(|why| anyhow::anyhow!("variables: reading {}: {why}", path.display()))
    });
    let text = text.transpose()?;
    Vars::new(text.as_deref(), inline).map_err(|why| anyhow::anyhow!("variables: {why}"))
}

/// A time as Go writes it: `1m30s`, `500ms`, `0`.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        sum += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty() && sum < 1e9).then(|| Duration::from_secs_f64(sum))
}

/// Runs all tests of the board within `patience`, for the verdict on a trial. What was skipped has no vote. Those of the image and
/// those of the owner have a unit each; without systemd the image's run here.
pub fn judge(
    board: &str,
    built: Timestamp,
    update: Option<report::UpdateView>,
    now: Timestamp,
    patience: Duration,
) -> Result<Vec<Vote>> {
    let setting = Setting {
        root: Root::default(),
        board: board.to_owned(),
        update,
        built,
        now,
        packages: None,
    };
    std::thread::scope(|scope| {
        let view = setting.update.as_ref();
        let theirs = scope.spawn(move || unit::votes(Run::Trial, view, patience));
        let mut all = if unit::can_be_had() {
            unit::votes(Run::Image, view, patience)
        } else {
            votes(&run(&whole().part(false), &setting, patience))
        };
        let theirs = theirs.join();
        let ended = |_| vec![unit::not_run(Run::Trial, "the thread ended early")];
        all.extend(theirs.unwrap_or_else(ended));
        Ok(all)
    })
}

/// The tests of this board, the image's and the owner's.
fn whole() -> Suite {
    load(&[PathBuf::from(IMAGE), PathBuf::from(OWNER)])
}

/// Results as the update core counts them.
pub fn votes(results: &[TestResult]) -> Vec<Vote> {
    let vote = |result: &TestResult| {
        let found = match &result.outcome {
            Outcome::Pass => String::new(),
            Outcome::Fail(why) => why.clone(),
            Outcome::Skip(_) => return None,
        };
        let severity = match result.severity {
            Severity::Required => Weight::Required,
            Severity::Wanted => Weight::Wanted,
            Severity::Info => Weight::Info,
        };
        Some(Vote {
            id: result.id.clone(),
            severity,
            passed: result.outcome == Outcome::Pass,
            found,
            cut_short: result.cut_short,
        })
    };
    results.iter().filter_map(vote).collect()
}

/// Votes as the report shows them.
pub fn summarise(votes: &[Vote], ran_at: Timestamp) -> TestsView {
    let count = |passed: bool| {
        u32::try_from(votes.iter().filter(|vote| vote.passed == passed).count()).unwrap_or(u32::MAX)
    };
    let failed = |required: bool| {
        let failed = votes.iter().filter(|vote| !vote.passed);
        failed
            .filter(|vote| (vote.severity == Weight::Required) == required)
            .take(TestsView::NAMED)
            .map(|vote| vote.id.clone())
            .collect()
    };
    TestsView {
        ran_at,
        passed: count(true),
        failed: count(false),
        flaky: Vec::new(),
        failed_required: failed(true),
        failed_wanted: failed(false),
    }
}

/// What the agent last said about slots.
fn view(root: &Root) -> Option<report::UpdateView> {
    Report::load(&root.path(Path::new(report::PATH)))
        .ok()
        .map(|report| report.update)
}

#[cfg(test)]
mod tests;
