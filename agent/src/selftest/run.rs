//! Running a suite: every test, also after one failed; a few at a time; those that may wait are looked at again until
//! their time or the whole run's is up.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;
use serde_json::Value;

use super::matcher::short;
use super::pattern;
use super::resource;
use super::suite::{Assert, Suite, Test};
use crate::probe::Root;
use crate::report::{Severity, UpdateView};

/// Tests at a time, as goss: they wait more than they compute.
const WORKERS: usize = 50;
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
pub(super) type Values = BTreeMap<&'static str, anyhow::Result<Found>>;

/// What a property is.
pub(super) enum Found {
    Value(Value),
    /// Text that may be long: patterns are looked for line by line, everything else needs it whole.
    Text(Box<dyn Read>),
}

/// Text that is needed whole.
const WHOLE: u64 = 16 * 1024 * 1024;

impl Found {
    /// A text that is at hand.
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Text(Box::new(std::io::Cursor::new(bytes)))
    }

    /// All of it.
    pub(super) fn value(self) -> Result<Value, String> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Text(text) => {
                let mut bytes = Vec::new();
                text.take(WHOLE + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| format!("reading: {error}"))?;
                if bytes.len() as u64 > WHOLE {
                    return Err(format!(
                        "longer than {WHOLE} bytes: only a list of patterns can be looked for in it"
                    ));
                }
                Ok(String::from_utf8_lossy(&bytes).into_owned().into())
            }
        }
    }

    fn is_false(&self) -> bool {
        matches!(self, Self::Value(Value::Bool(false)))
    }
}

macro_rules! found_from {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Found {
            fn from(value: $kind) -> Self {
                Self::Value(value.into())
            }
        }
    )*};
}
found_from!(
    Value,
    bool,
    &str,
    String,
    i32,
    u16,
    u32,
    u64,
    usize,
    f64,
    Vec<Value>
);

impl<V: Into<Value>> FromIterator<V> for Found {
    fn from_iter<T: IntoIterator<Item = V>>(items: T) -> Self {
        Self::Value(items.into_iter().map(Into::into).collect::<Value>())
    }
}

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
    let workers = WORKERS.min(5 * std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        let work = || worker(&queue, &busy, &results, setting, deadline);
        for _ in 1..workers.min(suite.tests.len()) {
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
    let all = |outcome: Outcome| each(test, since, |_| outcome.clone());
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
    judge(test, values, since)
}

fn judge(test: &Test, values: anyhow::Result<Option<Values>>, since: Instant) -> Vec<TestResult> {
    let mut values = match values {
        Ok(Some(values)) => values,
        Ok(None) => {
            let why = "only on a running board";
            return each(test, since, |_| Outcome::Skip(why.into()));
        }
        Err(error) => {
            let why = format!("could not be looked at: {error:#}");
            let alone = test.schema.main.is_empty();
            return each(test, since, |assert| {
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
        let outcome = if let Some(why) = &gone {
            Outcome::Skip(format!("{} {why}", test.schema.main))
        } else {
            let found = values.remove(assert.property);
            let absent = found
                .as_ref()
                .is_some_and(|f| f.as_ref().is_ok_and(Found::is_false));
            let outcome = check(test, assert, found);
            if main && absent {
                gone = Some("is false");
            } else if main && outcome != Outcome::Pass {
                gone = Some("does not hold");
            }
            outcome
        };
        results.push(one(test, assert, outcome, since));
    }
    results
}

fn check(test: &Test, assert: &Assert, found: Option<anyhow::Result<Found>>) -> Outcome {
    let matcher = match &assert.matcher {
        Ok(matcher) => matcher,
        Err(why) => return Outcome::Fail(why.clone()),
    };
    let found = match found {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Outcome::Fail(format!("could not be looked at: {error:#}")),
        None => {
            return Outcome::Fail(format!(
                "{} {:?} has no {}",
                test.schema.name, test.name, assert.property
            ));
        }
    };
    let held = match (found, matcher.patterns()) {
        (Found::Text(lines), Some(patterns)) => {
            match pattern::missing(patterns, BufReader::new(lines)) {
                Ok(missing) if missing.is_empty() => Ok(()),
                Ok(missing) => Err(format!(
                    "expected to have patterns {}, missing {}",
                    short(&assert.expected),
                    missing.join(", ")
                )),
                Err(why) => Err(why),
            }
        }
        (found, _) => found
            .value()
            .and_then(|value| matcher.check(&value).map_err(|why| why.to_string())),
    };
    held.map_or_else(Outcome::Fail, |()| Outcome::Pass)
}

/// A result for every property, without a look at any.
fn each(test: &Test, since: Instant, outcome: impl Fn(&Assert) -> Outcome) -> Vec<TestResult> {
    test.asserts
        .iter()
        .map(|assert| one(test, assert, outcome(assert), since))
        .collect()
}

fn one(test: &Test, assert: &Assert, outcome: Outcome, since: Instant) -> TestResult {
    TestResult {
        id: test.id(assert.property),
        kind: test.schema.name.into(),
        name: test.key.clone(),
        resource: test.resource(),
        property: assert.property.into(),
        title: test.title.clone(),
        severity: test.severity,
        outcome,
        took: since.elapsed(),
        cut_short: false,
    }
}
