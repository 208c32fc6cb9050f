//! A delta: per segment the cheapest of what the running slot can give.
//!
//! A segment that lies in the base at the same place is `same`; one whose blocks all lie there is `copy`. Anything else is
//! packed with pieces of the base as reference: the places where the files of the segment lie in the base, found by path,
//! and the places where its blocks lie, found by content. References are bounded, so a board needs little memory, and
//! cost no more bytes than one that is the whole image.

use anyhow::{Result, anyhow, ensure};
use hypriot_updater::index::{Index, SEGMENT, SegmentHash};
use hypriot_updater::layout::SECTOR;
use hypriot_updater::payload::{Extent, MAX_EXTENTS, MAX_REFERENCE, Operation};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

use super::apply::decode;
use super::base::{BLOCK, BLOCK_LEN, Base, Place, key};
use crate::formats::erofs::read::Erofs;
use crate::formats::pass;
use crate::image::card::Volumes;

/// Compression level: tables of lower ones do not reach through the reference (six is ten times worse).
const LEVEL: i32 = 19;
/// Matches reach over reference and segment.
const WINDOW_LOG: u32 = 23;
/// Bytes around a found place that are taken along: what was inserted or moved a little lies there.
const PAD: u64 = 64 << 10;
/// Displacements of equal blocks that are followed.
const WAYS: usize = 6;
/// Bytes of the table that one extent costs.
const EXTENT: usize = 9;

/// What is known of a segment before it is packed.
struct Sketch {
    /// For each block: where the same bytes lie in the base; `None` for a block of zeros.
    blocks: Vec<Option<Vec<Place>>>,
}

/// Segments of a delta from `base`. `full` says how the full payload sends them: never is anything sent dearer.
pub(super) fn make(
    base: &Base,
    volumes: &Volumes,
    index: &Index,
    full: &[(&Operation, &[u8])],
    threads: usize,
) -> Result<Vec<(Operation, Vec<u8>)>> {
    let files = files_of(volumes);
    let mut out = Vec::with_capacity(full.len());
    let mut first = 0;
    for (image, volume) in [(0u8, &volumes.boot), (1, &volumes.root)] {
        let hashes = &index.images[usize::from(image)].segments;
        let old = &base.index.images[usize::from(image)];
        let same = |n: usize, len: usize| {
            old.segments.get(n) == hashes.get(n) && old.segment_len(n) == len
        };
        let sketches = pass::each(volume, SEGMENT, threads, |n, _, bytes| {
            Ok((!same(n, bytes.len()) && !pass::is_zero(bytes)).then(|| sketch(base, bytes)))
        })?;
        let near = displacements(&sketches, image);
        let part = pass::each(volume, SEGMENT, threads, |n, at, bytes| {
            let Some(sketch) = &sketches[n] else {
                return Ok(if pass::is_zero(bytes) {
                    (Operation::Zeros, Vec::new())
                } else {
                    (Operation::Same, Vec::new())
                });
            };
            let (operation, data) = full[first + n];
            let packed = Segment {
                base,
                image,
                at,
                bytes,
                sketch,
                near: near[n],
            }
            .pack(if image == 1 { &files } else { &[] }, data.len())?;
            Ok(packed.unwrap_or_else(|| (operation.clone(), data.to_vec())))
        })?;
        first += part.len();
        out.extend(part);
    }
    Ok(out)
}

fn sketch(base: &Base, bytes: &[u8]) -> Sketch {
    let blocks = bytes
        .chunks(BLOCK_LEN)
        .map(|b| (!pass::is_zero(b)).then(|| base.places(key(b)).to_vec()))
        .collect();
    Sketch { blocks }
}

/// Where in the new root which file lies: start, length, path, and how far into the file the start is.
type Piece = (u64, u64, String, u64);

