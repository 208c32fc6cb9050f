//! Where things lay in an earlier image, so that what did not change keeps its place in the next one.

use std::collections::BTreeMap;

use super::read::Erofs;
use crate::formats::Blocks;

/// The room of one inode and of its data, in bytes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Where the inode is.
    pub(super) at: u64,
    /// Length of the inode with its attributes and inline tail.
    pub(super) len: u64,
    /// Where its whole blocks are.
    pub(super) body: u64,
    /// Length of those.
    pub(super) body_len: u64,
}

/// The places of an image by path: a hint for the next one. Nothing about it is believed: two paths that claim the same room,
/// or claims out of the way, move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    spots: BTreeMap<Vec<u8>, Spot>,
}

impl Layout {
    /// The layout of an image.
    pub fn of<B: Blocks + ?Sized>(image: &Erofs<'_, B>) -> Self {
        let spot = |(path, node): (&String, &super::read::Node)| (path.clone().into(), node.spot());
        Self {
            spots: image.names.iter().map(spot).collect(),
        }
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Spot> {
        self.spots.get(path)
    }

    #[cfg(test)]
    pub(super) fn get_mut(&mut self, path: &[u8]) -> &mut Spot {
        self.spots.get_mut(path).expect("a path of the test")
    }
}
