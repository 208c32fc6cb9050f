//! The whole update policy: what a board does next, given what it sees.
//!
//! Level-triggered: the agent does the one step, looks again, and asks again. After any power cut it sees the same
//! values and gets the same answer, so there is nothing in memory to restore. What may be cut at every point:
//!
//! | step | writes, in this order | a cut in between leaves | next answer |
//! |---|---|---|---|
//! | `Install` | clear content, segments, sync, read-back, content | no content | `Install` again, from what is there |
//! | `Arm` | pending, boot state | pending without trial | `Arm` |
//! | `Commit` | boot state, record | default = pending slot, no trial | `Settle` confirmed |
//! | `Fail` | report, boot state | `trying`, which the boot loader makes `lost` | `Settle` failed, by the report |
//! | `Settle` | record, boot state | trial without pending | `Settle` again, harmless |

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::boot::{BootState, Phase, Trial};
use crate::health::Verdict;
use crate::record::{MAX_IGNORED, MAX_LOST, Outcome, Record};
use crate::slot::{Digest, Release, Slot};

/// What the board told the agent at one instant. Gathered, never guessed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The slot that runs.
    pub booted: Slot,
    /// Version of the running image.
    pub running: semver::Version,
    /// The boot loader's memory.
    pub boot: BootState,
    /// Our own.
    pub record: Record,
    /// What the repository offers.
    pub offer: Offer,
    /// Self-tests since this boot.
    pub tests: Tests,
    /// Seconds since they ended; meaningless without any.
    pub tests_age: u64,
    /// The report a failing trial left: trial id and reasons.
    pub report: Option<(String, Vec<String>)>,
    /// A trial was judged bad in this very boot.
    pub judged: bool,
    /// Seconds since boot.
    pub uptime: u64,
}

/// What the repository offers to this board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// It is time to ask.
    Due,
    /// Asked, and it could not be answered.
    Unreachable(String),
    /// No update source is set, or nothing for this board is there.
    Nothing,
    /// Nothing newer than what runs is there.
    UpToDate,
    /// What is there leads nowhere from here; in the maintainer's words.
    Stuck(String),
    /// The newest verified release for this board.
    Release {
        /// Which.
        release: Release,
        /// Why not now, if not now: a rollout that has not reached this board, for example.
        hold: Option<String>,
    },
}

/// Self-tests since this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tests {
    /// None yet.
    NotRun,
    /// They ran. Off trial the verdict is not judged, only kept as the baseline.
    Done(Verdict),
}

/// What the owner set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Install what is offered without being told.
    pub install: Automatic,
    /// Reboot into an armed slot without being told.
    pub reboot: Automatic,
    /// A trial that is not judged this many seconds after boot has failed.
    pub trial_deadline: u64,
}

/// Whether a thing happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Automatic {
    /// By itself.
    Yes,
    /// Only when the owner says so.
    No,
}

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for this reason.
    Wait(Why),
    /// Ask the repository what it offers.
    Ask,
    /// Run the self-tests. While the other slot is armed, they are its baseline from then on.
    SelfTest,
    /// Write a release to the idle slot and read it back.
    Install {
        /// The idle slot.
        into: Slot,
        /// What.
        release: Release,
    },
    /// Let the next boot try the slot once.
    Arm {
        /// The idle slot.
        slot: Slot,
        /// What lies in it.
        release: Release,
    },
    /// Arm the same slot again after a trial whose end nobody saw.
    Retry(Slot),
    /// Reboot into the armed slot, and count that the boot loader was asked to.
    RebootToTry,
    /// Make the slot on trial the default.
    Commit(Slot),
    /// Leave a report for the other slot, mark the trial failed, and reboot.
    Fail(Vec<String>),
    /// Reboot into the default slot; the trial has been judged.
    RebootBack,
    /// Record how the trial ended, and clear it.
    Settle(Outcome, Vec<String>),
    /// The default slot did not load and the boot loader started the other one: keep to what runs.
    Adopt(Slot),
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing newer is offered.
    UpToDate,
    /// The repository cannot be asked; in its words.
    Unreachable(String),
    /// No update source, or nothing for this board.
    NoOffer,
    /// The offered release failed here before.
    Refused(Digest),
    /// Not yet: the release's rollout, in its words.
    Hold(String),
    /// The owner wants to install by hand.
    OwnerInstalls(Release),
    /// The owner wants to reboot by hand.
    OwnerReboots(Slot),
}

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UpToDate => f.write_str("up to date"),
            Self::Unreachable(why) => write!(f, "the update source cannot be used: {why}"),
            Self::NoOffer => f.write_str("no release for this board is offered"),
            Self::Refused(digest) => {
                write!(
                    f,
                    "the offered release failed here before; `hypriot-agent forgive {digest}` allows it again"
                )
            }
            Self::Hold(why) => f.write_str(why),
            Self::OwnerInstalls(release) => write!(
                f,
                "{} is offered; `hypriot-agent install` installs it",
                release.version
            ),
            Self::OwnerReboots(slot) => write!(f, "slot {slot} is ready; a reboot tries it"),
        }
    }
}

/// A baseline older than this is none: what the owner changed since then would be laid on the release.
pub const BASELINE_AGE: u64 = 15 * 60;
/// While an armed slot waits for the owner's reboot, its baseline is renewed this often.
pub const BASELINE_RENEWED: u64 = 24 * 60 * 60;

impl Seen {
    /// Whether self-tests of this boot exist that are not older than `seconds`.
    fn tested_within(&self, seconds: u64) -> bool {
        self.tests != Tests::NotRun && self.tests_age <= seconds
    }

