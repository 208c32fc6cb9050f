//! Storage: a window of a block device (or of an image file), and the card that all windows belong to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hypriot_updater::boot::Copies;
use hypriot_updater::index::Target;
use hypriot_updater::layout::{self, Partition};
use hypriot_updater::slot::Slot;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use crate::card::aligned::{Aligned, PAGE, fits};
use crate::card::ports::{Disk, Running, Slots};
use hypriot_updater::mbr::{self, ReadError, Table};

/// A part of a device. Nothing outside it can be read or written.
#[derive(Debug)]
pub struct Window {
    file: File,
    /// The same device, past the kernel's cache; none where there is no such reading (an image file in memory).
    direct: Option<File>,
    /// What cannot be read past the cache is not read.
    strict: bool,
    /// Writing goes past the cache as well, where that can be.
    direct_writes: bool,
    start: u64,
    size: u64,
}

impl Window {
    /// The first `size` bytes behind `start` of an open device.
    pub fn new(file: File, start: u64, size: u64) -> Self {
        let direct = direct(&file, false).ok();
        Self {
            file,
            direct,
            strict: false,
            direct_writes: false,
            start,
            size,
        }
    }

    /// The same, for whom the medium alone will do: where there is no reading past the kernel's cache, there is no reading.
    pub fn of_medium(file: File, start: u64, size: u64) -> io::Result<Self> {
        Ok(Self {
            direct: Some(direct(&file, false)?),
            file,
            strict: true,
            direct_writes: false,
            start,
            size,
        })
    }

    /// The same, written past the cache, too: the medium is busy while the next bytes are made, a slot of new bytes does not
    /// push what the board works with out of its memory, and the kernel counts the writing to us, with our priority.
    fn uncached(file: File, size: u64) -> Self {
        let both = direct(&file, true).ok();
        Self {
            direct_writes: both.is_some(),
            direct: both.or_else(|| direct(&file, false).ok()),
            file,
            strict: false,
            start: 0,
            size,
        }
    }

    fn place(&self, at: u64, len: usize) -> io::Result<u64> {
        match at.checked_add(len as u64) {
            Some(end) if end <= self.size => Ok(self.start + at),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes at {at} do not lie within {} bytes", self.size),
            )),
        }
    }
}

impl Disk for Window {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let place = self.place(at, buf.len())?;
        if let Some(direct) = &self.direct {
            match read_direct(direct, place, buf) {
                // a device whose blocks are larger than a page, or one that cannot
                Err(e) if e.kind() == io::ErrorKind::InvalidInput && !self.strict => (),
                done => return done,
            }
        }
        self.file.read_exact_at(buf, place)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let place = self.place(at, data.len())?;
        if let (true, Some(direct)) = (self.direct_writes && fits(place, data), &self.direct) {
            match direct.write_all_at(data, place) {
                // a device whose blocks are larger than a page, or one that cannot: the whole once more, through the cache
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => (),
                done => return done,
            }
        }
        self.file.write_all_at(data, place)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // For devices that are read through the cache after all: clean pages are dropped, as far as the kernel likes.
        let length = i64::try_from(self.size).unwrap_or(i64::MAX);
        let start = i64::try_from(self.start).unwrap_or(0);
        posix_fadvise(
            &self.file,
            start,
            length,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )
        .map_err(io::Error::from)
    }
}

