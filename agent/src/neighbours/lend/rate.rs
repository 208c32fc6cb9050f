//! How much is lent in a second.

use std::time::{Duration, Instant};

/// Bytes in a second: half of what a cable of 100 Mbit/s carries, and a third of what a slow card reads.
const RATE: f64 = 6.0 * 1_048_576.0;
/// Who would have to wait longer for its turn is told to come again.
const MOST_WAIT: f64 = 1.5;

/// Bytes that were promised and are not gone yet, by the rate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    promised: f64,
    at: Option<Instant>,
}

impl Rate {
    /// When so many bytes have their turn; or, where nothing is promised any more, when to come again.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<Duration, Duration> {
        let since = self
            .at
            .replace(now)
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.promised = (self.promised - since * RATE).max(0.0);
        let wait = self.promised / RATE;
        if wait > MOST_WAIT {
            return Err(Duration::from_secs_f64(wait));
        }
        // a segment has a MiB
        self.promised += f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        Ok(Duration::from_secs_f64(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_lent_however_much_is_asked_for() {
        let (mut rate, begun) = (Rate::default(), Instant::now());
        let (mut lent, mut refused) = (0.0, 0);
        // a hundred askers in each tenth of a second, for a minute
        for tenth in 0..600 {
            let now = begun + Duration::from_millis(100) * tenth;
            for _ in 0..100 {
                match rate.take(1 << 20, now) {
                    Ok(wait) => {
                        assert!(wait.as_secs_f64() <= MOST_WAIT);
                        lent += 1_048_576.0;
                    }
                    Err(wait) => {
                        assert!(wait.as_secs_f64() >= MOST_WAIT);
                        refused += 1;
                    }
                }
            }
        }
        assert!(lent <= RATE * (60.0 + 2.0 * MOST_WAIT), "{lent}");
        assert!(lent >= RATE * 59.0, "and not less: {lent}");
        assert!(refused > 0);
        // a single one does not wait, nor for what was lent long ago
        let later = begun + Duration::from_mins(5);
        assert_eq!(rate.take(1 << 20, later), Ok(Duration::ZERO));
    }
}
