//! From files to a [`Suite`]: which tests there are. Reading a file (`parse`) is apart from finding it (`load`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::matcher::{self, Matcher};
use super::schema::{self, Schema};
use super::yaml::{self, Key, Node, Problem};
use crate::files;
use crate::report::Severity;

/// Files that include files that include files.
const INCLUDES: usize = 8;
/// Tests of one suite.
const TESTS: usize = 5_000;

/// All tests that were found, and what was wrong with the files.
#[derive(Debug, Default)]
pub struct Suite {
    pub(super) tests: Vec<Test>,
    /// Files that could not be used, with the reason. Each becomes a failed result, so that none is lost silently.
    pub(super) problems: Vec<(PathBuf, String)>,
}

/// One resource with all that is asserted of it.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) schema: &'static Schema,
    /// The key in the file: part of the id.
    pub(super) key: String,
    /// What is looked at.
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) severity: Severity,
    pub(super) skip: bool,
    /// Names of boards that this is for; all when empty.
    pub(super) boards: Vec<String>,
    pub(super) wait: Option<Wait>,
    pub(super) asserts: Vec<(&'static str, Matcher)>,
    /// Properties with an empty list, which goss writes and which assert nothing.
    pub(super) vacuous: Vec<&'static str>,
    pub(super) settings: BTreeMap<&'static str, Value>,
}

/// How long a test may take to become true, and how often it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
}

/// Whether the file comes from goss's world, where an empty list is written by `goss add`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Ours,
    Goss,
}

impl Suite {
    /// How many resources are tested.
    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Whether there is nothing to test.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.problems.is_empty()
    }

    /// What was wrong with the files.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems
            .iter()
            .map(|(path, what)| format!("{}: {what}", path.display()))
    }
}

/// Reads the tests of `dirs` (a directory, or one file). A file in a later directory replaces the one with the same
/// name in an earlier one, an empty file masks it.
pub fn load(dirs: &[PathBuf]) -> Suite {
    let mut chosen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut suite = Suite::default();
    for directory in dirs {
        let entries = if directory.is_file() {
            Ok(vec![directory.clone()])
        } else {
            list(directory)
        };
        match entries {
            Ok(entries) => chosen.extend(entries.into_iter().filter_map(|path| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((name, path))
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => suite.problems.push((directory.clone(), error.to_string())),
        }
    }
    let mut ids = BTreeSet::new();
    for path in chosen.values() {
        add(&mut suite, &mut ids, path, INCLUDES);
    }
    suite
}

fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if known && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn add(suite: &mut Suite, ids: &mut BTreeSet<String>, path: &Path, depth: usize) {
    let read = files::read_text(path, yaml::LIMIT).map_err(|error| error.source.to_string());
    let goss = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("goss"));
    let dialect = if goss { Dialect::Goss } else { Dialect::Ours };
    let parsed = read.and_then(|text| {
        parse(&text, dialect).map_err(|problem| format!("line {}: {}", problem.line, problem.what))
    });
    let (tests, includes) = match parsed {
        Ok(parsed) => parsed,
        Err(what) => return suite.problems.push((path.to_owned(), what)),
    };
    for test in tests {
        let again = test
            .asserts
            .iter()
            .find(|(property, _)| !ids.insert(test.id(property)));
        if let Some((property, _)) = again {
            let what = format!(
                "{} is asserted in another file too; keep one",
                test.id(property)
            );
            suite.problems.push((path.to_owned(), what));
        } else if suite.tests.len() >= TESTS {
            return suite
                .problems
                .push((path.to_owned(), format!("more than {TESTS} tests")));
        } else {
            suite.tests.push(test);
        }
    }
    for pattern in includes {
        let base = path.parent().unwrap_or(Path::new("."));
        let found = glob(&base.join(&pattern));
        if depth == 0 || found.is_empty() {
            let what = if depth == 0 {
                "more than 8 levels of gossfile"
            } else {
                "no such gossfile"
            };
            suite
                .problems
                .push((path.to_owned(), format!("{what}: {pattern}")));
            continue;
        }
        for included in found {
            add(suite, ids, &included, depth - 1);
        }
    }
}

/// Files like `pattern`, whose last part may have `*` and `?` in it.
fn glob(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !name.contains(['*', '?']) {
        return if pattern.is_file() {
            vec![pattern.to_owned()]
        } else {
            Vec::new()
        };
    }
    let directory = pattern.parent().unwrap_or(Path::new("."));
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| like(name.as_bytes(), n.as_encoded_bytes()))
        })
        .collect();
    found.sort();
    found
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            like(rest, text) || (!text.is_empty() && like(pattern, &text[1..]))
        }
        ([b'?', rest @ ..], [_, tail @ ..]) => like(rest, tail),
        ([p, rest @ ..], [t, tail @ ..]) if p == t => like(rest, tail),
        _ => false,
    }
}