/// Opens a device once more, to be read from the medium itself (and written): a card that lies must be found out before its slot is armed.
///
/// O_DIRECT, because it alone is a promise: open(2) and `blkdev_read_iter` (block/fops.c) write back what is dirty in the
/// range and then read past the page cache. `POSIX_FADV_DONTNEED` and `BLKFLSBUF` drop pages that nobody happens to hold
/// (`invalidate_mapping_pages`), and say nothing about the others.
fn direct(file: &File, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn read_direct(file: &File, place: u64, buf: &mut [u8]) -> io::Result<()> {
    if fits(place, buf) {
        let wanted = buf.len();
        return read_up_to(file, place, buf, wanted);
    }
    let before = usize::try_from(place % PAGE as u64).unwrap_or(0);
    let wanted = before..before + buf.len();
    let mut room = Aligned::zeroed(wanted.end.next_multiple_of(PAGE));
    read_up_to(file, place - before as u64, &mut room, wanted.end)?;
    buf.copy_from_slice(&room[wanted]);
    Ok(())
}

/// Reads at least `wanted` bytes: a file may end before its last page does.
fn read_up_to(file: &File, place: u64, room: &mut [u8], wanted: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut room[filled..], place + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The card (or USB disk) that the board booted from.
#[derive(Debug, Clone)]
pub struct Card {
    /// Its device node, for example `/dev/mmcblk0`.
    pub device: PathBuf,
}

impl Card {
    /// Finds the disk whose MBR carries `signature` among the whole disks under `sys` (`/sys/class/block`).
    pub fn find(sys: &Path, dev: &Path, signature: u32) -> io::Result<Option<Self>> {
        Self::search(sys, dev, |disk| {
            let mut sector = [0; 512];
            disk.read_exact_at(&mut sector, 0)?;
            Ok(mbr::signature(&sector) == Some(signature))
        })
    }

    /// Finds the first disk, by name, that holds a boot state where ours do: SD card and eMMC before USB.
    pub fn find_any(sys: &Path, dev: &Path) -> io::Result<Option<Self>> {
        Self::search(sys, dev, |disk| {
            let mut copies = [[0; layout::BOOT_STATE_SIZE]; 2];
            for (at, copy) in layout::BOOT_STATE.into_iter().zip(&mut copies) {
                disk.read_exact_at(copy, at)?;
            }
            Ok(Copies::parse([&copies[0], &copies[1]]).newest().is_some())
        })
    }

    /// The first whole disk that `is_it`. One that cannot be read is none.
    fn search(
        sys: &Path,
        dev: &Path,
        is_it: impl Fn(&File) -> io::Result<bool>,
    ) -> io::Result<Option<Self>> {
        let mut names: Vec<PathBuf> = sys
            .read_dir()?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .collect();
        names.sort();
        for path in names.iter().filter(|p| !p.join("partition").exists()) {
            let device = dev.join(path.file_name().unwrap_or_default());
            // an empty card reader answers with an error: it is not the disk we look for
            if File::open(&device)
                .and_then(|disk| is_it(&disk))
                .unwrap_or(false)
            {
                return Ok(Some(Self { device }));
            }
        }
        Ok(None)
    }

    /// The node of a partition: `mmcblk0p5`, but `sda5` (the kernel puts a `p` behind a digit, `block/partitions/core.c`).
    pub fn partition_node(&self, partition: &Partition) -> PathBuf {
        let name = self.device.to_string_lossy();
        let between = if name.ends_with(|c: char| c.is_ascii_digit()) {
            "p"
        } else {
            ""
        };
        PathBuf::from(format!("{name}{between}{}", partition.number))
    }

    /// Opens a partition that nobody uses: `O_EXCL` makes the kernel refuse a mounted one (open(2)), so the running
    /// slot cannot be written even by mistake.
    pub fn open_idle(&self, partition: &Partition) -> io::Result<Window> {
        let node = self.partition_node(partition);
        let context = |e: io::Error| {
            io::Error::new(
                e.kind(),
                format!("opening {} ({}): {e}", node.display(), partition.name),
            )
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_EXCL.bits())
            .open(&node)
            .map_err(context)?;
        if !file.metadata()?.file_type().is_block_device() {
            return Err(io::Error::other(format!(
                "{} is not a block device",
                node.display()
            )));
        }
        Ok(Window::uncached(file, partition.size))
    }

    /// Opens the raw gap before the first partition, where the boot state lies. A card that is write-protected can be
    /// read all the same: each write then fails with the cause.
    pub fn open_gap(&self) -> io::Result<Window> {
        self.open_up_to(layout::CONFIG.start)
    }

    /// The same with the first partition behind it.
    pub fn open_first(&self) -> io::Result<Window> {
        self.open_up_to(layout::CONFIG.end())
    }

    fn open_up_to(&self, end: u64) -> io::Result<Window> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.device)
            .or_else(|refused| File::open(&self.device).map_err(|_worse| refused))?;
        Ok(Window::new(file, 0, end))
    }

    /// Whether the kernel lets anybody write to it.
    pub fn is_protected(&self) -> bool {
        let name = self.device.file_name().unwrap_or_default();
        let path = Path::new("/sys/class/block").join(name).join("ro");
        std::fs::read(path).is_ok_and(|text| text.starts_with(b"1"))
    }

    /// Checks that the partition table is the one this agent knows. A card that was repartitioned is never written.
    pub fn check_table(&self) -> io::Result<()> {
        let file = File::open(&self.device)?;
        let found =
            Table::parse(|at, sector| file.read_exact_at(sector, at)).map_err(|e| match e {
                ReadError::Disk(e) => e,
                ReadError::Table(e) => io::Error::new(io::ErrorKind::InvalidData, e),
            })?;
        for known in layout::PARTITIONS {
            let same = found.partitions.iter().any(|p| {
                p.number == known.number
                    && p.start == known.start
                    && (p.size == known.size
                        || (known.number == layout::DATA.number && p.size >= known.size))
            });
            if !same {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{}: partition {} ({}) is not where this agent's layout has it; the card was repartitioned, so nothing is written",
                        self.device.display(),
                        known.number,
                        known.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Slots for Card {
    fn check(&self) -> io::Result<()> {
        if self.is_protected() {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                format!("{} is write-protected", self.device.display()),
            ));
        }
        self.check_table()
    }

    fn open(&self, slot: Slot, target: Target) -> io::Result<Box<dyn Disk>> {
        Ok(Box::new(self.open_idle(&target.partition(slot))?))
    }

    fn running(&self, slot: Slot) -> io::Result<Box<dyn Running>> {
        let open = |target: Target| {
            let partition = target.partition(slot);
            let file = File::open(self.partition_node(&partition))?;
            Ok::<_, io::Error>(Window::new(file, 0, partition.size))
        };
        Ok(Box::new(ReadOnly {
            boot: open(Target::Boot)?,
            root: open(Target::Root)?,
        }))
    }
}

/// The partitions of a slot, open for reading.
#[derive(Debug)]
struct ReadOnly {
    boot: Window,
    root: Window,
}

impl Running for ReadOnly {
    fn read_at(&self, target: Target, at: u64, buf: &mut [u8]) -> io::Result<()> {
        match target {
            Target::Boot => self.boot.read_at(at, buf),
            Target::Root => self.root.read_at(at, buf),
        }
    }
}

#[cfg(test)]
mod tests {
    use hypriot_updater::boot::BootState;

    use super::*;

    /// Bytes that this thread read from storage, by proc_pid_io(5): what came out of a cache does not count.
    fn read_from_storage() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("read_bytes: "));
        line.unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_read_back_comes_from_the_medium_and_not_from_the_kernels_memory() {
        // beside this program: a folder for temporary files may lie in memory
        let here = std::env::current_exe().unwrap();
        let file = tempfile::tempfile_in(here.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let mut window = Window::new(file.try_clone().unwrap(), 4096, 1 << 20);
        window.write_at(0, &bytes).unwrap();
        window.sync().unwrap();
        let mut cached = vec![0; bytes.len()];
        file.read_exact_at(&mut cached, 4096).unwrap();
        let before = read_from_storage();
        file.read_exact_at(&mut cached, 4096).unwrap();
        assert_eq!(read_from_storage(), before, "the cache is warm");
        for (at, len) in [
            (0, 1 << 20),
            (512, 512),
            (1000, 5000),
            ((1 << 20) - 512, 512),
        ] {
            let (mut back, before) = (vec![0; len], read_from_storage());
            window.read_at(at as u64, &mut back).unwrap();
            assert!(back == bytes[at..at + len], "{len} bytes at {at}");
            let read = read_from_storage() - before;
            assert!(read >= len as u64, "{len} bytes at {at}: {read} read");
        }
        let beyond = window.read_at((1 << 20) - 511, &mut [0; 512]);
        assert!(beyond.is_err());
    }

    #[test]
    fn what_is_written_past_the_cache_is_there_for_everybody() {
        let here = std::env::current_exe().unwrap();
        let file = tempfile::tempfile_in(here.parent().unwrap()).unwrap();
        file.set_len(1 << 20).unwrap();
        let mut window = Window::uncached(file.try_clone().unwrap(), 1 << 20);
        assert!(
            window.direct_writes,
            "the file system of the build folder can do it"
        );
        let mut shall = vec![0; 1 << 20];
        // warm, so that a stale page would be seen
        file.read_exact_at(&mut shall, 0).unwrap();
        let mut pages = Aligned::zeroed(8 * PAGE);
        pages.iter_mut().zip(0_u8..=255).for_each(|(b, n)| *b = n);
        // through the cache for its place, its length, its memory; and past it
        let rows = [
            (0, 8 * PAGE),
            (512, 512),
            (3 * PAGE, 100),
            (PAGE, 2 * PAGE),
            (PAGE + 7, PAGE),
        ];
        for (at, len) in rows {
            window.write_at(at as u64, &pages[..len]).unwrap();
            shall[at..at + len].copy_from_slice(&pages[..len]);
            let (mut cached, mut direct) = (vec![1; 1 << 20], Aligned::zeroed(1 << 20));
            file.read_exact_at(&mut cached, 0).unwrap();
            assert!(cached == shall, "{len} bytes at {at}, through the cache");
            window.sync().unwrap();
            window.read_at(0, &mut direct).unwrap();
            assert!(direct[..] == shall[..], "{len} bytes at {at}, past it");
        }
        let (end, one) = ((1 << 20) - PAGE as u64 + 1, &pages[..PAGE]);
        assert!(window.write_at(end, one).is_err(), "over the end");
    }

    #[test]
    fn a_card_of_ours_is_found_among_other_disks_and_its_partitions_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let (sys, dev) = (dir.path().join("sys"), dir.path().join("dev"));
        std::fs::create_dir_all(&dev).unwrap();
        let disk = |name: &str, partition: bool, at: Option<u64>| {
            std::fs::create_dir_all(sys.join(name)).unwrap();
            if partition {
                File::create(sys.join(name).join("partition")).unwrap();
            }
            let file = File::create(dev.join(name)).unwrap();
            file.set_len(layout::CONFIG.start).unwrap();
            if let Some(at) = at {
                let state = BootState::fresh().encode().unwrap();
                file.write_all_at(&state, at).unwrap();
            }
        };
        let found = || Card::find_any(&sys, &dev).unwrap().map(|card| card.device);
        disk("mmcblk0", false, None);
        disk("sda", false, Some(8 << 20));
        disk("sdb1", true, Some(layout::BOOT_STATE[0]));
        std::fs::create_dir_all(sys.join("sr0")).unwrap();
        assert_eq!(found(), None);
        // one copy is enough: the other may be torn
        disk("sdc", false, Some(layout::BOOT_STATE[1]));
        assert_eq!(found(), Some(dev.join("sdc")));
        disk("mmcblk1", false, Some(layout::BOOT_STATE[0]));
        assert_eq!(found(), Some(dev.join("mmcblk1")), "before the USB disk");
    }
}
