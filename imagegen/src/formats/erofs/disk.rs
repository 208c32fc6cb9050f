//! The structures of EROFS as bytes. Names in the comments are those of Linux `fs/erofs/erofs_fs.h`.

use anyhow::{Context, Result, ensure};

use super::Place;
use super::inodes::Inode;
use crate::tree::{Kind, Xattrs};

/// Block size; the only one that every kernel with EROFS and every page size of our boards can mount.
pub(super) const BLOCK: u64 = 4096;
const BLOCK_BITS: u8 = 12;
/// `EROFS_SUPER_OFFSET`.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// `sizeof(struct erofs_super_block)`.
pub(super) const SUPER_SIZE: u64 = 128;
/// The checksum covers the super block's block from its start on.
pub(super) const SUM_SIZE: usize = 4096 - 1024;
/// `EROFS_SUPER_MAGIC_V1` (include/uapi/linux/magic.h).
pub(super) const MAGIC: u32 = 0xE0F5_E1E2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM | EROFS_FEATURE_COMPAT_MTIME`.
const COMPAT: u32 = 0x1 | 0x2;
/// An inode number is its place in units of 32 bytes (`EROFS_ISLOTBITS` 5).
pub(super) const SLOT: u64 = 32;
/// `sizeof(struct erofs_inode_extended)`.
pub(super) const INODE_SIZE: u64 = 64;
/// `EROFS_INODE_LAYOUT_EXTENDED`.
const EXTENDED: u16 = 1;
/// `EROFS_INODE_FLAT_PLAIN` and `EROFS_INODE_FLAT_INLINE`, shifted by `EROFS_I_DATALAYOUT_BIT`.
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2 << 1;
/// `sizeof(struct erofs_dirent)`.
pub(super) const DIRENT: usize = 12;

/// The number of the inode at a byte offset (`meta_blkaddr` is 0).
pub(super) fn nid(at: u64) -> u64 {
    at / SLOT
}

/// `struct erofs_super_block`, as far as it is not constant.
#[derive(Debug)]
pub(super) struct SuperBlock<'a> {
    pub(super) root: u64,
    pub(super) inodes: u64,
    pub(super) epoch: u64,
    pub(super) blocks: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: &'a str,
}

impl SuperBlock<'_> {
    pub(super) fn encode(&self, checksum: u32) -> Result<Vec<u8>> {
        let root = u16::try_from(self.root)
            .context("the root inode must lie in the first 2 MiB (a bug)")?;
        let mut label = [0; 16];
        label[..self.label.len()].copy_from_slice(self.label.as_bytes());
        let mut b = Vec::with_capacity(128);
        b.extend(MAGIC.to_le_bytes()); // magic
        b.extend(checksum.to_le_bytes()); // checksum
        b.extend(COMPAT.to_le_bytes()); // feature_compat
        b.extend([BLOCK_BITS, 0]); // blkszbits, sb_extslots
        b.extend(root.to_le_bytes()); // root_nid
        b.extend(self.inodes.to_le_bytes()); // inos
        b.extend(self.epoch.to_le_bytes()); // build_time
        b.extend([0; 4]); // build_time_nsec
        b.extend(self.blocks.to_le_bytes()); // blocks
        b.extend([0; 4]); // meta_blkaddr
        b.extend([0; 4]); // xattr_blkaddr: there are no shared attributes
        b.extend(self.uuid); // uuid
        b.extend(label); // volume_name
        b.resize(128, 0); // feature_incompat 0 and all that belongs to compression and devices
        Ok(b)
    }
}

/// `struct erofs_inode_extended`.
pub(super) fn inode(inode: &Inode<'_>, place: Place, ino: u32) -> Vec<u8> {
    let e = inode.entry;
    let layout = if place.tail > 0 {
        FLAT_INLINE
    } else {
        FLAT_PLAIN
    };
    // union erofs_inode_i_u: raw_blkaddr or rdev.
    let union = match e.kind {
        Kind::Char { major, minor } | Kind::Block { major, minor } => device(major, minor),
        _ => place.block,
    };
    let mut b = Vec::with_capacity(64);
    b.extend((layout | EXTENDED).to_le_bytes()); // i_format
    b.extend(xattr_count(inode.xattrs.len()).to_le_bytes()); // i_xattr_icount
    b.extend((type_bits(&e.kind) | e.mode).to_le_bytes()); // i_mode
    b.extend([0; 2]); // i_reserved
    b.extend(inode.size().to_le_bytes()); // i_size
    b.extend(union.to_le_bytes()); // i_u
    b.extend(ino.to_le_bytes()); // i_ino
    b.extend(e.uid.to_le_bytes()); // i_uid
    b.extend(e.gid.to_le_bytes()); // i_gid
    b.extend(e.mtime.to_le_bytes()); // i_mtime
    b.extend([0; 4]); // i_mtime_nsec
    b.extend(inode.nlink.to_le_bytes()); // i_nlink
    b.resize(64, 0); // i_reserved2
    b
}

/// `new_encode_dev` (include/linux/kdev_t.h).
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// `S_IFMT` bits (include/uapi/linux/stat.h).
fn type_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Socket => 0o140_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::File(_) => 0o100_000,
        Kind::Block { .. } => 0o060_000,
        Kind::Dir => 0o040_000,
        Kind::Char { .. } => 0o020_000,
        Kind::Fifo => 0o010_000,
    }
}

/// `FT_*` (include/linux/fs_types.h).
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Dir => 2,
        Kind::Char { .. } => 3,
        Kind::Block { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// How the names of a directory are spread over its blocks: numbers of entries per block. Each block holds its
/// dirents, then its names, and no name crosses a block.
fn directory_blocks(inode: &Inode<'_>) -> Vec<usize> {
    let mut counts = vec![0];
    let mut used = 0;
    for child in &inode.children {
        let need = DIRENT + child.name.len();
        if used + need > block() {
            counts.push(0);
            used = 0;
        }
        used += need;
        *counts.last_mut().expect("starts with one") += 1;
    }
    counts
}

fn block() -> usize {
    usize::try_from(BLOCK).expect("4096 fits")
}

/// Length of a directory's data: whole blocks, but the last one only as long as its last name.
pub(super) fn directory_size(inode: &Inode<'_>) -> u64 {
    let counts = directory_blocks(inode);
    let last = *counts.last().expect("never empty");
    let names = &inode.children[inode.children.len() - last..];
    let used: usize = names.iter().map(|c| DIRENT + c.name.len()).sum();
    (counts.len() as u64 - 1) * BLOCK + used as u64
}

/// A directory's data; `children` are the places and inodes of its names, in the same order.
pub(super) fn directory(inode: &Inode<'_>, children: &[(u64, &Inode<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names = inode.children.iter().zip(children);
    let counts = directory_blocks(inode);
    for (n, count) in counts.iter().enumerate() {
        let (mut dirents, mut text) = (Vec::new(), Vec::new());
        for (child, (at, target)) in names.by_ref().take(*count) {
            let nameoff = count * DIRENT + text.len();
            dirents.extend(nid(*at).to_le_bytes()); // nid
            dirents.extend(
                u16::try_from(nameoff)
                    .expect("inside a block")
                    .to_le_bytes(),
            ); // nameoff
            dirents.extend([file_type(&target.entry.kind), 0]); // file_type, reserved
            text.extend_from_slice(&child.name);
        }
        out.extend(dirents);
        out.extend(text);
        if n + 1 < counts.len() {
            // Zeros end the last name of a block that is not full.
            out.resize((n + 1) * block(), 0);
        }
    }
    out
}

/// `EROFS_XATTR_INDEX_*` and the prefixes they stand for. A POSIX ACL has no name left.
const XATTR_PREFIXES: [(&[u8], u8); 6] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"lustre.", 5),
    (b"security.", 6),
];

/// The prefix that an index stands for.
pub(super) fn xattr_prefix(index: u8) -> Option<&'static [u8]> {
    let found = XATTR_PREFIXES.iter().find(|(_, n)| *n == index)?;
    Some(found.0)
}

/// `i_xattr_icount`: one for the header, one for every four bytes after it.
fn xattr_count(len: usize) -> u16 {
    if len == 0 {
        0
    } else {
        u16::try_from((len - 12) / 4 + 1).expect("checked by xattrs()")
    }
}

/// `struct erofs_xattr_ibody_header` and the entries; empty for no attributes.
pub(super) fn xattrs(all: &Xattrs) -> Result<Vec<u8>> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut b = vec![0; 12]; // h_name_filter, h_shared_count, h_reserved2: no filter, nothing shared
    for (full, value) in all {
        let shown = String::from_utf8_lossy(full);
        let found = XATTR_PREFIXES
            .iter()
            .find_map(|(prefix, index)| Some((full.strip_prefix(*prefix)?, *index)));
        let (name, index) = found.with_context(|| {
            format!("{shown} has no prefix that EROFS knows (user, trusted, security, POSIX ACL)")
        })?;
        let name_len =
            u8::try_from(name.len()).with_context(|| format!("the name {shown} is too long"))?;
        let value_len = u16::try_from(value.len())
            .with_context(|| format!("the value of {shown} is too long"))?;
        b.extend([name_len, index]); // e_name_len, e_name_index
        b.extend(value_len.to_le_bytes()); // e_value_size
        b.extend_from_slice(name);
        b.extend_from_slice(value);
        b.resize(b.len().next_multiple_of(4), 0); // EROFS_XATTR_ALIGN
    }
    ensure!(
        (b.len() - 12) / 4 < usize::from(u16::MAX),
        "they need {} bytes, more than an inode can have",
        b.len()
    );
    Ok(b)
}

/// CRC-32C as the kernel's `crc32c(~0, ...)`: reflected, polynomial 0x1EDC6F41, no final inversion.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            if c & 1 == 1 {
                (c >> 1) ^ 0x82F6_3B78
            } else {
                c >> 1
            }
        })
    })
}
