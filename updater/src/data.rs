//! Which shape the data of services has on the data partition, and which release reads it.
//!
//! Both slots share that data. A database that a new release brings may turn its files into a shape which the old release's does not
//! read, and it does so in the trial already. Going back is still right: a board must come up. But then the board says so, and no
//! release is put over the data that reads less than what lies there. What counts is what *may* have been written: whoever ran here.

use serde::{Deserialize, Serialize};

use crate::decide::{Seen, Why};
use crate::record::Record;
use crate::slot::Release;

/// Which shape it has by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its number, [`Release::state_version`].
    pub state_version: u32,
    /// The release that may have left it so.
    pub by: semver::Version,
}

impl Record {
    /// Services of `release` ran here: by now data has its shape, if that is newer than what was there.
    pub fn ran(&mut self, release: &Release) {
        let newest = self.written.as_ref().map_or(0, |w| w.state_version);
        if release.state_version > newest {
            self.written = Some(Written {
                state_version: release.state_version,
                by: release.version.clone(),
            });
        }
    }
}

impl Seen {
    /// The newest shape that data has here: what runs, and what ran, may have written it.
    pub fn written(&self) -> Written {
        let here = Written {
            state_version: self.state_version,
            by: self.running.clone(),
        };
        let before = self.record.written.clone();
        before
            .filter(|w| w.state_version > here.state_version)
            .unwrap_or(here)
    }

    /// Why `release` would not understand the data that lies on this board, if so.
    pub fn too_new_for(&self, release: &Release) -> Option<Why> {
        let written = self.written();
        (release.state_version < written.state_version).then(|| Why::State {
            version: release.version.clone(),
            reads: release.state_version,
            written,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypriot_keys::time::Timestamp;

    use super::*;
    use crate::decide::tests::{POLICY, calm, release};
    use crate::decide::{Offer, Step, decide};
    use crate::record::{Attempt, Outcome};
    use crate::slot::Slot;

    fn with_state(n: u8, state_version: u32) -> Release {
        Release {
            state_version,
            ..release(n)
        }
    }

    fn offered(release: Release) -> Offer {
        Offer::Release {
            release,
            hold: None,
        }
    }

    fn ended(record: &mut Record, release: Release, outcome: Outcome) {
        record.settle(Attempt {
            release,
            slot: Slot::B,
            outcome,
            reasons: Vec::new(),
            at: Timestamp(0),
            seconds: None,
        });
    }

    #[test]
    fn a_release_is_not_put_over_data_that_it_cannot_read() {
        use Outcome::{Confirmed, Failed, NeverTried, Unknown};
        // how 2.0.0 with state version 2 ended, what 3.0.0 reads, what the running image writes, whether 3.0.0 is installed
        for (before, reads, runs, installed) in [
            (None, 0, 0, true),
            (None, 1, 1, true),
            (None, 0, 1, false),
            (Some(Failed), 1, 1, false),
            (Some(Failed), 2, 1, true),
            (Some(Failed), 3, 1, true),
            (Some(Unknown), 1, 1, false),
            (Some(Confirmed), 1, 2, false),
            // the owner went back to what reads 1, and was told
            (Some(Confirmed), 1, 1, false),
            (Some(NeverTried), 1, 1, true),
        ] {
            let mut seen = calm();
            seen.state_version = runs;
            if let Some(outcome) = before {
                ended(&mut seen.record, with_state(2, 2), outcome);
            }
            seen.record = Record::parse(&seen.record.encode()).unwrap();
            seen.offer = offered(with_state(3, reads));
            let step = decide(&seen, &POLICY);
            let danger = (before, reads, runs, &step);
            assert_eq!(
                matches!(step, Step::Install { .. }),
                installed,
                "{danger:?}"
            );
            let told = matches!(step, Step::Wait(Why::State { .. }));
            assert_eq!(told, !installed, "{danger:?}");
        }
    }

    /// A hotfix of the old line that is tried and kept does not make the data older.
    #[test]
    fn what_lies_there_does_not_get_older_by_what_runs_over_it() {
        let mut record = Record::default();
        ended(&mut record, with_state(2, 2), Outcome::Failed);
        ended(&mut record, with_state(3, 1), Outcome::Confirmed);
        let by = release(2).version;
        let expected = Written {
            state_version: 2,
            by,
        };
        assert_eq!(record.written, Some(expected));
    }

    /// What an agent wrote that knew nothing of it is read as it always was, and the same bytes come of it.
    #[test]
    fn releases_that_say_nothing_of_their_data_are_written_as_they_always_were() {
        let text = serde_json::to_string(&release(1)).unwrap();
        assert!(!text.contains("state"), "{text}");
        assert_eq!(serde_json::from_str::<Release>(&text).unwrap(), release(1));
        // and a newer agent's number that is none costs that alone
        let strange = text.replacen('{', r#"{"state_version": "two", "#, 1);
        assert_eq!(
            serde_json::from_str::<Release>(&strange).unwrap(),
            release(1)
        );
    }
}
