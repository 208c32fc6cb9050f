//! How slow a source may be before it is given up.

use std::time::Duration;

/// How slow a source may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// No file of metadata may take longer than this.
    pub total: Duration,
    /// After this much time the rate is judged.
    pub grace: Duration,
    /// Bytes per second below which the source is given up.
    pub least: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            total: Duration::from_mins(5),
            grace: Duration::from_secs(15),
            least: 256,
        }
    }
}

impl Pace {
    /// Whether a transfer that has brought `got` bytes in `elapsed` may go on.
    ///
    /// Against slow retrieval: a byte a second would keep a device from learning of an update without ever failing.
    pub fn allows(&self, got: u64, elapsed: Duration) -> bool {
        let seconds = elapsed.as_secs();
        elapsed <= self.total
            && (elapsed <= self.grace || got >= self.least.saturating_mul(seconds))
    }
}
