//! Reading a release back: what a board would do with it, on the machine that made it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hypriot_updater::index::{Index, MAX_INDEX, PayloadFile, SEGMENT, SegmentHash};
use hypriot_updater::layout::SECTOR;
use hypriot_updater::payload::{self, Entry, Extent, Operation};
use zstd::zstd_safe::DCtx;

use super::base::Base;

/// A full payload that is open, its table read.
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) file: File,
    pub(super) entries: Vec<Entry>,
}

impl Opened {
    /// Opens the release whose index this is.
    pub(super) fn open(index: &Path) -> Result<Self> {
        let context = || format!("cannot read the release index {}", index.display());
        let len = std::fs::metadata(index).with_context(context)?.len();
        ensure!(
            len <= MAX_INDEX,
            "{} has {len} bytes: this is no release index",
            index.display()
        );
        let parsed = Index::parse(&std::fs::read(index).with_context(context)?)
            .with_context(|| format!("{}", index.display()))?;
        let full = parsed.full().context("there is no full payload")?;
        let (file, entries) = table(index.parent().unwrap_or(Path::new(".")), &parsed, full)?;
        Ok(Self {
            index: parsed,
            file,
            entries,
        })
    }

    /// Segment `n` of the release, proved to be it.
    pub(super) fn segment(&self, n: usize, len: usize, hash: SegmentHash) -> Result<Vec<u8>> {
        segment(&self.file, &self.entries[n], len, hash, &|_| {
            unreachable!("a full payload has no base")
        })
        .with_context(|| format!("segment {n} of the payload"))
    }
}

/// Opens a payload and reads its table.
fn table(dir: &Path, index: &Index, payload: &PayloadFile) -> Result<(File, Vec<Entry>)> {
    let path = dir.join(&payload.name);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata()?.len();
    ensure!(
        size == payload.size,
        "{} has {size} bytes, its index says {}",
        path.display(),
        payload.size
    );
    let mut bytes = vec![0; usize::try_from(payload.table_size)?];
    file.read_exact_at(&mut bytes, 0)
        .context("the payload's table")?;
    let entries = payload::parse_table(index, payload, &bytes)
        .with_context(|| format!("{}", path.display()))?;
    Ok((file, entries))
}

/// The bytes of one segment; `base` gives extents of the release it is a delta from.
fn segment(
    file: &File,
    entry: &Entry,
    len: usize,
    hash: SegmentHash,
    base: &dyn Fn(&[Extent]) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut data = vec![0; entry.len];
    file.read_exact_at(&mut data, entry.at)?;
    ensure!(
        SegmentHash::of(&data) == entry.hash,
        "its data is not what the table says"
    );
    let bytes = decode(&entry.operation, data, len, base)?;
    ensure!(
        SegmentHash::of(&bytes) == hash,
        "it is not what the index says"
    );
    Ok(bytes)
}

/// What an operation makes of its data. `Same` is not decoded: whoever has the base compares hashes.
pub(super) fn decode(
    operation: &Operation,
    data: Vec<u8>,
    len: usize,
    base: &dyn Fn(&[Extent]) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    Ok(match operation {
        Operation::Zeros => vec![0; len],
        Operation::Raw => data,
        Operation::Zstd => zstd::bulk::decompress(&data, len)?,
        Operation::Same => anyhow::bail!("a full payload cannot refer to a base"),
        Operation::Copy(extents) => base(extents)?,
        Operation::Patch(extents) => {
            let reference = base(extents)?;
            let mut out = Vec::with_capacity(len);
            let mut context = DCtx::create();
            let named = |code| anyhow::anyhow!("zstd: {}", zstd::zstd_safe::get_error_name(code));
            context.ref_prefix(&reference).map_err(named)?;
            context.decompress(&mut out, &data).map_err(named)?;
            out
        }
    })
}

/// Applies a delta to its base and gives the hash of what comes out: that of the index, if both are what they say.
pub fn applied(
    dir: &Path,
    index: &Index,
    payload: &PayloadFile,
    base: &Base,
) -> Result<SegmentHash> {
    let (file, entries) = table(dir, index, payload)?;
    let mut made = index.clone();
    for (n, ((image, number, len, hash), entry)) in index.segments().zip(&entries).enumerate() {
        let read = |extents: &[Extent]| base.read(extents);
        let same = [Extent {
            image: u8::try_from(image)?,
            sector: u32::try_from(number as u64 * SEGMENT / SECTOR)?,
            count: u32::try_from(len as u64 / SECTOR)?,
        }];
        let entry = match entry.operation {
            Operation::Same => Entry {
                operation: Operation::Copy(same.to_vec()),
                ..entry.clone()
            },
            _ => entry.clone(),
        };
        let bytes = segment(&file, &entry, len, hash, &read)
            .with_context(|| format!("segment {n} of {}", payload.name))?;
        made.images[image].segments[number] = SegmentHash::of(&bytes);
    }
    Ok(made.content())
}

/// Reads a release back and compares every segment of its full payload with its index, and every segment's data of its
/// deltas with their tables: what a board would do. Gives the bytes of the slot.
pub fn verify(dir: &Path, index_bytes: &[u8]) -> Result<u64> {
    let index = Index::parse(index_bytes)?;
    let mut total = 0;
    for payload in index.known() {
        let (file, entries) = table(dir, &index, payload)?;
        for (n, ((_, _, len, hash), entry)) in index.segments().zip(&entries).enumerate() {
            let context = || format!("segment {n} of {}", payload.name);
            if payload.base.is_none() {
                segment(&file, entry, len, hash, &|_| unreachable!("no base"))
                    .with_context(context)?;
                total += len as u64;
            } else {
                let mut data = vec![0; entry.len];
                file.read_exact_at(&mut data, entry.at)
                    .with_context(context)?;
                ensure!(
                    SegmentHash::of(&data) == entry.hash,
                    "{}: its data is not what the table says",
                    context()
                );
            }
        }
    }
    Ok(total)
}

/// Writes the images of a release one behind the other: the bytes of a slot, as the tools of others take them.
pub fn unpack(index: &Path, to: &File) -> Result<u64> {
    let opened = Opened::open(index)?;
    let mut at = 0;
    for (n, (_, _, len, hash)) in opened.index.segments().enumerate() {
        to.write_all_at(&opened.segment(n, len, hash)?, at)?;
        at += len as u64;
    }
    Ok(at)
}
