//! The idle slot: what lies in it, what is written into it, and the proof that it was.

use hypriot_updater::index::{Index, SEGMENT, SegmentHash};

use super::{InstallError, Progress, Stage};
use crate::card::ports::Disk;

/// The sector without which a FAT file system is none. One sector, because that is all a medium writes at once.
const KEY: usize = 512;
/// So many segments are written before they are synced and read back: what waits in the kernel's memory is bounded.
const GROUP: usize = 32;

/// A segment and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) hash: SegmentHash,
}

/// Where all segments of a release belong.
pub(super) fn places(index: &Index) -> Vec<Place> {
    let place = |(image, n, len, hash)| Place {
        image,
        at: n as u64 * SEGMENT,
        len,
        hash,
    };
    index.segments().map(place).collect()
}

/// The partitions of a slot that nobody uses.
pub(super) struct Idle<'a> {
    disks: &'a mut [Box<dyn Disk>; 2],
    pub(super) places: &'a [Place],
    tell: &'a mut dyn FnMut(Progress),
    buffer: Vec<u8>,
    /// What belongs in the first sector, once it is known.
    key: Option<[u8; KEY]>,
    /// Written and not read back.
    unproved: Vec<usize>,
    done: usize,
    total: usize,
}

impl<'a> Idle<'a> {
    pub(super) fn new(
        disks: &'a mut [Box<dyn Disk>; 2],
        places: &'a [Place],
        tell: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            disks,
            places,
            tell,
            buffer: Vec::new(),
            key: None,
            unproved: Vec::new(),
            done: 0,
            total: 0,
        }
    }

    /// Which segments do not lie in the slot as they should. What an earlier run wrote is synced first: nothing counts
    /// that lies in a cache alone.
    pub(super) fn survey(&mut self) -> Result<Vec<bool>, InstallError> {
        self.sync()?;
        let mut wrong = Vec::with_capacity(self.places.len());
        for n in 0..self.places.len() {
            self.read(n)?;
            let right = SegmentHash::of(&self.buffer) == self.places[n].hash;
            if n == 0 && right {
                self.key = self.buffer.first_chunk().copied();
            }
            wrong.push(!right);
            (self.tell)(Progress {
                stage: Stage::Survey,
                done: n + 1,
                total: self.places.len(),
            });
        }
        self.total = wrong.iter().filter(|w| **w).count();
        Ok(wrong)
    }

    /// From here on, until [`Idle::seal`], the boot loader cannot load this slot.
    pub(super) fn break_slot(&mut self) -> Result<(), InstallError> {
        let first = self.places[0];
        self.disks[first.image].write_at(first.at, &[0; KEY])?;
        Ok(self.disks[first.image].sync()?)
    }

    /// Writes segment `n`, whose bytes were checked, all but the key sector.
    pub(super) fn put(&mut self, n: usize, bytes: &[u8]) -> Result<(), InstallError> {
        let place = self.places[n];
        let disk = &mut self.disks[place.image];
        if n == 0 {
            let (key, rest) = bytes.split_at(KEY.min(bytes.len()));
            self.key = key.first_chunk().copied();
            if !rest.is_empty() {
                disk.write_at(place.at + key.len() as u64, rest)?;
            }
        } else {
            disk.write_at(place.at, bytes)?;
        }
        self.unproved.push(n);
        self.done += 1;
        self.alive();
        if self.unproved.len() >= GROUP {
            self.prove()?;
        }
        Ok(())
    }

    /// Says how far it is: also called while nothing arrives, for a watchdog hears it.
    pub(super) fn alive(&mut self) {
        (self.tell)(Progress {
            stage: Stage::Write,
            done: self.done,
            total: self.total,
        });
    }

    /// Puts the key sector where it belongs, after all the rest was found on the medium.
    pub(super) fn seal(&mut self) -> Result<(), InstallError> {
        self.prove()?;
        let first = self.places[0];
        let key = self.key.ok_or(InstallError::ReadBack { segment: 0 })?;
        self.disks[first.image].write_at(first.at, &key)?;
        self.disks[first.image].sync()?;
        self.read(0)?;
        if SegmentHash::of(&self.buffer) == first.hash {
            return Ok(());
        }
        // what is there is neither this release nor none
        self.break_slot()?;
        Err(InstallError::ReadBack { segment: 0 })
    }

    /// Reads back from the medium what was written since the last time.
    fn prove(&mut self) -> Result<(), InstallError> {
        self.sync()?;
        for segment in std::mem::take(&mut self.unproved) {
            self.read(segment)?;
            if let (0, Some(key)) = (segment, self.key) {
                let len = KEY.min(self.buffer.len());
                self.buffer[..len].copy_from_slice(&key[..len]);
            }
            if SegmentHash::of(&self.buffer) != self.places[segment].hash {
                return Err(InstallError::ReadBack { segment });
            }
            self.alive();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), InstallError> {
        for disk in self.disks.iter_mut() {
            disk.sync()?;
        }
        Ok(())
    }

    fn read(&mut self, n: usize) -> Result<(), InstallError> {
        let place = self.places[n];
        self.buffer.resize(place.len, 0);
        self.disks[place.image].read_at(place.at, &mut self.buffer)?;
        Ok(())
    }
}
