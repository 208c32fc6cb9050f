//! Maintenance windows: when a board may restart, by the owner's wall clock.
//!
//! The rule for days on which the clock is changed: a window begins once on its day, at the first instant at which the wall
//! clock shows its start or, where that time is skipped, at the instant of the change; and it lasts its length in real minutes.
//! So no window is lost, none comes twice, and none is longer or shorter than the owner wrote.
//!
//! A time zone is a function from seconds since 1970 to seconds east of Greenwich: whoever asks brings it, this crate reads no files.

use alloc::vec::Vec;

use hypriot_keys::hash::sha256;
use hypriot_keys::time::Timestamp;

use crate::decide::Window as Verdict;
use crate::slot::Digest;

const DAY: i64 = 86_400;

/// A day of the week, Monday first, as [ISO 8601](https://www.iso.org/iso-8601-date-and-time-format.html) counts them.
pub const WEEK: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One window: on these days, from this time of the day on, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// On which days it begins, Monday first.
    pub days: [bool; 7],
    /// Minutes after midnight at which it begins.
    pub start: u16,
    /// How many minutes it lasts; at least one, at most a week.
    pub minutes: u16,
}

/// When the board may restart: in any of the windows. With none, always.
///
/// `jitter` spreads boards: each waits up to so many minutes of a window, or two thirds of it if that is less, by a hash of
/// its own id and of the release.
pub fn judge(
    windows: &[Window],
    jitter: u16,
    board: &[u8],
    release: Option<&Digest>,
    now: Timestamp,
    zone: &dyn Fn(i64) -> i32,
) -> Verdict {
    if windows.is_empty() {
        return Verdict::Open;
    }
    let now = i64::try_from(now.0).unwrap_or(i64::MAX / 4);
    let today = (now + i64::from(zone(now))).div_euclid(DAY);
    let share = share(board, release);
    let mut next: Option<i64> = None;
    // a window lasts a week at most, and begins within a week at the latest; a day more for the zone
    for day in today - 8..=today + 8 {
        // 1970-01-01 was a Thursday
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or_default();
        for window in windows.iter().filter(|w| w.days[weekday]) {
            let begins = instant(day * DAY + i64::from(window.start) * 60, zone);
            let length = i64::from(window.minutes) * 60;
            let spread = (i64::from(jitter) * 60).min(length * 2 / 3);
            let turn = begins + spread * share / 1000;
            if (turn..begins + length).contains(&now) {
                return Verdict::Open;
            }
            if turn > now {
                next = Some(next.map_or(turn, |n| n.min(turn)));
            }
        }
    }
    next.map_or(Verdict::Never, |at| {
        Verdict::Opens(Timestamp(u64::try_from(at).unwrap_or_default()))
    })
}

/// This board's place among all for this release, in thousandths: another one each time.
fn share(board: &[u8], release: Option<&Digest>) -> i64 {
    let hash = sha256(&[release.map_or(&[][..], |d| &d.0[..]), b"window", board]);
    i64::from(u16::from_be_bytes([hash[0], hash[1]])) * 1000 / 65_536
}

