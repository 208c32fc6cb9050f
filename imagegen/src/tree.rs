//! A root directory as a value: what lies at which path, with every attribute that ends in an image.
//!
//! Owns the paths (bytes, sorted), the attributes, hard-link groups and the rule that nothing is newer than the
//! epoch of the build. Content is bytes, a file of the host or a part of a packed tree; the latter two are read when an image is written.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};

pub mod compare;
mod content;
mod pack;
mod packed;
mod scan;
mod spread;
#[cfg(test)]
pub(crate) mod tests;

pub use content::{Content, PackedFile};
pub use spread::Owners;

/// Longest file name that Linux and EROFS allow (`NAME_MAX`, `EROFS_NAME_LEN`).
pub const NAME_MAX: usize = 255;
/// Longest path that Linux resolves (`PATH_MAX`), which also bounds a symbolic link's text.
pub const PATH_MAX: usize = 4096;
/// More entries than this are a mistake (a mounted file system, a loop), not a root directory.
pub const ENTRIES_MAX: usize = 2_000_000;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link and its text.
    Symlink(Arc<[u8]>),
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket. Never scanned from a directory; known so that a writer can say so.
    Socket,
}

impl Kind {
    /// The word that error messages use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dir => "directory",
            Self::File(_) => "file",
            Self::Symlink(_) => "symbolic link",
            Self::Char { .. } => "character device",
            Self::Block { .. } => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        }
    }
}

/// Extended attributes by full name (`security.capability`, `user.x`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, never above the tree's epoch.
    pub mtime: u64,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Paths with the same number are one file with several names.
    pub link: Option<u32>,
}

/// A root directory.
#[derive(Debug, Clone)]
pub struct Tree {
    epoch: u64,
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Tree {
    /// A tree with nothing but its root (0755 root:root). `epoch` is the newest time that anything in it may have.
    pub fn new(epoch: u64) -> Self {
        let root = Entry {
            kind: Kind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: epoch,
            xattrs: Xattrs::new(),
            link: None,
        };
        Self {
            epoch,
            entries: BTreeMap::from([(Vec::new(), root)]),
        }
    }

    /// Reads a directory of the host: every name, attribute and hard link below it, clamped to `epoch`.
    ///
    /// Refuses sockets, other mounted file systems, overlay whiteouts and more than [`ENTRIES_MAX`] entries.
    pub fn scan(dir: &Path, epoch: u64) -> Result<Self> {
        scan::scan(dir, epoch)
    }

    /// Reads a packed tree, clamped to `epoch`: its index only, the content when it is needed.
    pub fn packed(file: &Path, epoch: u64) -> Result<Self> {
        packed::read(file, epoch)
    }

    /// Writes the tree and all its content into one file, which [`Tree::packed`] reads and `tar` understands.
    pub fn pack(&self, to: &mut std::fs::File) -> io::Result<()> {
        pack::pack(self, to)
    }

    /// Writes the tree into a directory, which must be empty.
    pub fn spread(&self, dir: &Path, owners: Owners) -> Result<()> {
        spread::spread(self, dir, owners)
    }

    /// The newest time that anything in it may have.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many entries there are, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 1
    }

