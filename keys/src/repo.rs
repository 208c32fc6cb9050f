//! The writing side: a repository in a working directory, edited in steps, signed by its holders, published as flat files.
//!
//! ```text
//! repository.json          settings
//! metadata/N.root.json     every root ever published; metadata/<role>.json: what is published now
//! staged/<role>.json       the next version, with the signatures it has so far
//! targets/<sha256>.<name>  the targets' bytes
//! ```
//!
//! An edit changes `staged/` and drops the signatures there; [`Repository::publish`] signs what the given keys may sign,
//! refuses while a threshold is not met, and moves `staged/` to `metadata/`.

mod edit;
mod error;
mod hold;
mod publish;
mod status;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::{self, Metadata};
use crate::files::{self, Access};
use crate::key::Key;
use crate::names;
use crate::schema::{Header, RoleKeys, Root, TOP_LEVEL, Targets};
use crate::signed::Signed;
use crate::time::Timestamp;

pub use edit::{NewDelegation, Rotation, sign_file};
pub use error::RepoError;
pub use hold::Held;
pub use publish::Published;
pub use status::RoleStatus;

/// Longest file of our own that is read back.
const MAX_FILE: u64 = 64 << 20;
/// The specification that is written.
const SPEC_VERSION: &str = "1.0.34";
const DAY: u64 = 86_400;

/// A repository's working directory, opened at an instant that all its dates are counted from.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    settings: Settings,
    now: Timestamp,
    lock: hold::Lock,
}

/// The file `repository.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Days that a newly signed file of each role is good for.
    expires_days: BTreeMap<String, u64>,
}

/// A top-level role of a new repository.
#[derive(Debug, Clone)]
pub struct RoleOptions {
    /// Public keys of its holders.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Days that a signed file is good for.
    pub days: u64,
}

/// The roles of a new repository.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides about all keys. Keep its keys offline.
    pub root: RoleOptions,
    /// Lists releases. Keep its keys offline.
    pub targets: RoleOptions,
    /// Lists the versions of targets.
    pub snapshot: RoleOptions,
    /// Says what is newest; signed often, so its key is online.
    pub timestamp: RoleOptions,
}

impl Options {
    /// One key for everything, with the usual lifetimes: for tests, demos and the first day.
    pub fn single(key: &Key) -> Self {
        let role = |days| RoleOptions {
            keys: std::vec![key.clone()],
            threshold: 1,
            days,
        };
        Self {
            root: role(3650),
            targets: role(365),
            snapshot: role(90),
            timestamp: role(30),
        }
    }

    fn roles(&self) -> [(&'static str, &RoleOptions); 4] {
        let [root, timestamp, snapshot, targets] = TOP_LEVEL;
        [
            (root, &self.root),
            (timestamp, &self.timestamp),
            (snapshot, &self.snapshot),
            (targets, &self.targets),
        ]
    }
}

impl Repository {
    /// Makes a new repository: root and empty targets, version 1, staged and not signed.
    pub fn init(directory: &Path, options: &Options, now: Timestamp) -> Result<Self, RepoError> {
        let path = directory.join("repository.json");
        if path.exists() {
            return Err(RepoError::Exists { path });
        }
        let mut root = Root {
            header: Header {
                kind: "root".into(),
                spec_version: SPEC_VERSION.into(),
                version: 1,
                expires: now,
                signed: Some(now),
            },
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            extra: Map::new(),
        };
        let mut settings = Settings {
            expires_days: BTreeMap::new(),
        };
        for (name, role) in options.roles() {
            edit::enough(name, role.keys.len(), role.threshold)?;
            let keyids: Vec<String> = role.keys.iter().map(Key::id).collect();
            for key in &role.keys {
                root.keys.insert(key.id(), key.clone());
            }
            root.roles.insert(
                name.into(),
                RoleKeys {
                    keyids,
                    threshold: role.threshold,
                    extra: Map::new(),
                },
            );
            settings.expires_days.insert(name.into(), role.days);
        }
        for sub in ["metadata", "staged", "targets"] {
            let path = directory.join(sub);
            files::make_directory(&path).map_err(|e| RepoError::io("creating", &path, e))?;
        }
        let repository = Self {
            directory: directory.into(),
            settings,
            now,
            lock: hold::Lock::default(),
        };
        root.header.expires = repository.expiry("root");
        repository.stage("root", &root)?;
        repository.stage("targets", &repository.empty_targets())?;
        // Last: a directory without it is no repository yet.
        let text = to_bytes(&repository.settings)?;
        replace(&path, &text)?;
        Ok(repository)
    }

    /// Opens a repository that [`Repository::init`] made.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, RepoError> {
        let path = directory.join("repository.json");
        let bytes = read(&path)?.ok_or_else(|| RepoError::NoRepository {
            path: directory.into(),
        })?;
        let settings = serde_json::from_slice(&bytes).map_err(|e| RepoError::Settings {
            path,
            why: std::format!("{e}"),
        })?;
        Ok(Self {
            directory: directory.into(),
            settings,
            now,
            lock: hold::Lock::default(),
        })
    }

