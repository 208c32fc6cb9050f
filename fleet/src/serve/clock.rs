//! Time that does not jump: a clock that is set while the server runs must neither fail every board that is out nor keep one
//! out for years.

use std::time::{Instant, SystemTime};

use crate::lock::Now;

/// The machine's clock at one moment, and how long ago that was.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: u64,
    start: Instant,
}

impl Clock {
    /// Begins now, and not before the newest thing that is known to have happened: boards have no clock of their own, and a
    /// server on one may begin in 1970.
    pub fn new(last: u64) -> Self {
        Self {
            base: wall().max(last),
            start: Instant::now(),
        }
    }

    /// Now.
    pub fn now(&self) -> Now {
        Now {
            at: self.base + self.start.elapsed().as_secs(),
            listening: self.base,
            wall: wall(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outermost loop of the service reads the clock"
)]
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}
