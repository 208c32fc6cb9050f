//! What the image remembers about files outside its root file system: which package each boot file and blob came from.
//!
//! dpkg's records in the root do not know them: boot packages are only unpacked beside it. `explain` and the image's tests
//! read this record.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Baked, Input};
use crate::debian::dpkg::{self, Package, Records};
use crate::sha256::Sha256;
use crate::tree::{Content, Kind, Tree};

/// Where the record lies in the root tree.
pub const RECORD: &str = "usr/lib/hypriot/boot-files.json";
/// Version of its format.
const FORMAT: u32 = 1;
/// A longer record is none.
const RECORD_MAX: usize = 4 << 20;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFiles {
    format: u32,
    /// One row per file.
    pub files: Vec<Placed>,
}

/// A file of a package, or of the user, that lies somewhere on the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// First byte on the card, for a blob before the first partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Path on the first partition, for a file there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Path in the package, or the name the board file gives to a file of the user.
    pub file: String,
    /// Bytes placed.
    pub size: u64,
    /// SHA-256 of what was placed.
    pub sha256: Sha256,
    /// The package; `None`: the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// MD5 that the package itself gives for the file (its `md5sums`), if all of it was placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

impl BootFiles {
    /// Reads the record.
    pub fn parse(text: &[u8]) -> Result<Self> {
        ensure!(text.len() <= RECORD_MAX, "it has {} bytes", text.len());
        let read: Self =
            serde_json::from_slice(text).context("it is not a record of boot files")?;
        ensure!(
            read.format == FORMAT,
            "its format is {}, this program reads {FORMAT}",
            read.format
        );
        Ok(read)
    }

    /// The row of a blob.
    pub fn blob(&self, at: u64) -> Option<&Placed> {
        self.files.iter().find(|f| f.at == Some(at))
    }

    /// The row of a file on the first partition.
    pub fn file(&self, path: &str) -> Option<&Placed> {
        self.files.iter().find(|f| f.to.as_deref() == Some(path))
    }
}

/// The packages of a tree and what they say of their files.
struct Source<'a> {
    tree: &'a Tree,
    records: Records,
    sums: BTreeMap<String, String>,
}

impl<'a> Source<'a> {
    fn of(tree: &'a Tree) -> Result<Self> {
        let info = format!("{}/info", dpkg::DIR);
        let text = |content: &Content| -> Result<String> {
            Ok(String::from_utf8_lossy(&content.read()?).into_owned())
        };
        let (mut lists, mut sums) = (Vec::new(), BTreeMap::new());
        for (path, entry) in tree.below(info.as_bytes()) {
            let name = String::from_utf8_lossy(&path[info.len() + 1..]).into_owned();
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            if let Some(package) = name.strip_suffix(".list") {
                lists.push((package.to_owned(), text(content)?));
            } else if name.ends_with(".md5sums") {
                // deb-md5sums(5): the sum, two spaces, the path without leading slash.
                let text = text(content)?;
                let row = |l: &str| {
                    let (sum, path) = l.split_once("  ")?;
                    Some((dpkg::real(path), sum.to_owned()))
                };
                sums.extend(text.lines().filter_map(row));
            }
        }
        let status = match tree.get(&format!("{}/status", dpkg::DIR)).map(|e| &e.kind) {
            Some(Kind::File(content)) => text(content)?,
            _ => String::new(),
        };
        Ok(Self {
            tree,
            records: Records::parse(&status, lists),
            sums,
        })
    }

    fn row(&self, file: &str, bytes: &[u8], whole: bool) -> Placed {
        Placed {
            at: None,
            to: None,
            file: file.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            package: self.records.owner(file).cloned(),
            md5: self.sums.get(file).filter(|_| whole).cloned(),
        }
    }

    /// The path whose content this very one is: not one that only has the same bytes.
    fn path_of(&self, content: &Content) -> Option<String> {
        let same = |other: &Content| match (content, other) {
            (Content::Host { path: a, .. }, Content::Host { path: b, .. }) => a == b,
            (Content::Bytes(a), Content::Bytes(b)) => Arc::ptr_eq(a, b),
            (
                Content::Packed { file, at, len },
                Content::Packed {
                    file: f,
                    at: a,
                    len: l,
                },
            ) => Arc::ptr_eq(file, f) && (at, len) == (a, l),
            _ => false,
        };
        self.tree
            .iter()
            .find_map(|(path, entry)| match &entry.kind {
                Kind::File(other) if same(other) => {
                    Some(String::from_utf8_lossy(path).into_owned())
                }
                _ => None,
            })
    }
}

/// The record of what was baked out of `input`.
pub(super) fn record(baked: &Baked, root: &Tree, input: &Input<'_>) -> Result<Vec<u8>> {
    let sources = [Source::of(input.boot_files)?, Source::of(root)?];
    let mut rows = Vec::new();
    for raw in &baked.raw {
        let boot = &sources[0];
        let whole = match boot.tree.resolve(&raw.name).map(|(_, e)| &e.kind) {
            Some(Kind::File(content)) => content.len() == raw.bytes.len() as u64,
            _ => false,
        };
        let mut row = boot.row(&raw.name, &raw.bytes, whole);
        row.at = Some(raw.offset);
        rows.push(row);
    }
    for (path, entry) in baked.config.below(b"") {
        let Kind::File(content) = &entry.kind else {
            continue;
        };
        let found = sources.iter().find_map(|s| Some((s, s.path_of(content)?)));
        if let Some((source, from)) = found {
            let mut row = source.row(&from, &content.read()?, true);
            row.to = Some(String::from_utf8_lossy(path).into_owned());
            rows.push(row);
        }
    }
    let record = BootFiles {
        format: FORMAT,
        files: rows,
    };
    let mut text = serde_json::to_vec_pretty(&record)?;
    text.push(b'\n');
    Ok(text)
}