/// The first instant at which the wall clock shows `local` (seconds since 1970 as if it were UTC), or the instant of the change
/// that skips it.
fn instant(local: i64, zone: &dyn Fn(i64) -> i32) -> i64 {
    let off = |at: i64| i64::from(zone(at));
    // zones are less than a day from Greenwich, and do not change twice within two days
    let (before, after) = (off(local - DAY), off(local + DAY));
    let mut shown: Vec<i64> = [local - before, local - after]
        .into_iter()
        .filter(|&at| at + off(at) == local)
        .collect();
    shown.sort_unstable();
    if let Some(first) = shown.first() {
        return *first;
    }
    // skipped: the change lies between these two
    let (mut low, mut high) = (local - after, local - before);
    while low < high {
        let middle = low + (high - low) / 2;
        if off(middle) == after {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Berlin in 2026: from 29 March 01:00 UTC to 25 October 01:00 UTC two hours east, else one.
    fn berlin(at: i64) -> i32 {
        let summer = 1_774_746_000..1_792_890_000;
        if summer.contains(&at) { 7200 } else { 3600 }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn window(days: &[usize], start: u16, minutes: u16) -> Window {
        let mut window = Window {
            days: [false; 7],
            start,
            minutes,
        };
        for day in days {
            window.days[*day] = true;
        }
        window
    }

    fn ask(windows: &[Window], now: &str) -> Verdict {
        judge(windows, 0, b"id", None, at(now), &berlin)
    }

    #[test]
    fn a_window_is_the_owners_wall_clock_also_on_days_when_it_is_changed() {
        let opens = |t: &str| Verdict::Opens(at(t));
        // Sundays at half past two, for two hours
        let night = [window(&[6], 150, 120)];
        for (danger, now, expected) in [
            (
                "before",
                "2026-06-07T00:29:59Z",
                opens("2026-06-07T00:30:00Z"),
            ),
            ("its first second", "2026-06-07T00:30:00Z", Verdict::Open),
            ("its last second", "2026-06-07T02:29:59Z", Verdict::Open),
            (
                "over",
                "2026-06-07T02:30:00Z",
                opens("2026-06-14T00:30:00Z"),
            ),
            ("in winter", "2026-01-04T01:30:00Z", Verdict::Open),
            // 2026-03-29: the clock goes from 02:00 to 03:00, half past two does not exist
            ("skipped: not lost", "2026-03-29T01:00:00Z", Verdict::Open),
            (
                "skipped: not earlier",
                "2026-03-29T00:59:59Z",
                opens("2026-03-29T01:00:00Z"),
            ),
            (
                "skipped: not longer",
                "2026-03-29T03:00:00Z",
                opens("2026-04-05T00:30:00Z"),
            ),
            // 2026-10-25: the clock goes from 03:00 to 02:00, half past two comes twice
            (
                "twice: the first time",
                "2026-10-25T00:30:00Z",
                Verdict::Open,
            ),
            (
                "twice: not longer",
                "2026-10-25T02:30:00Z",
                opens("2026-11-01T01:30:00Z"),
            ),
            (
                "the clock of a dead battery",
                "1970-01-01T00:00:00Z",
                opens("1970-01-04T01:30:00Z"),
            ),
        ] {
            assert_eq!(ask(&night, now), expected, "{danger}");
        }
    }

    #[test]
    fn a_window_over_midnight_or_a_whole_week_is_one_window() {
        let late = [window(&[4], 23 * 60, 180)];
        assert_eq!(
            ask(&late, "2026-06-05T23:59:00Z"),
            Verdict::Open,
            "01:59 on Saturday"
        );
        assert_ne!(ask(&late, "2026-06-06T00:00:00Z"), Verdict::Open);
        let always = [window(&[0], 0, 7 * 1440)];
        for hour in 0..24 * 14 {
            let now = Timestamp(at("2026-03-20T00:00:00Z").0 + hour * 3600);
            // the week of the change has an hour less: the next window begins before this one ends
            let open = judge(&always, 0, b"id", None, now, &berlin);
            assert_eq!(open, Verdict::Open, "{now}");
        }
    }

    #[test]
    fn boards_are_spread_over_a_window_each_release_anew_and_all_get_their_turn() {
        let windows = [window(&[6], 120, 60)];
        let begins = at("2026-06-07T00:00:00Z").0;
        let turn = |board: u32, release: u8| {
            let release = Digest([release; 32]);
            let board = board.to_be_bytes();
            let open = |minute: u64| {
                let now = Timestamp(begins + minute * 60);
                judge(&windows, 600, &board, Some(&release), now, &berlin) == Verdict::Open
            };
            (0..60)
                .find(|m| open(*m))
                .expect("a turn within the window")
        };
        let first: Vec<u64> = (0..200).map(|b| turn(b, 1)).collect();
        // ten hours were asked for and the window has one: two thirds of it are used, so that each has time to restart
        assert!(first.iter().all(|m| *m <= 40), "{first:?}");
        assert!(first.iter().any(|m| *m < 5) && first.iter().any(|m| *m > 35));
        let second: Vec<u64> = (0..200).map(|b| turn(b, 2)).collect();
        assert_ne!(first, second, "the same boards are first each time");
    }

    #[test]
    fn no_window_is_always_and_one_on_no_day_is_never() {
        assert_eq!(ask(&[], "1970-01-01T00:00:00Z"), Verdict::Open);
        assert_eq!(
            ask(&[window(&[], 0, 60)], "2026-06-07T00:00:00Z"),
            Verdict::Never
        );
    }
}