    /// `arm`, if the self-tests that the trial will be compared with are of just now; else those first.
    fn with_baseline(&self, arm: Step) -> Step {
        if self.tested_within(BASELINE_AGE) {
            arm
        } else {
            Step::SelfTest
        }
    }
}

/// What to do next.
pub fn decide(seen: &Seen, policy: &Policy) -> Step {
    match &seen.boot.trial {
        Some(trial) if trial.slot == seen.booted => on_trial(seen, trial, policy),
        Some(trial) => after_trial(seen, trial, policy),
        None if seen.booted != seen.boot.default => Step::Adopt(seen.booted),
        None => idle(seen, policy),
    }
}

/// This is the slot that is tried.
fn on_trial(seen: &Seen, trial: &Trial, policy: &Policy) -> Step {
    match trial.phase {
        // `Armed` here: a boot loader that does not mark the try itself.
        Phase::Armed | Phase::Trying => match &seen.tests {
            Tests::Done(Verdict::Good) => Step::Commit(trial.slot),
            Tests::Done(Verdict::Bad(reasons)) => Step::Fail(reasons.clone()),
            Tests::NotRun if seen.uptime > policy.trial_deadline => {
                Step::Fail(vec![alloc::format!(
                    "not judged {} s after boot",
                    policy.trial_deadline
                )])
            }
            Tests::NotRun => Step::SelfTest,
        },
        // Judged bad in this boot: go back. Judged bad earlier and running all the same: the default does not load,
        // and a board that runs is better than one that reboots for ever.
        Phase::Failed | Phase::Lost if seen.judged => Step::RebootBack,
        Phase::Failed | Phase::Lost => Step::Adopt(trial.slot),
    }
}

/// The other slot was, or is to be, tried.
fn after_trial(seen: &Seen, trial: &Trial, policy: &Policy) -> Step {
    let reported = seen
        .report
        .as_ref()
        .filter(|(id, _)| *id == trial.id)
        .map(|(_, reasons)| reasons.clone());
    let pending = seen.record.pending.as_ref();
    match trial.phase {
        Phase::Armed if pending.is_none() => Step::Settle(
            Outcome::NeverTried,
            vec!["the record of this update is lost".to_string()],
        ),
        Phase::Armed if pending.is_some_and(|p| p.ignored >= MAX_IGNORED) => Step::Settle(
            Outcome::NeverTried,
            vec![alloc::format!(
                "the boot loader did not start slot {} in {MAX_IGNORED} reboots",
                trial.slot
            )],
        ),
        Phase::Armed => match policy.reboot {
            Automatic::Yes => Step::RebootToTry,
            Automatic::No if !seen.tested_within(BASELINE_RENEWED) => Step::SelfTest,
            Automatic::No => Step::Wait(Why::OwnerReboots(trial.slot)),
        },
        Phase::Failed => Step::Settle(
            Outcome::Failed,
            reported.unwrap_or_else(|| {
                vec!["the slot judged itself bad but its report is lost".to_string()]
            }),
        ),
        // `Trying` here: the boot loader went back but could not write that it did.
        Phase::Trying | Phase::Lost => match (reported, pending) {
            (Some(reasons), _) => Step::Settle(Outcome::Failed, reasons),
            (None, Some(p)) if p.lost < MAX_LOST => seen.with_baseline(Step::Retry(trial.slot)),
            (None, _) => Step::Settle(
                Outcome::Unknown,
                vec!["the board was reset during the trial (panic, hang or power cut)".to_string()],
            ),
        },
    }
}

/// Nothing is on trial.
fn idle(seen: &Seen, policy: &Policy) -> Step {
    if let Some(pending) = &seen.record.pending {
        if pending.slot == seen.booted {
            // The commit reached the boot state but not the record.
            return Step::Settle(Outcome::Confirmed, Vec::new());
        }
        if seen.record.content(pending.slot) == Some(&pending.release) {
            return seen.with_baseline(Step::Arm {
                slot: pending.slot,
                release: pending.release.clone(),
            });
        }
    }
    let (release, hold) = match &seen.offer {
        Offer::Due => return Step::Ask,
        Offer::Unreachable(why) => return Step::Wait(Why::Unreachable(why.clone())),
        Offer::Nothing => return Step::Wait(Why::NoOffer),
        Offer::UpToDate => return Step::Wait(Why::UpToDate),
        Offer::Stuck(why) => return Step::Wait(Why::Hold(why.clone())),
        Offer::Release { release, hold } => (release, hold),
    };
    if release.version <= seen.running {
        return Step::Wait(Why::UpToDate);
    }
    if seen.record.refusal(&release.digest).is_some() {
        return Step::Wait(Why::Refused(release.digest));
    }
    if let Some(why) = hold {
        return Step::Wait(Why::Hold(why.clone()));
    }
    if policy.install == Automatic::No {
        return Step::Wait(Why::OwnerInstalls(release.clone()));
    }
    let into = !seen.booted;
    if seen.record.content(into) == Some(release) {
        return seen.with_baseline(Step::Arm {
            slot: into,
            release: release.clone(),
        });
    }
    Step::Install {
        into,
        release: release.clone(),
    }
}

/// One word for `status` and `/health`.
pub fn phase(seen: &Seen) -> &'static str {
    match &seen.boot.trial {
        Some(trial) if trial.slot == seen.booted => "on-trial",
        Some(Trial {
            phase: Phase::Armed,
            ..
        }) => "armed",
        Some(_) => "rolled-back",
        None if seen.booted != seen.boot.default => "fallback",
        None if seen.record.pending.is_some() => "installing",
        None => "committed",
    }
}

#[cfg(test)]
mod tests;