    /// The roles that wait in `staged/`.
    pub fn staged(&self) -> Result<Vec<String>, RepoError> {
        let path = self.directory.join("staged");
        let mut roles = Vec::new();
        for role in self.known_roles()? {
            if self.staged_path(&role).exists() {
                roles.push(role);
            }
        }
        // A file that belongs to no role is a mistake of whoever carried files around.
        let expected: Vec<_> = roles.iter().map(|r| self.staged_path(r)).collect();
        let entries = std::fs::read_dir(&path).map_err(|e| RepoError::io("reading", &path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| RepoError::io("reading", &path, e))?;
            if files::is_temporary(&entry.file_name()) {
                continue;
            }
            if !expected.contains(&entry.path()) {
                return Err(RepoError::Stray { path: entry.path() });
            }
        }
        Ok(roles)
    }

    /// The file of a role as holders sign it: the staged one, else the published one.
    pub fn file(&self, role: &str) -> Result<PathBuf, RepoError> {
        [self.staged_path(role), self.current_path(role)]
            .into_iter()
            .find(|p| p.exists())
            .ok_or_else(|| RepoError::NoRole { role: role.into() })
    }

    /// The first root: what is baked into images.
    pub fn first_root(&self) -> Result<Vec<u8>, RepoError> {
        self.published_root(1)?.ok_or(RepoError::NotPublished)
    }

    /// The newest published root: what is baked into the next image.
    pub fn newest_root(&self) -> Result<Vec<u8>, RepoError> {
        read(&self.current_path("root"))?.ok_or(RepoError::NotPublished)
    }

    fn published_root(&self, version: u64) -> Result<Option<Vec<u8>>, RepoError> {
        let name = names::metadata("root", Some(version));
        read(&self.directory.join("metadata").join(name))
    }

    fn staged_path(&self, role: &str) -> PathBuf {
        let name = names::metadata(role, None);
        self.directory.join("staged").join(name)
    }

    fn current_path(&self, role: &str) -> PathBuf {
        let name = names::metadata(role, None);
        self.directory.join("metadata").join(name)
    }

    fn expiry(&self, role: &str) -> Timestamp {
        let days = self.settings.expires_days.get(role);
        // A delegated role lives as long as targets.
        let days = days.or_else(|| self.settings.expires_days.get("targets"));
        self.now
            .plus(days.copied().unwrap_or(365).saturating_mul(DAY))
    }

    fn empty_targets(&self) -> Targets {
        Targets {
            header: Header {
                kind: "targets".into(),
                spec_version: SPEC_VERSION.into(),
                version: 1,
                expires: self.expiry("targets"),
                signed: Some(self.now),
            },
            targets: BTreeMap::new(),
            delegations: None,
            extra: Map::new(),
        }
    }

    /// Root, targets and every delegated role, each once, delegators before delegates.
    fn known_roles(&self) -> Result<Vec<String>, RepoError> {
        let mut roles: Vec<String> = std::vec!["root".into(), "targets".into()];
        let mut next = 1;
        while next < roles.len() {
            let delegations = self
                .newest::<Targets>(&roles[next])?
                .and_then(|t| t.delegations);
            for role in delegations.into_iter().flat_map(|d| d.roles) {
                if !roles.contains(&role.name) {
                    roles.push(role.name);
                }
            }
            next += 1;
        }
        Ok(roles)
    }

    /// The staged file of a role, else the published one.
    fn newest<T: Metadata>(&self, role: &str) -> Result<Option<T>, RepoError> {
        for path in [self.staged_path(role), self.current_path(role)] {
            if let Some(signed) = load(&path)? {
                return Ok(Some(typed(role, signed.signed)?));
            }
        }
        Ok(None)
    }

    fn stage<T: Serialize + Metadata>(&self, role: &str, value: &T) -> Result<(), RepoError> {
        let signed =
            serde_json::to_value(value).map_err(|e| RepoError::Write(std::format!("{e}")))?;
        // What we would refuse as a client is not written.
        typed::<T>(role, signed.clone())?;
        let file = Signed {
            signed,
            signatures: Vec::new(),
        };
        replace(&self.staged_path(role), &to_bytes(&file)?)
    }
}

/// Reads the signed part of one of our own files.
fn typed<T: Metadata>(role: &str, signed: Value) -> Result<T, RepoError> {
    let kind = if TOP_LEVEL.contains(&role) {
        role
    } else {
        "targets"
    };
    Ok(check::read(&names::metadata(role, None), kind, signed)?)
}

/// Reads one of our own files; `None` when it is not there.
fn load(path: &Path) -> Result<Option<Signed>, RepoError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Some(Signed::parse(&name, &bytes)?))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RepoError> {
    files::read(path, MAX_FILE).map_err(|e| RepoError::io("reading", path, e))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), RepoError> {
    files::replace(path, bytes, Access::Public).map_err(|e| RepoError::io("writing", path, e))
}

/// One-space indented JSON: people look at these files, and sign what they saw.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, RepoError> {
    let mut out =
        serde_json::to_vec_pretty(value).map_err(|e| RepoError::Write(std::format!("{e}")))?;
    out.push(b'\n');
    Ok(out)
}
