//! Whether a board that was told something is there: by its own words, as far as they agree with each other.

use super::decide::View;
use super::journal::{Action, Told};
use super::plan::Canary;
use super::{Answer, BoardSeen, Health};

/// A board with the new version that is not good for this long has failed; services may take a moment to come up.
const BAD: u64 = 120;

impl View<'_> {
    /// Whether a board that was told something is there (its version), has failed (why), or neither yet.
    pub(super) fn judge(
        &self,
        n: usize,
        told: &Told,
        seen: &BoardSeen,
    ) -> Option<Result<String, String>> {
        if let Some(answer) = &seen.answer {
            match told.action {
                Action::Download => {
                    let armed = answer
                        .trial
                        .as_ref()
                        .is_some_and(|t| t.armed && t.version == told.version);
                    if armed {
                        return Some(Ok(told.version.clone()));
                    }
                }
                Action::Update | Action::Rollback => {
                    if let Some(end) = self.arrived(n, told, answer, seen) {
                        return Some(end);
                    }
                }
            }
            if let Some(why) = went_wrong(told, answer) {
                return Some(Err(why));
            }
        }
        let since = |t: u64| self.now.saturating_sub(t.max(seen.watched));
        let quiet = since(told.at.max(seen.heard.unwrap_or(0)));
        if quiet > self.plan.silence {
            return Some(Err(format!("has said nothing for {quiet} s")));
        }
        let taken = since(told.at);
        if taken > self.plan.patience {
            let hooks = if seen.answer.as_ref().is_some_and(|a| a.owes) {
                ": its hooks of after the update have not ended well (`hypriot-agent why` on the board says more)"
            } else {
                ""
            };
            return Some(Err(format!("is not done after {taken} s{hooks}")));
        }
        None
    }

    /// The board runs the version: whether it has it for good, and is good with it for long enough.
    fn arrived(
        &self,
        n: usize,
        told: &Told,
        answer: &Answer,
        seen: &BoardSeen,
    ) -> Option<Result<String, String>> {
        if answer.version != told.version || answer.trial.is_some() {
            return None;
        }
        if answer.slot == told.from.slot {
            return Some(Err(format!(
                "says it runs {}, but from slot {} as before the update: its word does not agree with its slots",
                answer.version, answer.slot
            )));
        }
        let last = answer.last.as_ref();
        let proven = last.is_some_and(|last| {
            last.version == told.version
                && last.confirmed()
                && told.from.last.as_ref() != Some(last)
        });
        if !proven {
            // the record follows the boot state by a moment; without it the board's word is not enough
            return None;
        }
        if !self.good(answer) {
            let bad = self.now.saturating_sub(seen.bad_since.unwrap_or(self.now));
            return (bad >= BAD).then(|| {
                Err(format!(
                    "runs {} and has not been healthy for {bad} s",
                    told.version
                ))
            });
        }
        if answer.owes {
            return None;
        }
        let soak = if self.waits_longer(n, told) {
            self.plan.soak
        } else {
            self.plan.settle
        };
        let good = seen
            .good_since
            .is_some_and(|since| self.now.saturating_sub(since) >= soak);
        good.then(|| Ok(told.version.clone()))
    }

    fn waits_longer(&self, n: usize, told: &Told) -> bool {
        told.action == Action::Update
            && self.plan.canary != Canary::None
            && self.waves.first().is_some_and(|w| w.contains(&n))
    }

    pub(super) fn good(&self, answer: &Answer) -> bool {
        match answer.health {
            Health::Pass => true,
            Health::Warn => !self.plan.strict,
            Health::Fail => false,
        }
    }
}

/// The board says itself that it did not work.
fn went_wrong(told: &Told, answer: &Answer) -> Option<String> {
    let last = answer.last.as_ref()?;
    if told.from.last.as_ref() == Some(last) || answer.trial.is_some() {
        return None;
    }
    if last.version == told.version && !last.confirmed() {
        return Some(format!(
            "{} ended as {}; it runs {} again",
            told.version, last.outcome, answer.version
        ));
    }
    if last.confirmed() && last.version != told.version && answer.version != told.version {
        return Some(format!(
            "went to {} instead of {}: somebody else updates it",
            last.version, told.version
        ));
    }
    None
}
