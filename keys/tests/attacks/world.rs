//! A small honest repository as values, built and signed anew after each twist, and the files an attacker makes of it.

use std::collections::BTreeMap;

use hypriot_keys::key::Key;
use hypriot_keys::secret::SecretKey;
use hypriot_keys::signed::Signed;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Served files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The day on which everything was signed.
pub(crate) const DAY_ZERO: &str = "2026-11-23T12:00:00Z";
/// Timestamps live for a week, snapshots for a month, targets for a quarter, roots for a year.
pub(crate) const EXPIRES: [(&str, &str); 4] = [
    ("timestamp", "2026-11-30T12:00:00Z"),
    ("snapshot", "2026-12-23T12:00:00Z"),
    ("targets", "2027-02-23T12:00:00Z"),
    ("root", "2027-11-23T12:00:00Z"),
];

/// Test keys: their seeds are their numbers. Root is 1, timestamp 2, snapshot 3, targets 4, delegates 5 and up, thieves 9.
pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// The signed part of one file, and who signs it.
#[derive(Clone)]
pub(crate) struct File {
    pub signed: Value,
    pub keys: Vec<u8>,
}

/// A repository before it is signed.
#[derive(Clone)]
pub(crate) struct World {
    /// Roots 1, 2, ... in order.
    pub roots: Vec<File>,
    pub timestamp: File,
    pub snapshot: File,
    /// `targets` and delegated roles.
    pub roles: BTreeMap<String, File>,
    /// Whether snapshot and timestamp give lengths and hashes.
    pub hashes: bool,
    /// Target bytes by name.
    pub payload: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// The honest repository in its version `n`.
    pub(crate) fn honest(n: u64) -> Self {
        let root = json!({
            "_type": "root", "spec_version": "1.0.34", "version": 1, "expires": expires("root"), "x-signed": DAY_ZERO,
            "consistent_snapshot": true,
            "keys": keys(&[1, 2, 3, 4]),
            "roles": {
                "root": role(&[1], 1), "timestamp": role(&[2], 1), "snapshot": role(&[3], 1), "targets": role(&[4], 1),
            },
        });
        let mut world = Self {
            roots: vec![File {
                signed: root,
                keys: vec![1],
            }],
            timestamp: File {
                signed: plain("timestamp", n),
                keys: vec![2],
            },
            snapshot: File {
                signed: plain("snapshot", n),
                keys: vec![3],
            },
            roles: BTreeMap::new(),
            hashes: true,
            payload: BTreeMap::new(),
        };
        let mut targets = plain("targets", n);
        targets["targets"] = json!({});
        world.roles.insert(
            "targets".into(),
            File {
                signed: targets,
                keys: vec![4],
            },
        );
        world.add_target("targets", "board.json", format!("release {n}").as_bytes());
        world
    }

    /// Lists a target in a role.
    pub(crate) fn add_target(&mut self, role: &str, name: &str, bytes: &[u8]) {
        self.payload.insert(name.into(), bytes.to_vec());
        let target = json!({"length": bytes.len(), "hashes": {"sha256": hash(bytes)}});
        self.role(role)["targets"][name] = target;
    }

    /// The signed part of a targets role.
    pub(crate) fn role(&mut self, role: &str) -> &mut Value {
        &mut self.roles.get_mut(role).expect("the role exists").signed
    }

    /// The signed part of the newest root.
    pub(crate) fn root(&mut self) -> &mut Value {
        &mut self.roots.last_mut().expect("there is a root").signed
    }

    /// Adds root N+1 as a copy of N, signed by `signers`.
    pub(crate) fn next_root(&mut self, signers: &[u8]) -> &mut Value {
        let mut signed = self.root().clone();
        signed["version"] = json!(signed["version"].as_u64().unwrap_or(0) + 1);
        self.roots.push(File {
            signed,
            keys: signers.to_vec(),
        });
        self.root()
    }

    /// Gives a top-level role other keys in the newest root.
    pub(crate) fn set_role(&mut self, name: &str, numbers: &[u8], threshold: u64) {
        for (id, key) in keys(numbers) {
            self.root()["keys"][id] = json!(key);
        }
        self.root()["roles"][name] = role(numbers, threshold);
    }

