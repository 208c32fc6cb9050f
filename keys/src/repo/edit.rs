//! Edits: each stages the next version of the files it touches, without signatures.

use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{RepoError, Repository, load, replace, to_bytes, typed};
use crate::check::Metadata;
use crate::key::Key;
use crate::names;
use crate::schema::{DelegatedRole, Delegations, RoleKeysOnly, Root, TOP_LEVEL, Target, Targets};
use crate::secret::SecretKey;
use crate::signed::Signed;

/// A delegation to be made.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// The new role.
    pub name: String,
    /// Its holders.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Shell patterns of the names it may list; empty when `hash_prefixes` is not.
    pub paths: Vec<String>,
    /// Beginnings of the SHA-256 of the names it may list.
    pub hash_prefixes: Vec<String>,
    /// Whether nobody after it is asked for these names.
    pub terminating: bool,
}

/// A change of a role's keys.
#[derive(Debug, Clone, Default)]
pub struct Rotation {
    /// Keys that come.
    pub add: Vec<Key>,
    /// Ids of keys that go.
    pub remove: Vec<String>,
    /// The new threshold; as before when not given.
    pub threshold: Option<u64>,
}

impl Repository {
    /// Lists a target in the top-level role; `custom` is what applications read (an object, or `Null`).
    pub fn add_target(&mut self, name: &str, bytes: &[u8], custom: Value) -> Result<(), RepoError> {
        self.add_target_to("targets", name, bytes, custom)
    }

    /// Lists a target in any role.
    pub fn add_target_to(
        &mut self,
        role: &str,
        name: &str,
        bytes: &[u8],
        custom: Value,
    ) -> Result<(), RepoError> {
        let _held = self.hold()?;
        if !is_flat(name) {
            return Err(RepoError::TargetName { name: name.into() });
        }
        let target = Target {
            length: bytes.len() as u64,
            hashes: hashes(bytes),
            custom,
            extra: Map::new(),
        };
        let file = self.target_path(name, &target);
        replace(&file, bytes)?;
        self.edit(role, |targets: &mut Targets| {
            targets.targets.insert(name.into(), target);
            Ok(())
        })
    }

    /// Changes what applications read about a target, for example to pause a rollout.
    pub fn set_custom(&mut self, role: &str, name: &str, custom: Value) -> Result<(), RepoError> {
        self.edit(role, |targets: &mut Targets| {
            let target = targets
                .targets
                .get_mut(name)
                .ok_or_else(|| no_target(role, name))?;
            target.custom = custom;
            Ok(())
        })
    }

    /// What the top-level role lists, or will list once it is signed: names, and what applications read about them.
    pub fn targets(&self) -> Result<Vec<(String, Value)>, RepoError> {
        let newest = self.newest::<Targets>("targets")?;
        let all = newest.map(|t| t.targets).unwrap_or_default();
        Ok(all.into_iter().map(|(name, t)| (name, t.custom)).collect())
    }

    /// Takes a target from a role's list. Its file stays where it was published.
    pub fn remove_target(&mut self, role: &str, name: &str) -> Result<(), RepoError> {
        self.edit(role, |targets: &mut Targets| {
            let removed = targets.targets.remove(name);
            removed.map(|_| ()).ok_or_else(|| no_target(role, name))
        })
    }

    /// Delegates names from `parent` to a new role, which is staged empty.
    pub fn delegate(&mut self, parent: &str, new: &NewDelegation) -> Result<(), RepoError> {
        let _held = self.hold()?;
        enough(&new.name, new.keys.len(), new.threshold)?;
        // Its file lies flat beside the others, under a name that no web server decodes into another.
        if !is_flat(&new.name) {
            return Err(RepoError::TargetName {
                name: new.name.clone(),
            });
        }
        let role = DelegatedRole {
            name: new.name.clone(),
            keys: RoleKeysOnly {
                keyids: new.keys.iter().map(Key::id).collect(),
                threshold: new.threshold,
            },
            paths: new.hash_prefixes.is_empty().then(|| new.paths.clone()),
            path_hash_prefixes: (!new.hash_prefixes.is_empty()).then(|| new.hash_prefixes.clone()),
            terminating: new.terminating,
            extra: Map::new(),
        };
        self.edit(parent, |targets: &mut Targets| {
            let delegations = targets.delegations.get_or_insert_with(|| Delegations {
                keys: std::collections::BTreeMap::new(),
                roles: Vec::new(),
                extra: Map::new(),
            });
            for key in &new.keys {
                delegations.keys.insert(key.id(), key.clone());
            }
            delegations.roles.push(role);
            Ok(())
        })?;
        if self.newest::<Targets>(&new.name)?.is_none() {
            self.stage(&new.name, &self.empty_targets())?;
        }
        Ok(())
    }