type Parsed = (Vec<Test>, Vec<String>);

fn parse(text: &str, dialect: Dialect) -> Result<Parsed, Problem> {
    // Only where a value is whole: a shell command may well contain {{.
    if let Some(at) = text
        .lines()
        .position(|line| line.trim_start().starts_with("{{"))
    {
        let what = "Go templates are not supported: render the file first with `goss render`";
        return Err(Problem::new(at + 1, what));
    }
    let root = yaml::parse(text)?;
    let (mut tests, mut includes) = (Vec::new(), Vec::new());
    for (kind, resources) in root.entries()? {
        if kind.text == "gossfile" {
            includes.extend(gossfiles(resources)?);
            continue;
        }
        let schema = schema::find(&kind.text).ok_or_else(|| {
            let known: Vec<&str> = schema::KINDS.iter().map(|schema| schema.name).collect();
            Problem::new(
                kind.line,
                format!(
                    "there is no resource {:?}; known are gossfile, {}",
                    kind.text,
                    known.join(", ")
                ),
            )
        })?;
        for (key, node) in resources.entries()? {
            tests.push(test(schema, key, node, dialect)?);
        }
    }
    Ok((tests, includes))
}

fn gossfiles(node: &Node) -> Result<Vec<String>, Problem> {
    let mut files = Vec::new();
    for (key, node) in node.entries()? {
        let (mut file, mut skip) = (key.text.clone(), false);
        for (name, value) in node.entries()? {
            match name.text.as_str() {
                "file" => value.text()?.clone_into(&mut file),
                "skip" => skip = value.flag()?,
                "title" | "meta" => {}
                other => {
                    return Err(Problem::new(
                        name.line,
                        format!("gossfile has no {other:?}"),
                    ));
                }
            }
        }
        if !skip {
            files.push(file);
        }
    }
    Ok(files)
}

fn test(
    schema: &'static Schema,
    key: &Key,
    node: &Node,
    dialect: Dialect,
) -> Result<Test, Problem> {
    let mut test = Test {
        schema,
        key: key.text.clone(),
        name: key.text.clone(),
        title: None,
        severity: Severity::Required,
        skip: false,
        boards: Vec::new(),
        wait: None,
        asserts: Vec::new(),
        vacuous: Vec::new(),
        settings: BTreeMap::new(),
    };
    for (name, value) in node.entries()? {
        let attribute = name.text.as_str();
        let property = schema
            .properties
            .iter()
            .find(|(property, _)| *property == attribute);
        let setting = schema
            .settings
            .iter()
            .find(|setting| **setting == attribute);
        if let Some((property, shape)) = property {
            if dialect == Dialect::Goss && matcher::is_empty_list(value) {
                test.vacuous.push(property);
            } else {
                let matcher = matcher::parse(value, *shape).map_err(|p| {
                    Problem::new(
                        p.line,
                        format!("{}: {}: {attribute}: {}", schema.name, key.text, p.what),
                    )
                })?;
                test.asserts.push((property, matcher));
            }
        } else if let Some(setting) = setting {
            test.settings.insert(setting, value.value());
        } else if attribute == schema.alias {
            value.text()?.clone_into(&mut test.name);
        } else if !common(&mut test, name, value)? {
            let known: Vec<&str> = schema.properties.iter().map(|p| p.0).collect();
            let what = format!(
                "{} has no {attribute:?}; it has {}",
                schema.name,
                known.join(", ")
            );
            return Err(Problem::new(name.line, what));
        }
    }
    if test.asserts.is_empty() && test.vacuous.is_empty() {
        let what = format!("{}: {} asserts nothing", schema.name, key.text);
        return Err(Problem::new(key.line, what));
    }
    // The main property first: when it does not hold, the others are not looked at.
    test.asserts
        .sort_by_key(|(property, _)| *property != schema.main);
    retries(&mut test, key.line)?;
    Ok(test)
}

