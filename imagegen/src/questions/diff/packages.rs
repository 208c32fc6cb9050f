//! Which packages of two trees have other versions, by dpkg's own records.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::debian::dpkg::Records;

/// Where dpkg keeps what is installed.
pub(super) const STATUS: &str = "var/lib/dpkg/status";

/// A package that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Version in the first one, if it is there.
    pub a: Option<String>,
    /// Version in the second one.
    pub b: Option<String>,
}

/// The changes between two texts of `status`; a missing one says nothing.
pub(super) fn changes(a: Option<Vec<u8>>, b: Option<Vec<u8>>) -> Vec<PackageChange> {
    let (Some(a), Some(b)) = (a, b) else {
        return Vec::new();
    };
    let (a, b) = (versions(&a), versions(&b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let row = |name: &String| PackageChange {
        name: name.clone(),
        a: a.get(name).cloned(),
        b: b.get(name).cloned(),
    };
    let all = names.into_iter().map(row);
    all.filter(|change| change.a != change.b).collect()
}

fn versions(status: &[u8]) -> BTreeMap<String, String> {
    let records = Records::parse(&String::from_utf8_lossy(status), []);
    let all = records.packages().iter();
    all.map(|p| (p.name.clone(), p.version.clone())).collect()
}