    /// Changes the keys of a role. A top-level role's keys stand in root, a delegated role's in its delegator; files that
    /// the old keys signed are staged again, for the new ones to sign.
    pub fn rotate(&mut self, role: &str, change: &Rotation) -> Result<(), RepoError> {
        let _held = self.hold()?;
        if TOP_LEVEL.contains(&role) {
            self.edit("root", |root: &mut Root| {
                for key in &change.add {
                    root.keys.insert(key.id(), key.clone());
                }
                let entry = root.roles.get_mut(role).ok_or_else(|| no_role(role))?;
                apply(role, change, &mut entry.keyids, &mut entry.threshold)?;
                let used: BTreeSet<&String> = root.roles.values().flat_map(|r| &r.keyids).collect();
                root.keys.retain(|id, _| used.contains(id));
                Ok(())
            })?;
        } else {
            for parent in self.known_roles()?.iter().skip(1) {
                let targets = self.newest::<Targets>(parent)?;
                let delegates = targets
                    .and_then(|t| t.delegations)
                    .is_some_and(|d| d.roles.iter().any(|r| r.name == role));
                if delegates {
                    self.edit(parent, |targets: &mut Targets| {
                        rotate_delegated(targets, role, change)
                    })?;
                }
            }
        }
        if !matches!(role, "root" | "timestamp" | "snapshot") {
            self.edit(role, |_: &mut Targets| Ok(()))?;
        }
        Ok(())
    }

    /// Adds a holder's signature to a role's staged file.
    pub fn sign(&mut self, role: &str, key: &SecretKey) -> Result<(), RepoError> {
        let _held = self.hold()?;
        let path = self.staged_path(role);
        let mut file = load(&path)?.ok_or_else(|| no_role(role))?;
        if !self.holders(role)?.contains(key.id()) {
            return Err(RepoError::NotAHolder {
                keyid: key.id().into(),
                file: names::metadata(role, None),
            });
        }
        key.sign(&mut file);
        replace(&path, &to_bytes(&file)?)
    }

    /// Ids of the keys whose signatures a role's staged file can use: for root the old holders too.
    pub(super) fn holders(&self, role: &str) -> Result<BTreeSet<String>, RepoError> {
        let mut ids = BTreeSet::new();
        if TOP_LEVEL.contains(&role) {
            let roots = [self.staged_path("root"), self.current_path("root")];
            for path in &roots {
                if let Some(file) = load(path)? {
                    let root: Root = typed("root", file.signed)?;
                    ids.extend(
                        root.roles
                            .get(role)
                            .into_iter()
                            .flat_map(|r| r.keyids.clone()),
                    );
                }
            }
        } else {
            for parent in self.known_roles()?.iter().skip(1) {
                let delegations = self.newest::<Targets>(parent)?.and_then(|t| t.delegations);
                let found = delegations
                    .into_iter()
                    .flat_map(|d| d.roles)
                    .filter(|r| r.name == role);
                ids.extend(found.flat_map(|r| r.keys.keyids));
            }
        }
        Ok(ids)
    }

    /// Stages the next version of a role's file, changed by `change`.
    fn edit<T: Serialize + Metadata + Dated>(
        &self,
        role: &str,
        change: impl FnOnce(&mut T) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let _held = self.hold()?;
        let staged = load(&self.staged_path(role))?;
        let mut value: T = if let Some(file) = staged {
            typed(role, file.signed)?
        } else {
            let file = load(&self.current_path(role))?.ok_or_else(|| no_role(role))?;
            let mut value: T = typed(role, file.signed)?;
            value.header_mut().version += 1;
            value
        };
        change(&mut value)?;
        value.header_mut().expires = self.expiry(role);
        value.header_mut().signed = Some(self.now.max(value.header().signed.unwrap_or_default()));
        self.stage(role, &value)
    }

