//! One pass over an image on all cores, segment by segment. Results come in order, whatever the number of cores.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::Blocks;

/// How many threads a pass uses unless told otherwise.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work(number, offset, bytes)` once for each `segment` bytes of `image` (the last may be shorter) and gives the
/// results in order. The first error ends the pass.
pub fn each<B: Blocks + ?Sized, T: Send>(
    image: &B,
    segment: u64,
    threads: usize,
    work: impl Fn(usize, u64, &[u8]) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let len = image.size();
    let count = usize::try_from(len.div_ceil(segment)).context("too many segments")?;
    let room = usize::try_from(segment.min(len)).context("the segment is too big")?;
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Vec<Option<Result<T>>>> = Mutex::new((0..count).map(|_| None).collect());
    let run = || {
        let mut buf = vec![0; room];
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                break;
            }
            let at = n as u64 * segment;
            // never more than `room`
            let part = usize::try_from(segment.min(len - at)).unwrap_or(room);
            let result = image
                .read_at(at, &mut buf[..part])
                .and_then(|()| work(n, at, &buf[..part]));
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, count.max(1)) {
            scope.spawn(run);
        }
        run();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Segments are handed out in order, so nothing that was not done comes before the error.
    done.into_iter().flatten().collect()
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|w| u128::from_ne_bytes(*w) == 0) && rest.iter().all(|b| *b == 0)
}
