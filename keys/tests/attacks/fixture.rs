//! Attacks as directories: written from a maker, read back, and played against a client with a fresh store.
//!
//! `case.json` says what is done; `before/` and `served/` hold the files that differ from the honest repository of version
//! 2 in `honest/`, `absent` names those that are not served. Files above 64 KiB are not kept but made anew.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hypriot_keys::Error;
use hypriot_keys::client::{Client, Limits};
use hypriot_keys::source::{Source, SourceError, SourceErrorKind};
use hypriot_keys::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::make::{self, Attack, honest};
use crate::world::{DAY_ZERO, Files, World};

/// The trusted timestamp's version, or why not.
pub(crate) type Outcome = Result<u64, Error>;

const KEEP: usize = 64 << 10;

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    clock: String,
    target: Option<String>,
    endless: Option<String>,
    /// Whether the device had refreshed from `before` first.
    before: bool,
    absent_before: Vec<String>,
    absent: Vec<String>,
    /// Files too large to keep.
    made: Vec<String>,
}

/// One attack played.
pub(crate) struct Run {
    pub outcome: Outcome,
    /// What is wrong afterwards, if anything.
    pub aftermath: Option<String>,
}

impl Run {
    pub(crate) fn of(name: &str) -> Self {
        let attack = load(name);
        let place = tempfile::tempdir().unwrap();
        let root = honest(1)["1.root.json"].clone();
        let day_zero = Timestamp::parse(DAY_ZERO).unwrap();
        let open = || Client::open(place.path(), &root, Timestamp(0)).unwrap();
        if let Some(files) = &attack.before {
            open().refresh(&Memory::new(files, None), day_zero).unwrap();
        }
        let clock = Timestamp::parse(&attack.case.clock).unwrap();
        let source = Memory::new(&attack.served, attack.case.endless.as_deref());
        let mut client = open();
        let before = stored(place.path());
        let outcome = client.refresh(&source, clock).and_then(|()| {
            if let Some(target) = &attack.case.target {
                client.download(&source, target)?;
            }
            Ok(client.timestamp().unwrap().header.version)
        });
        let after = stored(place.path());
        let aftermath = aftermath(
            &outcome,
            &before,
            &after,
            source.read.load(Ordering::Relaxed),
        )
        .or_else(|| {
            outcome
                .is_err()
                .then(|| unrecoverable(open(), day_zero))
                .flatten()
        });
        Self { outcome, aftermath }
    }
}

/// Section 5: "Errors raised during the update process should not leave clients in an unrecoverable state."
fn unrecoverable(mut client: Client, day_zero: Timestamp) -> Option<String> {
    // Unless thieves had the keys: a root they signed, or a version they pushed up, needs its holders' answer.
    let pushed = client.timestamp().is_some_and(|t| t.header.version > 5);
    if client.root_version() > 1 || pushed {
        return None;
    }
    let mut world = World::honest(5);
    // Roles that were listed once stay listed.
    let known = client
        .snapshot()
        .map(|s| s.meta.clone())
        .unwrap_or_default();
    for (file, listed) in known.iter().filter(|(f, _)| *f != "targets.json") {
        world.snapshot.signed["meta"][file] = serde_json::json!(listed);
    }
    let refused = client
        .refresh(&Memory::new(&world.build(), None), day_zero)
        .err()?;
    Some(format!(
        "the honest repository is refused from now on: {refused}"
    ))
}

/// A refused file must not have been stored, and an endless one must not have been read on.
fn aftermath(outcome: &Outcome, before: &Files, after: &Files, read: u64) -> Option<String> {
    let limits = Limits::default();
    let most = limits.root + limits.timestamp + limits.snapshot + limits.targets * 40;
    if read > most {
        return Some(format!("{read} bytes were read"));
    }
    let Err(error) = outcome else {
        return None;
    };
    let file = match error {
        Error::Rollback { file, .. } | Error::Dropped { file } if file != "timestamp.json" => {
            // CVE-2025-2888: what the listing says was refused, so the listing itself must not have been kept.
            if file == "snapshot.json" {
                "timestamp.json"
            } else {
                "snapshot.json"
            }
        }
        Error::TooLong { file, .. }
        | Error::Json { file, .. }
        | Error::TooDeep { file, .. }
        | Error::DuplicateJsonKey { file, .. }
        | Error::Schema { file, .. }
        | Error::WrongType { file, .. }
        | Error::SpecVersion { file, .. }
        | Error::ZeroThreshold { file, .. }
        | Error::DuplicateKeyId { file, .. }
        | Error::KeyIdMismatch { file, .. }
        | Error::MalformedHash { file, .. }
        | Error::UnsafeName { file, .. }
        | Error::BadRoleName { file, .. }
        | Error::DuplicateSignature { file, .. }
        | Error::NotSigned { file, .. }
        | Error::RootVersion { file, .. }
        | Error::Rollback { file, .. }
        | Error::VersionMismatch { file, .. }
        | Error::LengthMismatch { file, .. }
        | Error::HashMismatch { file, .. } => file,
        // A root that has expired stays the trusted one (5.3.8 before 5.3.10), the others do not come to be it.
        Error::Expired { file, .. } if file != "root.json" => file,
        _ => return None,
    };
    // `2.root.json` is stored as `root.json`.
    let plain = file.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    (before.get(plain) != after.get(plain))
        .then(|| format!("{plain} was stored though {file} was refused"))
}

