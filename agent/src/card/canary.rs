//! The canary: a page of a file on the card, written once a day and read back from the medium.
//!
//! A card that dies may go on taking writes and give back what was there before, without any error. The board runs on out of its
//! memory, and is as of months ago at its next start. Nobody else looks: what is read again comes out of the kernel's cache.
//!
//! Two pages in turn, since a power cut may tear one. 4 KiB are written at each start and each day after, in place: in ten years less
//! than a card takes in a minute.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::disk::Window;
use super::ports::Disk;
use crate::files;

/// Its name in the agent's folder.
const NAME: &str = "canary";
/// One of every block there is.
const PAGE: usize = 4096;
const SIZE: u64 = 2 * PAGE as u64;
/// What is written has to be there still after so long.
const EVERY: Duration = Duration::from_hours(24);
/// What went wrong is looked at again after so long: a repair shows, and the card is not worn by the looking.
const AGAIN: Duration = Duration::from_hours(1);
/// A board that starts has enough to read and to write.
const SETTLE: Duration = Duration::from_mins(3);

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The last look of this boot.
    pub told: Option<Told>,
    /// The uptime at which the look began that has not ended.
    pub looking: Option<f64>,
}

/// A look that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Seconds since boot.
    pub at: f64,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub fate: Fate,
}

/// What the card did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It gave back what was written.
    Kept,
    /// What it gave back earlier, or held when the board started, is not there any more.
    Forgot,
    /// It took a page, and gave back another one.
    Dropped,
    /// It answered with an error.
    Failed(String),
    /// Nothing could be tried, and why.
    Untried(String),
}

/// The first line of a page. The rest follows from it, so a page that holds together is one that was written whole.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    number: u64,
    boot: String,
    /// Seconds since that boot.
    uptime: u64,
}

impl Mark {
    fn page(&self) -> Vec<u8> {
        let Self {
            number,
            boot,
            uptime,
        } = self;
        let mut page = format!("canary {number} {boot} {uptime}\n").into_bytes();
        page.truncate(PAGE);
        let rest = PAGE - page.len();
        page.extend(noise(*number, *uptime, rest));
        page
    }

    fn read(page: &[u8]) -> Option<Self> {
        let line = page.split(|b| *b == b'\n').next()?;
        let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
        let ["canary", number, boot, uptime] = words[..] else {
            return None;
        };
        let mark = Self {
            number: number.parse().ok()?,
            boot: boot.to_owned(),
            uptime: uptime.parse().ok()?,
        };
        (mark.page() == page).then_some(mark)
    }
}

/// Bytes that no other place and no other run has (xorshift64*, Vigna 2016), so that no card can shrink them or mix them up.
pub(crate) fn noise(seed: u64, n: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state |= 1;
    let mut bytes = Vec::with_capacity(length + 7);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Looks after a start and then for ever; `know` hears each step. `boot` is the kernel's id of this boot, `uptime` its clock.
pub fn watch(folder: &Path, boot: &str, uptime: impl Fn() -> f64, know: impl Fn(Known)) {
    let settled = Duration::from_secs_f64(uptime().max(0.0));
    std::thread::sleep(SETTLE.saturating_sub(settled));
    let (mut canary, mut told) = (Canary::default(), None);
    loop {
        let (at, began) = (uptime(), Instant::now());
        know(Known {
            told: told.take(),
            looking: Some(at),
        });
        let fate = match open(folder) {
            Ok(mut disk) => canary.look(&mut disk, boot, at),
            Err(error) => Err(error),
        };
        let fate = fate.unwrap_or_else(|error| blame(&error));
        let pause = if fate == Fate::Kept { EVERY } else { AGAIN };
        told = Some(Told {
            at,
            took: began.elapsed(),
            fate,
        });
        know(Known {
            told: told.clone(),
            looking: None,
        });
        std::thread::sleep(pause);
    }
}

/// Whether the card is to blame for an error, or whoever filled or locked it.
fn blame(error: &io::Error) -> Fate {
    const CARD: [Errno; 8] = [
        Errno::EIO,
        Errno::ENXIO,
        Errno::ENODEV,
        Errno::ETIMEDOUT,
        Errno::EREMOTEIO,
        Errno::EILSEQ,
        Errno::EBADMSG,
        Errno::EUCLEAN,
    ];
    let number = error.raw_os_error().map(Errno::from_raw);
    if number.is_some_and(|n| CARD.contains(&n)) {
        Fate::Failed(error.to_string())
    } else {
        Fate::Untried(error.to_string())
    }
}

/// The file, with room for both pages, to be read past the kernel's cache and in no other way.
fn open(folder: &Path) -> io::Result<Window> {
    let path = folder.join(NAME);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&path)?;
    if fstatfs(&file)?.filesystem_type() == TMPFS_MAGIC {
        return Err(io::Error::other("it would lie in memory"));
    }
    if file.metadata()?.size() < SIZE {
        room(&file)?;
        file.sync_all()?;
        files::sync_directory(folder)?;
    }
    Window::of_medium(file, 0, SIZE)
}