    /// Delegates from `parent` to a new role, which key `n` signs.
    pub(crate) fn delegate(
        &mut self,
        parent: &str,
        name: &str,
        n: u8,
        paths: &[&str],
        terminating: bool,
    ) {
        let mut child = plain("targets", 1);
        child["targets"] = json!({});
        self.roles.entry(name.into()).or_insert(File {
            signed: child,
            keys: vec![n],
        });
        let parent = self.role(parent);
        if parent.get("delegations").is_none() {
            parent["delegations"] = json!({"keys": {}, "roles": []});
        }
        parent["delegations"]["keys"][key(n).id()] = json!(key(n).public());
        let new = json!({"name": name, "keyids": [key(n).id()], "threshold": 1, "paths": paths, "terminating": terminating});
        parent["delegations"]["roles"]
            .as_array_mut()
            .expect("a list")
            .push(new);
    }

    /// Signs everything from the targets up.
    pub(crate) fn build(&self) -> Files {
        let mut files = Files::new();
        let mut listed = Map::new();
        for (name, file) in &self.roles {
            let bytes = file.bytes();
            listed.insert(format!("{name}.json"), self.entry(&file.signed, &bytes));
            let encoded = hypriot_keys::names::metadata(name, Some(version(&file.signed)));
            files.insert(encoded, bytes);
        }
        let mut snapshot = self.snapshot.clone();
        fill(&mut snapshot.signed, listed);
        let bytes = snapshot.bytes();
        let listed = [(
            "snapshot.json".to_owned(),
            self.entry(&snapshot.signed, &bytes),
        )];
        files.insert(
            format!("{}.snapshot.json", version(&snapshot.signed)),
            bytes,
        );
        let mut timestamp = self.timestamp.clone();
        fill(&mut timestamp.signed, listed.into_iter().collect());
        files.insert("timestamp.json".into(), timestamp.bytes());
        for (n, root) in self.roots.iter().enumerate() {
            files.insert(format!("{}.root.json", n + 1), root.bytes());
        }
        for (name, bytes) in &self.payload {
            files.insert(served(name, bytes), bytes.clone());
        }
        files
    }

    fn entry(&self, signed: &Value, bytes: &[u8]) -> Value {
        if self.hashes {
            json!({"version": signed["version"], "length": bytes.len(), "hashes": {"sha256": hash(bytes)}})
        } else {
            json!({"version": signed["version"]})
        }
    }
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Signed {
            signed: self.signed.clone(),
            signatures: vec![],
        };
        for n in &self.keys {
            key(*n).sign(&mut file);
        }
        write(&serde_json::to_value(&file).expect("it is JSON"))
    }
}

/// What a twist has not set itself.
fn fill(signed: &mut Value, listed: Map<String, Value>) {
    if signed.get("meta").is_none() {
        signed["meta"] = json!({});
    }
    for (name, entry) in listed {
        if signed["meta"].get(&name).is_none() {
            signed["meta"][name] = entry;
        }
    }
}

/// Where a target is served: in its directory, the hash before the last segment, each segment encoded.
pub(crate) fn served(name: &str, bytes: &[u8]) -> String {
    let mut segments: Vec<String> = name.split('/').map(hypriot_keys::names::encode).collect();
    let last = segments.pop().unwrap_or_default();
    segments.push(format!("{}.{last}", hash(bytes)));
    segments.join("/")
}

/// The head of a file.
pub(crate) fn plain(kind: &str, version: u64) -> Value {
    json!({"_type": kind, "spec_version": "1.0.34", "version": version, "expires": expires(kind), "x-signed": DAY_ZERO})
}

pub(crate) fn expires(kind: &str) -> &'static str {
    EXPIRES
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or("", |(_, e)| e)
}

pub(crate) fn role(numbers: &[u8], threshold: u64) -> Value {
    let ids: Vec<String> = numbers.iter().map(|n| key(*n).id().to_owned()).collect();
    json!({"keyids": ids, "threshold": threshold})
}

pub(crate) fn keys(numbers: &[u8]) -> BTreeMap<String, Key> {
    numbers
        .iter()
        .map(|n| (key(*n).id().to_owned(), key(*n).public().clone()))
        .collect()
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn version(signed: &Value) -> u64 {
    signed["version"].as_u64().unwrap_or(0)
}

/// As the repository tool writes.
pub(crate) fn write(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("it is JSON");
    bytes.push(b'\n');
    bytes
}

/// The root that every device of these tests is made with.
pub(crate) fn honest_root() -> Vec<u8> {
    World::honest(1).roots[0].bytes()
}
