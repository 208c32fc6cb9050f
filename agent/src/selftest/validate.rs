//! `selftest validate`: run, print, and say with the exit code how it went; again until it is well, when asked to.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;

use super::output::{Format, Style, Times, render};
use super::run::{Limits, Outcome, Setting, TestResult, run_within};
use super::suite::{Suite, load_with};
use super::template::Vars;
use super::{IMAGE, OWNER, exit, view};
use crate::probe::Root;
use crate::report::Severity;

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
    /// What else is asked of the format.
    pub style: Style,
    /// How long all tests may take.
    pub budget: Duration,
    /// Tests at a time.
    pub workers: usize,
    /// For how long failing tests are run again; zero: once.
    pub retry: Duration,
    /// The pause before they are.
    pub sleep: Duration,
    /// Which package manager to ask, where it is not to be found out.
    pub packages: Option<String>,
}

/// Runs the tests, hands what is to be printed to `print`, and gives the exit code.
pub fn validate(
    options: &Options,
    vars: &Vars,
    clock: &dyn Fn() -> Timestamp,
    print: &mut dyn FnMut(&str),
) -> u8 {
    let root = Root::new(&options.root);
    let dirs = directories(options, &root);
    let suite = load_with(&dirs, vars);
    for warning in suite.warnings() {
        tracing::warn!("{warning}");
    }
    if suite.is_empty() {
        let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let names = names.join(", ");
        print(&format!(
            "no self-tests in {names}; name a file or a directory with --gossfile\n"
        ));
        return wrong(options.format);
    }
    let start = Instant::now();
    loop {
        let code = once(&suite, options, &root, clock(), print);
        let again = start.elapsed() + options.sleep <= options.retry;
        if options.retry.is_zero() || code == exit::HOLDS || code == wrong(options.format) {
            return code;
        }
        if !again {
            tracing::error!(
                "timeout of {:?} reached before all tests hold",
                options.retry
            );
            return exit::STILL;
        }
        tracing::info!("trying again in {:?}", options.sleep);
        thread::sleep(options.sleep);
    }
}

/// Where tests are looked for.
fn directories(options: &Options, root: &Root) -> Vec<PathBuf> {
    if options.dirs.is_empty() {
        return [IMAGE, OWNER].map(|dir| root.path(dir)).into();
    }
    options.dirs.clone()
}

fn once(
    suite: &Suite,
    options: &Options,
    root: &Root,
    now: Timestamp,
    print: &mut dyn FnMut(&str),
) -> u8 {
    let setting = Setting {
        update: view(root),
        root: root.clone(),
        board: options.board.clone(),
        built: options.built,
        now,
        packages: options.packages.clone(),
    };
    let limits = Limits {
        budget: options.budget,
        workers: options.workers.max(1),
    };
    let start = Instant::now();
    let results = run_within(suite, &setting, limits);
    let times = Times {
        began: now,
        took: start.elapsed(),
    };
    print(&render(&results, options.format, options.style, times));
    let bad =
        |r: &TestResult| r.severity == Severity::Required && matches!(r.outcome, Outcome::Fail(_));
    if suite.problems().next().is_some() {
        wrong(options.format)
    } else if !results.iter().any(bad) {
        exit::HOLDS
    } else if options.format == Format::Nagios {
        exit::CRITICAL
    } else {
        exit::FAILED
    }
}

/// There is nothing to run, or it cannot be read.
fn wrong(format: Format) -> u8 {
    if format == Format::Nagios {
        exit::UNKNOWN
    } else {
        exit::CONFIG
    }
}
