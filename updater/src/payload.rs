//! A payload: how to obtain each segment of a release. Untrusted transport of signed bytes.
//!
//! ```text
//! 8 bytes   magic "HYPLOAD2"
//! per segment, in the order of Index::segments:
//!   1 byte    operation: 0 zeros | 1 raw | 2 zstd | 3 same | 4 copy | 5 patch
//!   raw, zstd, patch:
//!     4 bytes   length of its data, little endian, as all numbers
//!     32 bytes  BLAKE3 hash of its data
//!   copy, patch:
//!     1 byte    number of extents of the running slot, at least 1
//!     each      1 byte image (0 boot, 1 root), 4 bytes start, 4 bytes length, both in sectors of 512 bytes
//! then the data of all segments, one after the other
//! ```
//!
//! The signed index says length and hash of the table, the table says those of each segment's data: nothing is parsed or
//! decompressed before its own hash is right. Where the data of a segment lies follows from the table, so any segment can
//! be fetched alone with a range request. What comes out is checked against the index once more before it is written,
//! because a delta's result depends on bytes of the running slot, which can be worn.

use alloc::vec::Vec;

use crate::index::{Index, PayloadFile, SegmentHash};
use crate::layout::SECTOR;
use crate::slot::Slot;

/// Version of this format, as [`PayloadFile::format`] names it.
pub const FORMAT: u32 = 2;
/// First bytes of a payload.
pub const MAGIC: [u8; 8] = *b"HYPLOAD2";
/// Bytes of the running slot that one segment may refer to. A board holds one reference at a time, and beside it a few
/// segments: less than 16 MiB in all.
pub const MAX_REFERENCE: u64 = 6 << 20;
/// Extents that one segment may refer to.
pub const MAX_EXTENTS: usize = 255;

/// How the bytes of a segment are obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// All zeros; no data.
    Zeros,
    /// The data as it is.
    Raw,
    /// One zstd frame (RFC 8878).
    Zstd,
    /// What lies at the same place of the running slot; no data.
    Same,
    /// These extents of the running slot, one after the other; no data.
    Copy(Vec<Extent>),
    /// One zstd frame whose prefix (`ZSTD_DCtx_refPrefix`) is these extents of the running slot, one after the other.
    Patch(Vec<Extent>),
}

/// A piece of the running slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of the image: 0 boot, 1 root.
    pub image: u8,
    /// First sector.
    pub sector: u32,
    /// Sectors.
    pub count: u32,
}

impl Extent {
    /// Where it starts, in bytes.
    pub fn at(self) -> u64 {
        u64::from(self.sector) * SECTOR
    }

    /// Its length in bytes.
    pub fn len(self) -> u64 {
        u64::from(self.count) * SECTOR
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }
}

impl Operation {
    const fn code(&self) -> u8 {
        match self {
            Self::Zeros => 0,
            Self::Raw => 1,
            Self::Zstd => 2,
            Self::Same => 3,
            Self::Copy(_) => 4,
            Self::Patch(_) => 5,
        }
    }

    /// What of the running slot it needs, when it names that.
    pub fn extents(&self) -> &[Extent] {
        match self {
            Self::Copy(extents) | Self::Patch(extents) => extents,
            _ => &[],
        }
    }

    /// Whether its result depends on what the running slot holds.
    pub const fn needs_base(&self) -> bool {
        matches!(self, Self::Same | Self::Copy(_) | Self::Patch(_))
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What to do.
    pub operation: Operation,
    /// Where its data starts in the file.
    pub at: u64,
    /// Length of its data.
    pub len: usize,
    /// Hash of its data; that of nothing where there is none.
    pub hash: SegmentHash,
}

/// Why a payload is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is not the table that was signed.
    #[error("the payload's table is not the one that was signed (altered or damaged on the way)")]
    Altered,
    /// Some other file.
    #[error("this is no payload: it does not start with HYPLOAD2")]
    Magic,
    /// The table is shorter or longer than its rows.
    #[error(
        "the payload's table ends at segment {segment} of {segments}, or goes on behind the last"
    )]
    Table {
        /// The segment at which it ends.
        segment: usize,
        /// Segments of the release.
        segments: usize,
    },
    /// A row that cannot be right.
    #[error(
        "segment {segment} of the payload has operation {operation} with {len} bytes of data, which cannot be right"
    )]
    Entry {
        /// Number of the segment, counted over all images.
        segment: usize,
        /// Its operation code.
        operation: u8,
        /// Its data length.
        len: usize,
    },
    /// The rows do not add up to the file.
    #[error("the payload has {size} bytes, its table asks for {needed}")]
    Size {
        /// Bytes of the file.
        size: u64,
        /// Bytes of table and data.
        needed: u64,
    },
}

