//! What a power cut can leave of a recorded life: every write and flush of the card in their order, and from them each state
//! that a medium may be found in.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use hypriot_updater::index::Target;
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE, SECTOR};
use hypriot_updater::slot::Slot;

/// What a medium writes at once.
const BLOCK: usize = 512;
const _: () = assert!(BLOCK as u64 == SECTOR);
/// Of so many unflushed writes every subset is tried; of more, a seeded sample.
const ALL_SUBSETS: usize = 6;
const SAMPLES: usize = 24;

/// A stretch of the card that is flushed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The two copies of the boot state, one behind the other.
    State,
    /// The sector of `autoboot.txt`; all zero on a card that U-Boot starts.
    Autoboot,
    /// A partition of a slot.
    Slot(Slot, Target),
}

impl Part {
    /// All of them, with their sizes.
    pub(super) const fn all(boot: usize, root: usize) -> [(Self, usize); 6] {
        [
            (Self::State, 2 * BOOT_STATE_SIZE),
            (Self::Autoboot, BLOCK),
            (Self::Slot(Slot::A, Target::Boot), boot),
            (Self::Slot(Slot::A, Target::Root), root),
            (Self::Slot(Slot::B, Target::Boot), boot),
            (Self::Slot(Slot::B, Target::Root), root),
        ]
    }

    /// Where a byte of the device lies in this part.
    pub(super) fn place(self, at: u64) -> io::Result<usize> {
        let at = match self {
            Self::State => {
                let copy = BOOT_STATE
                    .iter()
                    .zip(0u64..)
                    .find(|(start, _)| (**start..**start + BOOT_STATE_SIZE as u64).contains(&at));
                let (start, n) =
                    copy.ok_or_else(|| io::Error::other(format!("{at} is not boot state")))?;
                n * BOOT_STATE_SIZE as u64 + at - start
            }
            Self::Autoboot | Self::Slot(..) => at,
        };
        usize::try_from(at).map_err(io::Error::other)
    }
}

/// One thing that reached the card, or was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A write; it may be lost, torn and overtaken until the part is flushed.
    Write(Part, usize, Rc<[u8]>),
    /// All that was written to the part is on the medium.
    Flush(Part),
    /// A file of the data partition was replaced or removed: the old one or the new one is there, nothing between (see
    /// [`crate::files::replace`]).
    File(&'static str, Option<Vec<u8>>),
}

