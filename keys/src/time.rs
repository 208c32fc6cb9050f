//! Time as a value: seconds since 1970-01-01T00:00:00Z, read and written as RFC 3339 in the one form TUF uses
//! (`YYYY-MM-DDTHH:MM:SSZ`, TUF 1.0 section 4.2.1).

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, in seconds since 1970. Negative times cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

const DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z: the last instant that four digits of a year can say.
const LAST: u64 = 253_402_300_799;

impl Timestamp {
    /// Reads `YYYY-MM-DDTHH:MM:SSZ`; `None` for any other form or a date that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let marks = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'Z'),
        ];
        if bytes.len() != 20 || marks.iter().any(|&(at, mark)| bytes[at] != mark) {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<u64> {
            bytes[from..to].iter().try_fold(0u64, |n, c| {
                c.is_ascii_digit().then(|| n * 10 + u64::from(c - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if year < 1970
            || !(1..=12).contains(&month)
            || day < 1
            || day > days_of_month(year, month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let mut days = (1970..year)
            .map(|y| if leap(y) { 366 } else { 365 })
            .sum::<u64>();
        days += (1..month).map(|m| days_of_month(year, m)).sum::<u64>();
        Some(Self(
            (days + day - 1) * DAY + hour * 3600 + minute * 60 + second,
        ))
    }

    /// This instant `seconds` later, never past the year 9999.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds).min(LAST))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.min(LAST);
        let (mut days, rest) = (seconds / DAY, seconds % DAY);
        let mut year = 1970;
        while days >= if leap(year) { 366 } else { 365 } {
            days -= if leap(year) { 366 } else { 365 };
            year += 1;
        }
        let mut month = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        write!(
            f,
            "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
            days + 1,
            rest / 3600,
            rest / 60 % 60,
            rest % 60
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("a time must look like 2026-01-31T23:59:59Z"))
    }
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn known_instants_read_and_write() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-23T13:29:45Z", 1_795_440_585),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(seconds)), "{text}");
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "1969-12-31T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:60Z",
            "2023-01-01 00:00:00Z",
            "2023-01-01T00:00:00+00:00",
            "+023-01-01T00:00:00Z",
            "",
            "é023-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
