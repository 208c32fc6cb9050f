//! The build record inside every image: what it was made of, so that anybody can make it again and compare the two.
//!
//! Two files in `/usr/lib/hypriot/build/` of the root file system:
//!
//! * `lock.toml`: every package with version and SHA-256, those of the boot files and of the building machine's tools too
//! * `build.toml`: every other input, a [`Record`]
//!
//! Neither has a time, a user, a host or a folder's path in it: two builds of the same inputs write the same bytes.
//! Hashes are SHA-256. That of a folder is over one line per path below it, in byte order of the paths:
//! `<mode in octal> <SHA-256 of the file | -> text of the link | /> <path>`, with modes as they end in the image.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bake::initramfs;
use crate::inputs::board::Board;
use crate::inputs::recipe::Recipe;
use crate::sha256::Sha256;
use crate::tree::{Content, Kind, Tree};

#[cfg(test)]
mod tests;

/// Where the lock lies in the root tree.
pub const LOCK: &str = "usr/lib/hypriot/build/lock.toml";
/// Where the record lies.
pub const BUILD: &str = "usr/lib/hypriot/build/build.toml";
/// Where the board's file lies, if it is not one of the project's own.
pub const BOARD: &str = "usr/lib/hypriot/build/board.toml";
/// Version of the record's format.
const FORMAT: u32 = 1;
/// A longer record is none.
const RECORD_MAX: usize = 1 << 20;
const HEADER: &str = "\
# What this image was made of, besides the packages in lock.toml. `hypriot-imagegen verify IMAGE` makes it again and compares.
";

/// Every input of an image that is no package.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// Version of this format.
    pub format: u32,
    /// Board.
    pub board: String,
    /// Version of the image.
    pub version: String,
    /// Suite of the packages.
    pub suite: String,
    /// Newest time in the image, seconds since 1970: when its packages were frozen.
    pub epoch: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Where boards ask for updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_url: Option<String>,
    /// How often they ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u64>,
    /// The release whose layout it keeps: what did not change since lies where it lay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Laid>,
    /// What made it.
    pub builder: Builder,
    /// What was asked for.
    pub recipe: Recipe,
    /// The folder that the recipe lays over the tree, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe_files: Option<Hash>,
    /// The static agent.
    pub agent: Hash,
    /// `root.json` of the update repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_root: Option<Hash>,
    /// The owner's `user-data`, if it is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Hash>,
    /// Folders laid over the root, in their order.
    #[serde(rename = "overlay", default, skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<Named>,
    /// Boot loader files that the user brought.
    #[serde(rename = "blob", default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Named>,
}

/// The release whose layout an image keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Laid {
    /// Its version.
    pub version: String,
    /// BLAKE3 hash of what it contains, in hexadecimal: `Index::content`.
    pub content: String,
}

/// The program that made an image, as far as its bytes depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Builder {
    /// Name and version.
    pub program: String,
    /// Number of the way from packages to a tree.
    pub tree: u32,
    /// How packages' scripts are run.
    pub configure: String,
    /// What packs the initramfs.
    pub initramfs: String,
    /// SHA-256 of the files that are in every image and of the board's file.
    pub embedded: Sha256,
}

/// SHA-256 and length of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// SHA-256.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// An input with a name: a folder's last part, a blob's name in the board file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// SHA-256.
    pub sha256: Sha256,
    /// Bytes of all files.
    pub size: u64,
}

impl Builder {
    /// This program, building for `board` in this way; `tree` is the version of the way in which it makes trees.
    pub fn this(board: &Board, configure: &str, tree: u32) -> Result<Self> {
        Ok(Self {
            program: concat!("hypriot-imagegen ", env!("CARGO_PKG_VERSION")).to_owned(),
            tree,
            configure: configure.to_owned(),
            initramfs: initramfs::encoder(),
            embedded: embedded(board)?,
        })
    }
}

/// A hash of what is compiled into this program and ends in the board's images.
fn embedded(board: &Board) -> Result<Sha256> {
    let mut text = String::new();
    for tree in crate::bake::embedded_trees()? {
        text += &listing(&tree)?.0;
    }
    // A board that was not read from an embedded file (a test's) has its own text.
    let own = board.own.as_deref();
    let board = own
        .or(crate::inputs::board::text(&board.name))
        .unwrap_or_default();
    text += &Sha256::of(board.as_bytes()).to_string();
    Ok(Sha256::of(text.as_bytes()))
}

