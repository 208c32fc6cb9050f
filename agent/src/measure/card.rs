//! The card: whether it is as large as it says, and how quick it is.
//!
//! A card that claims more than it has (there are many) drops what is written behind its end, or writes it over what lies at the
//! beginning. So blocks that differ are written over all of the free room and read back from the medium, as f3probe(1) does it; the
//! room is a file without a name, so nothing is left of it, not even by a power cut.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use super::{Measure, Measures};
use crate::card::canary::noise;
use crate::card::disk::Window;
use crate::card::ports::Disk;
use crate::files;
use crate::report::Status;

/// Places that are tried; a card that lies by a half fails half of them.
const MARKS: u64 = 256;
/// One of them.
const BLOCK: usize = 4096;
/// What is written in one go to measure the speed, and its pieces.
const STRETCH: u64 = 64 << 20;
const PIECE: usize = 1 << 20;
/// Of the free room so many hundredths are tried: others write, too.
const SHARE: u64 = 90;
/// With less than this nothing can be said.
const LEAST: u64 = 16 << 20;
/// Class 10, and class 4, of the SD association's speed classes: bytes a second of a long write.
const GOOD: f64 = 10e6;
const POOR: f64 = 4e6;

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    /// Bytes that were tried, from end to end.
    length: u64,
    /// Of [`MARKS`] blocks so many came back as something else, or not at all.
    wrong: u64,
    /// Blocks a second, written here and there and synced once.
    scattered: f64,
    /// Bytes a second.
    write: f64,
    /// Bytes a second.
    read: f64,
}