fn stored(place: &Path) -> Files {
    let entries = std::fs::read_dir(place).unwrap().map(Result::unwrap);
    entries
        .map(|e| {
            (
                e.file_name().into_string().unwrap(),
                std::fs::read(e.path()).unwrap(),
            )
        })
        .collect()
}

/// Served from memory, with one file that may not end.
struct Memory<'a> {
    files: &'a Files,
    endless: Option<&'a str>,
    read: AtomicU64,
}

impl<'a> Memory<'a> {
    fn new(files: &'a Files, endless: Option<&'a str>) -> Self {
        Self {
            files,
            endless,
            read: AtomicU64::new(0),
        }
    }
}

impl Source for Memory<'_> {
    fn open(&self, name: &str, _from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let is_target = name.ends_with(".board.json");
        if self.endless == Some(name) || (self.endless == Some("<target>") && is_target) {
            return Ok(Box::new(Counted {
                inner: std::io::repeat(b' '),
                read: &self.read,
            }));
        }
        let bytes = self.files.get(name).ok_or_else(|| SourceError {
            kind: SourceErrorKind::Missing,
            what: format!("{name}: not there"),
        })?;
        Ok(Box::new(Counted {
            inner: Cursor::new(bytes),
            read: &self.read,
        }))
    }
}

struct Counted<'a, R> {
    inner: R,
    read: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/attacks")
}

/// The names of all attacks.
pub(crate) fn directories() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(place())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "honest")
        .collect();
    names.sort();
    names
}

struct Loaded {
    case: Case,
    before: Option<Files>,
    served: Files,
}

fn load(name: &str) -> Loaded {
    let directory = place().join(name);
    let case: Case =
        serde_json::from_slice(&std::fs::read(directory.join("case.json")).unwrap()).unwrap();
    let overlaid = |sub: &str, absent: &[String]| {
        let mut files = tree(&place().join("honest"));
        files.extend(tree(&directory.join(sub)));
        files.retain(|name, _| !absent.contains(name));
        files
    };
    let before = case.before.then(|| overlaid("before", &case.absent_before));
    let mut served = overlaid("served", &case.absent);
    if !case.made.is_empty() {
        let made = make::all().into_iter().find(|a| a.name == name).unwrap();
        for file in &case.made {
            served.insert(file.clone(), made.served[file].clone());
        }
    }
    Loaded {
        case,
        before,
        served,
    }
}

/// Lays an attack out below `place` for another client; `place/root.json` is the root. Gives the case for `play.py`.
pub(crate) fn expand(name: &str, place: &Path) -> serde_json::Value {
    let attack = load(name);
    let (before, served) = (
        place.join(name).join("before"),
        place.join(name).join("served"),
    );
    put(&served, &attack.served);
    if let Some(files) = &attack.before {
        put(&before, files);
    }
    serde_json::json!({
        "name": name,
        "root": place.join("root.json"),
        "before": attack.before.is_some().then_some(before),
        "before_clock": DAY_ZERO,
        "served": served,
        "clock": attack.case.clock,
        "endless": attack.case.endless,
        "targets": attack.case.target.into_iter().collect::<Vec<_>>(),
    })
}

/// Writes an attack's directory.
pub(crate) fn write(attack: &Attack) {
    let directory = place().join(attack.name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    put(&place().join("honest"), &honest(2));
    std::fs::create_dir_all(&directory).unwrap();
    let (case, before, served) = parts(attack);
    put(&directory.join("before"), &before);
    put(&directory.join("served"), &served);
    let mut text = serde_json::to_vec_pretty(&case).unwrap();
    text.push(b'\n');
    put(&directory, &[("case.json".to_owned(), text)].into());
}

/// Whether an attack's directory holds what its maker makes.
pub(crate) fn is_current(attack: &Attack) -> bool {
    let directory = place().join(attack.name);
    let (case, before, served) = parts(attack);
    let text = std::fs::read(directory.join("case.json")).unwrap_or_default();
    serde_json::from_slice(&text).is_ok_and(|found: Case| found == case)
        && tree(&directory.join("before")) == before
        && tree(&directory.join("served")) == served
        && tree(&place().join("honest")) == honest(2)
}

/// What is kept of an attack.
fn parts(attack: &Attack) -> (Case, Files, Files) {
    let base = honest(2);
    let differ = |files: &Files| -> Files {
        files
            .iter()
            .filter(|(n, b)| base.get(*n) != Some(b))
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect()
    };
    let absent = |files: &Files| {
        base.keys()
            .filter(|n| !files.contains_key(*n))
            .cloned()
            .collect()
    };
    let (large, served): (Files, Files) = differ(&attack.served)
        .into_iter()
        .partition(|(_, b)| b.len() > KEEP);
    let case = Case {
        about: attack.about.into(),
        clock: attack.clock.into(),
        target: attack.target.map(Into::into),
        endless: attack.endless.map(Into::into),
        before: attack.before.is_some(),
        absent_before: attack.before.as_ref().map(&absent).unwrap_or_default(),
        absent: absent(&attack.served),
        made: large.into_keys().collect(),
    };
    (
        case,
        attack.before.as_ref().map(differ).unwrap_or_default(),
        served,
    )
}

pub(crate) fn put(directory: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    }
}

/// All files below a directory; none when it is not there.
pub(crate) fn tree(directory: &Path) -> Files {
    let mut files = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return files;
    };
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(
                tree(&entry.path())
                    .into_iter()
                    .map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}