fn room(file: &File) -> io::Result<()> {
    let length = i64::try_from(SIZE).map_err(io::Error::other)?;
    fallocate(file, FallocateFlags::empty(), 0, length)?;
    Ok(())
}

/// What this process remembers.
#[derive(Debug, Default)]
struct Canary {
    last: Option<Mark>,
    /// What the card did once it does again: nothing more is written to it, and it is bad until the board starts anew.
    bad: Option<Fate>,
}

impl Canary {
    /// Reads what was written before; writes a page and reads it back if that was in another boot or long enough ago.
    fn look(&mut self, disk: &mut impl Disk, boot: &str, uptime: f64) -> io::Result<Fate> {
        if let Some(bad) = &self.bad {
            return Ok(bad.clone());
        }
        let fate = self.judge(disk, boot, uptime)?;
        self.bad = matches!(fate, Fate::Forgot | Fate::Dropped).then(|| fate.clone());
        Ok(fate)
    }

    fn judge(&mut self, disk: &mut impl Disk, boot: &str, uptime: f64) -> io::Result<Fate> {
        let pages = [read(disk, 0)?, read(disk, 1)?];
        let marks = pages.each_ref().map(|page| Mark::read(page));
        let newest = marks.into_iter().flatten().max_by_key(|mark| mark.number);
        let empty = pages.iter().any(|page| page.iter().all(|b| *b == 0));
        // without a memory: a power cut tears one page at most, and a file that is new has none
        let forgot = match (&self.last, &newest) {
            (Some(last), newest) => Some(last) != newest.as_ref(),
            (None, newest) => newest.is_none() && !empty,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since boot, rounded down"
        )]
        let uptime = uptime.max(0.0) as u64;
        if forgot {
            return Ok(Fate::Forgot);
        }
        let number = newest.as_ref().map_or(0, |mark| mark.number);
        let due = newest.as_ref().is_none_or(|mark| {
            mark.boot != boot
                || uptime
                    .checked_sub(mark.uptime)
                    .is_none_or(|age| age >= EVERY.as_secs())
        });
        self.last = newest;
        if !due {
            return Ok(Fate::Kept);
        }
        let mark = Mark {
            number: number.wrapping_add(1),
            boot: boot.to_owned(),
            uptime,
        };
        let (page, place) = (mark.page(), mark.number % 2);
        disk.write_at(place * PAGE as u64, &page)?;
        disk.sync()?;
        if read(disk, place)? != page {
            return Ok(Fate::Dropped);
        }
        self.last = Some(mark);
        Ok(Fate::Kept)
    }
}

