//! A day of a few numbers, in memory: what the page draws. It begins anew when the server does.

use crate::report::Report;

/// One point for each five minutes of a day.
pub(super) const POINTS: usize = 288;
const SECONDS: f64 = 300.0;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    /// Degrees Celsius.
    Temperature,
    /// Used memory in percent.
    Memory,
    /// Tasks that run or wait.
    Load,
}

impl Series {
    const ALL: [Self; 3] = [Self::Temperature, Self::Memory, Self::Load];

    fn of(self, report: &Report) -> Option<f64> {
        let gauge = |name: &str| report.gauges.get(name).copied();
        match self {
            Self::Temperature => gauge("temperature_celsius"),
            Self::Load => gauge("load1"),
            Self::Memory => {
                let total = gauge("memory_total_bytes").filter(|total| *total > 0.0)?;
                Some(100.0 * (1.0 - gauge("memory_available_bytes")? / total))
            }
        }
    }
}

/// The rings. A place where nothing was seen holds no number.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// The number of five minutes since boot that the newest points are of.
    newest: Option<u64>,
    rings: [[f32; POINTS]; Series::ALL.len()],
}

impl Default for History {
    fn default() -> Self {
        Self {
            newest: None,
            rings: [[f32::NAN; POINTS]; Series::ALL.len()],
        }
    }
}

impl History {
    /// Takes a report in. Of five minutes the highest number is kept: a short heat is not lost.
    pub(super) fn add(&mut self, report: &Report) {
        let now = step(report.uptime);
        // A clock that went back is another boot.
        let before = self.newest.filter(|newest| *newest <= now);
        if before.is_none() {
            self.rings = Self::default().rings;
        }
        let oldest = now.saturating_sub(POINTS as u64 - 1);
        for passed in before.map_or(now, |before| before + 1).max(oldest)..=now {
            for ring in &mut self.rings {
                ring[place(passed)] = f32::NAN;
            }
        }
        self.newest = Some(now);
        for (series, ring) in Series::ALL.into_iter().zip(&mut self.rings) {
            let value = series.of(report).filter(|value| value.is_finite());
            if let Some(value) = value.map(narrow) {
                let kept = &mut ring[place(now)];
                *kept = kept.max(value);
            }
        }
    }

    /// The points of a day, oldest first.
    pub(super) fn points(&self, series: Series) -> impl Iterator<Item = Option<f32>> {
        let ring = &self.rings[series as usize];
        let first = self.newest.map_or(0, |newest| place(newest) + 1);
        (first..first + POINTS).map(|at| Some(ring[at % POINTS]).filter(|value| !value.is_nan()))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a board is not up for longer than 10^15 seconds"
)]
fn step(uptime: f64) -> u64 {
    (uptime.clamp(0.0, 1e15) / SECONDS) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a picture needs no more digits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn place(step: u64) -> usize {
    usize::try_from(step % POINTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    fn at(uptime: f64, celsius: f64) -> Report {
        let mut report = example();
        report.uptime = uptime;
        report.gauges.insert("temperature_celsius".into(), celsius);
        report
    }

    fn seen(history: &History) -> Vec<(usize, f32)> {
        let points = history.points(Series::Temperature).enumerate();
        points
            .filter_map(|(at, value)| value.map(|value| (at, value)))
            .collect()
    }

    #[test]
    fn a_day_passes_through_and_gaps_stay_gaps() {
        let mut history = History::default();
        assert!(seen(&history).is_empty());
        history.add(&at(10.0, 40.0));
        history.add(&at(20.0, 60.0));
        history.add(&at(299.0, 50.0));
        assert_eq!(seen(&history), [(287, 60.0)], "the highest of five minutes");
        history.add(&at(900.0, 30.0));
        assert_eq!(seen(&history), [(284, 60.0), (287, 30.0)]);
        history.add(&at(900.0 + 287.0 * 300.0, 31.0));
        assert_eq!(seen(&history), [(0, 30.0), (287, 31.0)]);
        history.add(&at(900.0 + 288.0 * 300.0, 32.0));
        assert_eq!(seen(&history), [(286, 31.0), (287, 32.0)]);
    }

    #[test]
    fn a_long_silence_or_another_boot_leaves_nothing_old() {
        let mut history = History::default();
        history.add(&at(10.0, 40.0));
        history.add(&at(1e9, 41.0));
        assert_eq!(seen(&history), [(287, 41.0)]);
        history.add(&at(5.0, 42.0));
        assert_eq!(seen(&history), [(287, 42.0)]);
        history.add(&at(f64::NAN, f64::NAN));
        assert_eq!(seen(&history), [(287, 42.0)]);
    }
}