/// Measures the card under `folder`. `seed` makes what is written differ from run to run.
pub fn card(folder: &Path, seed: u64, tell: &mut dyn FnMut(&'static str, u64)) -> Measures {
    let mut measures = Measures::new();
    match measured(folder, seed, tell) {
        Ok(Some(found)) => {
            measures.insert("card-size".into(), judge_size(found));
            measures.insert("card-speed".into(), judge_speed(found));
        }
        Ok(None) => {
            let output = format!("unknown: less than {} MB are free", LEAST / 1_000_000);
            measures.insert("card-size".into(), warn(output));
        }
        Err(error) => {
            let output = format!("the card could not be measured: {error}");
            let fix = "look at `dmesg`; a card that gives errors is to be replaced";
            let bad = Measure::pass(output).worse(Status::Fail, fix);
            measures.insert("card-size".into(), bad);
        }
    }
    measures
}

fn warn(output: String) -> Measure {
    Measure {
        status: Status::Warn,
        ..Measure::pass(output)
    }
}

fn measured(
    folder: &Path,
    seed: u64,
    tell: &mut dyn FnMut(&'static str, u64),
) -> io::Result<Option<Seen>> {
    let free = files::room(folder)?;
    let length = free / 100 * SHARE / PIECE as u64 * PIECE as u64;
    if length < LEAST {
        return Ok(None);
    }
    let file = room(folder, length)?;
    let mut disk = Window::new(file, 0, length);
    let step = length / MARKS / BLOCK as u64 * BLOCK as u64;
    // the last block of all is one of them
    let place = |n: u64| {
        if n + 1 == MARKS {
            length - BLOCK as u64
        } else {
            n * step
        }
    };
    let began = Instant::now();
    for n in 0..MARKS {
        disk.write_at(place(n), &noise(seed, n, BLOCK))?;
    }
    disk.sync()?;
    let scattered = rate(MARKS, began.elapsed());
    let mut wrong = 0;
    for n in 0..MARKS {
        let mut found = vec![0; BLOCK];
        let read = disk.read_at(place(n), &mut found);
        wrong += u64::from(read.is_err() || found != noise(seed, n, BLOCK));
        tell("card size", (n + 1) * 100 / MARKS);
    }
    let (write, read) = speed(&mut disk, seed, length, tell)?;
    Ok(Some(Seen {
        length,
        wrong,
        scattered,
        write,
        read,
    }))
}

/// A file without a name that owns the room from end to end.
fn room(folder: &Path, length: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(folder)?;
    let length = i64::try_from(length).map_err(io::Error::other)?;
    fallocate(&file, FallocateFlags::empty(), 0, length)?;
    Ok(file)
}

fn speed(
    disk: &mut Window,
    seed: u64,
    length: u64,
    tell: &mut dyn FnMut(&'static str, u64),
) -> io::Result<(f64, f64)> {
    let stretch = STRETCH.min(length);
    let pieces: Vec<u64> = (0..stretch / PIECE as u64).collect();
    // no card can shrink it, and making it is no part of the time
    let piece = noise(seed, MARKS, PIECE);
    let all = u64::try_from(pieces.len()).unwrap_or(u64::MAX);
    let began = Instant::now();
    for n in &pieces {
        disk.write_at(n * PIECE as u64, &piece)?;
        tell("card speed", n * 50 / all);
    }
    disk.sync()?;
    let write = rate(stretch, began.elapsed());
    let began = Instant::now();
    let mut found = vec![0; PIECE];
    for n in &pieces {
        disk.read_at(n * PIECE as u64, &mut found)?;
        tell("card speed", 50 + (n + 1) * 50 / all);
    }
    Ok((write, rate(stretch, began.elapsed())))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts below 2^53, for a quotient"
)]
fn rate(n: u64, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64().max(1e-6)
}

fn judge_size(seen: Seen) -> Measure {
    let gigabytes = rate(seen.length, Duration::from_secs(1)) / 1e9;
    let output = format!(
        "{MARKS} blocks over {gigabytes:.1} GB of free room were written, {} came back as something else",
        seen.wrong
    );
    let measure = Measure::pass(output).of(gigabytes, "GB");
    if seen.wrong > 0 {
        return measure.worse(
            Status::Fail,
            "the card is smaller than it says, or broken: throw it away, and do not trust what is on it",
        );
    }
    measure
}

fn judge_speed(seen: Seen) -> Measure {
    let output = format!(
        "writes {:.1} MB/s, reads {:.1} MB/s, {:.0} scattered blocks/s",
        seen.write / 1e6,
        seen.read / 1e6,
        seen.scattered
    );
    let measure = Measure::pass(output).of(seen.write / 1e6, "MB/s");
    let fix = "take a card of class A1 or better; containers wait for it";
    if seen.write < POOR {
        measure.worse(Status::Fail, fix)
    } else if seen.write < GOOD {
        measure.worse(Status::Warn, fix)
    } else {
        measure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD_CARD: Seen = Seen {
        length: 30_000_000_000,
        wrong: 0,
        scattered: 400.0,
        write: 20e6,
        read: 40e6,
    };

    #[test]
    fn a_card_that_lies_about_its_size_fails_and_a_slow_one_warns() {
        let lies = Seen {
            wrong: 128,
            ..GOOD_CARD
        };
        assert_eq!(judge_size(GOOD_CARD).status, Status::Pass);
        assert_eq!(judge_size(lies).status, Status::Fail);
        for (write, status) in [
            (20e6, Status::Pass),
            (9e6, Status::Warn),
            (3e6, Status::Fail),
        ] {
            let seen = Seen { write, ..GOOD_CARD };
            assert_eq!(judge_speed(seen).status, status, "{write}");
        }
    }

    #[test]
    fn free_room_is_measured_from_end_to_end_and_nothing_is_left_of_it() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder on a disk");
        let file = room(dir.path(), LEAST).expect("room");
        assert_eq!(file.metadata().expect("known").len(), LEAST);
        drop(file);
        assert_eq!(dir.path().read_dir().expect("read").count(), 0);
        assert_ne!(noise(1, 1, 16), noise(1, 2, 16));
        assert_ne!(noise(1, 1, 16), noise(2, 1, 16), "of an earlier run");
        assert_eq!(
            noise(7, 3, BLOCK)[..16],
            noise(7, 3, PIECE)[..16],
            "the same"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_fails_with_the_reason() {
        let measures = card(Path::new("/nonexistent"), 1, &mut |_, _| ());
        assert_eq!(measures["card-size"].status, Status::Fail);
        assert!(
            measures["card-size"].output.contains("No such file"),
            "{measures:?}"
        );
    }
}
