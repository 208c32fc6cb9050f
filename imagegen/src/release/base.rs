//! The release that a delta starts from: its images, which block of them lies where, and which file.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hypriot_updater::index::{Index, SEGMENT, SegmentHash};
use hypriot_updater::payload::Extent;

use super::apply::Opened;
use crate::formats::erofs::read::Erofs;
use crate::formats::{Blocks, pass};

/// Unit in which equal bytes are looked for: a block of EROFS.
pub(super) const BLOCK: u64 = 4096;
/// The same, as the length of a slice.
pub(super) const BLOCK_LEN: usize = 4096;
/// Places that are remembered for one content: zeros and other filling repeat without end.
const PLACES_MAX: usize = 4;

/// Where a block lies: image, and number within it.
pub(super) type Place = (u8, u32);

/// A release whose bytes are at hand.
#[derive(Debug)]
pub struct Base {
    /// Its version.
    pub version: semver::Version,
    /// Hash of what it contains.
    pub content: SegmentHash,
    pub(super) index: Index,
    images: [File; 2],
    blocks: HashMap<u64, Vec<Place>>,
    /// Where the data of the root's files lies, by path and by path without digits.
    files: HashMap<String, Vec<(u64, u64)>>,
}

/// What a block is known by. Two that differ may share it: whoever uses it compares the bytes.
pub(super) fn key(block: &[u8]) -> u64 {
    let hash = SegmentHash::of(block);
    u64::from_le_bytes(hash.0.first_chunk().copied().unwrap_or_default())
}

/// A path without the numbers in it, under which a file is found again when its version is in its name.
pub(super) fn without_numbers(path: &str) -> String {
    path.replace(|c: char| c.is_ascii_digit(), "")
}

impl Base {
    /// Unpacks the release of an index file into unnamed files in `scratch`.
    pub fn open(index: &Path, scratch: &Path) -> Result<Self> {
        let opened = Opened::open(index)?;
        let mut images = [
            tempfile::tempfile_in(scratch)?,
            tempfile::tempfile_in(scratch)?,
        ];
        let mut blocks: HashMap<u64, Vec<Place>> = HashMap::new();
        for (number, (image, n, len, hash)) in opened.index.segments().enumerate() {
            let bytes = opened.segment(number, len, hash)?;
            let at = n as u64 * SEGMENT;
            if !pass::is_zero(&bytes) {
                images[image].write_all_at(&bytes, at)?;
            }
            for (block, place) in bytes.chunks_exact(BLOCK_LEN).zip(at / BLOCK..) {
                if pass::is_zero(block) {
                    continue;
                }
                let places = blocks.entry(key(block)).or_default();
                if places.len() < PLACES_MAX {
                    places.push((u8::try_from(image)?, u32::try_from(place)?));
                }
            }
        }
        for (file, image) in images.iter_mut().zip(&opened.index.images) {
            file.set_len(image.size)?;
        }
        let mut base = Self {
            version: opened.index.version.clone(),
            content: opened.index.content(),
            index: opened.index,
            images,
            blocks,
            files: HashMap::new(),
        };
        base.files = base.map_files();
        Ok(base)
    }

    /// A root that cannot be read as EROFS has no known files; equal blocks are found all the same.
    fn map_files(&self) -> HashMap<String, Vec<(u64, u64)>> {
        let root = Image {
            file: &self.images[1],
            size: self.index.images[1].size,
        };
        let mut files = HashMap::new();
        if let Ok(erofs) = Erofs::open(&root) {
            for (path, node) in erofs.names.iter().filter(|(_, n)| n.is_file()) {
                files
                    .entry(without_numbers(path))
                    .or_insert_with(|| node.data());
                files.insert(path.clone(), node.data());
            }
        }
        files
    }

    /// Where a block with these bytes may lie.
    pub(super) fn places(&self, key: u64) -> &[Place] {
        self.blocks.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Where the data of a file of the root lies, or of one whose name differs in numbers only.
    pub(super) fn file(&self, path: &str) -> &[(u64, u64)] {
        self.files
            .get(path)
            .or_else(|| self.files.get(&without_numbers(path)))
            .map_or(&[], Vec::as_slice)
    }

    /// Length of an image.
    pub(super) fn size(&self, image: u8) -> u64 {
        self.index
            .images
            .get(usize::from(image))
            .map_or(0, |i| i.size)
    }

    /// The bytes of these extents, one after the other.
    pub(super) fn read(&self, extents: &[Extent]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for extent in extents {
            let from = out.len();
            out.resize(from + usize::try_from(extent.len())?, 0);
            self.images[usize::from(extent.image)].read_exact_at(&mut out[from..], extent.at())?;
        }
        Ok(out)
    }
}

/// An unpacked image.
struct Image<'a> {
    file: &'a File,
    size: u64,
}

impl Blocks for Image<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(buf, at)
            .with_context(|| format!("{} bytes at {at} of an old image", buf.len()))
    }
}

/// Indexes in `dir` of the last releases of `board` before `version`, newest first.
pub fn earlier_of(dir: &Path, board: &str, version: &semver::Version, most: usize) -> Vec<PathBuf> {
    let prefix = format!("hypriotos-{board}-");
    let mut found: Vec<(semver::Version, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|e| {
            let path = e.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let found = name.strip_prefix(&prefix)?.strip_suffix(".json")?;
            let found: semver::Version = found.parse().ok()?;
            // one that cannot be read (of an older format, half deleted) is of no use, and no reason to make no release
            (found < *version && Opened::open(&path).is_ok_and(|o| o.index.board == board))
                .then_some((found, path))
        })
        .collect();
    found.sort();
    found.into_iter().rev().take(most).map(|f| f.1).collect()
}
