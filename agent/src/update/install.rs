//! Writing a release into the idle slot.
//!
//! 1. Look ([`idle`]): what lies in the slot is hashed. Segments that are right are neither fetched nor written, so an
//!    interrupted installation goes on where it stopped, and unchanged parts cost no wear.
//! 2. Choose ([`choose`]): the full payload, or the delta from the release that runs, whichever costs fewer bytes now.
//! 3. Break: the first sector of the boot partition (its FAT boot sector) is zeroed. Without it the boot loader cannot load
//!    the slot, so a half-written slot never starts, not even as a last resort.
//! 4. Write: each segment is fetched ([`transfer`]), the hash of its data checked, decoded, checked against the signed
//!    index ([`decode`]), and only then written. Behind the writing, what was written is synced and read back.
//!    What is dear is also asked of boards of the same network ([`share`]), by its hash; they change whence bytes come, and
//!    nothing else.
//! 5. Seal: only when all the rest was read back from the medium, the sector of step 3 gets what belongs there.

use std::io;

use hypriot_keys::Verified;
use hypriot_keys::source::{Source, SourceError};
use hypriot_updater::index::Index;
use hypriot_updater::payload::PayloadError;

use self::idle::Idle;
use crate::card::ports::{Disk, Running};
use crate::neighbours::Nearby;
use crate::neighbours::shelf::Shelf;

mod choose;
mod decode;
mod idle;
mod pipeline;
mod round;
mod share;
mod transfer;

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
        "fetching {name}: the transfer breaks off at byte {at} ({cause}); what is written is kept for the next try"
    )]
    Cut {
        /// File name.
        name: String,
        /// The last cause.
        cause: io::Error,
        /// How far it came.
        at: u64,
    },
    /// The payload's table is of no use.
    #[error("{name}: {source}")]
    Payload {
        /// File name.
        name: String,
        /// The cause.
        source: PayloadError,
    },
    /// The data of a segment is not what was signed.
    #[error(
        "{name}: the data of segment {segment} is not what was signed (altered or damaged on the way); it was neither decoded nor written"
    )]
    Altered {
        /// File name.
        name: String,
        /// Number over all images.
        segment: usize,
    },
    /// The data is what was signed, and does not give the segment.
    #[error(
        "{name}: segment {segment} does not come out as its index says, though its data is what was signed; nothing of it was written, tell the maintainer"
    )]
    Segment {
        /// File name.
        name: String,
        /// Number over all images.
        segment: usize,
    },
    /// An index that was checked has one.
    #[error("the release has no full payload that this agent can read")]
    NoPayload,
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
    /// Fetching, checking, writing, reading back.
    Write,
}

/// What an installation cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Segments of the release.
    pub total: usize,
    /// Segments that were written.
    pub written: usize,
    /// Bytes that came from the source.
    pub fetched: u64,
    /// Bytes that came from neighbours.
    pub lent: u64,
    /// How many of them gave something.
    pub neighbours: usize,
    /// The release that it was a delta from.
    pub delta_from: Option<semver::Version>,
    /// Segments for which the running slot did not hold what its release says, so that they were fetched whole.
    pub worn: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (written, total, fetched) = (self.written, self.total, self.fetched);
        write!(f, "{written} of {total} segments, {fetched} bytes fetched")?;
        if self.neighbours > 0 {
            let (lent, neighbours) = (self.lent, self.neighbours);
            write!(f, ", {lent} from {neighbours} neighbours")?;
        }
        if let Some(version) = &self.delta_from {
            write!(f, ", as a delta from {version}")?;
        }
        if self.worn > 0 {
            let worn = self.worn;
            write!(
                f,
                "; {worn} segments of the running slot were not as its release says and came whole"
            )?;
        }
        Ok(())
    }
}

/// What runs: what a delta starts from.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its version.
    pub version: &'a semver::Version,
    /// Its bytes.
    pub slot: &'a dyn Running,
}

impl std::fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base")
            .field("version", self.version)
            .finish_non_exhaustive()
    }
}

/// Makes the slot whose partitions are `disks` (boot, root) hold the release of `index`.
pub fn install(
    index: &Verified<Index>,
    source: &dyn Source,
    base: Option<Base<'_>>,
    near: Option<&Nearby>,
    disks: &mut [Box<dyn Disk>; 2],
    tell: &mut dyn FnMut(Progress),
) -> Result<Summary, InstallError> {
    let places = idle::places(index);
    let mut idle = Idle::new(disks, &places, tell);
    let mut missing = idle.survey()?;
    let mut summary = Summary {
        total: places.len(),
        written: missing.iter().filter(|m| **m).count(),
        ..Summary::default()
    };
    if summary.written == 0 {
        return Ok(summary);
    }
    if let Some(near) = near {
        let has: Vec<bool> = missing.iter().map(|m| !m).collect();
        match Shelf::begin(&near.shelf, near.slot, index, &has) {
            Ok(shelf) => idle.show(shelf),
            Err(error) => {
                tracing::warn!("neighbours are not asked, nor told what is here: {error}");
            }
        }
    }
    let mut payloads = choose::Payloads::new(index, source, base.map(|b| b.version));
    let mut choice = payloads.cheapest(&missing)?;
    summary.delta_from = choice.file.base.as_ref().map(|b| b.version.clone());
    idle.break_slot()?;
    // there is one account of patience: who was not worth it in the first round is not asked in a second
    let mut near = near;
    loop {
        let round = round::run(&choice, source, base, near, &mut idle, &mut missing);
        summary.fetched += round.fetched;
        summary.lent += round.shared.lent;
        summary.neighbours = summary.neighbours.max(round.shared.givers);
        if round.shared.asked {
            near = None;
        }
        summary.worn += round.worn;
        match round.end {
            Ok(()) if !missing.contains(&true) => break,
            Ok(()) => (),
            // a mirror that holds a damaged delta must not keep a board from a full payload that is whole
            Err(InstallError::Altered { .. } | InstallError::Segment { .. })
                if choice.file.base.is_some() => {}
            Err(error) => return Err(error),
        }
        choice = payloads.full()?;
    }
    summary.fetched += payloads.fetched;
    idle.seal()?;
    Ok(summary)
}

#[cfg(test)]
pub(crate) mod tests;