fn files_of(volumes: &Volumes) -> Vec<Piece> {
    let Ok(erofs) = Erofs::open(&volumes.root) else {
        return Vec::new();
    };
    let mut pieces: Vec<Piece> = Vec::new();
    for (path, node) in erofs.names.iter().filter(|(_, n)| n.is_file()) {
        let mut into = 0;
        for (at, len) in node.data() {
            pieces.push((at, len, path.clone(), into));
            into += len;
        }
    }
    pieces.sort();
    pieces
}

/// For each segment how many blocks further its neighbours lie in the base: a guess for one that has no block in common.
fn displacements(sketches: &[Option<Sketch>], image: u8) -> Vec<i64> {
    let mut last = 0;
    let per_segment = i64::try_from(SEGMENT / BLOCK).unwrap_or(256);
    (0i64..)
        .zip(sketches)
        .map(|(n, sketch)| {
            if let Some(sketch) = sketch {
                let best = votes(sketch, n * per_segment)
                    .into_iter()
                    .find(|(to, _)| *to == image);
                last = best.map_or(last, |(_, by)| by);
            }
            last
        })
        .collect()
}

/// Displacements of the blocks of a segment whose first block has number `first`, the most common first.
fn votes(sketch: &Sketch, first: i64) -> Vec<(u8, i64)> {
    let mut count = std::collections::BTreeMap::<(u8, i64), usize>::new();
    for (n, places) in (first..).zip(&sketch.blocks) {
        for (image, block) in places.iter().flatten() {
            *count.entry((*image, i64::from(*block) - n)).or_default() += 1;
        }
    }
    let mut all: Vec<_> = count.into_iter().collect();
    all.sort_by_key(|(way, n)| (std::cmp::Reverse(*n), *way));
    all.into_iter().map(|(way, _)| way).collect()
}

/// A segment that differs from what lies at its place in the base.
struct Segment<'a> {
    base: &'a Base,
    image: u8,
    at: u64,
    bytes: &'a [u8],
    sketch: &'a Sketch,
    near: i64,
}

