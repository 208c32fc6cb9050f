//! What of a round can come from neighbours: each such segment from whoever the plan says, the source or a neighbour, in any order.
//!
//! The source is read by one thread, some check and decode, some ask neighbours, the caller's writes: as in `pipeline`, and each
//! holds one segment. Where this ends early, since nobody is there or nobody is worth waiting for, what is left is fetched as ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hypriot_keys::source::Source;
use hypriot_updater::index::SegmentHash;
use hypriot_updater::payload::{Entry, Operation};

use super::InstallError;
use super::choose::Chosen;
use super::decode::is_right;
use super::idle::{Idle, Place};
use super::pipeline::{self, Arrival, Fetched, Made, PULSE, Piece};
use super::transfer::Transfer;
use crate::card::aligned::Aligned;
use crate::neighbours::ask::{self, Answer, Bounds};
use crate::neighbours::plan::{Errand, Next, Plan, Wanted};
use crate::neighbours::wire::{Id, Request};
use crate::neighbours::{Find, Nearby};

/// What costs less from the source is not worth a MiB of the local network: so most of a delta comes from the source.
const WORTH: usize = 64 << 10;
/// Fewer of them are there before anybody is found.
const FEW: usize = 4;
/// So many neighbours are asked at a time.
const ASKERS: usize = 4;
/// A map has 200 bytes.
const MAP: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes that came from the source.
    pub(super) fetched: u64,
    /// Bytes that came from neighbours.
    pub(super) lent: u64,
    /// Neighbours that gave something.
    pub(super) givers: usize,
    /// Whether anybody was asked.
    pub(super) asked: bool,
}

/// Writes what neighbours have, and what this board fetches for all.
pub(super) fn run(
    choice: &Chosen<'_>,
    source: &dyn Source,
    near: &Nearby,
    idle: &mut Idle<'_>,
    missing: &mut [bool],
) -> (Shared, Result<(), InstallError>) {
    let pieces = worth(&choice.entries, idle.places, missing);
    let (Some(find), Some(own)) = (near.find, idle.known_as()) else {
        return (Shared::default(), Ok(()));
    };
    // from a server that sends the whole file again and again, it is read forwards
    if pieces.len() < FEW || !source.has_parts(&choice.file.name) {
        return (Shared::default(), Ok(()));
    }
    let table = Table::new(&pieces, choice, idle, own, find);
    let ((fetched, failed), wrote) = table.work(source, |made| write(made, idle, missing));
    let shared = Shared {
        fetched,
        lent: table.lent.load(Ordering::Relaxed),
        givers: table.plan().givers(),
        asked: true,
    };
    let all_here = || pieces.iter().all(|p| !missing[p.n]);
    let end = match (wrote, failed) {
        (Ok(()), Some(error)) if !all_here() => Err(error),
        (wrote, _) => wrote,
    };
    (shared, end)
}

/// Segments that are the same on every board, and dear.
fn worth<'e>(entries: &'e [Entry], places: &[Place], missing: &[bool]) -> Vec<Piece<'e>> {
    let whole = |e: &Entry| matches!(e.operation, Operation::Raw | Operation::Zstd);
    let wanted = entries.iter().enumerate();
    let wanted = wanted.filter(|(n, e)| missing[*n] && whole(e) && e.len >= WORTH);
    wanted
        .map(|(n, entry)| Piece {
            n,
            place: places[n],
            entry,
            until: entry.at + entry.len as u64,
        })
        .collect()
}

