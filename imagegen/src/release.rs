//! Makes the update release that belongs to an image: the index with a hash for every segment, the full payload, and
//! deltas from earlier releases.
//!
//! Segments are hashed and compressed on all cores; the result does not depend on how many there are. Segments that an
//! earlier release in the same directory holds, packed by the same encoder, are taken from there.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hypriot_keys::time::Timestamp;
use hypriot_updater::index::{FORMAT, Image, Index, PayloadFile, SEGMENT, SegmentHash, Target};
use hypriot_updater::payload::{self, Operation};

use self::earlier::Earlier;
use crate::files;
use crate::formats::{Blocks, pass};
use crate::image::card::Volumes;
use crate::image::output::zst::Frames;

mod apply;
mod base;
mod delta;
mod earlier;
mod layout;
pub mod publish;

pub use self::apply::{applied, unpack, verify};
pub use self::base::{Base, earlier_of};
pub use self::layout::After;

#[cfg(test)]
pub(crate) mod tests;

/// Compression level of segments: the best that keeps two cores below half a minute for a whole image.
pub const LEVEL: i32 = 9;
/// Deltas are made from this many earlier releases unless told otherwise.
pub const DELTAS: usize = 3;

/// What a release says about itself.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// Board.
    pub board: &'a str,
    /// Version.
    pub version: &'a semver::Version,
    /// The shape of data that its services leave ([`Index::state_version`]).
    pub state_version: u32,
    /// When its packages were frozen.
    pub created: u64,
    /// Compression level.
    pub level: i32,
    /// Threads.
    pub threads: usize,
    /// Indexes of the releases that deltas are made from, their payloads beside them.
    pub bases: &'a [PathBuf],
}

/// A finished release.
#[derive(Debug)]
pub struct Release {
    /// What it contains.
    pub index: Index,
    /// Name of the index: the TUF target.
    pub index_name: String,
    /// The bytes to sign.
    pub index_bytes: Vec<u8>,
    /// The full payload's file.
    pub payload: PathBuf,
    /// The deltas' files.
    pub deltas: Vec<PathBuf>,
    /// Segments that came from an earlier release.
    pub reused: usize,
    /// All segments.
    pub segments: usize,
}

impl Release {
    /// What whoever writes the same card may take from it.
    pub fn frames(&self) -> Frames<'_> {
        Frames {
            index: &self.index,
            payload: &self.payload,
        }
    }
}

/// The name all files of a release begin with.
pub fn stem(board: &str, version: &semver::Version) -> String {
    format!("hypriotos-{board}-{version}")
}

/// How the bytes of a segment are sent.
struct Packed {
    hash: SegmentHash,
    operation: Operation,
    data: Vec<u8>,
    reused: bool,
}

/// Writes index and payload of a release into `out`. Every piece of the images is shown to `also` once, in any order.
pub fn make(
    volumes: &Volumes,
    spec: &Spec<'_>,
    out: &Path,
    also: impl Fn(Target, u64, &[u8]) -> Result<()> + Sync,
) -> Result<Release> {
    let stem = stem(spec.board, spec.version);
    let encoder = encoder(spec.level);
    let earlier = Earlier::find(out, spec.board, &encoder);
    let mut images = Vec::new();
    let mut packed = Vec::new();
    for (target, volume) in [(Target::Boot, &volumes.boot), (Target::Root, &volumes.root)] {
        let segments = pass::each(volume, SEGMENT, spec.threads, |_, at, bytes| {
            also(target, at, bytes)?;
            pack(bytes, spec.level, &earlier)
        });
        let segments = segments.with_context(|| format!("the {target:?} image"))?;
        images.push(Image {
            target,
            size: volume.size(),
            segments: segments.iter().map(|s| s.hash).collect(),
        });
        packed.extend(segments);
    }
    let mut index = Index {
        format: FORMAT.to_owned(),
        board: spec.board.to_owned(),
        version: spec.version.clone(),
        state_version: spec.state_version,
        created: Timestamp(spec.created),
        images,
        payloads: Vec::new(),
    };
    let rows: Vec<(&Operation, &[u8])> = packed
        .iter()
        .map(|p| (&p.operation, p.data.as_slice()))
        .collect();
    let full = write_payload(out, format!("{stem}.payload"), &rows, None)?;
    let path = out.join(&full.name);
    index.payloads.push(full);
    let deltas = deltas(volumes, spec, out, &mut index, &rows)?;
    let index_bytes = index.encode()?;
    let index_name = format!("{stem}.json");
    files::replace(&out.join(&index_name), &index_bytes)?;
    files::replace(&out.join(mark_name(&stem)), encoder.as_bytes())?;
    let reused = packed.iter().filter(|p| p.reused).count();
    Ok(Release {
        index,
        index_name,
        index_bytes,
        payload: path,
        deltas,
        reused,
        segments: packed.len(),
    })
}

