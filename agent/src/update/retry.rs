//! When something that went wrong is tried again: later each time, and not all boards at once.

use std::time::Duration;

use hypriot_keys::hash::sha256;

/// First pause; it doubles.
const FIRST: u64 = 10;
/// Longest pause that we choose ourselves.
const LONGEST: u64 = 300;
/// Longest pause that somebody else may ask for.
const ASKED: u64 = 3600;

/// What is not tried now, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    why: Option<String>,
    until: u64,
    failures: u32,
}

impl Retry {
    /// Why it is not tried now, if it is not. `uptime` in seconds.
    pub fn later(&self, uptime: u64) -> Option<String> {
        self.why.clone().filter(|_| uptime < self.until)
    }

    /// What went wrong last, until it goes well.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// It went wrong. `wish` is the pause that the other side asks for; `who` spreads the boards of a fleet.
    pub fn failed(&mut self, why: String, uptime: u64, wish: Option<Duration>, who: &[u8]) {
        let own = (FIRST << self.failures.min(10)).min(LONGEST);
        let pause = wish.map_or(own, |w| w.as_secs().clamp(1, ASKED));
        let hash = sha256(&[who, &self.failures.to_be_bytes()]);
        let spread = u64::from(hash[0]) * (pause / 4) / 256;
        self.why = Some(why);
        self.until = uptime.saturating_add(pause + spread);
        self.failures = self.failures.saturating_add(1);
    }

    /// It went well.
    pub fn went_well(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_down_is_asked_ever_less_and_by_each_board_at_its_own_time() {
        let mut retry = Retry::default();
        assert_eq!(retry.later(0), None);
        let (mut now, mut pauses) = (100, Vec::new());
        for _ in 0..12 {
            retry.failed("down".into(), now, None, b"a");
            let mut again = now;
            while retry.later(again).is_some() {
                again += 1;
            }
            pauses.push(again - now);
            now = again;
        }
        assert!((10..=13).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|p| *p <= 375), "{pauses:?}");
        assert!(pauses[11] >= 300);
        let until = |who: &[u8]| {
            let mut retry = retry.clone();
            retry.failed("down".into(), 0, None, who);
            (0..10_000).find(|t| retry.later(*t).is_none())
        };
        assert_ne!(until(b"a"), until(b"c"));
        retry.went_well();
        assert_eq!((retry.later(now), retry.why()), (None, None));
    }

    #[test]
    fn a_wish_is_heard_and_one_beyond_reason_is_not() {
        let pause = |wish: u64| {
            let mut retry = Retry::default();
            retry.failed("full".into(), 0, Some(Duration::from_secs(wish)), b"a");
            (0..10_000).find(|t| retry.later(*t).is_none()).unwrap_or(0)
        };
        assert!((120..=150).contains(&pause(120)));
        assert!((1..=2).contains(&pause(0)));
        assert!(pause(u64::MAX) <= 4500);
    }
}