fn common(test: &mut Test, name: &Key, value: &Node) -> Result<bool, Problem> {
    debug_assert!(
        schema::COMMON.len() == 6,
        "every common setting has an arm below"
    );
    match name.text.as_str() {
        "title" => test.title = Some(value.text()?.to_owned()),
        "meta" => {}
        "skip" => test.skip = value.flag()?,
        "severity" => {
            let word = value.text()?;
            test.severity = Severity::parse(word).ok_or_else(|| {
                let what = format!("severity is required, wanted or info, not {word:?}");
                Problem::new(value.line, what)
            })?;
        }
        "boards" => test.boards = value.texts()?,
        "wait-for" => test.wait = Some(wait(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn wait(node: &Node) -> Result<Wait, Problem> {
    let mut wait = Wait {
        timeout: Duration::ZERO,
        interval: Duration::from_secs(2),
    };
    if node.entries().is_err() {
        wait.timeout = duration(node.text()?, node.line)?;
        return Ok(wait);
    }
    for (name, value) in node.entries()? {
        match name.text.as_str() {
            "timeout" => wait.timeout = duration(value.text()?, value.line)?,
            "interval" => {
                wait.interval =
                    duration(value.text()?, value.line)?.max(Duration::from_millis(100));
            }
            other => {
                return Err(Problem::new(
                    name.line,
                    format!("wait-for has timeout and interval, not {other:?}"),
                ));
            }
        }
    }
    if wait.timeout.is_zero() {
        return Err(Problem::new(
            node.line,
            "wait-for needs a timeout, such as 60s",
        ));
    }
    Ok(wait)
}

/// goss's own retries, as a wait: `retry_count` more attempts, `retry_delay` apart.
fn retries(test: &mut Test, line: usize) -> Result<(), Problem> {
    let Some(count) = test.settings.get("retry_count") else {
        return Ok(());
    };
    let count = count
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= 1000);
    let count = count.ok_or_else(|| Problem::new(line, "retry_count is a number up to 1000"))?;
    let interval = match test.settings.get("retry_delay") {
        None => Duration::from_secs(1),
        // goss: bare numbers are milliseconds here.
        Some(Value::Number(n)) => Duration::from_millis(n.as_u64().unwrap_or(1000)),
        Some(other) => duration(other.as_str().unwrap_or_default(), line)?,
    };
    let interval = interval.max(Duration::from_millis(10));
    test.wait.get_or_insert(Wait {
        timeout: interval * count,
        interval,
    });
    Ok(())
}

/// `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str, line: usize) -> Result<Duration, Problem> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| (1..=86_400_000).contains(n));
    millis.map(Duration::from_millis).ok_or_else(|| {
        Problem::new(
            line,
            format!("expected a time such as 500ms, 5s or 2m, at most a day, not {text:?}"),
        )
    })
}

impl Test {
    /// The stable name of one property: the baseline before an update is compared by it.
    pub(super) fn id(&self, property: &str) -> String {
        format!("{}:{}:{property}", self.schema.name, self.key)
    }

    /// Whether this test is for `board`.
    pub(super) fn is_for(&self, board: &str) -> bool {
        self.boards.is_empty()
            || self.boards.iter().any(|b| {
                b == board
                    || b.strip_suffix('*')
                        .is_some_and(|start| board.starts_with(start))
            })
    }

    /// Whether `property` is asserted.
    pub(super) fn wants(&self, property: &str) -> bool {
        self.asserts
            .iter()
            .any(|(asserted, _)| *asserted == property)
    }

    /// A setting in milliseconds.
    pub(super) fn timeout(&self, default: u64) -> Duration {
        let millis = self
            .settings
            .get("timeout")
            .and_then(Value::as_u64)
            .filter(|n| *n > 0);
        Duration::from_millis(millis.unwrap_or(default).min(600_000))
    }

    /// A setting that is a word.
    pub(super) fn word(&self, setting: &str) -> Option<&str> {
        self.settings.get(setting)?.as_str()
    }

    /// A setting that is a flag.
    pub(super) fn flag(&self, setting: &str) -> bool {
        self.settings
            .get(setting)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
