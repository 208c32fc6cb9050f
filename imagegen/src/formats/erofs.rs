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

use anyhow::{Result, anyhow, ensure};

use super::{Blocks, Volume};
use crate::tree::{Content, Kind, Tree, show};

mod disk;
mod inodes;
mod pack;
pub mod read;
#[cfg(test)]
mod tests;

use disk::BLOCK;
use inodes::Inode;

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
    let (places, total) = place(&inodes, options.last)?;

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
    for (number, (inode, place)) in inodes.iter().zip(&places).enumerate() {
        put_inode(&mut volume, &inodes, &places, number, inode, *place)?;
    }
    volume.finish(u64::from(total) * BLOCK)?;

    // EROFS_FEATURE_COMPAT_SB_CHKSUM: over the rest of the super block's block, its own field zero.
    let first = volume.bytes(disk::SUPER_OFFSET, disk::SUM_SIZE)?;
    let with_sum = super_block.encode(disk::crc32c(&first))?;
    // The super block was put first, so it lies at the start of the arena.
    volume.arena[..with_sum.len()].copy_from_slice(&with_sum);
    Ok(volume)
}

/// Gives every inode and its data a place; the second value is the number of blocks of the image.
fn place(inodes: &[Inode<'_>], last: &[&str]) -> Result<(Vec<Place>, u32)> {
    let mut packer = pack::Packer::new(disk::SUPER_OFFSET + disk::SUPER_SIZE);
    let mut places = Vec::with_capacity(inodes.len());
    for inode in inodes {
        let size = inode.size();
        let head = disk::INODE_SIZE + inode.xattrs.len() as u64;
        let rest = size % BLOCK;
        // EROFS_INODE_FLAT_INLINE: the tail follows the inode and must end in the block it starts in, so inode,
        // attributes and tail are kept in one block. A tail that does not fit gets a block of its own.
        let inline = head + rest <= BLOCK && !inode.is_one_of(last);
        let tail = if inline { rest } else { 0 };
        let at = packer.take(head + tail);
        places.push(Place {
            at,
            block: 0,
            blocks: u32::try_from((size - tail).div_ceil(BLOCK))
                .ok()
                .ok_or_else(too_big)?,
            tail,
        });
    }
    let mut next = u32::try_from(packer.blocks()).ok().ok_or_else(too_big)?;
    let class = |inode: &Inode<'_>| match inode.entry.kind {
        Kind::File(_) if inode.is_one_of(last) => 2,
        Kind::File(_) => 1,
        _ => 0,
    };
    for now in 0..=2 {
        for (place, inode) in places.iter_mut().zip(inodes) {
            if class(inode) == now && place.blocks > 0 {
                place.block = next;
                next = next.checked_add(place.blocks).ok_or_else(too_big)?;
            }
        }
    }
    Ok((places, next))
}

fn too_big() -> anyhow::Error {
    anyhow!("the tree is too big for EROFS, whose block numbers have 32 bits (16 TiB)")
}

fn put_inode(
    volume: &mut Volume,
    inodes: &[Inode<'_>],
    places: &[Place],
    number: usize,
    inode: &Inode<'_>,
    place: Place,
) -> Result<()> {
    let ino = u32::try_from(number + 1).ok().ok_or_else(too_big)?;
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
    ensure!(
        size == inode.size(),
        "{} has another size than planned (a bug)",
        show(&inode.path)
    );
    let body = size - place.tail;
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
