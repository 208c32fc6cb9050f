//! Puts a card together: partition table, blobs, boot state, and the file systems of slot A. Slot B and data stay empty.
//!
//! A card is a plan like its file systems: it can be read at any place without being written anywhere first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use hypriot_updater::boot::BootState;
use hypriot_updater::boot::script::INITRAMFS;
use hypriot_updater::index::Target;
use hypriot_updater::layout::{self, BLANK, BLANK_MARK, BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::slot::Slot;

use crate::bake::expectations;
use crate::bake::record;
use crate::bake::{AGENT, Baked, Raw};
use crate::files;
use crate::formats::erofs::Layout;
use crate::formats::{Blocks, Volume, erofs, fat, pass};
use hypriot_updater::mbr;

#[cfg(test)]
mod tests;

/// How much of an image is handled at once: a segment of a release, so that one pass serves both.
pub const SEGMENT: u64 = hypriot_updater::index::SEGMENT;
/// The part of sector 0 that boot ROMs own on some boards; the partition entries follow.
const BOOT_CODE: u64 = mbr::ENTRIES_AT as u64;
/// Smallest boot file system: FAT32 needs 65525 clusters.
const BOOT_LEAST: u64 = 40 << 20;
/// Unit of holes: a file system of the host has none smaller.
const HOLE: usize = 4096;

/// The file systems of a card, planned.
#[derive(Debug)]
pub struct Volumes {
    /// First partition.
    pub config: Volume,
    /// Boot partition of a slot.
    pub boot: Volume,
    /// Root partition of a slot.
    pub root: Volume,
}

/// Plans the three file systems of a card.
/// What did not change since `before` keeps its place in the root.
pub fn volumes(
    baked: &Baked,
    board: &str,
    version: &str,
    before: Option<&Layout>,
) -> Result<Volumes> {
    let seed = format!("{board} {version}");
    let id = |what: &str| derived_id(&format!("{what} {seed}"));
    let config = fat::Options {
        label: "HypriotOS",
        volume_id: id("config"),
        size: layout::CONFIG.size,
        last: &[],
    };
    // A boot file system is as long as it needs to be: a board writes it whole at each update.
    let size = fat::fitting_size(&baked.boot, BOOT_LEAST);
    let limit = layout::boot(Slot::A).size;
    ensure!(
        size <= limit,
        "kernel, initramfs and device trees need {} MiB, the boot partition has {} MiB",
        size >> 20,
        limit >> 20
    );
    let boot = fat::Options {
        label: "boot",
        volume_id: id("boot"),
        size,
        last: &[INITRAMFS, "version"],
    };
    let root = erofs::plan(
        &baked.root,
        erofs::Options {
            label: "root",
            seed: &seed,
            last: &[AGENT, record::BUILD, record::LOCK, expectations::PATH],
            before,
        },
    )?;
    let limit = layout::root(Slot::A).size;
    ensure!(
        root.size() <= limit,
        "the root file system needs {} MiB and its partition has {} MiB; take packages out of the recipe",
        root.size().div_ceil(1 << 20),
        limit >> 20
    );
    Ok(Volumes {
        config: fat::plan(&baked.config, config)?,
        boot: fat::plan(&baked.boot, boot)?,
        root,
    })
}

/// A 32-bit identity that is the same for the same text, and never 0, which means "none".
pub fn derived_id(text: &str) -> u32 {
    let hash = blake3::hash(text.as_bytes());
    let b = hash.as_bytes();
    u32::from_le_bytes([b[0], b[1], b[2], b[3]]).max(1)
}

/// The disk signature of a release's image. A board draws one of its own at its first start.
pub fn signature(board: &str, version: &str) -> u32 {
    derived_id(&format!("disk {board} {version}"))
}

/// One thing on a card.
struct Part<'a> {
    name: String,
    at: u64,
    what: What<'a>,
}

enum What<'a> {
    Bytes(Vec<u8>),
    Volume(&'a Volume),
}

