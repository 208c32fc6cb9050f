//! Running a suite: every test, also after one failed; a few at a time; those that may wait are looked at again until
//! their time or the whole run's is up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;
use serde_json::Value;

use super::resource;
use super::suite::{Suite, Test};
use crate::probe::Root;
use crate::report::{Severity, UpdateView};

/// Tests at a time: they wait more than they compute.
const WORKERS: usize = 4;
const STACK: usize = 512 * 1024;

/// What the tests run on.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `/`, or the tree of an image that is not running.
    pub root: Root,
    /// Name of the board file, for `boards:`.
    pub board: String,
    /// Slots and trial, as far as known.
    pub update: Option<UpdateView>,
    /// When the image was built: a clock before it is wrong.
    pub built: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// What became of one property.
#[derive(Debug, Clone, PartialEq)]
pub struct TestResult {
    /// Stable name: `service:docker:running`.
    pub id: String,
    /// Its kind, `service`.
    pub kind: String,
    /// The resource, `docker`.
    pub name: String,
    /// The property, `running`.
    pub property: String,
    /// What its author called it.
    pub title: Option<String>,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether it holds.
    pub outcome: Outcome,
    /// How long it took, waiting included.
    pub took: Duration,
    /// It failed because the time for all tests was up: nothing was found out.
    pub cut_short: bool,
}

/// Whether a property holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Pass,
    /// It does not: what was expected, and what was found.
    Fail(String),
    /// It was not looked at, and why.
    Skip(String),
}

/// Values of a resource, by property; a value that could not be had comes with the reason.
pub(super) type Values = BTreeMap<&'static str, anyhow::Result<Value>>;

struct Task<'a> {
    test: &'a Test,
    index: usize,
    since: Instant,
    not_before: Instant,
}

/// Runs every test of `suite`, for at most `budget`.
pub fn run(suite: &Suite, setting: &Setting, budget: Duration) -> Vec<TestResult> {
    let start = Instant::now();
    let deadline = start + budget;
    let task = |(index, test)| Task {
        test,
        index,
        since: start,
        not_before: start,
    };
    // Taken from the end: in the order of the files.
    let queue: Mutex<Vec<Task<'_>>> =
        Mutex::new(suite.tests.iter().enumerate().map(task).rev().collect());
    let busy = Mutex::new(0usize);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        let work = || worker(&queue, &busy, &results, setting, deadline);
        for _ in 1..WORKERS.min(suite.tests.len()) {
            // One worker fewer is slower, not wrong.
            drop(
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, work),
            );
        }
        work();
    });
    let broken = suite
        .problems
        .iter()
        .map(|(path, what)| problem(&path.display().to_string(), what));
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_values().flatten().chain(broken).collect()
}

/// A file that could not be used is a failure of its own: its tests must not vanish unseen.
fn problem(path: &str, what: &str) -> TestResult {
    TestResult {
        id: format!("suite:{path}:usable"),
        kind: "suite".into(),
        name: path.into(),
        property: "usable".into(),
        title: None,
        // What the image brings is required; a slip of the owner must not throw a release away.
        severity: if path.starts_with("/usr/") {
            Severity::Required
        } else {
            Severity::Wanted
        },
        outcome: Outcome::Fail(what.into()),
        took: Duration::ZERO,
        cut_short: false,
    }
}

fn worker(
    queue: &Mutex<Vec<Task<'_>>>,
    busy: &Mutex<usize>,
    results: &Mutex<BTreeMap<usize, Vec<TestResult>>>,
    setting: &Setting,
    deadline: Instant,
) {
    loop {
        let now = Instant::now();
        let task = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.is_empty() && *busy == 0 {
                return;
            }
            let ready = queue.iter().rposition(|task| task.not_before <= now);
            ready.map(|at| {
                *busy += 1;
                queue.remove(at)
            })
        };
        let Some(mut task) = task else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut found = attempt(task.test, setting, deadline, task.since);
        let failed = found
            .iter()
            .any(|result| matches!(result.outcome, Outcome::Fail(_)));
        let now = Instant::now();
        let patient = task
            .test
            .wait
            .filter(|wait| failed && now + wait.interval <= task.since + wait.timeout);
        let again = patient.filter(|wait| now + wait.interval <= deadline);
        if now >= deadline || (patient.is_some() && again.is_none()) {
            for result in &mut found {
                result.cut_short = matches!(result.outcome, Outcome::Fail(_));
            }
        }
        let index = task.index;
        let retry = again.map(|wait| {
            task.not_before = now + wait.interval;
            task
        });
        if retry.is_none() {
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(index, found);
        }
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        // At the end that is taken last, so that waiting tests do not starve the others.
        queue.splice(0..0, retry);
        *busy -= 1;
    }
}

/// Looks at one resource once.
fn attempt(test: &Test, setting: &Setting, deadline: Instant, since: Instant) -> Vec<TestResult> {
    let skipped = if test.skip {
        Some("skip: true".to_owned())
    } else if !test.is_for(&setting.board) {
        Some(format!("not for board {:?}", setting.board))
    } else {
        None
    };
    let mut results = Vec::new();
    if let Some(why) = skipped {
        results.extend(
            test.asserts
                .iter()
                .map(|(property, _)| one(test, property, Outcome::Skip(why.clone()), since)),
        );
    } else {
        let left = deadline.saturating_duration_since(Instant::now());
        let values = if left.is_zero() {
            Err(anyhow::anyhow!(
                "the time for all tests was up before this one"
            ))
        } else {
            resource::look(test, setting, left)
        };
        results.extend(judge(test, values, since));
    }
    let vacuous = test.vacuous.iter().map(|p| {
        one(
            test,
            p,
            Outcome::Skip("an empty list asserts nothing".into()),
            since,
        )
    });
    results.extend(vacuous);
    results
}

fn judge(test: &Test, values: anyhow::Result<Option<Values>>, since: Instant) -> Vec<TestResult> {
    let mut values = match values {
        Ok(Some(values)) => values,
        Ok(None) => {
            let why = "only on a running board";
            return test
                .asserts
                .iter()
                .map(|(p, _)| one(test, p, Outcome::Skip(why.into()), since))
                .collect();
        }
        Err(error) => {
            let why = format!("could not be looked at: {error:#}");
            return test
                .asserts
                .iter()
                .map(|(p, _)| one(test, p, Outcome::Fail(why.clone()), since))
                .collect();
        }
    };
    let mut gone = false;
    let mut results = Vec::new();
    for (property, matcher) in &test.asserts {
        let outcome = if gone {
            Outcome::Skip(format!("{} does not hold", test.schema.main))
        } else {
            match values.remove(property) {
                Some(Ok(value)) => matcher
                    .check(&value)
                    .map_or_else(Outcome::Fail, |()| Outcome::Pass),
                Some(Err(error)) => Outcome::Fail(format!("could not be looked at: {error:#}")),
                None => Outcome::Fail(format!(
                    "{} {:?} has no {property}",
                    test.schema.name, test.name
                )),
            }
        };
        gone |= *property == test.schema.main && matches!(outcome, Outcome::Fail(_));
        results.push(one(test, property, outcome, since));
    }
    results
}

fn one(test: &Test, property: &str, outcome: Outcome, since: Instant) -> TestResult {
    TestResult {
        id: test.id(property),
        kind: test.schema.name.into(),
        name: test.key.clone(),
        property: property.into(),
        title: test.title.clone(),
        severity: test.severity,
        outcome,
        took: since.elapsed(),
        cut_short: false,
    }
}