/// Writes a payload of these segments, and says what the index says about it.
fn write_payload(
    out: &Path,
    name: String,
    rows: &[(&Operation, &[u8])],
    base: Option<hypriot_updater::index::Base>,
) -> Result<PayloadFile> {
    let table = payload::encode_table(rows.iter().copied());
    files::replace_with(&out.join(&name), |file| {
        file.write_all(&table)?;
        rows.iter().try_for_each(|(_, data)| file.write_all(data))
    })?;
    let data: u64 = rows.iter().map(|(_, data)| data.len() as u64).sum();
    Ok(PayloadFile {
        name,
        format: payload::FORMAT,
        size: table.len() as u64 + data,
        table_size: u32::try_from(table.len()).context("the table of the payload is too long")?,
        table: SegmentHash::of(&table),
        base,
    })
}

/// Writes a delta from each base and adds it to the index, unless it saves less than a tenth: no board's choice would ever
/// fall on it to speak of, and every server would have to keep it.
fn deltas(
    volumes: &Volumes,
    spec: &Spec<'_>,
    out: &Path,
    index: &mut Index,
    full: &[(&Operation, &[u8])],
) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for path in spec.bases {
        let base = Base::open(path, out)
            .with_context(|| format!("cannot make a delta from {}", path.display()))?;
        let segments = delta::make(&base, volumes, index, full, spec.threads)?;
        let rows: Vec<(&Operation, &[u8])> =
            segments.iter().map(|(o, d)| (o, d.as_slice())).collect();
        let stem = stem(spec.board, spec.version);
        let name = format!("{stem}-from-{}.payload", base.version);
        let named = hypriot_updater::index::Base {
            version: base.version.clone(),
            content: base.content,
        };
        let file = write_payload(out, name, &rows, Some(named))?;
        let path = out.join(&file.name);
        if file.size.saturating_mul(10) >= index.payloads[0].size.saturating_mul(9) {
            std::fs::remove_file(&path)?;
            continue;
        }
        index.payloads.push(file);
        made.push(path);
    }
    Ok(made)
}

/// What packed the segments: the bytes of a frame depend on it.
fn encoder(level: i32) -> String {
    format!("zstd {} level {level}\n", zstd::zstd_safe::version_string())
}

fn mark_name(stem: &str) -> String {
    format!("{stem}.encoder")
}

fn pack(bytes: &[u8], level: i32, earlier: &Earlier) -> Result<Packed> {
    let hash = SegmentHash::of(bytes);
    if pass::is_zero(bytes) {
        return Ok(Packed {
            hash,
            operation: Operation::Zeros,
            data: Vec::new(),
            reused: false,
        });
    }
    if let Some((operation, data)) = earlier.get(hash, bytes.len()) {
        return Ok(Packed {
            hash,
            operation,
            data,
            reused: true,
        });
    }
    let frame = zstd::bulk::compress(bytes, level).context("cannot compress a segment")?;
    // A frame that is not smaller is no frame (the payload's reader refuses it).
    Ok(if frame.len() < bytes.len() {
        Packed {
            hash,
            operation: Operation::Zstd,
            data: frame,
            reused: false,
        }
    } else {
        Packed {
            hash,
            operation: Operation::Raw,
            data: bytes.to_vec(),
            reused: false,
        }
    })
}
