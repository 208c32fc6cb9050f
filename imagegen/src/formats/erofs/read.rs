//! Reads an uncompressed EROFS image: enough to list it and to take files out, without mounting it.
//!
//! What it reads may be anything: every number is checked and every walk is bounded.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::disk::{BLOCK, DIRENT, INODE_SIZE, MAGIC, SLOT, SUPER_OFFSET};
use super::layout::Spot;
use crate::formats::Blocks;
use crate::tree::{ENTRIES_MAX, NAME_MAX, PATH_MAX};

mod tree;

/// A longer directory is damaged.
const DIRECTORY_MAX: u64 = 64 << 20;
/// Links are followed as often as Linux does (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFLNK: u16 = 0o120_000;
const S_IFREG: u16 = 0o100_000;

/// One inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Type and permissions, as `stat` gives them.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Link count.
    pub nlink: u32,
    /// Where the inode lies in the image: start, and length with its extended attributes.
    pub record: (u64, u64),
    /// Where whole blocks of data start, in bytes.
    body: u64,
    /// Where the tail lies, if it is inline.
    tail: Option<u64>,
}

impl Node {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    /// Its room and that of its data.
    pub(super) fn spot(&self) -> Spot {
        let tail = self.tail.map_or(0, |_| self.size % BLOCK);
        // a device has its number where others have their first block
        let has_body = self.is_dir() || self.is_file() || self.is_link();
        Spot {
            at: self.record.0,
            len: self.record.1 + tail,
            body: self.body,
            body_len: if has_body { self.size - tail } else { 0 },
        }
    }

    /// Where its data lies in the image, as (start, length).
    pub fn data(&self) -> Vec<(u64, u64)> {
        let tail = self.tail.map_or(0, |_| self.size % BLOCK);
        let body = (self.body, self.size - tail);
        let tail = self.tail.map(|at| (at, tail));
        std::iter::once(body)
            .chain(tail)
            .filter(|(_, len)| *len > 0)
            .collect()
    }
}

/// An opened image.
#[derive(Debug)]
pub struct Erofs<'a, B: ?Sized> {
    disk: &'a B,
    /// Every path without leading slash; the root has the empty one.
    pub names: BTreeMap<String, Node>,
    /// Length that the super block gives, in bytes.
    pub size: u64,
    /// `uuid`.
    pub uuid: [u8; 16],
    /// `volume_name`, without NULs.
    pub label: String,
    /// `build_time`, seconds since 1970.
    pub built: u64,
}

fn le(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len]
        .iter()
        .rev()
        .fold(0, |n, b| (n << 8) | u64::from(*b))
}

impl<'a, B: Blocks + ?Sized> Erofs<'a, B> {
    /// Reads the super block and every directory.
    pub fn open(disk: &'a B) -> Result<Self> {
        let head = disk
            .bytes(SUPER_OFFSET, 128)
            .context("cannot read the EROFS super block")?;
        ensure!(
            le(&head, 0, 4) == u64::from(MAGIC),
            "this is no EROFS image"
        );
        ensure!(
            head[12] == 12 && le(&head, 80, 4) == 0,
            "this EROFS image has features that ours never have (compression, other block sizes)"
        );
        let mut erofs = Self {
            disk,
            names: BTreeMap::new(),
            size: le(&head, 36, 4) * BLOCK,
            uuid: head[48..64].try_into()?,
            label: String::from_utf8_lossy(&head[64..80])
                .trim_end_matches('\0')
                .to_owned(),
            built: le(&head, 24, 8),
        };
        ensure!(
            erofs.size <= disk.size(),
            "the EROFS image is longer than what holds it"
        );
        let root = erofs.node(le(&head, 14, 2))?;
        let mut todo = vec![(String::new(), root)];
        erofs.names.insert(String::new(), root);
        while let Some((at, dir)) = todo.pop() {
            for (name, nid) in erofs.directory(&dir).with_context(|| format!("/{at}"))? {
                let path = if at.is_empty() {
                    name
                } else {
                    format!("{at}/{name}")
                };
                ensure!(
                    path.len() < PATH_MAX && erofs.names.len() < ENTRIES_MAX,
                    "the directories of the EROFS image never end"
                );
                let node = erofs.node(nid).with_context(|| format!("/{path}"))?;
                if node.is_dir() {
                    todo.push((path.clone(), node));
                }
                ensure!(
                    erofs.names.insert(path.clone(), node).is_none(),
                    "/{path} is there twice"
                );
            }
        }
        Ok(erofs)
    }

