//! Running a suite: every test, also after one failed; a few at a time; those that may wait are looked at again until
//! their time or the whole run's is up.

mod found;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;
use serde_json::Value;

use super::matcher::Mismatch;
use super::pattern;
use super::resource;
use super::suite::{Assert, Suite, Test};
use crate::probe::Root;
use crate::report::{Severity, UpdateView};
pub(super) use found::{Found, Values};

/// Tests at a time, as goss: they wait more than they compute.
pub const WORKERS: usize = 50;
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
    /// Which package manager to ask (`apk`, `dpkg`, `pacman`, `rpm`), where it is not to be found out.
    pub packages: Option<String>,
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
    /// goss's name of it: `label: docker` where the key is only a label.
    pub resource: String,
    /// The property, `running`.
    pub property: String,
    /// What its author called it.
    pub title: Option<String>,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What its author noted for those who read results.
    pub meta: Value,
    /// What was seen, in goss's words.
    pub seen: Seen,
    /// When it was begun, after the run was.
    pub began: Duration,
    /// How long it took, waiting included.
    pub took: Duration,
    /// It failed because the time for all tests was up: nothing was found out.
    pub cut_short: bool,
}

/// What was seen of a property, for programs that read goss's results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// What it was expected to be.
    pub expected: Value,
    /// What it is, where that is no long text.
    pub actual: Value,
    /// How the two were compared: `to equal`.
    pub message: String,
    /// Which of several expected things were not there.
    pub missing: Vec<Value>,
    /// Why it could not be looked at.
    pub error: Option<String>,
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

struct Task<'a> {
    test: &'a Test,
    index: usize,
    /// When it was looked at for the first time.
    since: Option<Instant>,
    not_before: Instant,
}

/// How much a run may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time for all tests.
    pub(super) budget: Duration,
    /// Tests at a time.
    pub(super) workers: usize,
}

impl Limits {
    /// For a board that has other things to do.
    pub(super) fn gentle(budget: Duration) -> Self {
        let workers = 5 * std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            budget,
            workers: WORKERS.min(workers),
        }
    }
}

/// What all workers share.
struct Run<'a> {
    /// Taken from the end: in the order of the files.
    queue: Mutex<Vec<Task<'a>>>,
    busy: Mutex<usize>,
    results: Mutex<BTreeMap<usize, Vec<TestResult>>>,
    setting: &'a Setting,
    start: Instant,
    deadline: Instant,
}

/// Runs every test of `suite`, for at most `budget`.
pub fn run(suite: &Suite, setting: &Setting, budget: Duration) -> Vec<TestResult> {
    run_within(suite, setting, Limits::gentle(budget))
}

/// The same, so many at a time.
pub(super) fn run_within(suite: &Suite, setting: &Setting, limits: Limits) -> Vec<TestResult> {
    let start = Instant::now();
    let task = |(index, test)| Task {
        test,
        index,
        since: None,
        not_before: start,
    };
    let all = Run {
        queue: Mutex::new(suite.tests.iter().enumerate().map(task).rev().collect()),
        busy: Mutex::new(0),
        results: Mutex::new(BTreeMap::new()),
        setting,
        start,
        deadline: start + limits.budget,
    };
    std::thread::scope(|scope| {
        for _ in 1..limits.workers.min(suite.tests.len()) {
            // One worker fewer is slower, not wrong.
            drop(
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, || worker(&all)),
            );
        }
        worker(&all);
    });
    let broken = suite
        .problems
        .iter()
        .map(|(path, what)| problem(&path.display().to_string(), what));
    let results = all.results.into_inner();
    let results = results.unwrap_or_else(PoisonError::into_inner);
    results.into_values().flatten().chain(broken).collect()
}

