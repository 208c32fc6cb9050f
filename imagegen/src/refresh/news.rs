//! What two locks of one board differ in, source package by source package. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::lock::repo::version::Version;
use crate::lock::{Lock, LockedPackage};

/// A source package of which the archive has another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// The source package.
    pub source: String,
    /// Those of its packages that are in the image.
    pub packages: Vec<String>,
    /// Version of the last release.
    pub from: String,
    /// Version of the archive.
    pub to: String,
    /// Which archive of the mirror has it: `main`, or `security`.
    pub archive: String,
    /// How urgent its maintainers call it: `low`, `medium`, `high`, …
    pub urgency: Option<String>,
    /// What its changelog says first of a vulnerability, or else at all.
    pub first: Option<String>,
    /// The vulnerabilities that its changelog names since the last release's version.
    pub cves: Vec<String>,
}

/// What is new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct News {
    /// Other versions, security first, then by name.
    pub changed: Vec<Change>,
    /// Packages that others need now.
    pub added: Vec<String>,
    /// Packages that nobody needs any more.
    pub removed: Vec<String>,
}

impl News {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// Whether the package has another version.
    pub(super) fn names(&self, package: &str) -> bool {
        self.changed
            .iter()
            .any(|c| c.packages.iter().any(|p| p == package))
    }

    /// All vulnerabilities that are closed.
    pub fn cves(&self) -> BTreeSet<&str> {
        let all = self.changed.iter().flat_map(|c| &c.cves);
        all.map(String::as_str).collect()
    }
}

impl Change {
    pub(super) fn is_older(&self) -> bool {
        Version::new(&self.to) < Version::new(&self.from)
    }
}

/// What `new` has that `old` has not. Programs of the building machine leave no trace in an image and are not compared.
pub fn between(old: &Lock, new: &Lock) -> News {
    let by_name = |lock: &Lock| -> BTreeMap<String, LockedPackage> {
        let all = lock.in_image();
        all.map(|p| (p.name.clone(), p.clone())).collect()
    };
    let (was, is) = (by_name(old), by_name(new));
    let mut changed: BTreeMap<(String, String, String), Change> = BTreeMap::new();
    for (name, now) in &is {
        let Some(before) = was.get(name).filter(|b| b.version != now.version) else {
            continue;
        };
        let key = (
            now.source.clone(),
            before.version.clone(),
            now.version.clone(),
        );
        let change = changed.entry(key).or_insert_with(|| Change {
            source: now.source.clone(),
            packages: Vec::new(),
            from: before.version.clone(),
            to: now.version.clone(),
            archive: now.archive.clone(),
            urgency: None,
            first: None,
            cves: Vec::new(),
        });
        change.packages.push(name.clone());
    }
    let mut changed: Vec<Change> = changed.into_values().collect();
    changed.sort_by_key(|c| !c.is_security());
    let missing_in = |a: &BTreeMap<String, LockedPackage>, b: &BTreeMap<String, LockedPackage>| {
        a.keys().filter(|n| !b.contains_key(*n)).cloned().collect()
    };
    News {
        changed,
        added: missing_in(&is, &was),
        removed: missing_in(&was, &is),
    }
}
