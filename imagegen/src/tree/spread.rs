//! Writes a tree into a directory of the host, for people who want to look into it or change root to it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::{Content, Entry, Kind, Tree, show};

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those of the tree: only root can give files away.
    Kept,
    /// The caller's, and then without what only root may set: attributes outside `user.`, set-user-id and set-group-id bits.
    Caller,
}

/// How much is written at once.
const ROOM: usize = 1 << 18;

pub(super) fn spread(tree: &Tree, dir: &Path, owners: Owners) -> Result<()> {
    ensure!(
        fs::read_dir(dir)
            .with_context(|| format!("cannot read the directory {}", dir.display()))?
            .next()
            .is_none(),
        "{} is not empty",
        dir.display()
    );
    let mut first: HashMap<u32, &[u8]> = HashMap::new();
    for (path, entry) in tree.below(b"") {
        let at = dir.join(OsStr::from_bytes(path));
        if let Some(known) = entry.link.and_then(|n| first.get(&n)) {
            fs::hard_link(dir.join(OsStr::from_bytes(known)), &at)
                .with_context(|| format!("cannot link {}", at.display()))?;
            continue;
        }
        first.extend(entry.link.map(|n| (n, path)));
        make(&at, path, entry, owners)?;
        if !matches!(entry.kind, Kind::Dir) {
            dress(&at, entry, owners)?;
        }
    }
    // Whatever comes into a directory changes its time, and its mode may forbid it: directories last, the inner ones first.
    let dirs: Vec<_> = tree
        .iter()
        .filter(|(_, e)| matches!(e.kind, Kind::Dir))
        .collect();
    for (path, entry) in dirs.into_iter().rev() {
        dress(&dir.join(OsStr::from_bytes(path)), entry, owners)?;
    }
    Ok(())
}

fn make(at: &Path, path: &[u8], entry: &Entry, owners: Owners) -> Result<()> {
    let cannot = || format!("cannot make {}", at.display());
    let node = |kind: SFlag, device| mknod(at, kind, Mode::S_IRUSR | Mode::S_IWUSR, device);
    match &entry.kind {
        Kind::Dir => fs::create_dir(at).with_context(cannot),
        Kind::File(content) => write(at, content).with_context(cannot),
        Kind::Symlink(text) => symlink(OsStr::from_bytes(text), at).with_context(cannot),
        Kind::Fifo => node(SFlag::S_IFIFO, 0).with_context(cannot),
        Kind::Char { .. } | Kind::Block { .. } if owners == Owners::Caller => {
            bail!("{} is a device, and only root can make one", show(path))
        }
        Kind::Char { major, minor } => {
            node(SFlag::S_IFCHR, makedev((*major).into(), (*minor).into())).with_context(cannot)
        }
        Kind::Block { major, minor } => {
            node(SFlag::S_IFBLK, makedev((*major).into(), (*minor).into())).with_context(cannot)
        }
        Kind::Socket => bail!("{} is a socket: it cannot be made", show(path)),
    }
}

fn write(at: &Path, content: &Content) -> Result<()> {
    let mut file = File::create_new(at)?;
    if let Content::Packed {
        file: from,
        at,
        len,
    } = content
    {
        let mut buf = vec![0; usize::try_from(*len).map_or(ROOM, |n| n.min(ROOM))];
        let mut done = 0;
        while done < *len {
            let n = usize::try_from(*len - done).map_or(buf.len(), |n| n.min(buf.len()));
            from.read_at(at + done, &mut buf[..n])?;
            file.write_all(&buf[..n])?;
            done += n as u64;
        }
        return Ok(());
    }
    Ok(file.write_all(&content.read()?)?)
}

/// Owner, mode, attributes and time, in the order in which none undoes another: a change of the owner clears the
/// set-user-id bit and capabilities.
fn dress(at: &Path, entry: &Entry, owners: Owners) -> Result<()> {
    let cannot = |what: &str| format!("cannot set the {what} of {}", at.display());
    let mut mode = u32::from(entry.mode);
    match owners {
        Owners::Kept => {
            lchown(at, Some(entry.uid), Some(entry.gid)).with_context(|| cannot("owner"))?;
        }
        Owners::Caller => mode &= 0o1777,
    }
    if !matches!(entry.kind, Kind::Symlink(_)) {
        fs::set_permissions(at, Permissions::from_mode(mode)).with_context(|| cannot("mode"))?;
    }
    for (name, value) in &entry.xattrs {
        if owners == Owners::Kept || name.starts_with(b"user.") {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(at, name.as_slice(), value, flags)
                .with_context(|| cannot("attributes"))?;
        }
    }
    let when = TimeSpec::new(i64::try_from(entry.mtime)?, 0);
    utimensat(AT_FDCWD, at, &when, &when, UtimensatFlags::NoFollowSymlink)
        .with_context(|| cannot("time"))
}
