//! The parts of a recipe that are tables of their own.

use std::path::PathBuf;

use crate::sha256::Sha256;
use serde::{Deserialize, Serialize};

/// A package file. In a recipe it is written as its path alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deb {
    /// Where it lies; says nothing to another machine, and is not written.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its file name.
    pub name: String,
    /// SHA-256, once it was read.
    pub sha256: Option<Sha256>,
}

impl<'de> Deserialize<'de> for Deb {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Path(PathBuf),
            Recorded { name: String, sha256: Sha256 },
        }
        Ok(match Written::deserialize(from)? {
            Written::Path(path) => Self {
                name: path
                    .file_name()
                    .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
                path,
                sha256: None,
            },
            Written::Recorded { name, sha256 } => Self {
                path: PathBuf::new(),
                name,
                sha256: Some(sha256),
            },
        })
    }
}

/// A user of every board of the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Login name.
    pub name: String,
    /// Who that is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gecos: String,
    /// Groups besides the user's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Public keys that let the user in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// The login shell.
    #[serde(default = "bash")]
    pub shell: String,
    /// Whether the user may do everything with sudo, without a password (there is none).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sudo: bool,
    /// The number of the user; without it, the board chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

fn bash() -> String {
    "/bin/bash".to_owned()
}

/// One file, link-free, at a path of the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEntry {
    /// Where it goes.
    pub path: String,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The file that it is a copy of, relative to the recipe file; not written.
    #[serde(default, skip_serializing)]
    pub from: Option<PathBuf>,
    /// SHA-256 of what `from` held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Owner: a name in the image's `/etc/passwd`, or a number.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub owner: String,
    /// Group: a name in the image's `/etc/group`, or a number.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub group: String,
    /// Mode, octal: `0644`.
    #[serde(default = "plain", skip_serializing_if = "is_plain")]
    pub mode: String,
    /// Whether `{{ hostname }}`, `{{ board }}`, `{{ version }}`, `{{ name }}`, `{{ arch }}` and `{{ suite }}` are replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
}

fn root() -> String {
    "root".to_owned()
}

fn is_root(name: &str) -> bool {
    name == "root"
}

fn plain() -> String {
    "0644".to_owned()
}

fn is_plain(mode: &str) -> bool {
    mode == "0644"
}

/// A container image that Docker has on every board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Container {
    /// What it is called on the board, with its tag: `nginx:1.29`.
    pub image: String,
    /// The OCI layout it is in, a folder or a tar, relative to the recipe file; not written.
    #[serde(default, skip_serializing)]
    pub from: Option<PathBuf>,
    /// The hash of all that is in it, that of its `index.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

/// An archive of packages, in the terms of deb822 sources (sources.list(5)).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Repository {
    /// Its name: that of its file in `/etc/apt/sources.list.d` on the board.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// Its suites; one that ends in `/` is a flat archive's folder.
    pub suites: Vec<String>,
    /// Its components; none for a flat archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// The key file it is signed with, relative to the recipe file; not written.
    #[serde(default, skip_serializing)]
    pub signed_by: Option<PathBuf>,
    /// That key: armored text, or hexadecimal digits where the file is binary.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Priority of its packages (apt_preferences(5)).
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    pub priority: i32,
    /// The packages that may be taken from it; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

fn usual() -> i32 {
    500
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_usual(priority: &i32) -> bool {
    *priority == usual()
}

impl Repository {
    /// The bytes of its key file.
    pub fn key_bytes(&self) -> Vec<u8> {
        match self.key.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).unwrap_or_default(),
            None => self.key.clone().into_bytes(),
        }
    }

    /// What its key file is called on the board.
    pub fn key_name(&self) -> String {
        let kind = if self.key.starts_with("hex:") {
            "gpg"
        } else {
            "asc"
        };
        format!("{}.{kind}", self.name)
    }
}

/// A step in the finished tree.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// What it does, for messages.
    pub name: String,
    /// Commands for `/bin/sh -eu`.
    #[serde(default)]
    pub script: String,
    /// The file that holds them instead, relative to the recipe file; not written.
    #[serde(default, skip_serializing)]
    pub from: Option<PathBuf>,
}
