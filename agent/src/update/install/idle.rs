//! The idle slot: what lies in it, what is written into it, and the proof that it was.

use std::collections::VecDeque;

use hypriot_updater::index::{Index, SEGMENT, SegmentHash};

use super::{InstallError, Progress, Stage};
use crate::card::aligned::Aligned;
use crate::card::ports::Disk;
use crate::neighbours::shelf::Shelf;
use crate::neighbours::wire::Id;

/// The sector without which a FAT file system is none. One sector, because that is all a medium writes at once.
const KEY: usize = 512;
/// So many segments are written before they are synced and read back: what waits in the kernel's memory is bounded.
const GROUP: usize = 32;
/// A slot of fewer segments is read whole: a sample would be most of it.
const FEW: usize = 128;
/// So many segments tell whether a slot holds anything of a release. Where a tenth of it is right, 32 miss it in one of 29 cases
/// (0.9³²), and then it is only written once more.
const SAMPLE: usize = 32;
/// What an interrupted installation wrote lies in front: these are always among them.
const FRONT: usize = 4;

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
    buffer: Aligned,
    /// What belongs in the first sector, once it is known.
    key: Option<[u8; KEY]>,
    /// Written and not synced.
    written: Vec<usize>,
    /// Synced and not read back.
    unproved: VecDeque<usize>,
    done: usize,
    total: usize,
    /// Where neighbours learn what is here.
    shelf: Option<Shelf>,
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
            buffer: Aligned::default(),
            key: None,
            written: Vec::new(),
            unproved: VecDeque::new(),
            done: 0,
            total: 0,
            shelf: None,
        }
    }

    /// From here on neighbours are told what is here.
    pub(super) fn show(&mut self, to: Shelf) {
        if let Some(key) = &self.key {
            to.key(key);
        }
        self.shelf = Some(to);
    }

    /// By what neighbours know this board, if they know it.
    pub(super) fn known_as(&self) -> Option<Id> {
        self.shelf.as_ref().map(Shelf::id)
    }

    /// Which segments do not lie in the slot as they should. What an earlier run wrote is synced first: nothing counts
    /// that lies in a cache alone.
    ///
    /// A slot that holds another system, or none, is as long to read as the release is long to write: a sample shows that there is
    /// nothing to be found. What is missed by it is written once more, and costs nothing else.
    pub(super) fn survey(&mut self) -> Result<Vec<bool>, InstallError> {
        self.sync()?;
        let all = self.places.len();
        let wrong = if self.holds_something()? {
            let wrong = (0..all).map(|n| self.is_wrong(n, n + 1));
            wrong.collect::<Result<Vec<_>, _>>()?
        } else {
            self.surveyed(all);
            vec![true; all]
        };
        self.total = wrong.iter().filter(|w| **w).count();
        Ok(wrong)
    }

    /// Whether a sample has a segment that lies where it should.
    fn holds_something(&mut self) -> Result<bool, InstallError> {
        let sample = sample(self.places);
        for (done, n) in sample.iter().enumerate() {
            if !self.is_wrong(*n, done)? {
                return Ok(true);
            }
        }
        Ok(sample.is_empty())
    }

    fn is_wrong(&mut self, n: usize, done: usize) -> Result<bool, InstallError> {
        self.read(n)?;
        let right = SegmentHash::of(&self.buffer) == self.places[n].hash;
        if n == 0 && right {
            self.key = self.buffer.first_chunk().copied();
        }
        self.surveyed(done);
        Ok(!right)
    }

    fn surveyed(&mut self, done: usize) {
        (self.tell)(Progress {
            stage: Stage::Survey,
            done,
            total: self.places.len(),
        });
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
        if let Some(to) = &self.shelf {
            if let (0, Some(key)) = (n, &self.key) {
                to.key(key);
            }
            to.put(n);
        }
        self.written.push(n);
        self.done += 1;
        self.alive();
        if self.written.len() >= GROUP {
            self.settle()?;
        }
        // One for one: the medium is read while the next segments are decoded, and nobody waits for a whole group.
        self.prove()
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
        self.settle()?;
        while !self.unproved.is_empty() {
            self.prove()?;
            self.alive();
        }
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

    /// What was written is on the medium from here on.
    fn settle(&mut self) -> Result<(), InstallError> {
        self.sync()?;
        self.unproved.extend(self.written.drain(..));
        Ok(())
    }

    /// Reads one segment back from the medium, if there is one that was synced.
    fn prove(&mut self) -> Result<(), InstallError> {
        let Some(segment) = self.unproved.pop_front() else {
            return Ok(());
        };
        self.read(segment)?;
        if let (0, Some(key)) = (segment, self.key) {
            let len = KEY.min(self.buffer.len());
            self.buffer[..len].copy_from_slice(&key[..len]);
        }
        if SegmentHash::of(&self.buffer) == self.places[segment].hash {
            return Ok(());
        }
        Err(InstallError::ReadBack { segment })
    }

    fn sync(&mut self) -> Result<(), InstallError> {
        for disk in self.disks.iter_mut() {
            disk.sync()?;
        }
        Ok(())
    }

    fn read(&mut self, n: usize) -> Result<(), InstallError> {
        let place = self.places[n];
        self.buffer.set_len(place.len);
        self.disks[place.image].read_at(place.at, &mut self.buffer)?;
        Ok(())
    }
}

/// The segments that are looked at first; none where all are. Zeros lie in slots that were never written.
fn sample(places: &[Place]) -> Vec<usize> {
    if places.len() < FEW {
        return Vec::new();
    }
    let zeros = SegmentHash::of(&vec![0; places[0].len]);
    // the first is broken in a slot that is being written
    let solid = (1..places.len()).filter(|n| places[*n].hash != zeros);
    let solid: Vec<usize> = solid.collect();
    let spread = (0..SAMPLE).map(|i| i * solid.len() / SAMPLE);
    let mut sample: Vec<_> = (0..FRONT)
        .chain(spread)
        .filter_map(|i| solid.get(i).copied())
        .collect();
    sample.sort_unstable();
    sample.dedup();
    sample
}

#[cfg(test)]
mod tests;