impl Hash {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
        }
    }

    /// Of a folder; see the module's words.
    pub fn of_tree(tree: &Tree) -> Result<Self> {
        let (text, size) = listing(tree)?;
        Ok(Self {
            sha256: Sha256::of(text.as_bytes()),
            size,
        })
    }

    /// With a name.
    pub fn named(self, name: &str) -> Named {
        Named {
            name: name.to_owned(),
            sha256: self.sha256,
            size: self.size,
        }
    }
}

/// One line per path, and the bytes of all files.
fn listing(tree: &Tree) -> Result<(String, u64)> {
    let (mut text, mut size) = (String::new(), 0);
    for (path, entry) in tree.below(b"") {
        let content = match &entry.kind {
            Kind::File(content) => {
                size += content.len();
                Sha256::of(&content.read()?).to_string()
            }
            Kind::Symlink(to) => format!("-> {}", to.escape_ascii()),
            _ => "/".to_owned(),
        };
        let path = path.escape_ascii();
        text.extend([format!("{:o} {content} {path}\n", entry.mode)]);
    }
    Ok((text, size))
}

/// The hash of an input that is a file of the host or bytes.
pub fn of_content(content: &Content) -> Result<Hash> {
    Ok(Hash::of(&content.read()?))
}

impl Record {
    /// Version of the format that this program writes.
    pub const fn format() -> u32 {
        FORMAT
    }

    /// Its text, the same bytes for the same inputs.
    pub fn to_text(&self) -> Result<String> {
        let body = toml::to_string(self).context("the build record cannot be written")?;
        Ok(format!("{HEADER}{body}"))
    }
}

/// Reads a record.
pub fn parse(bytes: &[u8]) -> Result<Record> {
    ensure!(
        bytes.len() <= RECORD_MAX,
        "it has {} bytes: this is no build record",
        bytes.len()
    );
    let text = std::str::from_utf8(bytes).context("it is not text")?;
    let record: Record = toml::from_str(text)?;
    ensure!(
        record.format == FORMAT,
        "its format is {}, this program reads {FORMAT}; use the hypriot-imagegen that made the image",
        record.format
    );
    Ok(record)
}

/// An input that is not the one on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Which input.
    pub input: String,
    /// What the record says.
    pub recorded: String,
    /// What is at hand.
    pub given: String,
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (recorded, given) = (&self.recorded, &self.given);
        write!(
            f,
            "{}: recorded is {recorded}, at hand is {given}",
            self.input
        )
    }
}

/// Every input of `now` that is another than the record says.
pub fn others(recorded: &Record, now: &Record) -> Vec<Other> {
    let mut out = Vec::new();
    let mut row = |input: String, recorded: String, given: String| {
        if recorded != given {
            out.push(Other {
                input,
                recorded,
                given,
            });
        }
    };
    let (a, b) = (&recorded.builder, &now.builder);
    for (what, a, b) in [
        ("builder", &a.program, &b.program),
        (
            "builder's way to a tree",
            &a.tree.to_string(),
            &b.tree.to_string(),
        ),
        ("way of running scripts", &a.configure, &b.configure),
        ("packer of the initramfs", &a.initramfs, &b.initramfs),
        (
            "files compiled into the builder",
            &a.embedded.to_string(),
            &b.embedded.to_string(),
        ),
    ] {
        row(what.to_owned(), a.clone(), b.clone());
    }
    let hash = |h: &Option<Hash>| {
        h.as_ref()
            .map_or("none".to_owned(), |h| h.sha256.to_string())
    };
    for (what, a, b) in [
        (
            "agent",
            &Some(recorded.agent.clone()),
            &Some(now.agent.clone()),
        ),
        ("trust root", &recorded.trust_root, &now.trust_root),
        ("user-data", &recorded.user_data, &now.user_data),
        (
            "files of the recipe",
            &recorded.recipe_files,
            &now.recipe_files,
        ),
    ] {
        row(what.to_owned(), hash(a), hash(b));
    }
    for (what, a, b) in [
        ("overlay", &recorded.overlays, &now.overlays),
        ("blob", &recorded.blobs, &now.blobs),
    ] {
        for n in 0..a.len().max(b.len()) {
            let one = |l: &[Named]| l.get(n).map_or("none".to_owned(), |h| h.sha256.to_string());
            let name = a.get(n).or(b.get(n)).map_or("", |h| h.name.as_str());
            row(format!("{what} {name}"), one(a), one(b));
        }
    }
    out
}