/// Puts onto the card what comes, until nothing more can.
fn write(
    made: &Receiver<Made>,
    idle: &mut Idle<'_>,
    missing: &mut [bool],
) -> Result<(), InstallError> {
    loop {
        match made.recv_timeout(PULSE) {
            Ok((n, arrival)) => {
                if let Arrival::Segment(bytes) = arrival? {
                    idle.put(n, &bytes)?;
                    missing[n] = false;
                }
            }
            Err(RecvTimeoutError::Timeout) => idle.alive(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// What all threads share.
struct Table<'a> {
    pieces: &'a [Piece<'a>],
    name: &'a str,
    content: SegmentHash,
    segments: usize,
    find: Find,
    begun: Instant,
    plan: Mutex<Plan>,
    changed: Condvar,
    stop: AtomicBool,
    lent: AtomicU64,
}

impl<'a> Table<'a> {
    fn new(
        pieces: &'a [Piece<'a>],
        choice: &'a Chosen<'_>,
        idle: &Idle<'_>,
        own: Id,
        find: Find,
    ) -> Self {
        let wanted = pieces.iter().map(|p| Wanted {
            n: p.n,
            hash: p.place.hash,
            cost: p.entry.len as u64,
        });
        Self {
            pieces,
            name: &choice.file.name,
            content: choice.index.content(),
            segments: idle.places.len(),
            find,
            begun: Instant::now(),
            plan: Mutex::new(Plan::new(own, wanted.collect())),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            lent: AtomicU64::new(0),
        }
    }

    /// Runs everything until `consume` has all there is. Gives what the source sent, and why it sends no more.
    fn work<T>(
        &self,
        source: &dyn Source,
        consume: impl FnOnce(&Receiver<Made>) -> T,
    ) -> ((u64, Option<InstallError>), T) {
        let (to_workers, pieces_in) = sync_channel::<Fetched>(1);
        let (to_writer, made) = sync_channel::<Made>(1);
        let queue = Arc::new(Mutex::new(pieces_in));
        thread::scope(|scope| {
            let fetcher = scope.spawn(move || self.fetch(source, &to_workers));
            for _ in 0..pipeline::workers() {
                let (queue, to_writer) = (Arc::clone(&queue), to_writer.clone());
                scope.spawn(move || pipeline::work(self.name, self.pieces, &queue, &to_writer));
            }
            for _ in 0..ASKERS {
                let to_writer = to_writer.clone();
                scope.spawn(move || self.ask(&to_writer));
            }
            // the last that ends takes the queues with it, and with them whoever waits at one
            drop((queue, to_writer));
            let wrote = consume(&made);
            drop(made);
            self.stop.store(true, Ordering::Relaxed);
            self.changed.notify_all();
            (fetcher.join().unwrap_or_default(), wrote)
        })
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Something happened.
    fn tell(&self, event: impl FnOnce(&mut Plan, f64)) {
        event(&mut self.plan(), self.now());
        self.changed.notify_all();
    }

    /// What to do next; none when all is done, or nobody wants it any more.
    fn next<T>(&self, ask: impl Fn(&mut Plan, f64) -> Next<T>) -> Option<T> {
        let mut plan = self.plan();
        while !self.stop.load(Ordering::Relaxed) {
            match ask(&mut plan, self.now()) {
                Next::Do(this) => return Some(this),
                Next::End => break,
                Next::Wait(seconds) => {
                    let most = Duration::from_secs_f64(seconds);
                    let waited = self.changed.wait_timeout(plan, most);
                    plan = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        // questions that are open are of no use any more
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
        None
    }

    fn fetch(&self, source: &dyn Source, to: &SyncSender<Fetched>) -> (u64, Option<InstallError>) {
        let (mut transfer, mut failed) = (Transfer::new(source, self.name), None);
        while let Some(i) = self.next(Plan::source) {
            let (piece, begun) = (&self.pieces[i], self.now());
            let mut data = vec![0; piece.entry.len];
            match transfer.read(piece.entry.at, piece.until, &mut data) {
                Ok(()) => {
                    self.tell(|plan, now| plan.fetched(i, now - begun, now));
                    if to.send((i, Ok(data))).is_err() {
                        break;
                    }
                }
                // neighbours may have all the rest
                Err(error) => {
                    self.tell(|plan, _| plan.source_is_gone(i));
                    failed = Some(error);
                }
            }
        }
        (transfer.fetched, failed)
    }

    fn ask(&self, to: &SyncSender<Made>) {
        while let Some(errand) = self.next(Plan::errand) {
            match errand {
                Errand::Look => {
                    let found = (self.find)(&self.stop);
                    self.tell(|plan, _| plan.found(found));
                }
                Errand::Map(peer) => self.map(peer),
                Errand::Segment(i, peer) => {
                    if let Some(bytes) = self.segment(i, peer)
                        && to
                            .send((self.pieces[i].n, Ok(Arrival::Segment(bytes))))
                            .is_err()
                    {
                        return;
                    }
                }
            }
        }
    }

    fn map(&self, peer: usize) {
        let (at, stop) = (self.plan().address(peer), &self.stop);
        let bounds = Bounds { within: MAP, stop };
        let answer = ask::map(at, Request::Map(self.content), self.segments, bounds);
        self.tell(|plan, now| match answer {
            Ok(Answer::Here(map)) => plan.mapped(peer, Some(map), now),
            Ok(Answer::NotHere) => plan.mapped(peer, None, now),
            Ok(Answer::Later(rest)) => plan.later(None, peer, rest.as_secs_f64(), now),
            Err(error) => {
                tracing::debug!("neighbour {at} is left alone: {error}");
                plan.lost(None, peer);
            }
        });
    }

    /// The bytes of a segment, if the neighbour gave them and they are right.
    fn segment(&self, i: usize, peer: usize) -> Option<Aligned> {
        let place = self.pieces[i].place;
        let (at, within) = {
            let plan = self.plan();
            (
                plan.address(peer),
                Duration::from_secs_f64(plan.patience(i)),
            )
        };
        let (mut bytes, stop) = (Aligned::zeroed(place.len), &self.stop);
        let bounds = Bounds { within, stop };
        let answer = ask::ask(at, Request::Segment(place.hash), &mut bytes, bounds);
        let right = matches!(answer, Ok(Answer::Here(()))) && is_right(&bytes, &place);
        self.tell(|plan, now| match answer {
            Ok(Answer::Here(())) if right => {
                plan.gave(i, peer, now);
                self.lent.fetch_add(place.len as u64, Ordering::Relaxed);
            }
            Ok(Answer::Here(())) => {
                tracing::warn!("neighbour {at} sent what it was not asked for; it is left alone");
                plan.lost(Some(i), peer);
            }
            Ok(Answer::NotHere) => plan.not_here(i, peer),
            Ok(Answer::Later(rest)) => plan.later(Some(i), peer, rest.as_secs_f64(), now),
            Err(error) => {
                tracing::debug!("neighbour {at} is left alone: {error}");
                plan.lost(Some(i), peer);
            }
        });
        right.then_some(bytes)
    }
}
