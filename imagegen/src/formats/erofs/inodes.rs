//! From paths to inodes: hard links become one inode, directories know their children and link counts.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

use super::disk;
use crate::tree::{Entry, Kind, NAME_MAX, Tree, show};

/// One name in a directory.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Vec<u8>,
    /// Number of the inode it names.
    pub(super) inode: usize,
}

/// One inode of the image.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    /// Its first path.
    pub(super) path: Vec<u8>,
    pub(super) entry: &'a Entry,
    pub(super) nlink: u32,
    /// Encoded extended attributes; empty when it has none.
    pub(super) xattrs: Vec<u8>,
    /// For a directory: its names in byte order, `.` and `..` among them.
    pub(super) children: Vec<Child>,
}

impl Inode<'_> {
    pub(super) fn is_one_of(&self, paths: &[&str]) -> bool {
        paths.iter().any(|p| p.as_bytes() == self.path)
    }

    /// `i_size`.
    pub(super) fn size(&self) -> u64 {
        match &self.entry.kind {
            Kind::File(content) => content.len(),
            Kind::Symlink(text) => text.len() as u64,
            Kind::Dir => disk::directory_size(self),
            Kind::Char { .. } | Kind::Block { .. } | Kind::Fifo | Kind::Socket => 0,
        }
    }
}

/// All inodes of `tree`, the root first, then in byte order of their first paths.
pub(super) fn collect(tree: &Tree) -> Result<Vec<Inode<'_>>> {
    let mut inodes: Vec<Inode<'_>> = Vec::with_capacity(tree.len());
    let mut dirs: HashMap<&[u8], usize> = HashMap::new();
    let mut links: HashMap<u32, usize> = HashMap::new();
    // Names wait until all directories are known: in byte order of whole paths `a-b` comes before `a/b`.
    let mut names: Vec<(&[u8], usize)> = Vec::with_capacity(tree.len());
    for (path, entry) in tree.iter() {
        let known = entry.link.and_then(|n| links.get(&n).copied());
        let number = known.unwrap_or(inodes.len());
        if let Some(n) = known {
            let first = &mut inodes[n];
            ensure!(
                same_inode(first.entry, entry),
                "{} and {} are names of one file but differ in attributes; remove one and insert it again",
                show(&first.path),
                show(path)
            );
            first.nlink += 1;
        } else {
            if matches!(entry.kind, Kind::Socket) {
                bail!("{} is a socket: an image cannot hold one", show(path));
            }
            links.extend(entry.link.map(|n| (n, number)));
            let xattrs = disk::xattrs(&entry.xattrs)
                .with_context(|| format!("extended attributes of {}", show(path)))?;
            let nlink = if matches!(entry.kind, Kind::Dir) {
                2
            } else {
                1
            };
            inodes.push(Inode {
                path: path.to_vec(),
                entry,
                nlink,
                xattrs,
                children: Vec::new(),
            });
        }
        if matches!(entry.kind, Kind::Dir) {
            dirs.insert(path, number);
        }
        names.push((path, number));
    }
    for (path, number) in names {
        let cut = path.iter().rposition(|b| *b == b'/');
        let (dir, name) = cut.map_or((&path[..0], path), |i| (&path[..i], &path[i + 1..]));
        let parent = *dirs
            .get(dir)
            .with_context(|| format!("{} has no directory to lie in", show(path)))?;
        ensure!(
            name.len() <= NAME_MAX,
            "the name of {} is too long",
            show(path)
        );
        let is_dir = matches!(inodes[number].entry.kind, Kind::Dir);
        if is_dir {
            for (name, inode) in [(&b"."[..], number), (b"..", parent)] {
                inodes[number].children.push(Child {
                    name: name.to_vec(),
                    inode,
                });
            }
        }
        // The root is its own parent and has no name.
        if !path.is_empty() {
            inodes[parent].children.push(Child {
                name: name.to_vec(),
                inode: number,
            });
            inodes[parent].nlink += u32::from(is_dir);
        }
    }
    for inode in &mut inodes {
        // "dirent sorts in alphabet order, thus we can do binary search" (erofs_fs.h); `.` and `..` are no exception.
        inode.children.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(inodes)
}

fn same_inode(a: &Entry, b: &Entry) -> bool {
    // Content is compared by length only: two names of one host file have two paths.
    let kind = match (&a.kind, &b.kind) {
        (Kind::File(x), Kind::File(y)) => x.len() == y.len(),
        (x, y) => x == y,
    };
    kind && (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime)
        && a.xattrs == b.xattrs
}