impl Segment<'_> {
    /// The cheapest way that is cheaper than `full` bytes of data.
    fn pack(&self, files: &[Piece], full: usize) -> Result<Option<(Operation, Vec<u8>)>> {
        if let Some(extents) = self.copy()
            && extents.len() * EXTENT < full
            && self.base.read(&extents)? == self.bytes
        {
            return Ok(Some((Operation::Copy(extents), Vec::new())));
        }
        let extents = self.reference(files);
        if extents.is_empty() {
            return Ok(None);
        }
        let reference = self.base.read(&extents)?;
        let frame = compress(self.bytes, &reference)?;
        if frame.len() + extents.len() * EXTENT + 1 >= full || frame.len() >= self.bytes.len() {
            return Ok(None);
        }
        let operation = Operation::Patch(extents);
        let back = decode(&operation, frame.clone(), self.bytes.len(), &|_| {
            Ok(reference.clone())
        })?;
        ensure!(
            SegmentHash::of(&back) == SegmentHash::of(self.bytes),
            "a patch does not give what it was made from (a bug)"
        );
        Ok(Some((operation, frame)))
    }

    /// Extents of the base that are this segment, if there are few.
    fn copy(&self) -> Option<Vec<Extent>> {
        let mut runs: Vec<(u8, u32, u32)> = Vec::new();
        if !(self.bytes.len() as u64).is_multiple_of(BLOCK) {
            return None;
        }
        for places in &self.sketch.blocks {
            let places = places.as_ref()?;
            let next = runs.last().map(|(image, start, len)| (*image, start + len));
            if let (Some(next), Some(run)) = (next, runs.last_mut())
                && places.contains(&next)
            {
                run.2 += 1;
                continue;
            }
            let (image, block) = places.first()?;
            runs.push((*image, *block, 1));
            if runs.len() > MAX_EXTENTS {
                return None;
            }
        }
        let per_block = u32::try_from(BLOCK / SECTOR).ok()?;
        Some(
            runs.into_iter()
                .map(|(image, block, len)| Extent {
                    image,
                    sector: block * per_block,
                    count: len * per_block,
                })
                .collect(),
        )
    }

    /// The pieces of the base that are most like this segment, the surest first, until the reference is full.
    fn reference(&self, files: &[Piece]) -> Vec<Extent> {
        let mut wanted: Vec<(u8, u64, u64)> = Vec::new();
        let len = self.bytes.len() as u64;
        for (start, length, path, into) in in_range(files, self.at, len) {
            // the part of the piece that lies in this segment, as bytes of the file
            let from = into + self.at.saturating_sub(*start);
            let to = into + (self.at + len - start).min(*length);
            let mut before = 0;
            for (old, old_len) in self.base.file(path) {
                let (a, b) = (from.max(before), to.min(before + old_len));
                if a < b {
                    let (a, b) = (old + (a - before), old + (b - before));
                    wanted.push((1, a.saturating_sub(PAD), b + PAD));
                }
                before += old_len;
            }
        }
        let first = i64::try_from(self.at / BLOCK).unwrap_or(i64::MAX);
        for (image, by) in votes(self.sketch, first).into_iter().take(WAYS) {
            let from = moved(self.at, by);
            wanted.push((image, from.saturating_sub(PAD), from + len + PAD));
        }
        let from = moved(self.at, self.near);
        wanted.push((self.image, from.saturating_sub(len), from + 2 * len));
        self.bounded(&wanted)
    }

    /// As many of the wanted ranges as the reference may have, in order of their places, joined where they meet.
    fn bounded(&self, wanted: &[(u8, u64, u64)]) -> Vec<Extent> {
        let mut chosen: Vec<(u8, u64, u64)> = Vec::new();
        for (image, from, to) in wanted {
            let size = self.base.size(*image);
            let from = from / SECTOR * SECTOR;
            let to = to.next_multiple_of(SECTOR).min(size);
            if from >= to {
                continue;
            }
            let mut more = chosen.clone();
            more.push((*image, from, to));
            let more = joined(more);
            let total: u64 = more.iter().map(|(_, a, b)| b - a).sum();
            if total <= MAX_REFERENCE && more.len() <= MAX_EXTENTS {
                chosen = more;
            }
        }
        chosen
            .into_iter()
            .filter_map(|(image, from, to)| {
                Some(Extent {
                    image,
                    sector: u32::try_from(from / SECTOR).ok()?,
                    count: u32::try_from((to - from) / SECTOR).ok()?,
                })
            })
            .collect()
    }
}

/// The place `blocks` further, or the start if that lies before it.
fn moved(at: u64, blocks: i64) -> u64 {
    (at / BLOCK).saturating_add_signed(blocks) * BLOCK
}

fn joined(mut ranges: Vec<(u8, u64, u64)>) -> Vec<(u8, u64, u64)> {
    ranges.sort_unstable();
    let mut out: Vec<(u8, u64, u64)> = Vec::new();
    for (image, from, to) in ranges {
        match out.last_mut() {
            Some(last) if last.0 == image && from <= last.2 => last.2 = last.2.max(to),
            _ => out.push((image, from, to)),
        }
    }
    out
}

/// The pieces that reach into `len` bytes from `at` on.
fn in_range(files: &[Piece], at: u64, len: u64) -> &[Piece] {
    let first = files.partition_point(|(start, length, ..)| start + length <= at);
    let last = files.partition_point(|(start, ..)| *start < at + len);
    files.get(first..last).unwrap_or_default()
}

fn compress(bytes: &[u8], reference: &[u8]) -> Result<Vec<u8>> {
    let named = |code| anyhow!("zstd: {}", get_error_name(code));
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).map_err(named)?;
    }
    context.ref_prefix(reference).map_err(named)?;
    let mut frame = Vec::with_capacity(compress_bound(bytes.len()));
    context.compress2(&mut frame, bytes).map_err(named)?;
    Ok(frame)
}
