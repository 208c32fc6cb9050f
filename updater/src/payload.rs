//! The payload: how to obtain each segment of a release. Untrusted transport.
//!
//! ```text
//! 8 bytes   magic "HYPLOAD1"
//! per segment, in the order of Index::segments:
//!   1 byte  operation: 0 zeros | 1 raw | 2 zstd
//!   4 bytes length of its data, little endian
//! then the data of all segments, one after the other
//! ```
//!
//! The table's length follows from the verified index, so it is read with a known bound; where the data of a segment
//! lies follows from the table, so any segment can be fetched alone with a range request. What comes out is checked
//! against the index before it is written, so a payload can do no harm but waste time.

use alloc::vec::Vec;

use crate::index::Index;

/// First bytes of a payload.
pub const MAGIC: [u8; 8] = *b"HYPLOAD1";
const ENTRY: usize = 5;

/// How the bytes of a segment are obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// All zeros; no data.
    Zeros,
    /// The data as it is.
    Raw,
    /// One zstd frame (RFC 8878).
    Zstd,
}

impl Operation {
    const fn code(self) -> u8 {
        match self {
            Self::Zeros => 0,
            Self::Raw => 1,
            Self::Zstd => 2,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What to do.
    pub operation: Operation,
    /// Where its data starts in the file.
    pub at: u64,
    /// Length of its data.
    pub len: usize,
}

/// Why a payload is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Some other file.
    #[error("this is no payload: it does not start with HYPLOAD1")]
    Magic,
    /// The table is shorter or longer than the index asks for.
    #[error("the payload's table has {found} bytes, the release needs {needed}")]
    Table {
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        needed: usize,
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
}

/// Length of magic and table for a release.
pub fn table_len(index: &Index) -> usize {
    MAGIC.len() + index.segment_count() * ENTRY
}

/// Reads magic and table ([`table_len`] bytes).
pub fn parse_table(index: &Index, bytes: &[u8]) -> Result<Vec<Entry>, PayloadError> {
    let needed = table_len(index);
    if !bytes.starts_with(&MAGIC) {
        return Err(PayloadError::Magic);
    }
    if bytes.len() != needed {
        return Err(PayloadError::Table {
            found: bytes.len(),
            needed,
        });
    }
    let mut at = needed as u64;
    let rows = bytes[MAGIC.len()..]
        .chunks_exact(ENTRY)
        .zip(index.segments());
    rows.enumerate()
        .map(|(segment, (row, (_, _, segment_len, _)))| {
            let len = u32::from_le_bytes([row[1], row[2], row[3], row[4]]) as usize;
            let operation = match (row[0], len) {
                (0, 0) => Operation::Zeros,
                (1, n) if n == segment_len => Operation::Raw,
                // a frame that is not smaller than the segment would have been stored raw
                (2, n) if n > 0 && n < segment_len => Operation::Zstd,
                (operation, len) => {
                    return Err(PayloadError::Entry {
                        segment,
                        operation,
                        len,
                    });
                }
            };
            let entry = Entry { operation, at, len };
            at += len as u64;
            Ok(entry)
        })
        .collect()
}

/// Writes magic and table from operation and data length of each segment.
pub fn encode_table(rows: &[(Operation, usize)]) -> Vec<u8> {
    let mut table = MAGIC.to_vec();
    for (operation, len) in rows {
        table.push(operation.code());
        // a segment is at most 1 MiB and its data is never longer
        table.extend_from_slice(&u32::try_from(*len).unwrap_or(u32::MAX).to_le_bytes());
    }
    table
}

/// Runs of segments that still have to be fetched, as ranges of entry numbers: one request each.
///
/// Segments without data (zeros) join whatever run they touch. Gaps shorter than `gap` bytes are fetched along,
/// because a new request costs more than they do.
pub fn runs(entries: &[Entry], missing: &[bool], gap: u64) -> Vec<core::ops::Range<usize>> {
    let mut runs: Vec<core::ops::Range<usize>> = Vec::new();
    for (n, entry) in entries
        .iter()
        .enumerate()
        .filter(|(n, _)| missing.get(*n).copied().unwrap_or(false))
    {
        match runs.last_mut() {
            Some(run)
                if entry
                    .at
                    .saturating_sub(entries[run.end - 1].at + entries[run.end - 1].len as u64)
                    <= gap =>
            {
                run.end = n + 1;
            }
            _ => runs.push(n..n + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{FORMAT, Image, PayloadFile, SEGMENT, SegmentHash, Target};
    use alloc::vec;

    fn index() -> Index {
        let image = |target, n: u64, more: u64| Image {
            target,
            size: n * SEGMENT + more,
            segments: vec![SegmentHash::of(b""); usize::try_from(n + u64::from(more > 0)).unwrap()],
        };
        Index {
            format: FORMAT.into(),
            board: "x".into(),
            version: "1.0.0".parse().unwrap(),
            created: hypriot_keys::time::Timestamp(0),
            images: vec![image(Target::Boot, 2, 0), image(Target::Root, 1, 512)],
            payload: PayloadFile {
                name: "p".into(),
                size: 0,
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let rows = [
            (Operation::Zeros, 0),
            (Operation::Zstd, 100),
            (Operation::Raw, 1 << 20),
            (Operation::Zstd, 7),
        ];
        let entries = parse_table(&index(), &encode_table(&rows)).unwrap();
        let start = table_len(&index()) as u64;
        let places: Vec<(u64, usize)> = entries.iter().map(|e| (e.at - start, e.len)).collect();
        assert_eq!(
            places,
            [(0, 0), (0, 100), (100, 1 << 20), (100 + (1 << 20), 7)]
        );
    }

    #[test]
    fn rows_that_cannot_be_right_are_refused() {
        let good = [
            (Operation::Zeros, 0),
            (Operation::Zstd, 100),
            (Operation::Raw, 1 << 20),
            (Operation::Zstd, 7),
        ];
        let with = |n: usize, row: (Operation, usize)| {
            let mut rows = good;
            rows[n] = row;
            parse_table(&index(), &encode_table(&rows))
        };
        for (n, row) in [
            (0, (Operation::Zeros, 1)),
            (1, (Operation::Raw, 5)),
            (1, (Operation::Zstd, 0)),
            (1, (Operation::Zstd, 1 << 20)),
            (3, (Operation::Zstd, 512)),
            (3, (Operation::Raw, 1 << 20)),
            (2, (Operation::Raw, usize::MAX)),
        ] {
            assert!(
                matches!(with(n, row), Err(PayloadError::Entry { segment, .. }) if segment == n),
                "{row:?}"
            );
        }
        let mut table = encode_table(&good);
        table[8] = 9;
        assert!(matches!(
            parse_table(&index(), &table),
            Err(PayloadError::Entry { operation: 9, .. })
        ));
        assert!(matches!(
            parse_table(&index(), &table[..20]),
            Err(PayloadError::Table { .. })
        ));
        assert_eq!(parse_table(&index(), b"garbage"), Err(PayloadError::Magic));
    }

    #[test]
    fn missing_segments_become_few_requests() {
        let rows = [
            (Operation::Raw, 1 << 20),
            (Operation::Zstd, 100),
            (Operation::Raw, 1 << 20),
            (Operation::Zstd, 7),
        ];
        let entries = parse_table(&index(), &encode_table(&rows)).unwrap();
        let runs = |missing: [bool; 4], gap| -> Vec<(usize, usize)> {
            runs(&entries, &missing, gap)
                .iter()
                .map(|r| (r.start, r.end))
                .collect()
        };
        assert_eq!(runs([true, true, true, true], 0), [(0, 4)]);
        assert_eq!(runs([true, false, true, false], 0), [(0, 1), (2, 3)]);
        assert_eq!(runs([true, false, true, false], 100), [(0, 3)]);
        assert_eq!(runs([false, false, false, false], 0), []);
        assert_eq!(runs([false, false, false, true], 0), [(3, 4)]);
    }
}