fn read(disk: &impl Disk, place: u64) -> io::Result<Vec<u8>> {
    let mut page = vec![0; PAGE];
    disk.read_at(place * PAGE as u64, &mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::fakes::MemDisk;

    const DAY: f64 = 86_400.0;

    fn fresh() -> (MemDisk, Canary) {
        (MemDisk::new(2 * PAGE), Canary::default())
    }

    #[test]
    fn a_card_that_takes_writes_and_keeps_what_it_had_is_found_out() {
        let (mut disk, mut canary) = fresh();
        assert_eq!(canary.look(&mut disk, "one", 200.0).unwrap(), Fate::Kept);
        disk.forget_writes();
        let next = canary.look(&mut disk, "one", 200.0 + DAY).unwrap();
        assert_eq!(next, Fate::Dropped);
        // and it is not well again by itself
        let writes = disk.writes();
        let later = canary.look(&mut disk, "one", 3800.0 + DAY).unwrap();
        assert_eq!((later, disk.writes()), (Fate::Dropped, writes));
    }

    #[test]
    fn a_page_that_was_there_once_and_is_gone_is_missed() {
        let (mut disk, mut canary) = fresh();
        canary.look(&mut disk, "one", 200.0).unwrap();
        let before = disk.medium();
        canary.look(&mut disk, "one", 200.0 + DAY).unwrap();
        // it gave it back then, out of its own cache
        disk.write_at(0, &before).unwrap();
        disk.sync().unwrap();
        let next = canary.look(&mut disk, "one", 200.0 + 2.0 * DAY);
        assert_eq!(next.unwrap(), Fate::Forgot);
        let later = canary.look(&mut disk, "one", 200.0 + 3.0 * DAY);
        assert_eq!(later.unwrap(), Fate::Forgot, "once is enough");
    }

    #[test]
    fn a_power_cut_at_any_byte_is_no_fault_of_the_card() {
        for tear in [0, 1, 40, 512, 4095, PAGE] {
            for starts in 1..4 {
                let (mut disk, mut canary) = fresh();
                for start in 0..starts {
                    canary
                        .look(&mut disk, &format!("boot{start}"), 200.0)
                        .unwrap();
                    canary = Canary::default();
                }
                disk.cut_at_write(0, tear);
                canary.look(&mut disk, "cut", 200.0).unwrap_err();
                disk.power_on();
                for boot in ["after", "again", "third"] {
                    let fate = Canary::default().look(&mut disk, boot, 200.0);
                    assert_eq!(fate.unwrap(), Fate::Kept, "{tear} {starts} {boot}");
                }
            }
        }
    }

    #[test]
    fn rubbish_in_both_pages_is_a_card_that_lost_them() {
        let (mut disk, mut canary) = fresh();
        disk.write_at(0, &noise(1, 1, 2 * PAGE)).unwrap();
        assert_eq!(canary.look(&mut disk, "one", 1.0).unwrap(), Fate::Forgot);
        assert_eq!(disk.writes(), 1, "nothing was written over it");
    }

    #[test]
    fn an_agent_that_restarts_again_and_again_wears_no_card() {
        let (mut disk, _) = fresh();
        for n in 0..50 {
            let fate = Canary::default().look(&mut disk, "one", 200.0 + f64::from(n));
            assert_eq!(fate.unwrap(), Fate::Kept);
        }
        assert_eq!(disk.writes(), 1);
        for day in 1..=10 {
            let at = 200.0 + f64::from(day) * DAY;
            Canary::default().look(&mut disk, "one", at).unwrap();
        }
        assert_eq!(disk.writes(), 11, "one page a day");
    }

    #[test]
    fn errors_of_the_card_are_its_fault_and_a_full_one_is_not() {
        let (mut disk, mut canary) = fresh();
        disk.unreadable(0, 512);
        let error = canary.look(&mut disk, "one", 1.0).unwrap_err();
        assert!(matches!(blame(&error), Fate::Failed(_)), "{error}");
        for other in [Errno::ENOSPC, Errno::EROFS, Errno::EACCES, Errno::EINVAL] {
            let fate = blame(&io::Error::from(other));
            assert!(matches!(fate, Fate::Untried(_)), "{other}");
        }
    }

    #[test]
    fn a_real_file_is_read_from_the_medium_and_one_in_memory_is_not_tried() {
        // beside this program: a folder for temporary files may lie in memory
        let here = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(here.parent().unwrap()).unwrap();
        for n in 0..3 {
            let mut disk = open(dir.path()).unwrap();
            let boot = format!("boot{n}");
            let fate = Canary::default().look(&mut disk, &boot, 5.0).unwrap();
            assert_eq!(fate, Fate::Kept);
        }
        let length = dir.path().join(NAME).metadata().unwrap().len();
        assert_eq!(length, SIZE, "it does not grow");
        let error = open(Path::new("/dev/shm")).unwrap_err();
        assert!(matches!(blame(&error), Fate::Untried(_)), "{error}");
        drop(std::fs::remove_file("/dev/shm/canary"));
    }
}
