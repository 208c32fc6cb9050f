//! `.img.zst`: one zstd frame per mebibyte, so that pieces can be read alone. The frames of the payload are used again:
//! partitions start on whole mebibytes, so the segments of a release are pieces of the card.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use hypriot_updater::index::Index;
use hypriot_updater::payload::{self, Entry, Operation};
use hypriot_updater::slot::Slot;

use crate::files;
use crate::formats::{Blocks, pass};
use crate::image::card::SEGMENT;

/// Where a frame comes from.
enum Piece {
    Made(Vec<u8>),
    Payload(Entry),
}

/// A release that is on the card, and so a second source of its frames.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    /// What it holds.
    pub index: &'a Index,
    /// The file of its payload.
    pub payload: &'a Path,
}

/// Writes `card`, whose slot A holds `release`, to `to`.
pub fn write<B: Blocks + ?Sized>(
    card: &B,
    release: Frames<'_>,
    level: i32,
    threads: usize,
    to: &Path,
) -> Result<()> {
    let file = File::open(release.payload)
        .with_context(|| format!("cannot open {}", release.payload.display()))?;
    let full = release.index.full().context("there is no full payload")?;
    let mut table = vec![0; usize::try_from(full.table_size)?];
    file.read_exact_at(&mut table, 0)
        .context("cannot read the payload's table")?;
    let entries = payload::parse_table(release.index, full, &table)?;
    let mut known = std::collections::HashMap::new();
    for ((image, n, len, _), entry) in release.index.segments().zip(entries) {
        if entry.operation == Operation::Zstd && len as u64 == SEGMENT {
            let start = release.index.images[image].target.partition(Slot::A).start;
            known.insert(start + n as u64 * SEGMENT, entry);
        }
    }
    let zeros = zstd::bulk::compress(&vec![0; usize::try_from(SEGMENT)?], level)?;
    let pieces = pass::each(
        &Skip {
            card,
            known: &known,
        },
        SEGMENT,
        threads,
        |_, at, bytes| {
            Ok(match known.get(&at) {
                Some(entry) => Piece::Payload(entry.clone()),
                None if bytes.len() as u64 == SEGMENT && pass::is_zero(bytes) => {
                    Piece::Made(zeros.clone())
                }
                None => Piece::Made(zstd::bulk::compress(bytes, level)?),
            })
        },
    )?;
    files::replace_with(to, |out| {
        for piece in &pieces {
            match piece {
                Piece::Made(frame) => out.write_all(frame)?,
                Piece::Payload(entry) => {
                    let mut frame = vec![0; entry.len];
                    file.read_exact_at(&mut frame, entry.at)?;
                    out.write_all(&frame)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// The card, but what the payload holds is not read again.
struct Skip<'a, B: ?Sized> {
    card: &'a B,
    known: &'a std::collections::HashMap<u64, Entry>,
}

impl<B: Blocks + ?Sized> Blocks for Skip<'_, B> {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        if self.known.contains_key(&at) {
            Ok(())
        } else {
            self.card.read_at(at, buf)
        }
    }
}