    /// All entries in byte order of their paths; the root has the empty path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(p, e)| (p.as_slice(), e))
    }

    /// The entry at `path`, not following symbolic links.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        let key = key(path.as_bytes()).ok()?;
        self.entries.get(&key)
    }

    /// The entry at a path as it is kept, not following symbolic links.
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Where `path` leads through the symbolic links of the tree, as if the tree were the whole world. What is not there yet is
    /// taken for a directory that could be made.
    pub fn locate(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut todo = components(path);
        let mut here: Vec<u8> = Vec::new();
        let mut follows = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                here.truncate(here.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&here, &name);
            match self.entries.get(&next).map(|e| &e.kind) {
                Some(Kind::Symlink(text)) => {
                    // Linux stops after 40 (MAXSYMLINKS, include/linux/namei.h).
                    follows += 1;
                    ensure!(follows <= 40, "{} is a circle of links", show(path));
                    if text.starts_with(b"/") {
                        here.clear();
                    }
                    todo.extend(components(text));
                }
                _ => here = next,
            }
        }
        Ok(here)
    }

    /// The entry at `path` after following symbolic links inside the tree, and where it was found.
    pub fn resolve(&self, path: &str) -> Option<(Vec<u8>, &Entry)> {
        let here = self.locate(path.as_bytes()).ok()?;
        let entry = self.entries.get(&here)?;
        Some((here, entry))
    }

    /// The whole text of the file at `path`, links followed.
    pub fn read(&self, path: &str) -> Result<Arc<[u8]>> {
        match self.resolve(path) {
            Some((
                _,
                Entry {
                    kind: Kind::File(content),
                    ..
                },
            )) => content.read(),
            Some((_, other)) => bail!("/{path} in the tree is a {}, not a file", other.kind.name()),
            None => bail!("the tree has no /{path}"),
        }
    }

    /// Everything below `dir` (links not followed), without `dir` itself, in byte order.
    pub fn below<'a>(
        &'a self,
        dir: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a Entry)> + use<'a> {
        let (from, to) = if dir.is_empty() {
            (Bound::Excluded(Vec::new()), Bound::Unbounded)
        } else {
            // '0' is the byte after '/': the range holds exactly the paths that start with `dir/`.
            (
                Bound::Included([dir, b"/"].concat()),
                Bound::Excluded([dir, b"0"].concat()),
            )
        };
        self.entries
            .range((from, to))
            .map(|(p, e)| (p.as_slice(), e))
    }

    /// Puts a file at `path`, in place of a file, link or nothing. Missing directories are made 0755 root:root.
    pub fn insert_file(&mut self, path: &str, mode: u16, content: Content) -> Result<()> {
        self.insert(path, mode, Kind::File(content))
    }

    /// Puts a file with these bytes at `path`; see [`Tree::insert_file`].
    pub fn insert_bytes(&mut self, path: &str, mode: u16, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.insert_file(path, mode, Content::Bytes(bytes.as_ref().into()))
    }

    /// Makes a directory; one that exists keeps its content and takes the mode.
    pub fn insert_dir(&mut self, path: &str, mode: u16) -> Result<()> {
        self.insert(path, mode, Kind::Dir)
    }

    /// Puts a symbolic link at `path`, in place of a file, link or nothing.
    pub fn insert_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        ensure!(
            !target.is_empty() && target.len() < PATH_MAX && !target.as_bytes().contains(&0),
            "the link /{path} cannot point to {target:?}: 1 to {} bytes without NUL",
            PATH_MAX - 1
        );
        self.insert(path, 0o777, Kind::Symlink(target.as_bytes().into()))
    }

    /// Puts a device, pipe or anything else at `path`.
    pub fn insert(&mut self, path: &str, mode: u16, kind: Kind) -> Result<()> {
        let entry = Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: self.epoch,
            xattrs: Xattrs::new(),
            link: None,
        };
        self.insert_entry(key(path.as_bytes())?, entry)
    }

    /// Puts `entry` at `path` (a key without leading slash); the general form of the other inserts.
    pub fn insert_entry(&mut self, path: Vec<u8>, mut entry: Entry) -> Result<()> {
        let shown = show(&path);
        ensure!(
            entry.mode <= 0o7777,
            "{shown}: mode {:o} has bits that are no permissions",
            entry.mode
        );
        self.parents(&path)?;
        entry.mtime = entry.mtime.min(self.epoch);
        match self.entries.get_mut(&path) {
            Some(old) if matches!(old.kind, Kind::Dir) => {
                ensure!(
                    matches!(entry.kind, Kind::Dir),
                    "{shown} is a directory in the tree and cannot become a {}; remove it first",
                    entry.kind.name()
                );
                *old = entry;
            }
            Some(old) => {
                ensure!(
                    !matches!(entry.kind, Kind::Dir),
                    "{shown} is a {} in the tree and cannot become a directory; remove it first",
                    old.kind.name()
                );
                *old = entry;
            }
            None => {
                self.entries.insert(path, entry);
            }
        }
        ensure!(
            self.entries.len() <= ENTRIES_MAX,
            "the tree has more than {ENTRIES_MAX} entries"
        );
        Ok(())
    }

    /// Sets owner and group of an entry that exists.
    pub fn chown(&mut self, path: &str, uid: u32, gid: u32) -> Result<()> {
        let Some(entry) = self.entries.get_mut(&key(path.as_bytes())?) else {
            bail!("the tree has no /{path}")
        };
        (entry.uid, entry.gid) = (uid, gid);
        Ok(())
    }

    /// Takes `path` and everything below it away; says how many entries that were.
    pub fn remove(&mut self, path: &str) -> Result<usize> {
        let key = key(path.as_bytes())?;
        ensure!(!key.is_empty(), "the root of a tree cannot be removed");
        let mut gone: Vec<Vec<u8>> = self.below(&key).map(|(p, _)| p.to_vec()).collect();
        gone.push(key);
        Ok(gone
            .iter()
            .filter(|p| self.entries.remove(*p).is_some())
            .count())
    }

    /// A copy of everything below `dir`, as a tree of its own.
    pub fn subtree(&self, dir: &str) -> Result<Self> {
        let (at, _) = self
            .resolve(dir)
            .ok_or_else(|| anyhow::anyhow!("the tree has no /{dir}"))?;
        let mut out = Self::new(self.epoch);
        let cut = if at.is_empty() { 0 } else { at.len() + 1 };
        for (path, entry) in self.below(&at) {
            out.entries.insert(path[cut..].to_vec(), entry.clone());
        }
        Ok(out)
    }

    /// Lays `upper` over this tree: its entries replace ours; directories that exist on both sides keep our
    /// attributes, so that an overlay folder of the host cannot change the mode of `/etc`.
    pub fn overlay(&mut self, upper: &Self) -> Result<()> {
        for (path, entry) in upper.below(b"") {
            let both_dirs = matches!(entry.kind, Kind::Dir)
                && self
                    .entries
                    .get(path)
                    .is_some_and(|e| matches!(e.kind, Kind::Dir));
            if !both_dirs {
                let mut entry = entry.clone();
                // Link numbers of another tree mean nothing here.
                entry.link = None;
                self.insert_entry(path.to_vec(), entry)?;
            }
        }
        Ok(())
    }

    /// Lowers the epoch and every time that is above it.
    pub fn clamp_mtimes(&mut self, epoch: u64) {
        self.epoch = epoch;
        for entry in self.entries.values_mut() {
            entry.mtime = entry.mtime.min(epoch);
        }
    }

    /// Makes missing parents; refuses a parent that is no directory.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        for end in slashes.map(|(i, _)| i).collect::<Vec<_>>() {
            let parent = &path[..end];
            match self.entries.get(parent) {
                Some(Entry {
                    kind: Kind::Dir, ..
                }) => {}
                // Writing through a link would put the file where nobody looks for it.
                Some(Entry {
                    kind: Kind::Symlink(to),
                    ..
                }) => bail!(
                    "{} cannot be put there: {} is a link to {}; use the real path",
                    show(path),
                    show(parent),
                    String::from_utf8_lossy(to)
                ),
                Some(other) => bail!(
                    "{} cannot be put there: {} is a {}",
                    show(path),
                    show(parent),
                    other.kind.name()
                ),
                None => {
                    let dir = Entry {
                        kind: Kind::Dir,
                        mode: 0o755,
                        uid: 0,
                        gid: 0,
                        mtime: self.epoch,
                        xattrs: Xattrs::new(),
                        link: None,
                    };
                    self.entries.insert(parent.to_vec(), dir);
                }
            }
        }
        Ok(())
    }
}

/// A path as people read it.
pub fn show(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The key of a path: no slash at either end, no empty, `.` or `..` component, no NUL, bounded lengths.
pub fn key(path: &[u8]) -> Result<Vec<u8>> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(
        path.len() < PATH_MAX,
        "a path of {} bytes is too long",
        path.len()
    );
    for part in path.split(|b| *b == b'/') {
        ensure!(
            !part.is_empty()
                && part != b"."
                && part != b".."
                && part.len() <= NAME_MAX
                && !part.contains(&0),
            "{} is no path of a tree: each part has 1 to {NAME_MAX} bytes and is neither . nor ..",
            show(path)
        );
    }
    Ok(path.to_vec())
}

/// Components in reverse, ready to be popped; empty ones and `.` left out.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}
