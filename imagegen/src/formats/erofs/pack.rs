//! Packs inodes with their tails into blocks: best fit, so that little room is lost between tails of all sizes.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{BLOCK, SLOT};

/// Hands out room in the metadata area, in units of inode slots.
#[derive(Debug)]
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

    /// Room for `len` bytes, aligned to an inode slot. What fits one block does not cross into the next.
    pub(super) fn take(&mut self, len: u64) -> u64 {
        let len = len.next_multiple_of(SLOT);
        let found = self
            .room
            .range(len..)
            .next()
            .map(|(free, at)| (*free, *at.first().expect("never empty")));
        let (free, at) = found.unwrap_or_else(|| {
            let at = self.blocks * BLOCK;
            let blocks = len.div_ceil(BLOCK);
            self.blocks += blocks;
            (blocks * BLOCK, at)
        });
        if let Some(offsets) = self.room.get_mut(&free) {
            offsets.remove(&at);
            if offsets.is_empty() {
                self.room.remove(&free);
            }
        }
        if free > len {
            self.room.entry(free - len).or_default().insert(at + len);
        }
        at
    }

    /// How many blocks the area has.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }
}
