//! Writing a release into the idle slot.
//!
//! 1. Look: hash what lies in the slot. Segments that are already right are neither fetched nor written, so an
//!    interrupted installation goes on where it stopped, and unchanged parts cost no wear.
//! 2. Break: the first sector of the boot partition (its FAT boot sector) is zeroed first and written last. Without
//!    it the boot loader cannot load the slot, so a half-written slot never starts, not even as a last resort.
//! 3. Write: each segment is fetched, checked against the signed index, and only then written.
//! 4. Sync, then read back from the medium what was written, and compare again.

use std::io::{self, Read};

use hypriot_keys::Verified;
use hypriot_keys::source::{Source, SourceError, SourceErrorKind};
use hypriot_updater::index::{Index, SEGMENT, SegmentHash};
use hypriot_updater::payload::{self, Entry, Operation, PayloadError};

use crate::card::ports::Disk;

/// Gaps between missing segments up to this size are downloaded along rather than asked around.
const GAP: u64 = 256 << 10;
/// The sector without which a FAT file system is none. One sector, because that is all a medium writes at once.
const KEY: usize = 512;
/// A transfer that is cut is taken up again this often without any progress in between.
const ATTEMPTS: u32 = 5;

/// Why a release could not be installed. The running slot is untouched in every case.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The payload cannot be had.
    #[error("fetching {name}: {source}")]
    Source {
        /// File name.
        name: String,
        /// The cause.
        source: SourceError,
    },
    /// It ended or broke off again and again.
    #[error(
        "fetching {name}: the transfer breaks off ({cause}); {missing} of {total} segments are missing, the rest is kept for the next try"
    )]
    Cut {
        /// File name.
        name: String,
        /// The last cause.
        cause: io::Error,
        /// Segments still missing.
        missing: usize,
        /// Segments of the release.
        total: usize,
    },
    /// The payload's table is of no use.
    #[error("{name}: {source}")]
    Payload {
        /// File name.
        name: String,
        /// The cause.
        source: PayloadError,
    },
    /// A segment is not what was signed.
    #[error(
        "{name}: segment {segment} is not what was signed (altered or damaged on the way); nothing of it was written"
    )]
    Segment {
        /// File name.
        name: String,
        /// Number over all images.
        segment: usize,
    },
    /// Reading or writing the slot.
    #[error("the idle slot: {0}")]
    Disk(#[from] io::Error),
    /// The medium gives back something else than was written.
    #[error(
        "segment {segment} reads back differently than it was written: the card is failing, replace it"
    )]
    ReadBack {
        /// Number over all images.
        segment: usize,
    },
}

/// How far an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Segments done in this stage.
    pub done: usize,
    /// Segments of this stage.
    pub total: usize,
}

/// The stages, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Hashing what lies in the slot.
    Survey,
    /// Fetching, checking, writing.
    Write,
    /// Reading back.
    ReadBack,
}

/// What an installation cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Segments of the release.
    pub total: usize,
    /// Segments that were written.
    pub written: usize,
    /// Bytes that came over the network.
    pub fetched: u64,
}

/// A segment and where it belongs.
struct Place {
    image: usize,
    at: u64,
    len: usize,
    hash: SegmentHash,
}

/// The installation of one release into the disks of one slot.
struct Job<'a> {
    name: &'a str,
    source: &'a dyn Source,
    disks: &'a mut [Box<dyn Disk>; 2],
    places: Vec<Place>,
    tell: &'a mut dyn FnMut(Progress),
    buffer: Vec<u8>,
    data: Vec<u8>,
    fetched: u64,
}

/// Makes the slot whose partitions are `disks` (boot, root) hold the release of `index`.
pub fn install(
    index: &Verified<Index>,
    source: &dyn Source,
    disks: &mut [Box<dyn Disk>; 2],
    tell: &mut dyn FnMut(Progress),
) -> Result<Summary, InstallError> {
    let places: Vec<Place> = index
        .segments()
        .map(|(image, n, len, hash)| Place {
            image,
            at: n as u64 * SEGMENT,
            len,
            hash,
        })
        .collect();
    let total = places.len();
    let segment = usize::try_from(SEGMENT).unwrap_or(1 << 20);
    let name = index.payload.name.as_str();
    let mut job = Job {
        name,
        source,
        disks,
        places,
        tell,
        buffer: vec![0; segment],
        data: Vec::new(),
        fetched: 0,
    };

    let mut missing = job.survey(&vec![true; total], Stage::Survey)?;
    if !missing.contains(&true) {
        return Ok(Summary {
            total,
            ..Summary::default()
        });
    }
    job.break_slot()?;
    missing[0] = true;
    let entries = job.table(index)?;
    let written = missing.clone();
    job.fetch(&entries, &mut missing)?;
    let back = job.survey(&written, Stage::ReadBack)?;
    if let Some(segment) = back.iter().position(|wrong| *wrong) {
        return Err(InstallError::ReadBack { segment });
    }
    let count = written.iter().filter(|w| **w).count();
    Ok(Summary {
        total,
        written: count,
        fetched: job.fetched,
    })
}

