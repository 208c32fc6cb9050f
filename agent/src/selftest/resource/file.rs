//! Files: what they are, whose, and what is in them.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use sha2::Digest;

use super::account;
use crate::files;
use crate::probe::Root;
use crate::selftest::run::Values;
use crate::selftest::suite::Test;

/// Contents that are looked at: tests are about configuration, not about disks.
const LIMIT: u64 = 16 * 1024 * 1024;

pub(super) fn look(test: &Test, root: &Root) -> Result<Values> {
    let path = place(&test.name, root)?;
    // Of the link itself, as goss does.
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Values::from([("exists", Ok(false.into()))]));
        }
        Err(error) => return Err(error).with_context(|| format!("looking at {}", test.name)),
    };
    let mut values = Values::from([
        ("exists", Ok(true.into())),
        ("mode", Ok(format!("{:04o}", meta.mode() & 0o7777).into())),
        ("size", Ok(meta.size().into())),
        ("uid", Ok(meta.uid().into())),
        ("gid", Ok(meta.gid().into())),
        ("filetype", Ok(kind(&meta).into())),
    ]);
    if test.wants("owner") {
        values.insert(
            "owner",
            account::user_name(meta.uid(), root).map(Value::from),
        );
    }
    if test.wants("group") {
        values.insert(
            "group",
            account::group_name(meta.gid(), root).map(Value::from),
        );
    }
    if test.wants("linked-to") {
        values.insert("linked-to", linked_to(&path));
    }
    let content = ["contents", "contains", "md5", "sha256", "sha512"];
    if content.iter().any(|property| test.wants(property)) {
        for property in content.into_iter().filter(|property| test.wants(property)) {
            // Through the links of the tree itself: an absolute one in an image must not lead to the host.
            let bytes = resolved(&path, root).and_then(|path| Ok(files::read(&path, LIMIT)?));
            values.insert(property, bytes.map(|bytes| derive(property, &bytes)));
        }
    }
    Ok(values)
}

fn derive(property: &str, bytes: &[u8]) -> Value {
    match property {
        "md5" => hex::encode(md5::Md5::digest(bytes)).into(),
        "sha256" => hex::encode(sha2::Sha256::digest(bytes)).into(),
        "sha512" => hex::encode(sha2::Sha512::digest(bytes)).into(),
        _ => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

/// The place of `name`; `~user` is that user's home.
fn place(name: &str, root: &Root) -> Result<std::path::PathBuf> {
    let Some(rest) = name.strip_prefix('~') else {
        anyhow::ensure!(name.starts_with('/'), "{name:?} does not begin with /");
        return Ok(root.path(name));
    };
    let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let home = account::home(if user.is_empty() { "root" } else { user }, root)?;
    Ok(root.path(Path::new(&home).join(rest)))
}

/// Follows links, each within the root. In the running system the kernel does.
fn resolved(path: &Path, root: &Root) -> Result<std::path::PathBuf> {
    let mut path = path.to_owned();
    if root.is_live() {
        return Ok(path);
    }
    for _ in 0..40 {
        let Ok(target) = path.read_link() else {
            return Ok(path);
        };
        let inside = path.strip_prefix(root.directory()).unwrap_or(&path);
        let absolute = Path::new("/").join(inside).with_file_name("").join(target);
        path = root.path(absolute);
    }
    anyhow::bail!("more than 40 links")
}

fn linked_to(path: &Path) -> Result<Value> {
    let target = path.read_link().context("it is no symbolic link")?;
    Ok(target.to_string_lossy().into_owned().into())
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_symlink() {
        "symlink"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_block_device() {
        "block-device"
    } else if kind.is_char_device() {
        "character-device"
    } else {
        "file"
    }
}
