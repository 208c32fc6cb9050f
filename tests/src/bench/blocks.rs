//! Owns what a method that works by blocks must download: the blocks of one file that another has nowhere.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use hypriot_imagegen::files;
use hypriot_updater::index::SegmentHash;

/// The block that all of them use.
pub(super) const BLOCK: usize = 4096;

/// Writes the pieces of `new`, of this length, in which a block of 4 KiB is that `old` has nowhere, each block or piece once.
/// Gives how many, and how many blocks there are.
pub(super) fn missing(old: &Path, new: &Path, piece: usize, to: &Path) -> Result<(u64, u64)> {
    let mut known = HashSet::new();
    each(old, BLOCK, |block| {
        known.insert(SegmentHash::of(block).0);
        Ok(())
    })?;
    let (mut pieces, mut blocks) = (0, 0);
    files::replace_with(to, |file| {
        each(new, piece, |bytes| {
            let mut fresh = false;
            for block in bytes.chunks(BLOCK) {
                blocks += 1;
                // what came once lies in the new slot from then on
                fresh |= known.insert(SegmentHash::of(block).0);
            }
            if fresh {
                pieces += 1;
                std::io::Write::write_all(file, bytes).context("writing the missing pieces")?;
            }
            Ok(())
        })
        .map_err(std::io::Error::other)
    })?;
    Ok((pieces, blocks))
}

fn each(path: &Path, len: usize, mut with: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; len];
    loop {
        let mut filled = 0;
        while filled < len {
            match file.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if filled == 0 {
            return Ok(());
        }
        with(&buffer[..filled])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_anywhere_in_the_old_image_are_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, blocks: &[u8]| {
            let bytes: Vec<u8> = blocks.iter().flat_map(|b| vec![*b; BLOCK]).collect();
            let path = dir.path().join(name);
            files::replace(&path, &bytes).unwrap();
            path
        };
        let (old, new) = (put("old", &[1, 2, 3]), put("new", &[3, 9, 9, 1, 8]));
        let to = dir.path().join("missing");
        assert_eq!(missing(&old, &new, BLOCK, &to).unwrap(), (2, 5));
        assert_eq!(
            std::fs::read(&to).unwrap(),
            [vec![9; BLOCK], vec![8; BLOCK]].concat()
        );
        assert_eq!(missing(&old, &new, 2 * BLOCK, &to).unwrap(), (2, 5));
    }
}
