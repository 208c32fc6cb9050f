//! Writes an image to a card or file, and reads it back.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::Image;
use super::bmap::Bmap;
use crate::files;
use crate::formats::Blocks;
use crate::progress::Progress;
use crate::sha256::{Hasher, Sha256};

/// How much is read and written at once.
const PIECE: u64 = 4 << 20;

/// Writes an image, with progress, and reads all of it back. With a map only what holds something is written, after each part
/// of the image was found to be what the map says.
pub fn write(image: &Image, map: Option<&Bmap>, to: &Path, progress: Progress) -> Result<u64> {
    if let Some(map) = map {
        matches(image, map, progress)?;
    }
    let runs = match map {
        Some(map) => {
            let mut runs: Vec<(u64, u64)> =
                map.ranges.iter().map(|(at, len, _)| (*at, *len)).collect();
            runs.extend(image.changed());
            joined(runs)
        }
        None => vec![(0, image.size())],
    };
    let bytes: u64 = runs.iter().map(|(_, len)| len).sum();
    let is_disk = std::fs::metadata(to).is_ok_and(|m| m.file_type().is_block_device());
    let file = open(to, is_disk)?;
    if !is_disk {
        file.set_len(image.size())
            .map_err(|e| files::named(to, &e))?;
    }
    let stage = progress.bytes("write", bytes);
    let mut sums = Vec::new();
    each(&runs, |at, len| {
        let piece = image.bytes(at, len)?;
        file.write_all_at(&piece, at)
            .map_err(|e| files::named(to, &e))?;
        sums.push(Sha256::of(&piece));
        stage.add(len as u64);
        Ok(())
    })?;
    file.sync_all().map_err(|e| files::named(to, &e))?;
    stage.done(&format!("{} MB to {}", bytes / 1_000_000, to.display()));
    // What is read now must come from the card, not out of this machine's memory.
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(&file, 0, 0, advice).map_err(|e| files::named(to, &e.into()))?;
    let stage = progress.bytes("read back", bytes);
    let again = File::open(to).map_err(|e| files::named(to, &e))?;
    let mut sums = sums.into_iter();
    each(&runs, |at, len| {
        let mut piece = vec![0; len];
        again
            .read_exact_at(&mut piece, at)
            .map_err(|e| files::named(to, &e))?;
        ensure!(
            sums.next() == Some(Sha256::of(&piece)),
            "{} does not give back what was written to it (bytes {at} to {}): the card or its reader is broken; take another one",
            to.display(),
            at + len as u64
        );
        stage.add(len as u64);
        Ok(())
    })?;
    stage.done(&format!("{} MB are right", bytes / 1_000_000));
    Ok(bytes)
}

/// Every part of the image, as it came, is what the map says.
fn matches(image: &Image, map: &Bmap, progress: Progress) -> Result<()> {
    ensure!(
        map.size == image.size(),
        "the image has {} bytes, its block map is of one with {}",
        image.size(),
        map.size
    );
    let stage = progress.bytes("check", map.ranges.iter().map(|r| r.1).sum());
    for (at, len, hash) in &map.ranges {
        let mut sum = Hasher::default();
        each(&[(*at, *len)], |at, len| {
            sum.update(&image.disk.bytes(at, len)?);
            stage.add(len as u64);
            Ok(())
        })?;
        ensure!(
            sum.done() == *hash,
            "bytes {at} to {} of the image are not what its block map says: the download is damaged, or somebody changed it. \
             Nothing was written",
            at + len
        );
    }
    stage.done("the image is what its block map says");
    Ok(())
}

/// Calls for each piece of these runs.
fn each(runs: &[(u64, u64)], mut act: impl FnMut(u64, usize) -> Result<()>) -> Result<()> {
    for (at, len) in runs {
        let mut from = *at;
        while from < at + len {
            let piece = PIECE.min(at + len - from);
            act(from, usize::try_from(piece)?)?;
            from += piece;
        }
    }
    Ok(())
}

/// Runs in order, none twice.
fn joined(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (at, len) in runs {
        match out.last_mut() {
            Some((start, have)) if *start + *have >= at => *have = (*have).max(at + len - *start),
            _ => out.push((at, len)),
        }
    }
    out
}

fn open(to: &Path, is_disk: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if is_disk {
        // open(2): a block device that something uses cannot be opened so.
        options.custom_flags(nix::libc::O_EXCL);
        return match options.open(to) {
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                bail!("{} is in use; nothing was written", to.display())
            }
            other => other.with_context(|| {
                format!(
                    "cannot write to {} (only root, and members of the group disk, can)",
                    to.display()
                )
            }),
        };
    }
    if let Ok(meta) = std::fs::metadata(to) {
        ensure!(
            meta.is_file(),
            "{} is neither a disk nor a file",
            to.display()
        );
    }
    options
        .create(true)
        .truncate(true)
        .open(to)
        .map_err(|e| files::named(to, &e).into())
}
