//! Fetching and decoding beside the writing: one thread reads the source, some check and decode, the caller's writes.
//!
//! All of them together hold a few segments, whatever the size of the release: every queue has room for one, and a thread
//! with nowhere to put its piece waits. What comes out is taken in the order of the release, so the same source makes the
//! same writes in the same order on any number of cores.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hypriot_keys::source::Source;
use hypriot_updater::index::SegmentHash;
use hypriot_updater::payload::Entry;
use zstd::zstd_safe::DCtx;

use super::InstallError;
use super::decode::{decode, is_right};
use super::idle::Place;
use super::transfer::Transfer;
use crate::card::aligned::Aligned;

/// More decoders than this are never busy: a card writes slower than two of them decode. Whoever fetches and whoever writes
/// mostly waits, so each core has one.
const MOST_WORKERS: usize = 3;
/// While nothing arrives, whoever waits is called this often.
pub(super) const PULSE: Duration = Duration::from_secs(2);

/// A segment whose data is fetched.
pub(super) struct Piece<'a> {
    pub(super) n: usize,
    pub(super) place: Place,
    pub(super) entry: &'a Entry,
    /// Where the data that is wanted without a large gap ends.
    pub(super) until: u64,
}

/// What became of one.
pub(super) enum Arrival {
    /// The bytes of the segment, compared with the index.
    Segment(Aligned),
    /// Data that needs bytes of the running slot, compared with the table.
    Data(Vec<u8>),
}

pub(super) type Fetched = (usize, Result<Vec<u8>, InstallError>);
pub(super) type Made = (usize, Result<Arrival, InstallError>);

/// What comes out of the pipeline.
pub(super) struct Arrivals {
    made: Receiver<Made>,
    early: BTreeMap<usize, Result<Arrival, InstallError>>,
}

impl Arrivals {
    /// Waits for segment `n`. Segments are taken in the order of the pieces.
    pub(super) fn take(
        &mut self,
        n: usize,
        mut alive: impl FnMut(),
    ) -> Result<Arrival, InstallError> {
        loop {
            if let Some(arrival) = self.early.remove(&n) {
                return arrival;
            }
            match self.made.recv_timeout(PULSE) {
                Ok((m, arrival)) => drop(self.early.insert(m, arrival)),
                Err(RecvTimeoutError::Timeout) => alive(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(
                        io::Error::other("the download ended without a word (a bug)").into(),
                    );
                }
            }
        }
    }
}

/// Runs `consume` beside the fetching of `pieces`. Gives what came over the network, too.
pub(super) fn run<T>(
    source: &dyn Source,
    name: &str,
    pieces: &[Piece<'_>],
    consume: impl FnOnce(&mut Arrivals) -> Result<T, InstallError>,
) -> (u64, Result<T, InstallError>) {
    let (to_workers, pieces_in) = sync_channel::<Fetched>(1);
    let (to_writer, made) = sync_channel::<Made>(1);
    let queue = Arc::new(Mutex::new(pieces_in));
    thread::scope(|scope| {
        let fetcher = scope.spawn(move || fetch(source, name, pieces, &to_workers));
        for _ in 0..workers() {
            let (queue, to_writer) = (Arc::clone(&queue), to_writer.clone());
            scope.spawn(move || work(name, pieces, &queue, &to_writer));
        }
        // the last worker that ends takes the queues with it, and with them whoever waits at one
        drop((queue, to_writer));
        let mut arrivals = Arrivals {
            made,
            early: BTreeMap::new(),
        };
        let outcome = consume(&mut arrivals);
        drop(arrivals);
        (fetcher.join().unwrap_or_default(), outcome)
    })
}

/// Reads the data of all pieces, until one cannot be had or nobody wants more.
fn fetch(source: &dyn Source, name: &str, pieces: &[Piece<'_>], to: &SyncSender<Fetched>) -> u64 {
    let mut transfer = Transfer::new(source, name);
    for (number, piece) in pieces.iter().enumerate() {
        let mut data = vec![0; piece.entry.len];
        let read = transfer.read(piece.entry.at, piece.until, &mut data);
        let failed = read.is_err();
        if to.send((number, read.map(|()| data))).is_err() || failed {
            break;
        }
    }
    transfer.fetched
}

/// How many decode.
pub(super) fn workers() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.min(MOST_WORKERS)
}

/// Decodes what was fetched, until there is no more.
pub(super) fn work(
    name: &str,
    pieces: &[Piece<'_>],
    fetched: &Mutex<Receiver<Fetched>>,
    to: &SyncSender<Made>,
) {
    let mut context = DCtx::create();
    loop {
        let next = fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((number, data)) = next else {
            return;
        };
        let piece = &pieces[number];
        let made = data.and_then(|data| make(name, piece, data, &mut context));
        if to.send((piece.n, made)).is_err() {
            return;
        }
    }
}

/// Nothing is decoded before the hash of its data is right.
fn make(
    name: &str,
    piece: &Piece<'_>,
    data: Vec<u8>,
    context: &mut DCtx<'_>,
) -> Result<Arrival, InstallError> {
    let (name, segment) = (name.to_owned(), piece.n);
    if SegmentHash::of(&data) != piece.entry.hash {
        return Err(InstallError::Altered { name, segment });
    }
    if piece.entry.operation.needs_base() {
        return Ok(Arrival::Data(data));
    }
    let mut bytes = Aligned::zeroed(piece.place.len);
    let operation = &piece.entry.operation;
    if decode(context, operation, &data, &[], &mut bytes) && is_right(&bytes, &piece.place) {
        return Ok(Arrival::Segment(bytes));
    }
    Err(InstallError::Segment { name, segment })
}
