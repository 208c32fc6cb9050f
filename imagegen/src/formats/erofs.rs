//! Writes a read-only EROFS image of a tree: uncompressed, 4 KiB blocks, the same bytes for the same tree.
//!
//! The format is that of Linux `fs/erofs/erofs_fs.h` (cited by the names it uses) and
//! `Documentation/filesystems/erofs.rst`. Layout of an image:
//!
//! ```text
//! block 0      1024 bytes nothing, super block, first inodes
//! then         inodes with their extended attributes and inline tails, packed into blocks
//! then         whole blocks of directories and long links
//! then         whole blocks of files, in order of their paths
//! ```
//!
//! That is the layout of a first image; one that follows another keeps its places ([`Options::before`]).

use anyhow::{Result, anyhow, ensure};

use super::{Blocks, Volume};
use crate::tree::{Content, Kind, Tree, show};

mod disk;
mod inodes;
mod layout;
mod pack;
mod place;
pub mod read;
#[cfg(test)]
mod tests;

use disk::BLOCK;
use inodes::Inode;
pub use layout::Layout;

/// What is not in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Label, at most 16 bytes.
    pub label: &'a str,
    /// What the UUID is derived from, besides the tree's paths and attributes: board and version.
    pub seed: &'a str,
    /// Paths of files whose data lies behind all other data, in whole blocks: what changes from build to build moves
    /// nothing else, so an update has little to send.
    pub last: &'a [&'a str],
    /// Where things lay in the image that boards update from. What did not change keeps its place.
    pub before: Option<&'a Layout>,
}

/// Where one inode and its data lie.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Byte offset of the inode.
    at: u64,
    /// First whole block of its data.
    block: u32,
    /// How many whole blocks its data has.
    blocks: u32,
    /// Bytes of data behind the inode itself.
    tail: u64,
}

/// Plans the image of `tree`.
pub fn plan(tree: &Tree, options: Options<'_>) -> Result<Volume> {
    ensure!(
        options.label.len() <= 16,
        "the label {:?} has more than 16 bytes",
        options.label
    );
    let inodes = inodes::collect(tree)?;
    let (places, total) = place::place(&inodes, options.last, options.before)?;

    let mut volume = Volume::default();
    let uuid = uuid(&inodes, options.seed);
    let super_block = disk::SuperBlock {
        root: disk::nid(places[0].at),
        inodes: inodes.len() as u64,
        epoch: tree.epoch(),
        blocks: total,
        uuid,
        label: options.label,
    };
    volume.put(disk::SUPER_OFFSET, &super_block.encode(0)?);
    for (inode, place) in inodes.iter().zip(&places) {
        put_inode(&mut volume, &inodes, &places, inode, *place)?;
    }
    volume.finish(u64::from(total) * BLOCK)?;

    // EROFS_FEATURE_COMPAT_SB_CHKSUM: over the rest of the super block's block, its own field zero.
    let first = volume.bytes(disk::SUPER_OFFSET, disk::SUM_SIZE)?;
    let with_sum = super_block.encode(disk::crc32c(&first))?;
    // The super block was put first, so it lies at the start of the arena.
    volume.arena[..with_sum.len()].copy_from_slice(&with_sum);
    Ok(volume)
}

fn too_big() -> anyhow::Error {
    anyhow!("the tree is too big for EROFS, whose block numbers have 32 bits (16 TiB)")
}

fn put_inode(
    volume: &mut Volume,
    inodes: &[Inode<'_>],
    places: &[Place],
    inode: &Inode<'_>,
    place: Place,
) -> Result<()> {
    // `i_ino` is for `stat` on machines of 32 bits only. A number by place, not by order: a new file renumbers no other.
    let ino = u32::try_from(disk::nid(place.at))
        .ok()
        .ok_or_else(too_big)?;
    volume.put(place.at, &disk::inode(inode, place, ino));
    volume.put(place.at + disk::INODE_SIZE, &inode.xattrs);

    let data = match &inode.entry.kind {
        Kind::File(content) => content.clone(),
        Kind::Symlink(text) => Content::Bytes(text.clone()),
        Kind::Dir => {
            let types: Vec<_> = inode
                .children
                .iter()
                .map(|c| (places[c.inode].at, &inodes[c.inode]))
                .collect();
            Content::Bytes(disk::directory(inode, &types).into())
        }
        Kind::Char { .. } | Kind::Block { .. } | Kind::Fifo | Kind::Socket => return Ok(()),
    };
    let size = data.len();
    let body = size.saturating_sub(place.tail);
    ensure!(
        size == inode.size() && body <= u64::from(place.blocks) * BLOCK,
        "{} has another size than planned (a bug)",
        show(&inode.path)
    );
    let tail_at = place.at + disk::INODE_SIZE + inode.xattrs.len() as u64;
    volume.put_content(u64::from(place.block) * BLOCK, &data, 0, body);
    volume.put_content(tail_at, &data, body, place.tail);
    Ok(())
}

/// The UUID is a function of the input, so that equal images have equal bytes: RFC 9562 version 8 over BLAKE3.
fn uuid(inodes: &[Inode<'_>], seed: &str) -> [u8; 16] {
    let mut hash = blake3::Hasher::new_derive_key("hypriot-imagegen EROFS UUID 1");
    hash.update(&(seed.len() as u64).to_le_bytes());
    hash.update(seed.as_bytes());
    for inode in inodes {
        hash.update(&(inode.path.len() as u64).to_le_bytes());
        hash.update(&inode.path);
        hash.update(&inode.size().to_le_bytes());
    }
    uuid_v8(hash.finalize().as_bytes())
}

/// Makes a UUID of version 8 and variant 10 (RFC 9562, section 5.8) out of a hash.
pub(crate) fn uuid_v8(hash: &[u8; 32]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}