    fn node(&self, nid: u64) -> Result<Node> {
        let at = nid
            .checked_mul(SLOT)
            .context("an inode number is too big")?;
        let b = self
            .disk
            .bytes(at, usize::try_from(INODE_SIZE)?)
            .context("an inode lies outside the image")?;
        let format = le(&b, 0, 2);
        let xattrs = match le(&b, 2, 2) {
            0 => 0,
            n => 12 + (n - 1) * 4,
        };
        let size = le(&b, 8, 8);
        let tail = match format {
            1 => None,
            5 => Some(at + INODE_SIZE + xattrs),
            other => bail!("an inode has the layout {other}, which ours never have"),
        };
        ensure!(size <= self.size, "a file is longer than the image");
        let field = |at: usize| u32::try_from(le(&b, at, 4)).context("four bytes");
        Ok(Node {
            mode: u16::try_from(le(&b, 4, 2))?,
            uid: field(24)?,
            gid: field(28)?,
            size,
            mtime: le(&b, 32, 8),
            nlink: field(44)?,
            record: (at, INODE_SIZE + xattrs),
            body: le(&b, 16, 4) * BLOCK,
            tail,
        })
    }

    fn content(&self, node: &Node) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(node.size)?);
        for (at, len) in node.data() {
            out.extend(self.disk.bytes(at, usize::try_from(len)?)?);
        }
        Ok(out)
    }

    fn directory(&self, dir: &Node) -> Result<Vec<(String, u64)>> {
        ensure!(dir.size <= DIRECTORY_MAX, "the directory is too long");
        let mut out = Vec::new();
        for block in self.content(dir)?.chunks(usize::try_from(BLOCK)?) {
            ensure!(block.len() >= DIRENT, "the directory is cut short");
            let first = usize::try_from(le(block, 8, 2))?;
            ensure!(
                first >= DIRENT && first % DIRENT == 0 && first <= block.len(),
                "the directory is damaged"
            );
            for n in 0..first / DIRENT {
                let at = n * DIRENT;
                let from = usize::try_from(le(block, at + 8, 2))?;
                let to = if at + DIRENT < first {
                    usize::try_from(le(block, at + DIRENT + 8, 2))?
                } else {
                    block.len()
                };
                let name = block.get(from..to).context("the directory is damaged")?;
                let name = name.split(|b| *b == 0).next().unwrap_or_default();
                ensure!(
                    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(&b'/'),
                    "the directory is damaged"
                );
                if name != b"." && name != b".." {
                    out.push((String::from_utf8_lossy(name).into_owned(), le(block, at, 8)));
                }
            }
        }
        Ok(out)
    }

    /// The text of a symbolic link.
    pub fn link(&self, path: &str) -> Result<String> {
        let node = self.get(path)?;
        ensure!(
            node.is_link() && node.size < PATH_MAX as u64,
            "/{path} is no link"
        );
        Ok(String::from_utf8_lossy(&self.content(node)?).into_owned())
    }

    /// The inode at `path`, links not followed.
    pub fn get(&self, path: &str) -> Result<&Node> {
        self.names
            .get(path)
            .ok_or_else(|| anyhow!("there is no /{path}"))
    }

    /// The bytes of the file at `path`, links followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let (_, node) = self.resolve(path)?;
        ensure!(node.is_file(), "/{path} is no file");
        self.content(node)
    }

    /// Where `path` leads, links followed, and the inode there.
    pub fn resolve(&self, path: &str) -> Result<(String, &Node)> {
        let mut todo: Vec<String> = parts(path);
        let mut here: Vec<String> = Vec::new();
        let mut follows = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            here.push(name);
            let at = here.join("/");
            if self.get(&at)?.is_link() {
                follows += 1;
                ensure!(
                    follows <= LINKS_MAX,
                    "the links of /{path} go round in circles"
                );
                let text = self.link(&at)?;
                if text.starts_with('/') {
                    here.clear();
                } else {
                    here.pop();
                }
                todo.extend(parts(&text));
            }
        }
        let here = here.join("/");
        let node = self.get(&here)?;
        Ok((here, node))
    }
}

/// The parts of a path in reverse, ready to be popped.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|p| !p.is_empty() && *p != ".");
    parts.rev().map(str::to_owned).collect()
}