impl Job<'_> {
    /// Which of the segments in `which` do not lie in the slot as they should.
    fn survey(&mut self, which: &[bool], stage: Stage) -> Result<Vec<bool>, InstallError> {
        let total = which.iter().filter(|w| **w).count();
        let mut wrong = vec![false; which.len()];
        let chosen = self.places.iter().enumerate().filter(|(n, _)| which[*n]);
        for (done, (n, place)) in (1..).zip(chosen) {
            let buffer = &mut self.buffer[..place.len];
            self.disks[place.image].read_at(place.at, buffer)?;
            wrong[n] = SegmentHash::of(buffer) != place.hash;
            (self.tell)(Progress { stage, done, total });
        }
        Ok(wrong)
    }

    /// From here on, until the last write, the boot loader cannot load this slot.
    fn break_slot(&mut self) -> Result<(), InstallError> {
        let first = &self.places[0];
        self.disks[first.image].write_at(first.at, &[0; KEY])?;
        Ok(self.disks[first.image].sync()?)
    }

    fn table(&mut self, index: &Index) -> Result<Vec<Entry>, InstallError> {
        let length = payload::table_len(index);
        let mut failures = 0;
        loop {
            let mut bytes = vec![0; length];
            let reader = open(self.source, self.name, 0)?;
            match read_all(reader, &mut bytes) {
                Ok(()) => {
                    self.fetched += length as u64;
                    return payload::parse_table(index, &bytes).map_err(|source| {
                        InstallError::Payload {
                            name: self.name.into(),
                            source,
                        }
                    });
                }
                Err(cause) if failures + 1 >= ATTEMPTS => {
                    let total = self.places.len();
                    return Err(InstallError::Cut {
                        name: self.name.into(),
                        cause,
                        missing: total,
                        total,
                    });
                }
                Err(_) => failures += 1,
            }
        }
    }

    /// Fetches and writes all that is missing; the first segment of all comes last.
    fn fetch(&mut self, entries: &[Entry], missing: &mut [bool]) -> Result<(), InstallError> {
        let total = missing.iter().filter(|m| **m).count();
        let mut last_segment = None;
        let mut failures = 0;
        while missing.contains(&true) {
            let before = missing.iter().filter(|m| **m).count();
            match self.pass(entries, missing, total, &mut last_segment) {
                Ok(()) => (),
                Err(Stop::Cut(cause)) => {
                    let left = missing.iter().filter(|m| **m).count();
                    failures = if left < before { 0 } else { failures + 1 };
                    if failures >= ATTEMPTS {
                        return Err(InstallError::Cut {
                            name: self.name.into(),
                            cause,
                            missing: left,
                            total: self.places.len(),
                        });
                    }
                }
                Err(Stop::End(error)) => return Err(error),
            }
        }
        for disk in self.disks.iter_mut() {
            disk.sync()?;
        }
        let first = &self.places[0];
        if let Some(bytes) = last_segment {
            let disk = &mut self.disks[first.image];
            let key = KEY.min(bytes.len());
            disk.write_at(first.at + key as u64, &bytes[key..])?;
            disk.sync()?;
            disk.write_at(first.at, &bytes[..key])?;
            disk.sync()?;
        }
        Ok(())
    }

    /// One pass over all runs of missing segments.
    fn pass(
        &mut self,
        entries: &[Entry],
        missing: &mut [bool],
        total: usize,
        last: &mut Option<Vec<u8>>,
    ) -> Result<(), Stop> {
        for run in payload::runs(entries, missing, GAP) {
            let mut reader =
                open(self.source, self.name, entries[run.start].at).map_err(Stop::End)?;
            for n in run {
                let entry = &entries[n];
                self.data.resize(entry.len, 0);
                read_all(&mut reader, &mut self.data).map_err(Stop::Cut)?;
                self.fetched += entry.len as u64;
                if !missing[n] {
                    continue;
                }
                self.decode(n, entry).map_err(Stop::End)?;
                let place = &self.places[n];
                let bytes = &self.buffer[..place.len];
                if n == 0 {
                    *last = Some(bytes.to_vec());
                } else {
                    self.disks[place.image]
                        .write_at(place.at, bytes)
                        .map_err(|e| Stop::End(e.into()))?;
                }
                missing[n] = false;
                let left = missing.iter().filter(|m| **m).count();
                (self.tell)(Progress {
                    stage: Stage::Write,
                    done: total - left,
                    total,
                });
            }
        }
        Ok(())
    }

    /// Puts segment `n` into the buffer and checks it.
    fn decode(&mut self, n: usize, entry: &Entry) -> Result<(), InstallError> {
        let place = &self.places[n];
        let out = &mut self.buffer[..place.len];
        let complete = match entry.operation {
            Operation::Zeros => {
                out.fill(0);
                true
            }
            Operation::Raw => {
                out.copy_from_slice(&self.data);
                true
            }
            // the output buffer bounds it: a frame that holds more is an error
            Operation::Zstd => {
                zstd::bulk::decompress_to_buffer(&self.data, out).is_ok_and(|len| len == place.len)
            }
        };
        if complete && SegmentHash::of(out) == place.hash {
            return Ok(());
        }
        Err(InstallError::Segment {
            name: self.name.into(),
            segment: n,
        })
    }
}

/// Opens the payload at `from`. Borrows nothing of the job, which is written to while the reader lives.
fn open<'a>(
    source: &'a dyn Source,
    name: &'a str,
    from: u64,
) -> Result<Box<dyn Read + 'a>, InstallError> {
    let mut failures = 0;
    loop {
        match source.open(name, from) {
            Ok(reader) => return Ok(reader),
            Err(e) if e.kind == SourceErrorKind::Temporary && failures + 1 < ATTEMPTS => {
                failures += 1;
            }
            Err(source) => {
                return Err(InstallError::Source {
                    name: name.into(),
                    source,
                });
            }
        }
    }
}

/// Why a pass ended early.
enum Stop {
    /// Worth another pass.
    Cut(io::Error),
    /// Not.
    End(InstallError),
}

fn read_all(mut reader: impl Read, buf: &mut [u8]) -> io::Result<()> {
    reader.read_exact(buf)
}

#[cfg(test)]
pub(crate) mod tests;
