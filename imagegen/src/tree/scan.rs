//! Reads a directory of the host into a [`Tree`]: `lstat`, link text and extended attributes of every name.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Content, ENTRIES_MAX, Entry, Kind, Tree, Xattrs, join, show};

/// The biggest list of names and the biggest value that Linux returns (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65_536;

pub(super) fn scan(dir: &Path, epoch: u64) -> Result<Tree> {
    let mut tree = Tree::new(epoch);
    let top = std::fs::symlink_metadata(dir)
        .with_context(|| format!("cannot read the tree {}", dir.display()))?;
    ensure!(top.is_dir(), "{} is not a directory", dir.display());
    let mut links: HashMap<u64, u32> = HashMap::new();
    let root = entry(dir, &top, epoch, &mut links)?;
    tree.entries.insert(Vec::new(), root);

    let mut todo = vec![(Vec::new(), dir.to_path_buf())];
    while let Some((at, host)) = todo.pop() {
        let list = std::fs::read_dir(&host)
            .with_context(|| format!("cannot read the directory {}", host.display()))?;
        for item in list {
            let item =
                item.with_context(|| format!("cannot read the directory {}", host.display()))?;
            let path = join(&at, item.file_name().as_bytes());
            let host = item.path();
            let meta = std::fs::symlink_metadata(&host)
                .with_context(|| format!("cannot look at {}", host.display()))?;
            ensure!(
                meta.dev() == top.dev(),
                "{} lies on another file system than {}: something is still mounted in the tree; unmount it first",
                host.display(),
                dir.display()
            );
            let entry = entry(&host, &meta, epoch, &mut links)?;
            if matches!(entry.kind, Kind::Dir) {
                todo.push((path.clone(), host));
            }
            ensure!(
                tree.entries.len() < ENTRIES_MAX,
                "{} has more than {ENTRIES_MAX} entries: this is not a root directory",
                dir.display()
            );
            tree.entries.insert(path, entry);
        }
    }
    number_links(&mut tree);
    Ok(tree)
}

fn entry(
    host: &Path,
    meta: &std::fs::Metadata,
    epoch: u64,
    links: &mut HashMap<u64, u32>,
) -> Result<Entry> {
    let kind = meta.file_type();
    let rdev = meta.rdev();
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let kind = if kind.is_dir() {
        Kind::Dir
    } else if kind.is_file() {
        Kind::File(Content::Host {
            path: host.into(),
            len: meta.len(),
        })
    } else if kind.is_symlink() {
        let text = std::fs::read_link(host)
            .with_context(|| format!("cannot read the link {}", host.display()))?;
        Kind::Symlink(text.into_os_string().into_vec().into())
    } else if kind.is_char_device() {
        // 0:0 is how overlayfs marks a deleted file (Documentation/filesystems/overlayfs.rst, "whiteouts").
        ensure!(
            rdev != 0,
            "{} is the whiteout of an overlay: the tree was not merged; scan the mounted overlay instead",
            host.display()
        );
        Kind::Char { major, minor }
    } else if kind.is_block_device() {
        Kind::Block { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        bail!(
            "{} is a socket: a program still runs in the tree or left it behind; stop it and remove the socket",
            host.display()
        );
    };
    let link = (meta.nlink() > 1 && !matches!(kind, Kind::Dir)).then(|| {
        let next = u32::try_from(links.len()).expect("ENTRIES_MAX fits 32 bits");
        *links.entry(meta.ino()).or_insert(next)
    });
    Ok(Entry {
        kind,
        mode: u16::try_from(meta.mode() & 0o7777).expect("twelve bits fit sixteen"),
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: u64::try_from(meta.mtime()).unwrap_or(0).min(epoch),
        xattrs: xattrs(host)?,
        link,
    })
}

/// Link numbers follow the order of paths, not of the directory: two scans of equal trees are equal values. A group
/// with one name inside the tree is no group.
pub(super) fn number_links(tree: &mut Tree) {
    let mut names: HashMap<u32, usize> = HashMap::new();
    for entry in tree.entries.values() {
        if let Some(n) = entry.link {
            *names.entry(n).or_default() += 1;
        }
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    for entry in tree.entries.values_mut() {
        entry.link = entry.link.filter(|n| names[n] > 1).map(|n| {
            let next = u32::try_from(numbers.len()).expect("ENTRIES_MAX fits 32 bits");
            *numbers.entry(n).or_insert(next)
        });
    }
}

fn xattrs(host: &Path) -> Result<Xattrs> {
    let mut names = vec![0u8; 1024];
    let got = loop {
        match rustix::fs::llistxattr(host, &mut names[..]) {
            Ok(got) => break got,
            Err(rustix::io::Errno::RANGE) if names.len() < XATTR_MAX => names.resize(XATTR_MAX, 0),
            Err(rustix::io::Errno::NOTSUP) => return Ok(Xattrs::new()),
            Err(e) => bail!(
                "cannot list the extended attributes of {}: {e}",
                host.display()
            ),
        }
    };
    let mut out = Xattrs::new();
    for name in names[..got].split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name)
            .with_context(|| format!("odd extended attribute names on {}", host.display()))?;
        let bytes = name.to_bytes();
        ensure!(
            !bytes.starts_with(b"trusted.overlay."),
            "{} carries {}: the tree was not merged; scan the mounted overlay instead",
            host.display(),
            show(bytes)
        );
        // The label of the build host's own SELinux policy says nothing about the board.
        if bytes == b"security.selinux" {
            continue;
        }
        let mut value = vec![0u8; XATTR_MAX];
        let len = rustix::fs::lgetxattr(host, name, &mut value[..])
            .with_context(|| format!("cannot read {name:?} of {}", host.display()))?;
        value.truncate(len);
        out.insert(bytes.to_vec(), value);
    }
    Ok(out)
}
