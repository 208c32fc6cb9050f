//! The drill: proves the way back on a board that is well, without changing its software.
//!
//! The other slot gets a copy of what runs, is tried as any release is, and the trial is made to fail after its self-tests. What
//! the board then does by itself is what it would do for a release that is bad: mark the trial failed, restart, start the old
//! slot, find it healthy. How long that took is on record. The release is not refused: it is the one that runs.

use anyhow::{Context, bail, ensure};
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::Seen;
use hypriot_updater::health::{self, TestResult, Verdict};
use hypriot_updater::index::Target;
use hypriot_updater::record::{Drill, Outcome, Pending, Will, elapsed};
use hypriot_updater::slot::{Digest, Release, Slot};

use super::board::{Board, Session};
use super::trial;
use crate::card::ports::Running;

/// Copied at once; what the slot has already is not written.
const PIECE: usize = 1 << 20;

/// Where the magic number and the size of an EROFS image stand (kernel, `fs/erofs/erofs_fs.h`, `struct erofs_super_block`).
const EROFS_AT: u64 = 1024;
const EROFS_MAGIC: u32 = 0xE0F5_E1E2;

/// Arms the other slot with a copy of what runs. The restart is the loop's, as after any installation.
pub fn begin(
    replace: bool,
    seen: &Seen,
    board: &mut Board,
    session: &Session,
    tell: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<Release> {
    ensure!(
        seen.boot.trial.is_none() && seen.record.pending.is_none(),
        "an update is under way; `hypriot-agent why` shows how far it is"
    );
    if let Some(trouble) = &seen.trouble {
        bail!("{trouble}");
    }
    ensure!(
        seen.booted == seen.boot.default,
        "the slot that runs is not the default; `hypriot-agent status` shows both"
    );
    let slot = !seen.booted;
    let running = seen
        .record
        .content(seen.booted)
        .map_or(Digest([0; 32]), |r| r.digest);
    let release = Release {
        version: seen.running.clone(),
        digest: running,
        state_version: seen.state_version,
    };
    match seen.record.content(slot) {
        Some(other) if *other != release && !replace => bail!(
            "slot {slot} holds {}, to which this board can go back; `--replace` gives that up for the drill",
            other.version
        ),
        _ => copy(seen.booted, slot, &release, board, tell)?,
    }
    let mut record = board.store.record()?;
    record.pending = Some(Pending {
        drill: true,
        ..trial::new(slot, &release, Will::Now, session)
    });
    trial::begin(slot, &record, board)?;
    Ok(release)
}

/// Makes `to` what `from` is. Nothing is said to lie in `to` before all of it was read back.
fn copy(
    from: Slot,
    to: Slot,
    release: &Release,
    board: &Board,
    tell: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<()> {
    board.slots.check()?;
    let mut record = board.store.record()?;
    record.set_content(to, None);
    board.store.save(&record)?;
    let source = board.slots.running(from)?;
    let mut targets = Vec::new();
    for target in [Target::Boot, Target::Root] {
        let disk = board.slots.open(to, target)?;
        let length = length(target, &*source, disk.size())?;
        targets.push((target, disk, length));
    }
    // written once, and read back once
    let total = targets.iter().map(|(_, _, length)| length * 2).sum();
    let mut done = 0;
    for (target, disk, length) in &mut targets {
        each_piece(*length, |at, ours, theirs| {
            source.read_at(*target, at, ours)?;
            disk.read_at(at, theirs)?;
            if ours != theirs {
                disk.write_at(at, ours)?;
            }
            done += ours.len() as u64;
            tell(done, total);
            Ok(())
        })?;
        disk.sync()?;
    }
    for (target, disk, length) in &targets {
        each_piece(*length, |at, ours, theirs| {
            source.read_at(*target, at, ours)?;
            disk.read_at(at, theirs)?;
            ensure!(
                ours == theirs,
                "slot {to} does not keep what is written to it (at {at}); the card is failing"
            );
            done += ours.len() as u64;
            tell(done, total);
            Ok(())
        })?;
    }
    record.set_content(to, Some(release.clone()));
    record.set_content(from, Some(release.clone()));
    board.store.save(&record)
}

fn each_piece(
    length: u64,
    mut act: impl FnMut(u64, &mut [u8], &mut [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut one, mut two) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < length {
        let n = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        act(at, &mut one[..n], &mut two[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// How much of a partition of `size` is image: of a root its file system says so, of all else all of it.
fn length(target: Target, source: &dyn Running, size: u64) -> anyhow::Result<u64> {
    if target != Target::Root || size < EROFS_AT + 128 {
        return Ok(size);
    }
    let mut block = [0; 128];
    source
        .read_at(target, EROFS_AT, &mut block)
        .context("reading the running slot")?;
    let word =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (magic, bits, blocks) = (word(0), block[12], word(36));
    let image = u64::from(blocks) << u32::from(bits.min(16));
    Ok(if magic == EROFS_MAGIC && (1..=size).contains(&image) {
        image
    } else {
        size
    })
}

/// What is known when the end of a drill is seen.
pub(super) fn end(pending: &Pending, outcome: Outcome, reasons: &[String], at: Timestamp) -> Drill {
    Drill {
        outcome,
        reasons: reasons.to_vec(),
        began: pending.asked_at,
        at,
        healthy: None,
    }
}

/// After a drill: the old slot's self-tests hold, which is the end of the way back.
pub(super) fn healthy(
    results: &[TestResult],
    seen: &Seen,
    board: &Board,
    at: Timestamp,
) -> anyhow::Result<()> {
    let waits = |d: &Drill| d.healthy.is_none() && d.passed() && elapsed(d.at, at).is_some();
    if seen.boot.trial.is_some() || !seen.record.drill.as_ref().is_some_and(waits) {
        return Ok(());
    }
    if health::verdict(results, None) != Verdict::Good {
        return Ok(());
    }
    let mut record = board.store.record()?;
    if let Some(drill) = &mut record.drill {
        drill.healthy = Some(at);
    }
    board.store.save(&record)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Superblock([u8; 128]);

    impl Running for Superblock {
        fn read_at(&self, _: Target, at: u64, buf: &mut [u8]) -> std::io::Result<()> {
            assert_eq!((at, buf.len()), (EROFS_AT, 128));
            buf.copy_from_slice(&self.0);
            Ok(())
        }
    }

    #[test]
    fn of_a_root_only_the_image_is_copied_and_a_size_that_cannot_be_is_none() {
        let size = 64 * 4096;
        for (danger, magic, bits, blocks, expected) in [
            ("an image", EROFS_MAGIC, 12, 10, 10 * 4096),
            ("larger than its partition", EROFS_MAGIC, 12, 65, size),
            ("nothing", EROFS_MAGIC, 12, 0, size),
            ("no such block", EROFS_MAGIC, 255, u32::MAX, size),
            ("another file system", 0xEF53, 12, 10, size),
        ] {
            let mut block = [0; 128];
            block[..4].copy_from_slice(&u32::to_le_bytes(magic));
            block[12] = bits;
            block[36..40].copy_from_slice(&u32::to_le_bytes(blocks));
            let root = Superblock(block);
            let found = |target| length(target, &root, size).expect("read");
            assert_eq!(found(Target::Root), expected, "{danger}");
            assert_eq!(found(Target::Boot), size);
        }
    }
}
