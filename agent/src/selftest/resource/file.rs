//! Files: what they are, whose, and what is in them.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::account;
use crate::files;
use crate::probe::Root;
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;
use crate::sums;

pub(super) fn look(test: &Test, root: &Root) -> Result<Values> {
    let path = place(&test.name, root)?;
    // Of the link itself, as goss does.
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => {
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
            account::user_name(meta.uid(), root).map(Found::from),
        );
    }
    if test.wants("group") {
        values.insert(
            "group",
            account::group_name(meta.gid(), root).map(Found::from),
        );
    }
    if test.wants("linked-to") {
        values.insert("linked-to", linked_to(&path));
    }
    // Through the links of the tree itself: an absolute one in an image must not lead to the host.
    let open = || readable(&resolved(&path, root)?);
    for property in ["contents", "contains"]
        .into_iter()
        .filter(|p| test.wants(p))
    {
        let found = open().map(|file| Found::Text(Box::new(file)));
        values.insert(property, found);
    }
    for property in ["md5", "sha256", "sha512"]
        .into_iter()
        .filter(|p| test.wants(p))
    {
        values.insert(
            property,
            open().and_then(|file| sum(property, file)).map(Found::from),
        );
    }
    Ok(values)
}

fn readable(path: &Path) -> Result<File> {
    files::open(path).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => anyhow::anyhow!("it is a directory"),
        ErrorKind::InvalidInput => anyhow::anyhow!("it is {error}"),
        _ => error.into(),
    })
}

/// Of a file of any size, a piece at a time.
fn sum(property: &str, file: File) -> Result<String> {
    let (sum, _) = match property {
        "md5" => sums::of::<md5::Md5>(file),
        "sha256" => sums::of::<sha2::Sha256>(file),
        _ => sums::of::<sha2::Sha512>(file),
    }?;
    Ok(sum)
}

/// The place of `name`; `~user` is that user's home.
fn place(name: &str, root: &Root) -> Result<std::path::PathBuf> {
    let Some(rest) = name.strip_prefix('~') else {
        // As goss: from where the command was started. A service starts in /.
        if root.is_live() {
            return Ok(name.into());
        }
        return Ok(root.path(name));
    };
    let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let me = nix::unistd::Uid::current().as_raw();
    let user = if user.is_empty() {
        account::user_name(me, root)?
    } else {
        user.to_owned()
    };
    let home = account::home(&user, root)?;
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

fn linked_to(path: &Path) -> Result<Found> {
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
