//! The owner's tests, which run again and again beside everything else.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;
use hypriot_updater::health::TestResult as Vote;

use super::unit::{self, Run};
use super::{summarise, whole};
use crate::probe::OwnerTests;
use crate::report::TestsView;

/// How often they run when all is well.
pub const EVERY: Duration = Duration::from_mins(1);
/// When all of them together take less than [`CHEAP`].
const OFTEN: Duration = Duration::from_secs(20);
const CHEAP: Duration = Duration::from_secs(1);
/// When something has failed: a repair shows soon, and what fails only now and then shows as that.
const SOON: Duration = Duration::from_secs(5);
/// The first run may wait for what starts with the board, as `wait-for` says.
const FIRST: Duration = Duration::from_mins(5);
/// Later ones say how it is.
const LATER: Duration = Duration::from_secs(50);
/// What a test that failed once is remembered as flaky for.
const REMEMBERED: Duration = Duration::from_hours(1);
/// The runs of this boot.
#[derive(Debug, Default)]
pub struct Watch {
    ran: bool,
    /// When each failed last, and held at the look before it.
    failed: BTreeMap<String, Instant>,
    flaky: VecDeque<(Instant, String)>,
}

impl Watch {
    /// Whether there is anything to run.
    pub fn is_needed() -> bool {
        Path::new(super::OWNER).is_dir() && !whole().part(true).is_empty()
    }

    /// Runs them, and says what is known now and when to look again.
    pub fn look(&mut self, now: Timestamp) -> (OwnerTests, Duration) {
        let patience = if self.ran { LATER } else { FIRST };
        let start = Instant::now();
        let told = unit::run(Run::Watch, None, patience);
        self.ran = true;
        match told {
            Ok(votes) => self.weigh(&votes, start.elapsed(), start, now),
            Err(error) => (OwnerTests::Broken(format!("{error:#}")), OFTEN),
        }
    }

    fn weigh(
        &mut self,
        votes: &[Vote],
        took: Duration,
        at: Instant,
        now: Timestamp,
    ) -> (OwnerTests, Duration) {
        let mut view = summarise(votes, now);
        for vote in votes {
            if !vote.passed {
                self.failed.entry(vote.id.clone()).or_insert(at);
            } else if let Some(since) = self.failed.remove(&vote.id)
                // It held at the next look, with nothing done about it as far as anybody can see.
                && at.duration_since(since) <= 2 * SOON
            {
                self.flaky.retain(|(_, id)| *id != vote.id);
                self.flaky.push_back((at, vote.id.clone()));
            }
        }
        self.flaky
            .retain(|(when, _)| at.duration_since(*when) < REMEMBERED);
        let named = self.flaky.iter().rev().take(TestsView::NAMED);
        view.flaky = named.map(|(_, id)| id.clone()).collect();
        let pause = if view.failed > 0 {
            SOON
        } else if took < CHEAP {
            OFTEN
        } else {
            EVERY
        };
        (OwnerTests::Ran(view), pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::tests::vote;

    #[test]
    fn what_failed_once_is_flaky_and_what_was_repaired_is_not() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut look = |second: u64, passed: bool| {
            let at = start + Duration::from_secs(second);
            let votes = [
                vote("dns:x:resolvable", passed),
                vote("file:/:exists", true),
            ];
            let (known, pause) = watch.weigh(&votes, Duration::from_secs(3), at, Timestamp(second));
            let OwnerTests::Ran(view) = known else {
                panic!("{known:?}")
            };
            (view.failed, view.flaky.len(), pause)
        };
        assert_eq!(look(0, true), (0, 0, EVERY));
        assert_eq!(look(60, false), (1, 0, SOON));
        assert_eq!(look(65, true), (0, 1, EVERY));
        assert_eq!(look(3600, true), (0, 1, EVERY));
        assert_eq!(look(3700, true), (0, 0, EVERY));
        // An hour of failure, then a repair.
        for second in (3800..7400).step_by(5) {
            assert_eq!(look(second, false), (1, 0, SOON));
        }
        assert_eq!(look(7400, true), (0, 0, EVERY));
    }

    #[test]
    fn cheap_tests_run_often() {
        let mut watch = Watch::default();
        let at = Instant::now();
        let (_, pause) = watch.weigh(
            &[vote("a", true)],
            Duration::from_millis(5),
            at,
            Timestamp(0),
        );
        assert_eq!(pause, OFTEN);
    }
}
