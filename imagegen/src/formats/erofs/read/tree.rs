//! An image as a [`Tree`]: every path with all its attributes. The content of files stays where it is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::{Erofs, INODE_SIZE, Node, S_IFMT, le};
use crate::formats::Blocks;
use crate::formats::erofs::disk::{BLOCK, xattr_prefix};
use crate::tree::{Content, Entry, Kind, Tree, Xattrs};

const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFLNK: u16 = 0o120_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFIFO: u16 = 0o010_000;
/// `sizeof(struct erofs_xattr_ibody_header)`.
const XATTR_HEADER: usize = 12;

impl<B: Blocks + ?Sized> Erofs<'_, B> {
    /// All paths and attributes. Files have no bytes: [`Erofs::file`] gives those of one.
    pub fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::new(u64::MAX);
        let mut names: BTreeMap<u64, u32> = BTreeMap::new();
        for node in self.names.values().filter(|n| !n.is_dir()) {
            *names.entry(node.record.0).or_default() += 1;
        }
        let mut links: BTreeMap<u64, u32> = BTreeMap::new();
        for (path, node) in &self.names {
            let link = (names.get(&node.record.0).is_some_and(|n| *n > 1)).then(|| {
                let next = u32::try_from(links.len()).unwrap_or(u32::MAX);
                *links.entry(node.record.0).or_insert(next)
            });
            let entry = Entry {
                kind: self.kind(node).with_context(|| format!("/{path}"))?,
                mode: node.mode & 0o7777,
                uid: node.uid,
                gid: node.gid,
                mtime: node.mtime,
                xattrs: self.xattrs(node).with_context(|| format!("/{path}"))?,
                link,
            };
            tree.insert_entry(path.as_bytes().to_vec(), entry)?;
        }
        Ok(tree)
    }

    /// The bytes of a file, links not followed.
    pub fn file(&self, path: &str) -> Result<Vec<u8>> {
        let node = self.get(path)?;
        ensure!(node.is_file(), "/{path} is no file");
        self.content(node)
    }

    fn kind(&self, node: &Node) -> Result<Kind> {
        // `new_decode_dev` (include/linux/kdev_t.h); a device's number stands where others have their first block.
        let device = u32::try_from(node.body / BLOCK)?;
        let (major, minor) = (
            (device & 0xf_ff00) >> 8,
            (device & 0xff) | ((device >> 12) & 0xf_ff00),
        );
        Ok(match node.mode & S_IFMT {
            S_IFREG => Kind::File(Content::Bytes([][..].into())),
            S_IFDIR => Kind::Dir,
            S_IFLNK => Kind::Symlink(self.content(node)?.into()),
            S_IFCHR => Kind::Char { major, minor },
            S_IFBLK => Kind::Block { major, minor },
            S_IFIFO => Kind::Fifo,
            other => bail!("an inode has the type {other:o}, which ours never have"),
        })
    }

    /// The attributes behind an inode (`erofs_xattr_entry`); ours are never shared.
    fn xattrs(&self, node: &Node) -> Result<Xattrs> {
        let (at, len) = node.record;
        let mut out = Xattrs::new();
        if len == INODE_SIZE {
            return Ok(out);
        }
        let all = self
            .disk
            .bytes(at + INODE_SIZE, usize::try_from(len - INODE_SIZE)?)?;
        ensure!(
            all.get(4) == Some(&0),
            "it has shared extended attributes, which ours never have"
        );
        let mut rest = all.get(XATTR_HEADER..).unwrap_or_default();
        while rest.len() >= 4 {
            let (name_len, value_len) = (usize::from(rest[0]), usize::try_from(le(rest, 2, 2))?);
            let prefix = xattr_prefix(rest[1]).context("an attribute has an unknown prefix")?;
            let end = 4 + name_len + value_len;
            let (Some(name), Some(value)) =
                (rest.get(4..4 + name_len), rest.get(4 + name_len..end))
            else {
                bail!("its extended attributes are cut short");
            };
            out.insert([prefix, name].concat(), value.to_vec());
            rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(out)
    }
}
