//! Self-tests: YAML files in goss's vocabulary say what must hold on a board; this looks whether it does.
//!
//! * `yaml`: files as trees with lines, bounded, without duplicate keys
//! * `schema`: the vocabulary; `suite`: from files to tests; `matcher`, `pattern`: what is expected
//! * `resource`: what is; `run`: all tests, some at a time, with waiting
//! * `output`: results for people and programs
//!
//! Results are compared by their ids with those from before an update ([`hypriot_updater::health`]); nothing is judged
//! here.

mod gjson;
mod glob;
mod matcher;
pub mod output;
mod pattern;
mod regexp;
mod resource;
mod run;
mod schema;
mod suite;
mod template;
mod version;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use hypriot_keys::time::Timestamp;
use hypriot_updater::health::{Severity as Weight, TestResult as Vote};

use crate::files;
use crate::probe::Root;
use crate::report::{self, Report, Severity, TestsView};
pub use output::{Format, render};
pub use run::{Outcome, Setting, TestResult, run};
pub use suite::{Suite, load, load_with};
pub use template::Vars;

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
    /// There are no tests, or the files are wrong (EX_CONFIG).
    pub const CONFIG: u8 = 78;
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directories and files with tests; [`IMAGE`] and [`OWNER`] below the root when empty.
    pub dirs: Vec<PathBuf>,
    /// `/`, or the tree of an image that is not running.
    pub root: PathBuf,
    /// Name of the board file.
    pub board: String,
    /// When the image was built.
    pub built: Timestamp,
    /// How results are printed.
    pub format: Format,
    /// How long all tests may take.
    pub budget: Duration,
}

/// The variables of `--vars` and `--vars-inline`.
pub fn vars(file: Option<&Path>, inline: Option<&str>) -> Result<Vars> {
    let text = file
        .map(|path| files::read_text(path, yaml::LIMIT))
        .transpose()?;
    Vars::new(text.as_deref(), inline).map_err(|why| anyhow::anyhow!("variables: {why}"))
}

/// Runs the tests and gives the text to print and the exit code.
pub fn cli(options: &Options, vars: &Vars, now: Timestamp) -> (String, u8) {
    let root = Root::new(&options.root);
    let dirs = if options.dirs.is_empty() {
        [IMAGE, OWNER].map(|dir| root.path(dir)).into()
    } else {
        options.dirs.clone()
    };
    let suite = load_with(&dirs, vars);
    for warning in suite.warnings() {
        tracing::warn!("{warning}");
    }
    if suite.is_empty() {
        let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        return (
            format!(
                "no self-tests in {}; name a directory with --dir\n",
                names.join(", ")
            ),
            exit::CONFIG,
        );
    }
    let setting = Setting {
        update: view(&root),
        root,
        board: options.board.clone(),
        built: options.built,
        now,
    };
    let results = run(&suite, &setting, options.budget);
    let text = render(&results, options.format);
    let failed = results
        .iter()
        .any(|r| r.severity == Severity::Required && matches!(r.outcome, Outcome::Fail(_)));
    let code = if suite.problems().next().is_some() {
        exit::CONFIG
    } else if failed {
        exit::FAILED
    } else {
        exit::HOLDS
    };
    (text, code)
}

/// Runs the board's own tests within `patience`, for the verdict on a trial. What was skipped has no vote.
pub fn judge(
    board: &str,
    built: Timestamp,
    update: Option<report::UpdateView>,
    now: Timestamp,
    patience: Duration,
) -> Result<Vec<Vote>> {
    let root = Root::default();
    let suite = load(&[PathBuf::from(IMAGE), PathBuf::from(OWNER)]);
    let setting = Setting {
        update,
        root,
        board: board.to_owned(),
        built,
        now,
    };
    Ok(votes(&run(&suite, &setting, patience)))
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
    let failed = votes
        .iter()
        .filter(|vote| !vote.passed && vote.severity == Weight::Required);
    TestsView {
        ran_at,
        passed: count(true),
        failed: count(false),
        skipped: 0,
        failed_required: failed
            .take(TestsView::NAMED)
            .map(|vote| vote.id.clone())
            .collect(),
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
