//! What can be wrong inside one file, judged without any other file. Runs after the signatures were checked.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use crate::error::Error;
use crate::key::Key;
use crate::names;
use crate::schema::{Delegations, Header, Listing, MetaFile, Root, TOP_LEVEL, Targets};

/// A kind of metadata that can be read from a JSON value.
pub trait Metadata: serde::de::DeserializeOwned {
    /// The `_type` it must have.
    const KINDS: &'static [&'static str];
    /// What every file begins with.
    fn header(&self) -> &Header;
    /// Everything that can be wrong inside.
    fn check(&self, file: &str) -> Result<(), Error>;
}

/// Reads the signed part of `file` into its type and checks it in itself.
pub fn read<T: Metadata>(file: &str, kind: &str, signed: Value) -> Result<T, Error> {
    // Type and specification version come first: what they change may change everything else.
    let text = |name: &str| signed.get(name).and_then(Value::as_str).unwrap_or_default();
    let found = text("_type");
    if found != kind || !T::KINDS.contains(&kind) {
        return Err(Error::WrongType {
            file: file.into(),
            found: found.into(),
        });
    }
    // Section 4.3, SPEC_VERSION: "Adopters are free to determine what is considered a match". As python-tuf: the major number.
    let version = text("spec_version");
    if version.split('.').next() != Some("1") || !(2..=3).contains(&version.split('.').count()) {
        return Err(Error::SpecVersion {
            file: file.into(),
            found: version.into(),
        });
    }
    let typed: T =
        serde_json::from_value(signed).map_err(|e| schema(file, alloc::format!("{e}")))?;
    // Section 4.3, VERSION: "An integer that is greater than 0".
    if typed.header().version == 0 {
        return Err(schema(file, "version 0".to_owned()));
    }
    typed.check(file)?;
    Ok(typed)
}

fn schema(file: &str, why: String) -> Error {
    Error::Schema {
        file: file.into(),
        why,
    }
}

impl Metadata for Root {
    const KINDS: &'static [&'static str] = &["root"];

    fn header(&self) -> &Header {
        &self.header
    }

    fn check(&self, file: &str) -> Result<(), Error> {
        keys(file, &self.keys)?;
        for (role, keys) in &self.roles {
            role_keys(file, role, &keys.keyids, keys.threshold)?;
        }
        // Section 4.3, ROLE: "A role for each of root, snapshot, timestamp, and targets MUST be specified".
        match TOP_LEVEL.iter().find(|r| !self.roles.contains_key(**r)) {
            Some(role) => Err(schema(file, alloc::format!("no role \"{role}\""))),
            None => Ok(()),
        }
    }
}

impl Metadata for Listing {
    const KINDS: &'static [&'static str] = &["timestamp", "snapshot"];

    fn header(&self) -> &Header {
        &self.header
    }

    fn check(&self, file: &str) -> Result<(), Error> {
        let needed = if self.header.kind == "timestamp" {
            "snapshot.json"
        } else {
            "targets.json"
        };
        if !self.meta.contains_key(needed) {
            return Err(schema(file, alloc::format!("does not list {needed}")));
        }
        for (name, meta) in &self.meta {
            if meta.version == 0 {
                return Err(schema(file, alloc::format!("lists version 0 of {name}")));
            }
            if let Some(hashes) = &meta.hashes {
                check_hashes(file, name, hashes)?;
            }
        }
        Ok(())
    }
}

impl Metadata for Targets {
    const KINDS: &'static [&'static str] = &["targets"];

    fn header(&self) -> &Header {
        &self.header
    }

    fn check(&self, file: &str) -> Result<(), Error> {
        for (name, target) in &self.targets {
            if !names::is_safe_target(name) {
                return Err(Error::UnsafeName {
                    file: file.into(),
                    name: name.clone(),
                });
            }
            check_hashes(file, name, &target.hashes)?;
            if !target.custom.is_null() && !target.custom.is_object() {
                return Err(schema(
                    file,
                    alloc::format!("custom of {name} is no object"),
                ));
            }
        }
        self.delegations
            .as_ref()
            .map_or(Ok(()), |d| check_delegations(file, d))
    }
}

