//! One round over all missing segments, by one payload.

use hypriot_keys::source::Source;
use hypriot_updater::payload::{Entry, run_end};
use zstd::zstd_safe::DCtx;

use super::choose::Chosen;
use super::decode::{decode, is_right, reference};
use super::idle::{Idle, Place};
use super::pipeline::{self, Arrival, Arrivals, Piece};
use super::share::{self, Shared};
use super::transfer::GAP;
use super::{Base, InstallError};
use crate::card::aligned::Aligned;
use crate::card::ports::Running;
use crate::neighbours::Nearby;

/// A running slot that fails this often is not the release that it is taken for.
const MOST_WORN: usize = 64;

/// What became of a round.
pub(super) struct Round {
    /// Bytes that came from the source.
    pub(super) fetched: u64,
    /// What neighbours had to do with it.
    pub(super) shared: Shared,
    /// Segments that the running slot did not give.
    pub(super) worn: usize,
    /// Why it ended early, if it did. What is still missing is marked so.
    pub(super) end: Result<(), InstallError>,
}

/// Writes what is missing, as far as this payload gives it.
pub(super) fn run(
    choice: &Chosen<'_>,
    source: &dyn Source,
    base: Option<Base<'_>>,
    near: Option<&Nearby>,
    idle: &mut Idle<'_>,
    missing: &mut [bool],
) -> Round {
    let (shared, end) = near.map_or_else(
        || (Shared::default(), Ok(())),
        |near| share::run(choice, source, near, idle, missing),
    );
    if end.is_err() {
        let (fetched, worn) = (shared.fetched, 0);
        return Round {
            fetched,
            shared,
            worn,
            end,
        };
    }
    let pieces = pieces(&choice.entries, idle.places, missing);
    let mut worn = 0;
    let (fetched, end) = pipeline::run(source, &choice.file.name, &pieces, |arrivals| {
        let mut local = Local {
            running: base.map(|b| b.slot),
            reference: Vec::new(),
        };
        for (n, missing) in missing.iter_mut().enumerate().filter(|(_, m)| **m) {
            let (entry, place) = (&choice.entries[n], idle.places[n]);
            match local.segment(n, entry, &place, arrivals, idle)? {
                Some(bytes) => {
                    idle.put(n, &bytes)?;
                    *missing = false;
                }
                None => worn += 1,
            }
            if worn >= MOST_WORN {
                break;
            }
        }
        Ok(())
    });
    Round {
        fetched: fetched + shared.fetched,
        shared,
        worn,
        end,
    }
}

/// What is fetched, in the order of the file.
fn pieces<'e>(entries: &'e [Entry], places: &[Place], missing: &[bool]) -> Vec<Piece<'e>> {
    let mut pieces = Vec::new();
    let (mut end, mut until) = (0, 0);
    for (n, entry) in entries.iter().enumerate() {
        if !missing[n] || entry.len == 0 {
            continue;
        }
        if n >= end {
            end = run_end(entries, missing, n, GAP);
            until = entries[end - 1].at + entries[end - 1].len as u64;
        }
        pieces.push(Piece {
            n,
            place: places[n],
            entry,
            until,
        });
    }
    pieces
}

/// What is made here, with bytes of the running slot. One reference at a time: it is what needs memory.
struct Local<'r> {
    running: Option<&'r dyn Running>,
    reference: Vec<u8>,
}

impl Local<'_> {
    /// The bytes of a segment; none when the running slot does not hold what they are made from.
    fn segment(
        &mut self,
        n: usize,
        entry: &Entry,
        place: &Place,
        arrivals: &mut Arrivals,
        idle: &mut Idle<'_>,
    ) -> Result<Option<Aligned>, InstallError> {
        let data = if entry.len == 0 {
            Vec::new()
        } else {
            match arrivals.take(n, || idle.alive())? {
                Arrival::Segment(bytes) => return Ok(Some(bytes)),
                Arrival::Data(data) => data,
            }
        };
        let mut bytes = Aligned::zeroed(place.len);
        let made = reference(&entry.operation, place, self.running, &mut self.reference)
            && decode(
                &mut DCtx::create(),
                &entry.operation,
                &data,
                &self.reference,
                &mut bytes,
            )
            && is_right(&bytes, place);
        if !made {
            tracing::warn!("the running slot does not hold what segment {n} is made from");
        }
        Ok(made.then_some(bytes))
    }
}
