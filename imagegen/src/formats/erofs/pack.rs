//! Packs inodes with their tails into blocks: best fit, so that little room is lost between tails of all sizes.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{BLOCK, SLOT};

/// Hands out room in the metadata area, in units of inode slots.
#[derive(Debug, Default)]
pub(super) struct Packer {
    /// Blocks with room left: free bytes -> offsets where the room starts.
    room: BTreeMap<u64, BTreeSet<u64>>,
    blocks: u64,
}

impl Packer {
    /// The area starts in block 0, behind the super block.
    pub(super) fn new(start: u64) -> Self {
        Self {
            room: BTreeMap::from([(BLOCK - start, BTreeSet::from([start]))]),
            blocks: 1,
        }
    }

    /// Adds room within one block.
    pub(super) fn free(&mut self, from: u64, to: u64) {
        let from = from.next_multiple_of(SLOT);
        if from < to {
            self.room.entry(to - from).or_default().insert(from);
        }
    }

    /// Room for `len` bytes in a block that has some left.
    pub(super) fn fit(&mut self, len: u64) -> Option<u64> {
        let (free, offsets) = self.room.range_mut(len..).next()?;
        let (free, at) = (*free, offsets.pop_first()?);
        if offsets.is_empty() {
            self.room.remove(&free);
        }
        self.free(at + len, at + free);
        Some(at)
    }

    /// Room for `len` bytes, aligned to an inode slot. What fits one block does not cross into the next.
    pub(super) fn take(&mut self, len: u64) -> u64 {
        let len = len.next_multiple_of(SLOT);
        if let Some(at) = self.fit(len) {
            return at;
        }
        let (at, blocks) = (self.blocks * BLOCK, len.div_ceil(BLOCK));
        self.blocks += blocks;
        self.free(at + len, at + blocks * BLOCK);
        at
    }

    /// How many blocks the area has.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }
}
