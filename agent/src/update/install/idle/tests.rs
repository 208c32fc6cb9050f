//! What is read before anything is written, and what is read back.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::*;
use crate::card::fakes::MemDisk;

const LEN: usize = 4096;
const ALL: usize = 200;

/// A disk that counts what is read of it.
struct Counting(MemDisk, Rc<Cell<usize>>);

impl Disk for Counting {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.1.set(self.1.get() + 1);
        self.0.read_at(at, buf)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(at, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Segment `n` of the release: every fourth is zeros.
fn segment(n: usize) -> Vec<u8> {
    let fill = u8::try_from(n).unwrap();
    vec![if n.is_multiple_of(4) { 0 } else { fill }; LEN]
}

fn release() -> Vec<Place> {
    let place = |n: usize| Place {
        image: 0,
        at: (n * LEN) as u64,
        len: LEN,
        hash: SegmentHash::of(&segment(n)),
    };
    (0..ALL).map(place).collect()
}

/// Surveys a slot in which these segments are right and the others hold `rest`; gives how many are wrong, and the reads.
fn survey(right: impl Fn(usize) -> bool, rest: u8) -> (usize, usize) {
    let mut disk = MemDisk::new(ALL * LEN);
    for n in 0..ALL {
        let bytes = if right(n) {
            segment(n)
        } else {
            vec![rest; LEN]
        };
        disk.write_at((n * LEN) as u64, &bytes).unwrap();
    }
    let reads = Rc::new(Cell::new(0));
    let mut disks: [Box<dyn Disk>; 2] = [
        Box::new(Counting(disk, Rc::clone(&reads))),
        Box::new(MemDisk::new(LEN)),
    ];
    let (places, mut told) = (release(), Vec::new());
    let mut tell = |progress: Progress| told.push(progress.done);
    let wrong = Idle::new(&mut disks, &places, &mut tell).survey().unwrap();
    assert_eq!(told.last(), Some(&ALL), "whoever watches sees the end");
    (wrong.iter().filter(|w| **w).count(), reads.get())
}

type Right = fn(usize) -> bool;

#[test]
fn a_slot_that_holds_nothing_of_a_release_is_not_read_whole_and_any_other_is() {
    let rows: [(&str, Right, u8, usize, bool); 7] = [
        ("another system", |_| false, 255, ALL, false),
        // nothing is fetched for zeros, and writing them once more is cheaper than reading all
        ("a new card", |_| false, 0, ALL, false),
        ("zeros alone are right", |n| n % 4 == 0, 255, ALL, false),
        ("the release", |_| true, 255, 0, true),
        (
            "an installation cut short early",
            |n| n < 6 && n > 0,
            255,
            ALL - 5,
            true,
        ),
        (
            "an installation cut short late",
            |n| n < 150,
            255,
            ALL - 150,
            true,
        ),
        ("a tenth of it", |n| n % 10 == 1, 255, ALL - ALL / 10, true),
    ];
    for (what, right, rest, wrong, whole) in rows {
        let (found, reads) = survey(right, rest);
        assert_eq!(found, wrong, "{what}");
        if whole {
            assert!(reads >= ALL, "{what}: {reads} reads");
        } else {
            assert!(reads <= SAMPLE + FRONT, "{what}: {reads} reads");
        }
    }
}

#[test]
fn every_segment_is_read_back_once_and_only_after_it_was_synced() {
    let disk = MemDisk::new(ALL * LEN);
    let reads = Rc::new(Cell::new(0));
    let mut disks: [Box<dyn Disk>; 2] = [
        Box::new(Counting(disk.clone(), Rc::clone(&reads))),
        Box::new(MemDisk::new(LEN)),
    ];
    let places = release();
    let mut tell = |_| ();
    let mut idle = Idle::new(&mut disks, &places, &mut tell);
    idle.break_slot().unwrap();
    for n in 0..ALL {
        idle.put(n, &segment(n)).unwrap();
        // what is read back is never more than what the last whole group left
        assert!(reads.get() <= (n + 1) / GROUP * GROUP, "after {n}");
    }
    assert!(
        reads.get() >= ALL - 2 * GROUP,
        "most of it is read back on the way: {}",
        reads.get()
    );
    idle.seal().unwrap();
    assert_eq!(reads.get(), ALL + 1, "each once, and the first when sealed");
    let shall: Vec<u8> = (0..ALL).flat_map(segment).collect();
    assert!(disk.medium() == shall);
}