/// Reads the table of `file`, a payload of `index`, once it is known to be the signed one.
pub fn parse_table(
    index: &Index,
    file: &PayloadFile,
    bytes: &[u8],
) -> Result<Vec<Entry>, PayloadError> {
    if bytes.len() as u64 != u64::from(file.table_size) || SegmentHash::of(bytes) != file.table {
        return Err(PayloadError::Altered);
    }
    let mut rows = bytes.strip_prefix(&MAGIC).ok_or(PayloadError::Magic)?;
    let (mut at, segments) = (bytes.len() as u64, index.segment_count());
    let mut entries = Vec::with_capacity(segments);
    for (segment, (_, _, length, _)) in index.segments().enumerate() {
        let entry = row(&mut rows, at).ok_or(PayloadError::Table { segment, segments })?;
        if !possible(&entry, length, file.base.is_some()) {
            return Err(PayloadError::Entry {
                segment,
                operation: entry.operation.code(),
                len: entry.len,
            });
        }
        at += entry.len as u64;
        entries.push(entry);
    }
    if !rows.is_empty() {
        let segment = segments;
        return Err(PayloadError::Table { segment, segments });
    }
    if at != file.size {
        let size = file.size;
        return Err(PayloadError::Size { size, needed: at });
    }
    Ok(entries)
}

/// Takes one row off the front; `None` when it does not end or has no known operation.
fn row(rows: &mut &[u8], at: u64) -> Option<Entry> {
    fn number(rows: &mut &[u8]) -> Option<u32> {
        let (bytes, rest) = rows.split_first_chunk()?;
        *rows = rest;
        Some(u32::from_le_bytes(*bytes))
    }
    fn byte(rows: &mut &[u8]) -> Option<u8> {
        let (byte, rest) = rows.split_first()?;
        *rows = rest;
        Some(*byte)
    }
    fn extents(rows: &mut &[u8]) -> Option<Vec<Extent>> {
        let count = byte(rows)?;
        (0..count)
            .map(|_| {
                Some(Extent {
                    image: byte(rows)?,
                    sector: number(rows)?,
                    count: number(rows)?,
                })
            })
            .collect()
    }
    let code = byte(rows)?;
    let (mut len, mut hash) = (0, SegmentHash::of(b""));
    if matches!(code, 1 | 2 | 5) {
        len = number(rows)? as usize;
        let (bytes, rest) = rows.split_first_chunk()?;
        (hash, *rows) = (SegmentHash(*bytes), rest);
    }
    let operation = match code {
        0 => Operation::Zeros,
        1 => Operation::Raw,
        2 => Operation::Zstd,
        3 => Operation::Same,
        4 => Operation::Copy(extents(rows)?),
        5 => Operation::Patch(extents(rows)?),
        _ => return None,
    };
    Some(Entry {
        operation,
        at,
        len,
        hash,
    })
}

/// Whether a row can give a segment of this length.
fn possible(entry: &Entry, segment: usize, delta: bool) -> bool {
    let extents = entry.operation.extents();
    let inside = extents.iter().all(|e| {
        let room = match e.image {
            0 => crate::layout::boot(Slot::A).size,
            1 => crate::layout::root(Slot::A).size,
            _ => 0,
        };
        !e.is_empty() && e.at() + e.len() <= room
    });
    let named: u64 = extents.iter().map(|e| e.len()).sum();
    // a frame that is not smaller than the segment would have been stored raw
    let frame = entry.len > 0 && entry.len < segment;
    let fits = match entry.operation {
        Operation::Zeros | Operation::Same => true,
        Operation::Raw => entry.len == segment,
        Operation::Zstd => frame,
        Operation::Copy(_) => named == segment as u64,
        Operation::Patch(_) => frame && named > 0 && named <= MAX_REFERENCE,
    };
    fits && inside && (delta || !entry.operation.needs_base())
}

/// Writes magic and table from operation and data of each segment.
pub fn encode_table<'a>(rows: impl IntoIterator<Item = (&'a Operation, &'a [u8])>) -> Vec<u8> {
    let mut table = MAGIC.to_vec();
    for (operation, data) in rows {
        table.push(operation.code());
        if matches!(
            operation,
            Operation::Raw | Operation::Zstd | Operation::Patch(_)
        ) {
            // a segment is at most 1 MiB and its data is never longer
            table.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
            table.extend(SegmentHash::of(data).0);
        }
        let extents = operation.extents();
        if !extents.is_empty() {
            table.push(u8::try_from(extents.len()).unwrap_or(u8::MAX));
        }
        for extent in extents.iter().take(MAX_EXTENTS) {
            table.push(extent.image);
            table.extend(extent.sector.to_le_bytes());
            table.extend(extent.count.to_le_bytes());
        }
    }
    table
}

/// What a payload costs a board that still needs the segments in `missing`: bytes of its table and of their data.
pub fn cost(file: &PayloadFile, entries: &[Entry], missing: &[bool]) -> u64 {
    let data = entries.iter().zip(missing).filter(|(_, m)| **m);
    u64::from(file.table_size) + data.map(|(e, _)| e.len as u64).sum::<u64>()
}

/// Where the run of segments that begins with `first` ends: one request. Segments without data join the run they
/// touch; gaps of at most `gap` bytes are fetched along, because a new request costs more than they do.
pub fn run_end(entries: &[Entry], missing: &[bool], first: usize, gap: u64) -> usize {
    let end = |n: usize| entries[n].at + entries[n].len as u64;
    let mut last = first;
    for n in first + 1..entries.len().min(missing.len()) {
        if !missing[n] || entries[n].len == 0 {
            continue;
        }
        if entries[n].at.saturating_sub(end(last)) > gap {
            break;
        }
        last = n;
    }
    last + 1
}

#[cfg(test)]
mod tests;
