//! Signs of life while a step takes long: as many as the step was granted, and none from one that hangs.
//!
//! The loop is one thread, and self-tests on trial, or a server that sends slowly, take longer than systemd's watchdog waits. A
//! thread beats in its place, but only until the time is over that the step may take: then the watchdog does its work.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hypriot_updater::decide::{Seen, Step};

use super::machine::PATIENCE;

/// A question to the repository, or one segment of an installation, may take this long. A line that needs more for a mebibyte
/// brings no release within a week.
pub const SLOW: Duration = Duration::from_mins(30);
/// What self-tests may take beyond their own time: the last command is ended, results are put together.
const MARGIN: Duration = Duration::from_mins(2);

/// Beats while it is granted.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Mutex<Instant>>);

impl Heartbeat {
    /// Calls `beat` every `period` while time is granted. Without a thread there are only the loop's own signs of life.
    pub fn start(period: Duration, beat: impl Fn() + Send + 'static) -> Self {
        let until = Arc::new(Mutex::new(Instant::now()));
        let seen = Arc::clone(&until);
        let started = thread::Builder::new().spawn(move || {
            loop {
                thread::sleep(period);
                if Instant::now() < *seen.lock().unwrap_or_else(PoisonError::into_inner) {
                    beat();
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!("no thread for signs of life: {error}");
        }
        Self(until)
    }

    /// From now on it beats for so long; what was granted before is void.
    pub fn grant(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        // beyond what the clock can say is for ever, as good as
        let until = until.unwrap_or_else(|| Instant::now() + Duration::from_hours(24 * 365));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What a step may take without a sign of life of its own.
pub fn granted(step: &Step, seen: &Seen) -> Duration {
    match step {
        Step::SelfTest => {
            seen.on_trial().map_or(PATIENCE, |trial| {
                Duration::from_secs(trial.deadline.saturating_sub(seen.uptime))
            }) + MARGIN
        }
        Step::Ask
        | Step::Install { .. }
        | Step::Lock(_)
        | Step::Steady
        | Step::KeepLock
        | Step::Prepare(_)
        | Step::After(_) => SLOW,
        // small writes and a restart: those hang if they last
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hypriot_updater::boot::{Phase, Trial};
    use hypriot_updater::slot::Slot;

    use super::*;

    #[test]
    fn a_step_lives_as_long_as_granted_and_one_that_hangs_no_longer() {
        let beats = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&beats);
        let heart = Heartbeat::start(Duration::from_millis(5), move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        thread::sleep(Duration::from_millis(50));
        assert_eq!(beats.load(Ordering::Relaxed), 0, "nothing was granted");
        heart.grant(Duration::MAX);
        for _ in 0..1000 {
            if beats.load(Ordering::Relaxed) >= 3 {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert!(beats.load(Ordering::Relaxed) >= 3);
        heart.grant(Duration::ZERO);
        // one beat may be under way
        thread::sleep(Duration::from_millis(50));
        let last = beats.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(
            beats.load(Ordering::Relaxed),
            last,
            "the hang is covered up"
        );
    }

    #[test]
    fn self_tests_of_a_trial_outlive_no_watchdog() {
        let mut seen = crate::update::why::tests::calm();
        let minutes = |seen: &Seen| granted(&Step::SelfTest, seen).as_secs() / 60;
        assert_eq!(minutes(&seen), 7);
        seen.booted = Slot::B;
        seen.boot.trial = Some(Trial {
            slot: Slot::B,
            phase: Phase::Trying,
            id: "x1".into(),
            rearms: 0,
            deadline: 6 * 3600,
        });
        assert_eq!(
            minutes(&seen),
            6 * 60 + 1,
            "a deadline of six hours, a minute after boot"
        );
        assert_eq!(granted(&Step::Commit(Slot::B), &seen), Duration::ZERO);
    }
}
