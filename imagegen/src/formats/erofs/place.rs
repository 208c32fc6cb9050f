//! Decides where every inode and its data lie.
//!
//! From nothing: inodes packed, then directories, files, and what changes most often, in the order of their paths. With the
//! layout of an earlier image: what still fits keeps its place, and the rest fills the gaps or lies behind everything. So an
//! update has to say little about what did not change. Given the layout of the image that comes out, the same image comes out
//! again: that is how `verify` makes it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::disk::{self, BLOCK, SLOT};
use super::inodes::Inode;
use super::layout::Layout;
use super::pack::Packer;
use super::{Place, too_big};
use crate::tree::Kind;

/// A kept layout may waste this part of an image on gaps; one that wastes more is made anew.
const MOST_WASTE: u64 = 20;

/// Gives every inode and its data a place; the second value is the number of blocks of the image.
pub(super) fn place(
    inodes: &[Inode<'_>],
    last: &[&str],
    before: Option<&Layout>,
) -> Result<(Vec<Place>, u32)> {
    let needs = inodes.iter().map(|inode| Need::of(inode, last));
    let needs = needs.collect::<Result<Vec<_>>>()?;
    let fresh = from_nothing(&needs)?;
    let Some(before) = before else {
        return Ok(fresh);
    };
    let kept = keeping(inodes, &needs, before)?;
    let most = u64::from(fresh.1) + u64::from(fresh.1) / MOST_WASTE;
    // `root_nid` has 16 bits
    let fits = u64::from(kept.1) <= most && u16::try_from(disk::nid(kept.0[0].at)).is_ok();
    Ok(if fits { kept } else { fresh })
}

/// What an inode needs.
struct Need {
    /// Bytes of the inode, its attributes, and the tail behind them.
    room: u64,
    tail: u64,
    blocks: u32,
    /// Directories come first, what changes most often last.
    class: u8,
}

impl Need {
    fn of(inode: &Inode<'_>, last: &[&str]) -> Result<Self> {
        let size = inode.size();
        let head = disk::INODE_SIZE + inode.xattrs.len() as u64;
        let (rest, changes) = (size % BLOCK, inode.is_one_of(last));
        // EROFS_INODE_FLAT_INLINE: the tail follows the inode and must end in the block it starts in, so inode,
        // attributes and tail are kept in one block. A tail that does not fit gets a block of its own.
        let tail = if head + rest <= BLOCK && !changes {
            rest
        } else {
            0
        };
        let blocks = u32::try_from((size - tail).div_ceil(BLOCK));
        Ok(Self {
            room: (head + tail).next_multiple_of(SLOT),
            tail,
            blocks: blocks.ok().ok_or_else(too_big)?,
            class: match inode.entry.kind {
                Kind::File(_) if changes => 2,
                Kind::File(_) => 1,
                _ => 0,
            },
        })
    }
}

fn from_nothing(needs: &[Need]) -> Result<(Vec<Place>, u32)> {
    let mut packer = Packer::new(disk::SUPER_OFFSET + disk::SUPER_SIZE);
    let mut places: Vec<Place> = needs
        .iter()
        .map(|n| Place::at(packer.take(n.room), n))
        .collect();
    let mut next = u32::try_from(packer.blocks()).ok().ok_or_else(too_big)?;
    for now in 0..=2 {
        for (place, need) in places.iter_mut().zip(needs) {
            if need.class == now && need.blocks > 0 {
                place.block = next;
                next = next.checked_add(need.blocks).ok_or_else(too_big)?;
            }
        }
    }
    Ok((places, next))
}

fn keeping(inodes: &[Inode<'_>], needs: &[Need], before: &Layout) -> Result<(Vec<Place>, u32)> {
    let mut taken = Taken::default();
    taken.claim(0, disk::SUPER_OFFSET + disk::SUPER_SIZE);
    let (mut heads, mut bodies) = (vec![None; needs.len()], vec![None; needs.len()]);
    for (n, (inode, need)) in inodes.iter().zip(needs).enumerate() {
        let Some(spot) = before.get(&inode.path) else {
            continue;
        };
        let whole = spot.at % BLOCK + need.room <= BLOCK || spot.at.is_multiple_of(BLOCK);
        if need.room <= spot.len.next_multiple_of(SLOT)
            && spot.at.is_multiple_of(SLOT)
            && whole
            && taken.claim(spot.at, need.room)
        {
            heads[n] = Some(spot.at);
        }
        let len = u64::from(need.blocks) * BLOCK;
        if len > 0
            && len <= spot.body_len.next_multiple_of(BLOCK)
            && spot.body.is_multiple_of(BLOCK)
            && taken.claim(spot.body, len)
        {
            bodies[n] = Some(spot.body / BLOCK);
        }
    }
    let mut room = taken.gaps();
    let mut places: Vec<Place> = needs
        .iter()
        .zip(heads)
        .map(|(need, kept)| Place::at(kept.unwrap_or_else(|| room.inode(need.room)), need))
        .collect();
    for now in 0..=2 {
        for ((place, need), kept) in places.iter_mut().zip(needs).zip(&bodies) {
            if need.class == now && need.blocks > 0 {
                let block = kept.unwrap_or_else(|| room.run(u64::from(need.blocks)));
                place.block = u32::try_from(block).ok().ok_or_else(too_big)?;
            }
        }
    }
    Ok((places, u32::try_from(room.end).ok().ok_or_else(too_big)?))
}

impl Place {
    fn at(at: u64, need: &Need) -> Self {
        Self {
            at,
            block: 0,
            blocks: need.blocks,
            tail: need.tail,
        }
    }
}

/// Ranges of bytes that are given away; none overlaps another.
#[derive(Default)]
struct Taken {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
}

impl Taken {
    /// Takes a range, unless some of it is taken.
    fn claim(&mut self, at: u64, len: u64) -> bool {
        let Some(end) = at.checked_add(len) else {
            return false;
        };
        let before = self.ranges.range(..end).next_back();
        let free = before.is_none_or(|(_, taken)| *taken <= at);
        if free {
            self.ranges.insert(at, end);
        }
        free
    }

    /// What lies between them, up to the end of the last block.
    fn gaps(&self) -> Room {
        let mut room = Room::default();
        let mut from = 0;
        for (start, end) in &self.ranges {
            room.free(from, *start);
            from = *end;
        }
        room.end = from.div_ceil(BLOCK);
        room.free(from, room.end * BLOCK);
        room
    }
}

/// Room in an image that has a layout already.
#[derive(Default)]
struct Room {
    /// Parts of blocks that hold inodes.
    parts: Packer,
    /// Whole blocks: how many, and the first.
    runs: BTreeSet<(u64, u64)>,
    /// Blocks of the image.
    end: u64,
}

impl Room {
    /// Adds a gap.
    fn free(&mut self, from: u64, to: u64) {
        let (first, last) = (from.next_multiple_of(BLOCK), to / BLOCK * BLOCK);
        if first > last {
            // within one block
            self.parts.free(from, to);
            return;
        }
        self.parts.free(from, first);
        self.parts.free(last, to);
        if first < last {
            self.runs.insert(((last - first) / BLOCK, first / BLOCK));
        }
    }

    /// Blocks in a row: the smallest gap that is large enough, or behind everything.
    fn run(&mut self, blocks: u64) -> u64 {
        let Some((len, first)) = self.runs.range((blocks, 0)..).next().copied() else {
            self.end += blocks;
            return self.end - blocks;
        };
        self.runs.remove(&(len, first));
        if len > blocks {
            self.runs.insert((len - blocks, first + blocks));
        }
        first
    }

    /// Room for an inode.
    fn inode(&mut self, len: u64) -> u64 {
        if let Some(at) = self.parts.fit(len) {
            return at;
        }
        let blocks = len.div_ceil(BLOCK);
        let at = self.run(blocks) * BLOCK;
        self.parts.free(at + len, at + blocks * BLOCK);
        at
    }
}