    pub(super) fn target_path(&self, name: &str, target: &Target) -> std::path::PathBuf {
        let hash = target.hashes.get("sha256").map_or("", String::as_str);
        self.directory
            .join("targets")
            .join(std::format!("{hash}.{name}"))
    }
}

/// Adds a signature to a file that lies anywhere, for a holder on another machine. `previous` is the root before, when the
/// file is a root whose old holders sign too.
pub fn sign_file(
    file: &mut Signed,
    key: &SecretKey,
    previous: Option<&Root>,
) -> Result<(), RepoError> {
    let kind = file
        .signed
        .get("_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kind == "root" {
        let root: Root = typed("root", file.signed.clone())?;
        let own = root.roles.get("root").into_iter();
        let old = previous.and_then(|p| p.roles.get("root")).into_iter();
        if !own
            .chain(old)
            .flat_map(|r| &r.keyids)
            .any(|id| id == key.id())
        {
            return Err(RepoError::NotAHolder {
                keyid: key.id().into(),
                file: "root.json".into(),
            });
        }
    }
    key.sign(file);
    Ok(())
}

/// A header that an edit may change.
pub(super) trait Dated {
    /// Version and dates.
    fn header_mut(&mut self) -> &mut crate::schema::Header;
}

impl Dated for Root {
    fn header_mut(&mut self) -> &mut crate::schema::Header {
        &mut self.header
    }
}

impl Dated for Targets {
    fn header_mut(&mut self) -> &mut crate::schema::Header {
        &mut self.header
    }
}

/// Refuses a threshold that means nothing or that nobody can meet.
pub(super) fn enough(role: &str, keys: usize, threshold: u64) -> Result<(), RepoError> {
    if threshold == 0 || threshold > keys as u64 {
        return Err(RepoError::Threshold {
            role: role.into(),
            threshold,
            keys,
        });
    }
    Ok(())
}

/// SHA-256 alone: section 6.2.1 wants one copy of the file for every hash that is listed, and every client knows this one.
pub(super) fn hashes(bytes: &[u8]) -> std::collections::BTreeMap<String, String> {
    [("sha256".into(), hex::encode(Sha256::digest(bytes)))].into()
}

/// Names that survive a plain web server, the assets of a GitHub release, and a FAT stick.
fn is_flat(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
}

fn rotate_delegated(targets: &mut Targets, role: &str, change: &Rotation) -> Result<(), RepoError> {
    let delegations = targets.delegations.as_mut().ok_or_else(|| no_role(role))?;
    for key in &change.add {
        delegations.keys.insert(key.id(), key.clone());
    }
    for entry in delegations.roles.iter_mut().filter(|r| r.name == role) {
        apply(
            role,
            change,
            &mut entry.keys.keyids,
            &mut entry.keys.threshold,
        )?;
    }
    let used: BTreeSet<&String> = delegations
        .roles
        .iter()
        .flat_map(|r| &r.keys.keyids)
        .collect();
    delegations.keys.retain(|id, _| used.contains(id));
    Ok(())
}

fn apply(
    role: &str,
    change: &Rotation,
    keyids: &mut Vec<String>,
    threshold: &mut u64,
) -> Result<(), RepoError> {
    keyids.retain(|id| !change.remove.contains(id));
    for key in &change.add {
        let id = key.id();
        if !keyids.contains(&id) {
            keyids.push(id);
        }
    }
    *threshold = change.threshold.unwrap_or(*threshold);
    enough(role, keyids.len(), *threshold)
}

fn no_role(role: &str) -> RepoError {
    RepoError::NoRole { role: role.into() }
}

fn no_target(role: &str, name: &str) -> RepoError {
    RepoError::NoTarget {
        role: role.into(),
        name: name.into(),
    }
}
