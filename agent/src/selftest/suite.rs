//! From files to a [`Suite`]: which tests there are. Reading one file (`read`) is apart from finding them (`load`).

mod load;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::glob;
use super::matcher::Matcher;
use super::schema::Schema;
use crate::report::Severity;

pub(super) use load::{expanded, text_of};
pub use load::{load, load_with};

/// All tests that were found, and what was wrong with the files.
#[derive(Debug, Default)]
pub struct Suite {
    pub(super) tests: Vec<Test>,
    /// Files that could not be used, with the reason. Each becomes a failed result, so that none is lost silently.
    pub(super) problems: Vec<(PathBuf, String)>,
    /// What is odd, but does no harm.
    warnings: Vec<(PathBuf, String)>,
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
    /// The owner's notes.
    pub(super) meta: Value,
    pub(super) severity: Severity,
    pub(super) skip: bool,
    /// Names of boards that this is for; all when empty.
    pub(super) boards: Vec<String>,
    pub(super) wait: Option<Wait>,
    pub(super) asserts: Vec<Assert>,
    pub(super) settings: BTreeMap<&'static str, Value>,
    /// What is wrong with it: then all of it fails, with this reason, and the other tests run.
    pub(super) broken: Option<String>,
    /// It stands in a file of the owner's.
    pub(super) owner: bool,
}

/// One property and what is expected of it.
#[derive(Debug, Clone)]
pub(super) struct Assert {
    pub(super) property: &'static str,
    /// As it was written.
    pub(super) expected: Value,
    /// As it was read, or why it could not be.
    pub(super) matcher: Result<Matcher, String>,
}

/// How long a test may take to become true, and how often it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
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
        words(&self.problems)
    }

    /// What is odd about the files.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        words(&self.warnings)
    }

    /// Those of the owner's files, or those of the image.
    #[must_use]
    pub fn part(mut self, owner: bool) -> Self {
        self.tests.retain(|test| test.owner == owner);
        self.problems.retain(|(path, _)| is_owners(path) == owner);
        self
    }

    /// Tests that cannot be run as they are written.
    pub fn broken(&self) -> impl Iterator<Item = String> {
        let why = |test: &Test| {
            let bad = test.asserts.iter().find_map(|a| a.matcher.as_ref().err());
            let why = test.broken.as_ref().or(bad)?;
            Some(format!("{}: {}: {why}", test.schema.name, test.key))
        };
        self.tests.iter().filter_map(why)
    }
}

/// Whether a file is the owner's: all but those that the image or the package brings.
fn is_owners(path: &Path) -> bool {
    let image = super::IMAGE.trim_start_matches('/');
    !path.parent().is_some_and(|parent| parent.ends_with(image))
}

fn words(list: &[(PathBuf, String)]) -> impl Iterator<Item = String> {
    list.iter()
        .map(|(path, what)| format!("{}: {what}", path.display()))
}

impl Test {
    /// A test of this resource that asserts nothing yet.
    pub(super) fn new(schema: &'static Schema, key: &str) -> Self {
        Self {
            schema,
            key: key.to_owned(),
            name: key.to_owned(),
            title: None,
            meta: Value::Null,
            severity: Severity::Required,
            skip: false,
            boards: Vec::new(),
            wait: None,
            asserts: Vec::new(),
            settings: BTreeMap::new(),
            broken: None,
            owner: true,
        }
    }

    /// The stable name of one property: the baseline before an update is compared by it.
    pub(super) fn id(&self, property: &str) -> String {
        format!("{}:{}:{property}", self.schema.name, self.key)
    }

    /// What goss calls the resource.
    pub(super) fn resource(&self) -> String {
        if self.name == self.key || self.schema.kind == super::schema::Kind::Command {
            self.key.clone()
        } else {
            format!("{}: {}", self.key, self.name)
        }
    }

    /// Whether this test is for `board`.
    pub(super) fn is_for(&self, board: &str) -> bool {
        self.boards.is_empty() || self.boards.iter().any(|pattern| glob::like(pattern, board))
    }

    /// Whether `property` is asserted.
    pub(super) fn wants(&self, property: &str) -> bool {
        self.asserts
            .iter()
            .any(|assert| assert.property == property)
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
        self.settings
            .get(setting)?
            .as_str()
            .filter(|word| !word.is_empty())
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
