//! Layers as they lie on the data partition: `layers/<release>-<n>/`, each with `upper/` and a record. A layer appears complete or not at
//! all, and is never changed. Of those of one release the one with the highest number counts; the one that is in use cannot be replaced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::release::DIGITS;
use super::store::{Store, remove_tree};
use super::wanted::{Name, Wanted};
use crate::files;

/// The format that this agent writes.
const FORMAT: u32 = 1;
const LIMIT: u64 = 1024 * 1024;
const RECORD: &str = "layer.json";
/// The upper directory in a layer.
pub const UPPER: &str = "upper";

/// A package's file among the kept ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deb {
    /// As apt calls it.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// What apt holds against it before it is used again.
    pub sha256: String,
}

/// What a layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The release it was made for ([`super::release::id`]).
    pub release: String,
    /// What was wanted.
    pub wanted: Vec<Name>,
    /// What it brings besides the image, with versions.
    pub packages: BTreeMap<String, String>,
    /// What it was made of.
    pub debs: Vec<Deb>,
}

impl Record {
    /// Of a layer that this agent made.
    pub fn new(
        release: &str,
        wanted: &Wanted,
        packages: BTreeMap<String, String>,
        debs: Vec<Deb>,
    ) -> Self {
        Self {
            format: FORMAT,
            release: release.to_owned(),
            wanted: wanted.names().to_vec(),
            packages,
            debs,
        }
    }

    /// Whether it has all that is wanted.
    pub fn covers(&self, wanted: &Wanted) -> bool {
        self.lacking(wanted).is_empty()
    }

    /// What it does not have of what is wanted.
    pub fn lacking(&self, wanted: &Wanted) -> Vec<Name> {
        let lacks = |name: &&Name| !self.wanted.contains(name);
        wanted.names().iter().filter(lacks).cloned().collect()
    }

    /// Whether it has exactly what is wanted.
    pub fn is_of(&self, wanted: &Wanted) -> bool {
        self.covers(wanted) && self.wanted.len() == wanted.names().len()
    }

    /// Whether nothing was wanted: then nothing is laid over the root.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What it is.
    pub record: Record,
}

impl Layer {
    /// The directory that is laid over the root.
    pub fn upper(&self) -> PathBuf {
        self.dir.join(UPPER)
    }
}

/// The release and the number in a layer's name.
fn parts(name: &str) -> Option<(&str, u64)> {
    let (release, number) = name.split_once('-')?;
    let good = release.len() == DIGITS && release.bytes().all(|b| b.is_ascii_hexdigit());
    Some((release, number.parse().ok()?)).filter(|_| good)
}

/// All names, by release and number.
fn names(store: &Store) -> anyhow::Result<Vec<String>> {
    let dir = store.layers();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(parts(&name).map(|(release, n)| (release.to_owned(), n, name.clone())));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, name)| name).collect())
}

/// One layer, read and checked.
pub fn load(store: &Store, name: &str) -> anyhow::Result<Layer> {
    let (release, _) = parts(name).context("that is no layer's name")?;
    let dir = store.layers().join(name);
    let bytes = files::read(&dir.join(RECORD), LIMIT)?;
    let record: Record = serde_json::from_slice(&bytes)
        .with_context(|| format!("the record of layer {name} cannot be read"))?;
    ensure!(
        record.format == FORMAT,
        "the format of layer {name} is {}, and this agent reads {FORMAT}",
        record.format
    );
    ensure!(
        record.release == release,
        "layer {name} was made for release {}",
        record.release
    );
    let upper = dir.join(UPPER);
    ensure!(
        fs::symlink_metadata(&upper)?.is_dir(),
        "{} is no folder",
        upper.display()
    );
    Ok(Layer {
        name: name.to_owned(),
        dir,
        record,
    })
}

/// The layer that counts for `release`, if there is one.
pub fn newest(store: &Store, release: &str) -> anyhow::Result<Option<Layer>> {
    let names = names(store)?;
    let ours = |name: &&String| parts(name).is_some_and(|(r, _)| r == release);
    names
        .iter()
        .rfind(ours)
        .map(|name| load(store, name))
        .transpose()
}

/// Gives what is complete in `building` its name. Durable on return.
pub fn appear(store: &Store, record: &Record, building: &Path) -> anyhow::Result<Layer> {
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    files::replace(&building.join(RECORD), &text, 0o600)?;
    // one sync of the file system instead of one for each file; kept packages lie on the same one
    nix::unistd::syncfs(File::open(building)?).context("syncing the layer")?;
    let numbers = names(store)?;
    let last = numbers
        .iter()
        .filter_map(|name| parts(name))
        .filter(|(r, _)| *r == record.release)
        .map(|(_, n)| n)
        .max();
    let name = format!("{}-{}", record.release, last.map_or(1, |n| n + 1));
    files::appear(building, &store.layers().join(&name))?;
    load(store, &name)
}

/// Removes layers that nothing will use any more, and packages that only they were made of: kept is the newest of each release in `releases`, and
/// the one `in_use`. Without `releases` it is not known what the other slot needs: the newest of each release is kept.
pub fn prune(
    store: &Store,
    releases: Option<&[String]>,
    in_use: Option<&str>,
) -> anyhow::Result<()> {
    let names = names(store)?;
    let mut newest = BTreeMap::new();
    for name in &names {
        let release = parts(name).map_or("", |(release, _)| release);
        newest.insert(release, name);
    }
    for name in &names {
        let release = parts(name).map_or("", |(release, _)| release);
        let lies_in_a_slot = releases.is_none_or(|all| all.iter().any(|r| r == release));
        if in_use == Some(name) || (lies_in_a_slot && newest.get(release) == Some(&name)) {
            continue;
        }
        remove_tree(&store.layers().join(name))?;
    }
    super::debs::prune(store)
}

/// All layers whose records can be read.
pub(super) fn all(store: &Store) -> anyhow::Result<Vec<Layer>> {
    Ok(names(store)?
        .iter()
        .filter_map(|name| load(store, name).ok())
        .collect())
}

/// Below these a package keeps what must outlast restarts and updates.
const STATE: [&str; 2] = ["var/lib", "var/spool"];
/// Not that: how packages were installed belongs to the layer, and goes with it.
const PACKAGING: [&str; 9] = [
    "apt",
    "dictionaries-common",
    "dpkg",
    "emacsen-common",
    "ghostscript",
    "sgml-base",
    "systemd",
    "ucf",
    "xml-core",
];

/// Folders below `/var` that a layer brings and the image does not have: what the packages' programs keep there is kept like the owner's.
pub fn kept(upper: &Path, image: &Path) -> Vec<String> {
    let mut all = fresh(upper, image, "var", &[]);
    for parent in STATE {
        all.extend(fresh(upper, image, parent, &PACKAGING));
    }
    all
}

/// Folders of logs that a layer brings: programs do not start without theirs, and `/var/log` is the owner's.
pub fn logs(upper: &Path, image: &Path) -> Vec<String> {
    fresh(upper, image, "var/log", &["apt"])
}

fn fresh(upper: &Path, image: &Path, parent: &str, but: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(upper.join(parent)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !but.contains(&&**name))
        .map(|name| format!("{parent}/{name}"))
        .filter(|path| fs::symlink_metadata(image.join(path)).is_err())
        .collect();
    names.sort();
    names
}