/// What lies on the card. Cheap to clone: parts are shared until they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Medium {
    parts: Vec<(Part, Rc<Vec<u8>>)>,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Medium {
    pub(super) fn blank(parts: &[(Part, usize)]) -> Self {
        let zeros = |(part, size): &(Part, usize)| (*part, Rc::new(vec![0; *size]));
        Self {
            parts: parts.iter().map(zeros).collect(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn part(&self, part: Part) -> &[u8] {
        let found = self.parts.iter().find(|(p, _)| *p == part);
        found.map_or(&[], |(_, bytes)| bytes.as_slice())
    }

    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The blocks of the two copies of the boot state.
    pub(super) fn copies(&self) -> [&[u8]; 2] {
        let (first, second) = self.part(Part::State).split_at(BOOT_STATE_SIZE);
        [first, second]
    }

    /// Puts bytes onto the medium, or says that they do not fit.
    pub(super) fn write(&mut self, part: Part, at: usize, data: &[u8]) -> io::Result<()> {
        let found = self.parts.iter_mut().find(|(p, _)| *p == part);
        let bytes = found.map(|(_, bytes)| Rc::make_mut(bytes));
        bytes
            .and_then(|bytes| bytes.get_mut(at..at + data.len()))
            .ok_or_else(|| io::Error::other("beyond the end"))?
            .copy_from_slice(data);
        Ok(())
    }

    pub(super) fn set_file(&mut self, name: &'static str, content: Option<Vec<u8>>) {
        match content {
            Some(bytes) => self.files.insert(name, bytes),
            None => self.files.remove(name),
        };
    }
}

/// Small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).unwrap_or(0)
    }
}

type Write = (Part, usize, Rc<[u8]>);

/// A life as it was recorded, from a medium on.
#[derive(Debug, Clone)]
pub(super) struct Tape {
    pub(super) before: Medium,
    pub(super) events: Vec<Event>,
}

impl Tape {
    /// Every state that a power cut may leave, with the number of events that had begun. `visit` ends it with `false`.
    ///
    /// After each write: any of the writes that were not flushed may have reached the medium, in any combination, and the last
    /// one whole, in part, or in scattered sectors.
    pub(super) fn cuts(&self, dice: &mut Dice, visit: &mut dyn FnMut(usize, &Medium) -> bool) {
        let mut flushed = self.before.clone();
        let mut waiting: Vec<Write> = Vec::new();
        for (n, event) in (1..).zip(&self.events) {
            let on = match event {
                Event::Write(part, at, data) => {
                    let last = (*part, *at, Rc::clone(data));
                    let on = after_write(&flushed, &waiting, &last, dice, &mut |m| visit(n, m));
                    waiting.push(last);
                    on
                }
                Event::Flush(part) => {
                    let (done, kept) = waiting.into_iter().partition(|(p, ..)| p == part);
                    waiting = kept;
                    apply(&mut flushed, &done);
                    true
                }
                Event::File(name, content) => {
                    flushed.set_file(name, content.clone());
                    subsets(waiting.len(), dice).into_iter().all(|chosen| {
                        let mut medium = flushed.clone();
                        apply(&mut medium, &pick(&waiting, &chosen));
                        visit(n, &medium)
                    })
                }
            };
            if !on {
                return;
            }
        }
    }
}

fn after_write(
    flushed: &Medium,
    waiting: &[Write],
    last: &Write,
    dice: &mut Dice,
    visit: &mut dyn FnMut(&Medium) -> bool,
) -> bool {
    let all = vec![true; waiting.len()];
    let none = vec![false; waiting.len()];
    for chosen in subsets(waiting.len(), dice) {
        let ends = chosen == all || chosen == none;
        let mut medium = flushed.clone();
        apply(&mut medium, &pick(waiting, &chosen));
        let mut left = vec![Vec::new(), vec![last.clone()]];
        if ends {
            left.extend(torn(last, dice));
        }
        for writes in left {
            let mut medium = medium.clone();
            apply(&mut medium, &writes);
            if !visit(&medium) {
                return false;
            }
        }
    }
    true
}

/// What may be left of a write that was going on: its first sectors, any of its sectors, and with each of them one sector that
/// holds neither the old bytes nor the new ones, because that is what cards leave.
fn torn((part, at, data): &Write, dice: &mut Dice) -> Vec<Vec<Write>> {
    let sectors = data.len() / BLOCK;
    let piece = |n: usize| {
        let bytes = Rc::from(&data[n * BLOCK..(n + 1) * BLOCK]);
        (*part, at + n * BLOCK, bytes)
    };
    let garbage = |n: usize| (*part, at + n * BLOCK, Rc::from([0xa5; BLOCK]));
    let mut prefixes: Vec<usize> = if sectors <= 16 {
        (0..sectors).collect()
    } else {
        vec![0, 1, 8, dice.roll(sectors - 1) + 1, sectors - 1]
    };
    prefixes.dedup();
    let mut all = Vec::new();
    for n in prefixes {
        let first = (*part, *at, Rc::from(&data[..n * BLOCK]));
        all.push(vec![first.clone(), garbage(n)]);
        all.push(vec![first]);
    }
    for _ in 0..if sectors > 1 { 2 } else { 0 } {
        let any = (0..sectors).filter(|_| dice.roll(2) == 0);
        all.push(any.map(piece).collect());
    }
    all
}

fn apply(medium: &mut Medium, writes: &[Write]) {
    for (part, at, data) in writes {
        medium
            .write(*part, *at, data)
            .expect("was recorded, so it fits");
    }
}

fn pick(writes: &[Write], chosen: &[bool]) -> Vec<Write> {
    let both = writes.iter().zip(chosen);
    both.filter(|(_, take)| **take)
        .map(|(w, _)| w.clone())
        .collect()
}

/// Which of `n` unflushed writes reached the medium: all ways, or none, all and a sample.
fn subsets(n: usize, dice: &mut Dice) -> Vec<Vec<bool>> {
    if n <= ALL_SUBSETS {
        let bits = |mask: usize| (0..n).map(|bit| mask & (1 << bit) != 0).collect();
        return (0..1_usize << n).map(bits).collect();
    }
    let mut some = vec![vec![false; n], vec![true; n]];
    some.extend((0..SAMPLES).map(|_| (0..n).map(|_| dice.roll(2) == 0).collect()));
    some
}