fn check_delegations(file: &str, delegations: &Delegations) -> Result<(), Error> {
    keys(file, &delegations.keys)?;
    let mut seen = BTreeSet::new();
    for role in &delegations.roles {
        // Section 4.5, ROLENAME: "multiple roles with the same rolename are not allowed". A delegated role called like a
        // top-level one would be stored over it.
        if !names::is_good_role(&role.name)
            || TOP_LEVEL.contains(&role.name.as_str())
            || !seen.insert(&role.name)
        {
            return Err(Error::BadRoleName {
                file: file.into(),
                name: role.name.clone(),
            });
        }
        role_keys(file, &role.name, &role.keys.keyids, role.keys.threshold)?;
        match (&role.paths, &role.path_hash_prefixes) {
            (Some(paths), None) => {
                if paths.iter().any(|p| p.len() > names::MAX_TARGET) {
                    return Err(schema(
                        file,
                        alloc::format!("a path of role {:?} is longer than any name", role.name),
                    ));
                }
            }
            (None, Some(prefixes)) => {
                if let Some(bad) = prefixes.iter().find(|p| !is_lower_hex(p)) {
                    return Err(schema(
                        file,
                        alloc::format!("path hash prefix {bad:?} of role {:?}", role.name),
                    ));
                }
            }
            // Section 4.5: "exactly one of them should be set".
            _ => {
                return Err(schema(
                    file,
                    alloc::format!(
                        "role {:?} needs paths or path_hash_prefixes, one of them",
                        role.name
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Section 4.3, KEYID: "Clients MUST calculate each KEYID to verify this is correct for the associated key." That only one
/// key has an id follows from JSON names being unique, see [`crate::json`].
fn keys(file: &str, keys: &BTreeMap<String, Key>) -> Result<(), Error> {
    match keys.iter().find(|(id, key)| !key.has_id(id)) {
        Some((id, _)) => Err(Error::KeyIdMismatch {
            file: file.into(),
            keyid: id.clone(),
        }),
        None => Ok(()),
    }
}

fn role_keys(file: &str, role: &str, keyids: &[String], threshold: u64) -> Result<(), Error> {
    // Section 4.3, THRESHOLD: "must be a positive integer number of keys (>=1)".
    if threshold == 0 {
        return Err(Error::ZeroThreshold {
            file: file.into(),
            role: role.into(),
        });
    }
    let mut seen = BTreeSet::new();
    match keyids.iter().find(|id| !seen.insert(*id)) {
        Some(id) => Err(Error::DuplicateKeyId {
            file: file.into(),
            role: role.into(),
            keyid: id.clone(),
        }),
        None => Ok(()),
    }
}

/// A blank or misspelt hash must never read as "no check wanted" (CVE-2020-7982).
fn check_hashes(file: &str, of: &str, hashes: &BTreeMap<String, String>) -> Result<(), Error> {
    if hashes.is_empty() {
        return Err(Error::NoUsableHash {
            file: file.into(),
            of: of.into(),
        });
    }
    for (algorithm, hash) in hashes {
        let length = match algorithm.as_str() {
            "sha256" => 64,
            "sha512" => 128,
            // Carried; whether one that we know is there is asked when it is used.
            _ => continue,
        };
        if hash.len() != length || !is_lower_hex(hash) {
            return Err(Error::MalformedHash {
                file: file.into(),
                of: of.into(),
                algorithm: algorithm.clone(),
            });
        }
    }
    Ok(())
}

fn is_lower_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Compares bytes with every hash that we know; at least one must be known.
pub fn hashes_match(
    file: &str,
    bytes: &[u8],
    hashes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let mut known = 0;
    for (algorithm, listed) in hashes {
        let found: Vec<u8> = match algorithm.as_str() {
            "sha256" => Sha256::digest(bytes).to_vec(),
            "sha512" => Sha512::digest(bytes).to_vec(),
            _ => continue,
        };
        known += 1;
        if hex::encode(found) != *listed {
            return Err(Error::HashMismatch {
                file: file.into(),
                algorithm: algorithm.clone(),
            });
        }
    }
    if known == 0 {
        return Err(Error::NoUsableHash {
            file: file.into(),
            of: file.into(),
        });
    }
    Ok(())
}

/// Compares a file with what another file lists about it: length and hashes, where given.
pub fn listed_matches(file: &str, bytes: &[u8], listed: &MetaFile) -> Result<(), Error> {
    if let Some(length) = listed.length {
        length_matches(file, bytes, length)?;
    }
    listed
        .hashes
        .as_ref()
        .map_or(Ok(()), |hashes| hashes_match(file, bytes, hashes))
}

/// Compares a length.
pub fn length_matches(file: &str, bytes: &[u8], listed: u64) -> Result<(), Error> {
    let found = bytes.len() as u64;
    if found == listed {
        Ok(())
    } else {
        Err(Error::LengthMismatch {
            file: file.into(),
            listed,
            found,
        })
    }
}
