//! Makes the update release that belongs to an image: the index with a hash for every segment, and the full payload.
//!
//! Segments are hashed and compressed on all cores; the result does not depend on how many there are. Segments that an
//! earlier release in the same directory holds, packed by the same encoder, are taken from there.

pub mod publish;

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hypriot_keys::time::Timestamp;
use hypriot_updater::index::{
    FORMAT, Image, Index, MAX_INDEX, PayloadFile, SEGMENT, SegmentHash, Target,
};
use hypriot_updater::payload::{self, Operation};

use crate::files;
use crate::formats::{Blocks, pass};
use crate::image::card::Volumes;
use crate::image::output::zst::Frames;

#[cfg(test)]
pub(crate) mod tests;

/// Compression level of segments: the best that keeps two cores below half a minute for a whole image.
pub const LEVEL: i32 = 9;
/// Earlier releases that are looked into.
const EARLIER_MAX: usize = 4;

/// What a release says about itself.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// Board.
    pub board: &'a str,
    /// Version.
    pub version: &'a semver::Version,
    /// When its packages were frozen.
    pub created: u64,
    /// Compression level.
    pub level: i32,
    /// Threads.
    pub threads: usize,
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
    /// The payload's file.
    pub payload: PathBuf,
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
    let rows: Vec<(Operation, usize)> =
        packed.iter().map(|p| (p.operation, p.data.len())).collect();
    let table = payload::encode_table(&rows);
    let size = table.len() as u64 + packed.iter().map(|p| p.data.len() as u64).sum::<u64>();
    let name = format!("{stem}.payload");
    let index = Index {
        format: FORMAT.to_owned(),
        board: spec.board.to_owned(),
        version: spec.version.clone(),
        created: Timestamp(spec.created),
        images,
        payload: PayloadFile {
            name: name.clone(),
            size,
        },
    };
    let index_bytes = index.encode()?;
    let path = out.join(&name);
    files::replace_with(&path, |file| {
        file.write_all(&table)?;
        packed.iter().try_for_each(|p| file.write_all(&p.data))
    })?;
    let index_name = format!("{stem}.json");
    files::replace(&out.join(&index_name), &index_bytes)?;
    files::replace(&out.join(mark_name(&stem)), encoder.as_bytes())?;
    let reused = packed.iter().filter(|p| p.reused).count();
    Ok(Release {
        index,
        index_name,
        index_bytes,
        payload: path,
        reused,
        segments: packed.len(),
    })
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

/// Segments of earlier releases, by hash. What is wrong with an earlier release makes it useless here, nothing more.
struct Earlier {
    payloads: Vec<std::fs::File>,
    segments: HashMap<[u8; 32], (usize, payload::Entry)>,
}

impl Earlier {
    fn find(dir: &Path, board: &str, encoder: &str) -> Self {
        let mut found = Self {
            payloads: Vec::new(),
            segments: HashMap::new(),
        };
        let mut names: Vec<(std::time::SystemTime, String)> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|e| {
                let e = e.ok()?;
                let name = e.file_name().into_string().ok()?;
                let stem = name.strip_suffix(".encoder")?.to_owned();
                let made = e.metadata().ok()?.modified().ok()?;
                stem.starts_with(&format!("hypriotos-{board}-"))
                    .then_some((made, stem))
            })
            .collect();
        names.sort();
        for (_, stem) in names.iter().rev().take(EARLIER_MAX) {
            let same =
                std::fs::read(dir.join(mark_name(stem))).is_ok_and(|m| m == encoder.as_bytes());
            if same && let Some((index, file)) = open(dir, stem) {
                found.add(&index, file);
            }
        }
        found
    }

    fn add(&mut self, index: &Index, file: std::fs::File) {
        let mut table = vec![0; payload::table_len(index)];
        if file.read_exact_at(&mut table, 0).is_err() {
            return;
        }
        let Ok(entries) = payload::parse_table(index, &table) else {
            return;
        };
        let n = self.payloads.len();
        self.payloads.push(file);
        for ((_, _, _, hash), entry) in index.segments().zip(entries) {
            if entry.operation != Operation::Zeros {
                self.segments.entry(hash.0).or_insert((n, entry));
            }
        }
    }

    /// The packed form of a segment, proved to give `len` bytes of this hash.
    fn get(&self, hash: SegmentHash, len: usize) -> Option<(Operation, Vec<u8>)> {
        let (n, entry) = self.segments.get(&hash.0)?;
        let mut data = vec![0; entry.len];
        self.payloads[*n].read_exact_at(&mut data, entry.at).ok()?;
        let right = match entry.operation {
            Operation::Zstd => {
                zstd::bulk::decompress(&data, len).is_ok_and(|b| SegmentHash::of(&b) == hash)
            }
            _ => SegmentHash::of(&data) == hash,
        };
        right.then_some((entry.operation, data))
    }
}

fn open(dir: &Path, stem: &str) -> Option<(Index, std::fs::File)> {
    let path = dir.join(format!("{stem}.json"));
    let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= MAX_INDEX);
    let index = Index::parse(&small.then(|| std::fs::read(&path).ok()).flatten()?).ok()?;
    let file = std::fs::File::open(dir.join(&index.payload.name)).ok()?;
    Some((index, file))
}

/// Reads a release back and compares every segment with its index: what a board would do.
pub fn verify(dir: &Path, index_bytes: &[u8]) -> Result<u64> {
    let index = Index::parse(index_bytes)?;
    let path = dir.join(&index.payload.name);
    let file =
        std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata()?.len();
    ensure!(
        size == index.payload.size,
        "{} has {size} bytes, its index says {}",
        path.display(),
        index.payload.size
    );
    let mut table = vec![0; payload::table_len(&index)];
    file.read_exact_at(&mut table, 0)
        .context("the payload's table")?;
    let entries = payload::parse_table(&index, &table)?;
    let mut total = 0;
    for (n, ((_, _, len, hash), entry)) in index.segments().zip(entries).enumerate() {
        let mut data = vec![0; entry.len];
        file.read_exact_at(&mut data, entry.at)
            .with_context(|| format!("segment {n} of the payload"))?;
        let bytes = match entry.operation {
            Operation::Zeros => vec![0; len],
            Operation::Raw => data,
            Operation::Zstd => zstd::bulk::decompress(&data, len)
                .with_context(|| format!("segment {n} of the payload"))?,
        };
        ensure!(
            SegmentHash::of(&bytes) == hash,
            "segment {n} of the payload is not what the index says"
        );
        total += len as u64;
    }
    Ok(total)
}
