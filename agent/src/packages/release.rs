//! Which release a root is of: known from the root alone, so that the initramfs can tell without network, record or settings.
//!
//! The version is not enough (two builds may bear the same one), and the update's digest is not known of what was flashed. So it is a
//! hash of what the image says it was made of (`hypriot-imagegen`, `bake::record`: every package, agent, recipe and file by its own
//! hash) and of dpkg's record, which a layer's own goes on from.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::files;

/// What is hashed. dpkg's record must be there; the others are not in images of other makers.
const SAYS: [&str; 5] = [
    "var/lib/dpkg/status",
    "usr/lib/os-release",
    "usr/lib/hypriot/build/lock.toml",
    "usr/lib/hypriot/build/build.toml",
    "usr/lib/hypriot/boot-files.json",
];
const LIMIT: u64 = 32 * 1024 * 1024;
/// Digits of an id.
pub const DIGITS: usize = 32;

/// The id of the release whose pristine root is at `root`.
pub fn id(root: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for (n, name) in SAYS.iter().enumerate() {
        let bytes = match files::read(&root.join(name), LIMIT) {
            Ok(bytes) => bytes,
            Err(e) if n > 0 && e.source.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e).context("asking which release this is"),
        };
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    let mut digits = hex::encode(hash.finalize());
    digits.truncate(DIGITS);
    Ok(digits)
}
