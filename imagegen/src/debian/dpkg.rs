//! Owns the reading of dpkg's records: which packages a tree or an image has, and which of them holds a path.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Where dpkg keeps its records.
pub const DIR: &str = "var/lib/dpkg";

/// A package as dpkg's `status` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Source package.
    pub source: String,
}

/// A field of one paragraph of `status`, its first line.
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        (key == name).then(|| value.trim())
    })
}

/// The records of one system.
#[derive(Debug, Default)]
pub struct Records {
    packages: Vec<Package>,
    states: HashMap<String, (usize, String)>,
    by_path: HashMap<String, usize>,
}

impl Records {
    /// Reads `status`, and the paths of each `info/NAME.list`, given as (NAME, text).
    pub fn parse(status: &str, lists: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut records = Self::default();
        for paragraph in status.split("\n\n") {
            let field = |name: &str| field(paragraph, name);
            let (Some(name), Some(version)) = (field("Package"), field("Version")) else {
                continue;
            };
            // Debian policy 5.6.1: `Source: NAME (VERSION)`, absent where it is the package's own name.
            let source = field("Source").and_then(|s| s.split_whitespace().next());
            let state = field("Status").unwrap_or_default().to_owned();
            records
                .states
                .insert(name.to_owned(), (records.packages.len(), state));
            records.packages.push(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                source: source.unwrap_or(name).to_owned(),
            });
        }
        for (info, text) in lists {
            // `libc6:arm64.list` belongs to the package libc6.
            let name = info.split(':').next().unwrap_or(&info);
            let Some((n, _)) = records.states.get(name) else {
                continue;
            };
            for path in text.lines() {
                records.by_path.entry(real(path)).or_insert(*n);
            }
        }
        records
    }

    /// All packages, in the order of `status`.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The package of this name, if it is there, and its state (`install ok installed`).
    pub fn named(&self, name: &str) -> Option<(&Package, &str)> {
        let (n, state) = self.states.get(name)?;
        Some((&self.packages[*n], state))
    }

    /// The package that holds a path (without leading slash, links resolved). Directories belong to the first that has them.
    pub fn owner(&self, path: &str) -> Option<&Package> {
        self.by_path.get(path).map(|n| &self.packages[*n])
    }

    /// The path that begins so and belongs to a package, the first one in byte order, with that package.
    pub fn first_below(&self, prefix: &str) -> Option<(&str, &Package)> {
        let mut found: Vec<_> = self
            .by_path
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .collect();
        found.sort();
        let (path, n) = found.first()?;
        Some((path, &self.packages[**n]))
    }
}

/// A path of a `.list` as it is on disk: without leading slash, `/bin` and its kin below `/usr` where they lie since bookworm.
pub fn real(path: &str) -> String {
    const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_paths_are_found() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDepends: x,\n Package: no\n\n\
                      Package: libc6\nStatus: install ok unpacked\nSource: glibc (2.41-12)\nVersion: 2.41-12+b1\n\nBroken: yes\n";
        let list = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let records = Records::parse(
            status,
            [
                list("a", "/.\n/etc\n/bin/tool\n"),
                list("libc6:arm64", "/lib/libc.so.6\n/etc\n"),
                list("gone", "/x\n"),
            ],
        );
        assert_eq!(records.packages().len(), 2);
        let libc = records.owner("usr/lib/libc.so.6").unwrap();
        assert_eq!(
            (libc.version.as_str(), libc.source.as_str()),
            ("2.41-12+b1", "glibc")
        );
        assert_eq!(records.owner("usr/bin/tool").unwrap().name, "a");
        assert_eq!(records.owner("etc").unwrap().name, "a", "the first has it");
        assert!(records.owner("x").is_none() && records.owner("bin/tool").is_none());
        assert_eq!(records.named("libc6").unwrap().1, "install ok unpacked");
        assert_eq!(
            records.first_below("usr/lib/").unwrap().0,
            "usr/lib/libc.so.6"
        );
    }
}
