//! The raw image: partitions, types, places, boot state, and the boot loader blobs before the first partition.

use anyhow::{Result, ensure};
use hypriot_updater::boot::BootState;
use hypriot_updater::layout::{self, BLANK, BLANK_MARK, BOOT_STATE, BOOT_STATE_SIZE, RAW_END};
use hypriot_updater::slot::Slot;
use md5::{Digest as _, Md5};

use super::{Card, Findings};
use crate::bake::origins::Placed;
use crate::formats::{Blocks, pass};
use crate::image::table;
use crate::sha256::Sha256;
use hypriot_updater::mbr;

/// Partitions, boot state, and that what shall be empty is.
pub(super) fn check<B: Blocks + ?Sized>(disk: &B, found: &mut Findings) {
    let size = || {
        ensure!(
            disk.size() == layout::IMAGE_SIZE,
            "it has {} bytes, not {}",
            disk.size(),
            layout::IMAGE_SIZE
        );
        Ok(())
    };
    found.check("the image has the length of the layout", size());
    if let Some(table) = found.keep("there is a partition table", table::read(disk)) {
        partitions(&table, found);
    }
    let mark = || {
        ensure!(
            disk.bytes(BLANK, BLANK_MARK.len())? == BLANK_MARK,
            "it is missing: no board would make its data partition"
        );
        Ok(())
    };
    found.check("the card is marked blank", mark());
    for (n, at) in BOOT_STATE.into_iter().enumerate() {
        let fresh = || {
            let state = BootState::parse(&disk.bytes(at, BOOT_STATE_SIZE)?)?;
            ensure!(state == BootState::fresh(), "it is {state:?}");
            Ok(())
        };
        found.check(
            format!("boot state copy {} says slot A, no trial", n + 1),
            fresh(),
        );
    }
    for part in [layout::boot(Slot::B), layout::root(Slot::B), layout::DATA] {
        let empty = || {
            ensure!(
                pass::is_zero(&disk.bytes(part.start, 1 << 20)?),
                "there is something in it"
            );
            Ok(())
        };
        found.check(format!("{} is empty", part.name), empty());
    }
}

fn partitions(table: &mbr::Table, found: &mut Findings) {
    for want in mbr::card(table.signature).partitions {
        let have = table.get(want.number).copied();
        let same = || {
            ensure!(have == Some(want), "it is {have:?}, not {want:?}");
            Ok(())
        };
        found.check(
            format!("partition {} has its type, start and size", want.number),
            same(),
        );
    }
    let count = || {
        ensure!(
            table.partitions.len() == 7,
            "there are {}",
            table.partitions.len()
        );
        Ok(())
    };
    found.check("there are exactly 7 partitions", count());
}

/// The board's boot loaders lie where its boot ROM looks, with the bytes of their packages, and nothing else lies there.
pub(super) fn blobs<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let mut known: Vec<(u64, u64)> = vec![(0, 512)];
    for blob in &card.board.boot.raw {
        let row = card.boot_files.blob(blob.offset);
        known.extend(row.map(|r| (blob.offset, r.size)));
        let there = || {
            let row = row.ok_or_else(|| anyhow::anyhow!("the image's record does not know it"))?;
            ensure!(row.file == blob.file, "it is {}", row.file);
            let len = usize::try_from(row.size.min(RAW_END))?;
            same_bytes(&card.disk.bytes(blob.offset, len)?, row)
        };
        found.check(
            format!("{} lies at byte {} of the card", blob.file, blob.offset),
            there(),
        );
    }
    known.extend(BOOT_STATE.map(|at| (at, BOOT_STATE_SIZE as u64)));
    known.push((BLANK, BLANK_MARK.len() as u64));
    known.push((layout::CONFIG.start, 0));
    known.sort_unstable();
    let nothing_else = || {
        let mut end = 0;
        for (at, len) in known.iter().copied() {
            if at > end {
                let gap = card.disk.bytes(end, usize::try_from(at - end)?)?;
                let first = gap.iter().position(|b| *b != 0);
                ensure!(
                    first.is_none(),
                    "there is something at {}",
                    end + first.unwrap_or_default() as u64
                );
            }
            end = end.max(at + len);
        }
        Ok(())
    };
    found.check(
        "nothing but the board's blobs lies in the raw gap",
        nothing_else(),
    );
}

/// Whether bytes are those that were placed, and those the package itself vouches for.
pub(super) fn same_bytes(bytes: &[u8], row: &Placed) -> Result<()> {
    ensure!(
        bytes.len() as u64 == row.size && Sha256::of(bytes) == row.sha256,
        "its bytes are not those of {} that the image was made with",
        row.file
    );
    if let Some(promised) = &row.md5 {
        let got = hex::encode(Md5::digest(bytes));
        ensure!(
            got == *promised,
            "its MD5 is {got}; {} says {promised}",
            row.package.as_ref().map_or("its package", |p| &p.name)
        );
    }
    Ok(())
}