impl Part<'_> {
    fn len(&self) -> u64 {
        match &self.what {
            What::Bytes(b) => b.len() as u64,
            What::Volume(v) => v.size(),
        }
    }

    fn write(&self, file: &File, threads: usize) -> Result<()> {
        match &self.what {
            What::Bytes(b) => Ok(file.write_all_at(b, self.at)?),
            What::Volume(v) => {
                let write = |_, at, bytes: &[u8]| Ok(write_sparse(file, self.at + at, bytes)?);
                pass::each(*v, SEGMENT, threads, write).map(|_: Vec<()>| ())
            }
        }
    }
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} ({} bytes)", self.name, self.at, self.len())
    }
}

/// A planned card. What no part covers is zero.
#[derive(Debug)]
pub struct Card<'a> {
    parts: Vec<Part<'a>>,
}

impl<'a> Card<'a> {
    /// Plans a card; refuses blobs that lie on anything else, by name.
    pub fn plan(volumes: &'a Volumes, raw: &[Raw], signature: u32) -> Result<Self> {
        let mut parts = Vec::new();
        let mut put = |name: &str, at: u64, what: What<'a>| {
            parts.push(Part {
                name: name.to_owned(),
                at,
                what,
            });
        };
        for (n, (at, sector)) in mbr::card(signature).encode()?.into_iter().enumerate() {
            if at == 0 {
                // Sector 0 in two parts: boot ROMs own the bytes before the entries on some boards, a blob may lie there
                // and then takes the place of the disk signature too.
                let own_code = raw.iter().any(|r| r.offset == 0);
                let from = if own_code {
                    mbr::ENTRIES_AT
                } else {
                    mbr::SIGNATURE_AT
                };
                put(
                    "partition table",
                    from as u64,
                    What::Bytes(sector[from..].to_vec()),
                );
            } else {
                put(
                    &format!("link {n} of the logical partitions"),
                    at,
                    What::Bytes(sector.to_vec()),
                );
            }
        }
        for blob in raw {
            let end = blob.offset + blob.bytes.len() as u64;
            let room = layout::raw_room(blob.offset);
            ensure!(
                room.is_some_and(|room| end <= room),
                "{} lies from byte {} to {end}; boot loaders must lie {}",
                blob.name,
                blob.offset,
                layout::raw_rooms()
            );
            ensure!(
                blob.offset != 0 || end <= BOOT_CODE,
                "{} has {end} bytes at the start of the card, where there is room for {BOOT_CODE} before the partition table",
                blob.name
            );
            put(&blob.name, blob.offset, What::Bytes(blob.bytes.to_vec()));
        }
        put(
            "mark of a blank card",
            BLANK,
            What::Bytes(BLANK_MARK.to_vec()),
        );
        let state = BootState::fresh().encode()?;
        ensure!(
            state.len() == BOOT_STATE_SIZE,
            "the boot state has {} bytes (a bug)",
            state.len()
        );
        for (n, at) in BOOT_STATE.into_iter().enumerate() {
            put(
                &format!("boot state, copy {}", n + 1),
                at,
                What::Bytes(state.clone()),
            );
        }
        put(
            layout::CONFIG.name,
            layout::CONFIG.start,
            What::Volume(&volumes.config),
        );
        put(
            layout::boot(Slot::A).name,
            layout::boot(Slot::A).start,
            What::Volume(&volumes.boot),
        );
        put(
            layout::root(Slot::A).name,
            layout::root(Slot::A).start,
            What::Volume(&volumes.root),
        );
        parts.sort_by_key(|p| p.at);
        for pair in parts.windows(2) {
            if pair[0].at + pair[0].len() > pair[1].at {
                bail!(
                    "{:?} and {:?} lie on each other; correct the offsets in the board file",
                    pair[0],
                    pair[1]
                );
            }
        }
        Ok(Self { parts })
    }

    /// What lies at a byte of the card.
    pub fn name_at(&self, at: u64) -> Option<&str> {
        self.parts
            .iter()
            .find(|p| (p.at..p.at + p.len()).contains(&at))
            .map(|p| p.name.as_str())
    }

    /// The runs of bytes that may differ from zero, in whole blocks of 4 KiB, joined.
    pub fn mapped(&self) -> Vec<(u64, u64)> {
        let block = HOLE as u64;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut add = |at: u64, len: u64| {
            let (from, to) = (at / block * block, (at + len).next_multiple_of(block));
            match runs.last_mut() {
                Some((start, len)) if *start + *len >= from => {
                    *len = (*start + *len).max(to) - *start;
                }
                _ => runs.push((from, to - from)),
            }
        };
        for part in &self.parts {
            match &part.what {
                What::Bytes(b) => add(part.at, b.len() as u64),
                What::Volume(v) => v
                    .mapped()
                    .into_iter()
                    .for_each(|(at, len)| add(part.at + at, len)),
            }
        }
        runs
    }

    /// Writes the card as a sparse file: whole and durable under its name, or not at all.
    pub fn write(&self, to: &Path, threads: usize) -> Result<()> {
        self.write_with(to, threads, |file| {
            for part in self.parts.iter().filter(|p| is_of_slot(p)) {
                part.write(file, threads)?;
            }
            Ok(())
        })
    }

    /// Like [`Card::write`], but whoever makes the release writes the partitions of the slot with [`put`] while it has
    /// their bytes in its hands.
    pub fn write_with<T>(
        &self,
        to: &Path,
        threads: usize,
        slot: impl FnOnce(&File) -> Result<T>,
    ) -> Result<T> {
        let mut failed = None;
        let written = files::replace_with(to, |file| {
            let fill = || {
                file.set_len(self.size())?;
                for part in self.parts.iter().filter(|p| !is_of_slot(p)) {
                    part.write(file, threads)?;
                }
                slot(file)
            };
            fill().map_err(|e| {
                let kind = e
                    .downcast_ref::<io::Error>()
                    .map_or(io::ErrorKind::Other, io::Error::kind);
                failed = Some(e);
                kind.into()
            })
        });
        match (written, failed) {
            (Ok(value), _) => Ok(value),
            // The whole chain of causes says more than what passed through an I/O error.
            (Err(e), Some(cause)) => Err(cause.context(e)),
            (Err(e), None) => Err(e.into()),
        }
    }
}

