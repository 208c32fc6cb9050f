//! Reads a `.bmap`: which parts of an image hold something, and what they must hash to (bmap-tools, format 2.0).

use anyhow::{Context, Result, ensure};

use crate::sha256::Sha256;

/// More parts are no map of a card.
const RANGES_MAX: usize = 1_000_000;

/// A map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmap {
    /// Bytes of the image.
    pub size: u64,
    /// Parts that hold something: first byte, length, SHA-256.
    pub ranges: Vec<(u64, u64, Sha256)>,
}

/// Reads a map. Its own checksum must be right.
pub fn parse(text: &str) -> Result<Bmap> {
    let value = |name: &str| -> Result<&str> {
        let open = format!("<{name}>");
        let from = text
            .find(&open)
            .with_context(|| format!("it has no {name}"))?
            + open.len();
        let len = text[from..]
            .find("</")
            .with_context(|| format!("its {name} does not end"))?;
        Ok(text[from..from + len].trim())
    };
    ensure!(
        text.contains("<bmap version=\"2."),
        "it is no block map of format 2"
    );
    let sum = value("BmapFileChecksum")?;
    // The sum is taken with zeros in its own place (bmaptool/BmapCreate.py).
    let zeroed = text.replacen(sum, &"0".repeat(sum.len()), 1);
    ensure!(
        Sha256::parse(sum) == Ok(Sha256::of(zeroed.as_bytes())),
        "its own checksum is wrong: it was changed or cut"
    );
    ensure!(
        value("ChecksumType")? == "sha256",
        "its checksums are not SHA-256"
    );
    let size: u64 = value("ImageSize")?.parse().context("ImageSize")?;
    let block: u64 = value("BlockSize")?.parse().context("BlockSize")?;
    ensure!(
        block.is_power_of_two() && (512..=1 << 24).contains(&block),
        "blocks of {block} bytes are none"
    );
    let mut ranges = Vec::new();
    let mut after = 0;
    for part in text.split("<Range ").skip(1) {
        let (head, rest) = part.split_once('>').context("a range does not end")?;
        let hash = head.split('"').nth(1).context("a range has no checksum")?;
        let hash = Sha256::parse(hash)?;
        let words = rest
            .split_once('<')
            .context("a range does not end")?
            .0
            .trim();
        let (first, last) = words.split_once('-').unwrap_or((words, words));
        let (first, last): (u64, u64) = (first.trim().parse()?, last.trim().parse()?);
        let from = first.checked_mul(block).context("a range is beyond all")?;
        let to = last
            .checked_add(1)
            .and_then(|l| l.checked_mul(block))
            .context("a range is beyond all")?
            .min(size);
        ensure!(from >= after && from < to, "its ranges are not in order");
        after = to;
        ranges.push((from, to - from, hash));
        ensure!(
            ranges.len() <= RANGES_MAX,
            "it has more than {RANGES_MAX} ranges"
        );
    }
    Ok(Bmap { size, ranges })
}