/// A file that could not be used is a failure of its own: its tests must not vanish unseen.
fn problem(path: &str, what: &str) -> TestResult {
    TestResult {
        id: format!("suite:{path}:usable"),
        kind: "suite".into(),
        name: path.into(),
        resource: path.into(),
        property: "usable".into(),
        title: None,
        // What the image brings is required; a slip of the owner must not throw a release away.
        severity: if path.starts_with("/usr/") {
            Severity::Required
        } else {
            Severity::Wanted
        },
        outcome: Outcome::Fail(what.into()),
        meta: Value::Null,
        seen: Seen {
            error: Some(what.into()),
            ..Seen::default()
        },
        began: Duration::ZERO,
        took: Duration::ZERO,
        cut_short: false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next task, `None` when some wait for their time; `Err` when there is nothing left to do.
fn next<'a>(all: &Run<'a>, now: Instant) -> Result<Option<Task<'a>>, ()> {
    let (mut queue, mut busy) = (lock(&all.queue), lock(&all.busy));
    if queue.is_empty() && *busy == 0 {
        return Err(());
    }
    let ready = queue.iter().rposition(|task| task.not_before <= now);
    Ok(ready.map(|at| {
        *busy += 1;
        queue.remove(at)
    }))
}

fn worker(all: &Run<'_>) {
    loop {
        let began = Instant::now();
        let mut task = match next(all, began) {
            Err(()) => return,
            Ok(Some(task)) => task,
            Ok(None) => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        let since = *task.since.get_or_insert(began);
        let mut found = attempt(task.test, all.setting, all.deadline);
        let failed = |result: &TestResult| matches!(result.outcome, Outcome::Fail(_));
        let now = Instant::now();
        let patient = task
            .test
            .wait
            .filter(|wait| found.iter().any(failed) && now + wait.interval <= since + wait.timeout);
        let again = patient.filter(|wait| now + wait.interval <= all.deadline);
        let late = now >= all.deadline || (patient.is_some() && again.is_none());
        for result in &mut found {
            result.cut_short = late && failed(result);
            (result.began, result.took) = (since - all.start, now - since);
        }
        let index = task.index;
        let retry = again.map(|wait| {
            task.not_before = now + wait.interval;
            task
        });
        if retry.is_none() {
            lock(&all.results).insert(index, found);
        }
        let (mut queue, mut busy) = (lock(&all.queue), lock(&all.busy));
        // At the end that is taken last, so that waiting tests do not starve the others.
        queue.splice(0..0, retry);
        *busy -= 1;
    }
}

/// Looks at one resource once.
fn attempt(test: &Test, setting: &Setting, deadline: Instant) -> Vec<TestResult> {
    let all = |outcome: Outcome| each(test, |_| outcome.clone());
    if test.skip {
        return all(Outcome::Skip("skip: true".into()));
    }
    if !test.is_for(&setting.board) {
        return all(Outcome::Skip(format!("not for board {:?}", setting.board)));
    }
    if let Some(why) = &test.broken {
        return all(Outcome::Fail(why.clone()));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let values = if left.is_zero() {
        Err(anyhow::anyhow!(
            "the time for all tests was up before this one"
        ))
    } else {
        resource::look(test, setting, left)
    };
    judge(test, values)
}

fn judge(test: &Test, values: anyhow::Result<Option<Values>>) -> Vec<TestResult> {
    let mut values = match values {
        Ok(Some(values)) => values,
        Ok(None) => return each(test, |_| Outcome::Skip("only on a running board".into())),
        Err(error) => {
            let why = format!("could not be looked at: {error:#}");
            let alone = test.schema.main.is_empty();
            return each(test, |assert| {
                if alone || assert.property == test.schema.main {
                    Outcome::Fail(why.clone())
                } else {
                    Outcome::Skip(why.clone())
                }
            });
        }
    };
    // As goss: what is not there, or not as wanted, has no other properties that could be looked at.
    let mut gone = None;
    let mut results = Vec::new();
    for assert in &test.asserts {
        let main = assert.property == test.schema.main;
        if let Some(why) = &gone {
            let why = format!("{} {why}", test.schema.main);
            results.push(one(test, assert, Outcome::Skip(why), None));
            continue;
        }
        let found = values.remove(assert.property);
        let absent = found
            .as_ref()
            .is_some_and(|f| f.as_ref().is_ok_and(Found::is_false));
        let (outcome, seen) = match check(test, assert, found) {
            Ok(seen) => (Outcome::Pass, seen),
            Err(seen) => (Outcome::Fail(words(&seen)), *seen),
        };
        if main && absent {
            gone = Some("is false");
        } else if main && outcome != Outcome::Pass {
            gone = Some("does not hold");
        }
        results.push(one(test, assert, outcome, Some(seen)));
    }
    results
}

/// Why a property does not hold.
fn words(seen: &Seen) -> String {
    let mismatch = Mismatch {
        error: seen.error.clone(),
        message: seen.message.clone(),
        actual: seen.actual.clone(),
        expected: seen.expected.clone(),
        missing: seen.missing.clone(),
    };
    mismatch.to_string()
}

fn check(
    test: &Test,
    assert: &Assert,
    found: Option<anyhow::Result<Found>>,
) -> Result<Seen, Box<Seen>> {
    let error = |why: String| {
        Box::new(Seen {
            error: Some(why),
            ..Seen::default()
        })
    };
    let matcher = assert.matcher.as_ref().map_err(|why| error(why.clone()))?;
    let found = match found {
        Some(Ok(found)) => found,
        Some(Err(why)) => return Err(error(format!("could not be looked at: {why:#}"))),
        None => {
            return Err(error(format!(
                "{} {:?} has no {}",
                test.schema.name, test.name, assert.property
            )));
        }
    };
    let good = |actual: Value| Seen {
        expected: assert.expected.clone(),
        actual,
        message: "matches expectation".into(),
        ..Seen::default()
    };
    let is_text = matches!(found, Found::Text(_));
    let (found, patterns) = match (found, matcher.patterns()) {
        (Found::Text(lines), Some(patterns)) => (lines, patterns),
        (found, _) => {
            let value = found.value().map_err(error)?;
            return match matcher.check(&value) {
                Ok(()) => Ok(good(if is_text { TEXT.into() } else { value })),
                Err(why) => Err(Box::new(Seen {
                    expected: why.expected,
                    actual: why.actual,
                    message: why.message,
                    missing: why.missing,
                    error: why.error,
                })),
            };
        }
    };
    let missing = pattern::missing(patterns, BufReader::new(found)).map_err(error)?;
    if missing.is_empty() {
        return Ok(good(TEXT.into()));
    }
    Err(Box::new(Seen {
        expected: assert.expected.clone(),
        actual: TEXT.into(),
        message: "to have patterns".into(),
        missing: missing.into_iter().map(Value::from).collect(),
        error: None,
    }))
}

/// A result for every property, without a look at any.
fn each(test: &Test, outcome: impl Fn(&Assert) -> Outcome) -> Vec<TestResult> {
    test.asserts
        .iter()
        .map(|assert| one(test, assert, outcome(assert), None))
        .collect()
}

/// Stands for a text that was read line by line, and may be long.
const TEXT: &str = "its text";

fn one(test: &Test, assert: &Assert, outcome: Outcome, seen: Option<Seen>) -> TestResult {
    let seen = seen.unwrap_or_else(|| Seen {
        error: match &outcome {
            Outcome::Fail(why) => Some(why.clone()),
            _ => None,
        },
        ..Seen::default()
    });
    TestResult {
        id: test.id(assert.property),
        kind: test.schema.name.into(),
        name: test.key.clone(),
        resource: test.resource(),
        property: assert.property.into(),
        title: test.title.clone(),
        severity: test.severity,
        outcome,
        meta: test.meta.clone(),
        seen,
        began: Duration::ZERO,
        took: Duration::ZERO,
        cut_short: false,
    }
}