/// Writes a piece of one of slot A's images to its place on a card.
pub fn put(card: &File, target: Target, at: u64, bytes: &[u8]) -> Result<()> {
    Ok(write_sparse(
        card,
        target.partition(Slot::A).start + at,
        bytes,
    )?)
}

fn is_of_slot(part: &Part<'_>) -> bool {
    [layout::boot(Slot::A).name, layout::root(Slot::A).name].contains(&part.name.as_str())
}

/// Writes what is not zero; the rest of a new file is a hole.
fn write_sparse(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut from = 0;
    while from < bytes.len() {
        let hole = |n: usize| pass::is_zero(&bytes[n..(n + HOLE).min(bytes.len())]);
        let mut to = from;
        while to < bytes.len() && !hole(to) {
            to += HOLE;
        }
        let to = to.min(bytes.len());
        file.write_all_at(&bytes[from..to], at + from as u64)?;
        from = to;
        while from < bytes.len() && hole(from) {
            from += HOLE;
        }
    }
    Ok(())
}

impl Blocks for Card<'_> {
    fn size(&self) -> u64 {
        layout::IMAGE_SIZE
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at + buf.len() as u64;
        ensure!(
            end <= self.size(),
            "{} bytes at {at} are past the end of the card",
            buf.len()
        );
        buf.fill(0);
        for part in self
            .parts
            .iter()
            .filter(|p| p.at < end && p.at + p.len() > at)
        {
            let (from, to) = (part.at.max(at), (part.at + part.len()).min(end));
            let room = &mut buf[usize::try_from(from - at)?..usize::try_from(to - at)?];
            match &part.what {
                What::Bytes(b) => b.read_at(from - part.at, room)?,
                What::Volume(v) => v.read_at(from - part.at, room)?,
            }
        }
        Ok(())
    }
}
