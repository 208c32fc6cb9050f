//! The four kinds of metadata as types (TUF 1.0 section 4), parsed from a value whose signatures were checked.
//!
//! Unknown fields are kept, not refused: section 4 wants them in the signed bytes, and a newer author may add some.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::key::Key;
use crate::time::Timestamp;

/// What every role's file begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `root`, `timestamp`, `snapshot` or `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// 1.x
    pub spec_version: String,
    /// Greater than 0.
    pub version: u64,
    /// From this instant on the file is refused.
    pub expires: Timestamp,
    /// When it was signed, by the signer's clock: our addition to TUF, from which devices without a clock learn a time
    /// floor. Repositories of other tools do not have it.
    #[serde(rename = "x-signed", default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
}

/// Keys and thresholds of the top-level roles (section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// Whether file names carry versions and hashes (section 6.2).
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Every key that a role refers to.
    pub keys: BTreeMap<String, Key>,
    /// `root`, `timestamp`, `snapshot`, `targets`; `mirrors` is carried.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Who signs for a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Ids of its keys.
    pub keyids: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a file that lists others says about one of them (section 4.4, METAFILES).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// The version inside that file.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes, by algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Timestamp (section 4.6) and snapshot (section 4.4): a list of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// The files by name: `snapshot.json` in a timestamp; `targets.json` and delegated roles in a snapshot.
    pub meta: BTreeMap<String, MetaFile>,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Targets and delegations of one role (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// The targets by name.
    pub targets: BTreeMap<String, Target>,
    /// Whom this role trusts for which names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The keys of `rollout` in a target's `custom` that boards understand (`hypriot_updater::rollout`). Boards pass over others, so
/// whoever signs a target is told of a slip of the pen.
pub const ROLLOUT_KEYS: &[&str] = &[
    "start", "curve", "paused", "barrier", "deadend", "minimum", "needs",
];

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Length in bytes.
    pub length: u64,
    /// Hashes in lower-case hexadecimal, by algorithm.
    pub hashes: BTreeMap<String, String>,
    /// What the application said about it; `Null` when nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub custom: Value,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Delegations of one role, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Every key that a delegated role refers to.
    pub keys: BTreeMap<String, Key>,
    /// First come, first trusted.
    pub roles: Vec<DelegatedRole>,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// The role's name; its file is `<name>.json`.
    pub name: String,
    /// Who signs for it.
    #[serde(flatten)]
    pub keys: RoleKeysOnly,
    /// Shell patterns of the names it may list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Beginnings of the SHA-256 of the names it may list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Whether the search ends here, found or not.
    #[serde(default)]
    pub terminating: bool,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// [`RoleKeys`] without a rest of its own, so that it can stand inside [`DelegatedRole`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeysOnly {
    /// Ids of its keys.
    pub keyids: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
}

/// The roles that root names.
pub const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
