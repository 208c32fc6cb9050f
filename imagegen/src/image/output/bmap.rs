//! `.bmap`: which blocks of the image hold something, with their checksums, so that `bmaptool copy` writes only those.
//!
//! Format 2.0 of bmap-tools (`bmaptool/BmapCreate.py`): ranges of blocks with SHA-256, and one over the file itself, taken
//! with zeros in its own place.

use std::fmt::Write as _;
use std::path::Path;

use crate::sha256::Sha256;
use anyhow::Result;

use crate::files;
use crate::formats::{Blocks, Window, pass};

const BLOCK: u64 = 4096;
/// Ranges are cut to this many bytes, so that they are hashed on all cores.
const RANGE: u64 = 16 << 20;

/// Writes the map of `image`, of which only `mapped` (whole blocks) may differ from zero.
pub fn write<B: Blocks + ?Sized>(
    image: &B,
    mapped: &[(u64, u64)],
    threads: usize,
    to: &Path,
) -> Result<()> {
    let mut ranges = Vec::new();
    for (at, len) in mapped {
        let hashes = pass::each(
            &Window {
                of: image,
                start: *at,
                len: *len,
            },
            RANGE,
            threads,
            |_, from, bytes| {
                let first = (at + from) / BLOCK;
                Ok((
                    first,
                    first + (bytes.len() as u64).div_ceil(BLOCK) - 1,
                    Sha256::of(bytes),
                ))
            },
        )?;
        ranges.extend(hashes);
    }
    let blocks: u64 = ranges.iter().map(|(first, last, _)| last - first + 1).sum();
    let none = "0".repeat(64);
    let mut text = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n    \
         <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {blocks} </MappedBlocksCount>\n    \
         <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {none} </BmapFileChecksum>\n    <BlockMap>\n",
        image.size(),
        image.size().div_ceil(BLOCK),
    );
    for (first, last, hash) in &ranges {
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        writeln!(text, "        <Range chksum=\"{hash}\">{range}</Range>")?;
    }
    text.push_str("    </BlockMap>\n</bmap>\n");
    let text = text.replacen(&none, &Sha256::of(text.as_bytes()).to_string(), 1);
    Ok(files::replace(to, text.as_bytes())?)
}
