//! When boards may go: weekly windows, in UTC, so that no change of summer time moves or doubles them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
/// 1970-01-01 was a Thursday.
const FIRST: u64 = 3;

/// `sat,sun 23:30/90`: from 23:30 UTC for 90 minutes on these days; without days, on all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    days: [bool; 7],
    start: u32,
    minutes: u32,
}

impl Window {
    /// Minutes until it opens; 0 while it is open.
    fn opens_in(&self, wall: u64) -> u32 {
        let day = u32::try_from((wall / 86_400 + FIRST) % 7).unwrap_or_default();
        let minute = u32::try_from(wall % 86_400 / 60).unwrap_or_default();
        let now = day * DAY + minute;
        let mut best = WEEK;
        for (n, _) in (0..).zip(&self.days).filter(|(_, on)| **on) {
            // how long ago it opened last, this week or at the end of the week before
            let ago = (now + WEEK - (n * DAY + self.start)) % WEEK;
            if ago < self.minutes {
                return 0;
            }
            best = best.min(WEEK - ago);
        }
        best
    }
}

/// Whether a group is open; if not, in how many minutes it will be.
pub fn open(windows: &[Window], wall: u64) -> Result<(), u32> {
    match windows.iter().map(|w| w.opens_in(wall)).min() {
        None | Some(0) => Ok(()),
        Some(minutes) => Err(minutes),
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no window; write days, UTC time and minutes, as in \"sat,sun 23:30/90\" or \"02:00/120\""
            )
        };
        let (days, rest) = match text.trim().rsplit_once(' ') {
            Some((days, rest)) => (days.trim(), rest),
            None => ("", text.trim()),
        };
        let (time, minutes) = rest.split_once('/').ok_or_else(wrong)?;
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        let number = |t: &str, below: u32| {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            let n: u32 = t.parse().ok().filter(|_| digits)?;
            (n < below).then_some(n)
        };
        let mut on = [days.is_empty(); 7];
        for day in days.split(',').filter(|_| !days.is_empty()) {
            let day = day.trim().to_ascii_lowercase();
            let n = DAYS.iter().position(|d| *d == day).ok_or_else(wrong)?;
            on[n] = true;
        }
        let start =
            number(hour, 24).ok_or_else(wrong)? * 60 + number(minute, 60).ok_or_else(wrong)?;
        let minutes = number(minutes, WEEK + 1)
            .filter(|m| *m > 0)
            .ok_or_else(wrong)?;
        Ok(Self {
            days: on,
            start,
            minutes,
        })
    }
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != [true; 7] {
            let days: Vec<&str> = DAYS
                .iter()
                .zip(self.days)
                .filter_map(|(day, on)| on.then_some(*day))
                .collect();
            write!(f, "{} ", days.join(","))?;
        }
        write!(
            f,
            "{:02}:{:02}/{}",
            self.start / 60,
            self.start % 60,
            self.minutes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28, a Saturday, 00:00 UTC.
    const SATURDAY: u64 = 1_795_824_000;

    #[test]
    fn windows_hold_over_midnight_and_over_the_end_of_the_week() {
        let at =
            |day: u64, hour: u64, minute: u64| SATURDAY + day * 86_400 + hour * 3600 + minute * 60;
        for (text, when, expected) in [
            ("sat 02:00/60", at(0, 2, 0), Ok(())),
            ("sat 02:00/60", at(0, 2, 59), Ok(())),
            ("sat 02:00/60", at(0, 3, 0), Err(WEEK - 60)),
            ("sat 02:00/60", at(0, 1, 30), Err(30)),
            ("fri 23:30/90", at(0, 0, 30), Ok(())),
            ("sun 23:30/90", at(2, 0, 59), Ok(())),
            ("sun 23:30/90", at(2, 1, 0), Err(WEEK - 90)),
            ("02:00/120", at(3, 1, 0), Err(60)),
            ("mon,sat 00:00/1", at(0, 0, 0), Ok(())),
            ("tue 00:00/10080", at(0, 0, 0), Ok(())),
        ] {
            let window: Window = text.parse().expect(text);
            assert_eq!(
                open(std::slice::from_ref(&window), when),
                expected,
                "{text} at {when}"
            );
            assert_eq!(window.to_string(), text);
        }
        assert_eq!(open(&[], 0), Ok(()), "no window is always");
    }

    #[test]
    fn what_is_no_window_is_refused_with_an_example() {
        for text in [
            "",
            "sat",
            "02:00",
            "sat 24:00/60",
            "sat 02:60/60",
            "02:00/0",
            "02:00/10081",
            "yes 02:00/60",
            "+2:00/60",
            "sat, 02:00/5",
        ] {
            let error = text.parse::<Window>().expect_err(text);
            assert!(error.contains("sat,sun 23:30/90"), "{error}");
        }
    }
}
