//! The whole update policy: what a board does next, given what it sees.
//!
//! Level-triggered: the agent does the one step, looks again, and asks again. After any power cut it sees the same
//! values and gets the same answer, so there is nothing in memory to restore. What may be cut at every point:
//!
//! | step | writes, in this order | a cut in between leaves | next answer |
//! |---|---|---|---|
//! | `Install` | clear content, segments, sync, read-back, content | no content | `Install` again, from what is there |
//! | `Arm` | old report away, pending, boot state | pending without trial | `Arm` |
//! | `Commit` | boot state, record | default = pending slot, no trial | `Settle` confirmed |
//! | `Fail` | boot state, report, restart | `failed` without a report | `Settle` failed, its report lost |
//! | `Settle` | record, boot state, report away | trial without pending | `Settle` again, harmless |
//! | `Lock` | record (asked), request, record (granted) | asked, not known whether granted | `Lock` again, which the holder may |
//! | `Prepare` | hooks | hooks that ran | `Prepare` again |
//! | `After` | hooks, record | hooks that ran | `After` again |
//! | `Steady` | request, record | a lock that was given back | `Steady` again, harmless |
//! | `KeepLock` | request | - | `KeepLock` again, harmless |
//! | `Disarm` | boot state | - | `Arm` when it may |
//! | `CameUp` | boot state | starts counted | `CameUp` again |
//!
//! When the board may restart to try a slot stands in [`terms`]. The way back (`Fail`, `RebootBack`) asks neither the record nor the settings: it is decided by the boot state, the slot
//! that runs, the tests and the clock since boot.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::boot::{BootState, Phase, Trial};
use crate::health::Verdict;
use crate::record::{After, MAX_IGNORED, MAX_LOST, Outcome, Pending, Record, Will};
use crate::slot::{Release, Slot};

mod astray;
pub mod terms;
mod why;
pub use astray::UP_AT_LAST;
pub use terms::{Prepared, Service, Terms, Window};
pub use why::Why;

/// What the board told the agent at one instant. Gathered, never guessed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The slot that runs.
    pub booted: Slot,
    /// Version of the running image.
    pub running: semver::Version,
    /// The shape of data that the running image's services leave ([`Release::state_version`]).
    pub state_version: u32,
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
    /// This boot began as a trial of the slot that runs.
    pub tried: bool,
    /// The kernel's name of this boot.
    pub boot_id: String,
    /// Whether the card and the record can be relied on for something new. The way back does not ask.
    pub trouble: Option<Trouble>,
    /// Seconds since boot.
    pub uptime: u64,
    /// On which terms the board may restart to try a slot.
    pub terms: Terms,
}

impl Seen {
    /// The trial of the slot that runs.
    pub fn on_trial(&self) -> Option<&Trial> {
        self.boot.on_trial(self.booted)
    }
}

/// Why nothing new may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The data partition is lost: record, refusals and the owner's settings with it.
    DataLost,
    /// The record cannot be read or written; in the words of whoever tried.
    Record(String),
    /// The boot state cannot be read: which slot is the default, and whether one is on trial, is not known.
    BootState(String),
    /// The card cannot be written.
    Card(String),
    /// The owner's settings cannot be read: what they forbid is not known.
    Settings(String),
}

impl core::fmt::Display for Trouble {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::DataLost => f.write_str(
                "the data partition is lost (the kernel log says why): nothing is installed until it is repaired or made anew",
            ),
            Self::Record(why) => write!(f, "the record of updates cannot be used, so nothing is installed: {why}"),
            Self::BootState(why) => write!(
                f,
                "the boot state cannot be read: {why}; the card is failing, replace it"
            ),
            Self::Card(why) => write!(
                f,
                "the card cannot be used for an update: {why}; slide its lock off, or replace it"
            ),
            Self::Settings(why) => write!(
                f,
                "the settings cannot be read, so nothing is installed until they are mended: {why}"
            ),
        }
    }
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
    /// A trial that is armed from now on must be judged this many seconds after boot.
    pub trial_deadline: u64,
    /// Install by itself, and leave the restart to the owner's `install`.
    pub download_only: bool,
    /// The maintenance windows are for the installation, too, and not only for the restart.
    pub window_covers_install: bool,
    /// Whose will it is that is decided about.
    pub will: Will,
}

impl Policy {
    /// Everything by itself, at any time; a trial has a quarter of an hour.
    pub const AUTOMATIC: Self = Self {
        install: Automatic::Yes,
        reboot: Automatic::Yes,
        trial_deadline: 900,
        download_only: false,
        window_covers_install: false,
        will: Will::Settings,
    };
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
    /// Ask the lock service, before the board restarts for this release.
    Lock(Release),
    /// Do what is to be done before the board restarts to try this release: hooks, containers.
    Prepare(Release),
    /// Do what is to be done after an update came to an end.
    After(After),
    /// Tell the lock service that the board is steady, which gives its lock back.
    Steady,
    /// Tell the lock service that the release its lock was for is not kept here, and that the lock stays.
    KeepLock,
    /// Let the next boot not try the slot: the board may not restart for it now.
    Disarm(Slot),
    /// Reboot into the armed slot, and count, once in a boot, that the boot loader was asked to.
    RebootToTry,
    /// Make the slot on trial the default.
    Commit(Slot),
    /// Mark the trial failed, leave a report for the other slot if that is possible, and reboot.
    Fail(Vec<String>),
    /// Reboot into the default slot; the trial has been judged.
    RebootBack,
    /// Record how the trial ended, and clear it.
    Settle(Outcome, Vec<String>),
    /// The default slot did not come up, or did not load, and the boot loader started the other one: keep to what runs.
    Adopt(Slot),
    /// Tell the boot loader that this start went well, because nobody else did.
    CameUp,
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
    if let Some(trouble @ Trouble::BootState(_)) = &seen.trouble {
        return blind(seen, trouble);
    }
    match by_trial(seen, policy) {
        Step::Wait(_) if astray::came_up_untold(seen) => Step::CameUp,
        step => step,
    }
}

fn by_trial(seen: &Seen, policy: &Policy) -> Step {
    match &seen.boot.trial {
        Some(trial) if trial.slot == seen.booted => on_trial(seen, trial),
        Some(trial) => after_trial(seen, trial, policy),
        // On trial, and the boot state no longer knows of it: both copies are bad, or somebody wrote them anew.
        None if astray::is_forgotten(seen) => astray::forgotten(seen),
        None if !seen.boot.trusted(seen.booted) => astray::standing_in(seen, policy),
        None if seen.booted != seen.boot.default => Step::Adopt(seen.booted),
        None if astray::left_untold(seen) => Step::Adopt(seen.booted),
        None => match idle(seen, policy) {
            // nothing to decide: then the result of this boot's self-tests should at least be known
            Step::Wait(_) if seen.tests == Tests::NotRun => Step::SelfTest,
            Step::Wait(why) => terms::put_back(seen, &why).unwrap_or(Step::Wait(why)),
            step => step,
        },
    }
}

/// The boot state cannot be read. A slot that was started on trial and is bad goes back all the same; nothing is kept or
/// begun that nobody could vouch for.
fn blind(seen: &Seen, trouble: &Trouble) -> Step {
    match &seen.tests {
        Tests::NotRun => Step::SelfTest,
        Tests::Done(Verdict::Bad(reasons)) if seen.tried => Step::Fail(reasons.clone()),
        Tests::Done(_) => Step::Wait(Why::Trouble(trouble.clone())),
    }
}

/// This is the slot that is tried.
fn on_trial(seen: &Seen, trial: &Trial) -> Step {
    match trial.phase {
        Phase::Trying if astray::taken_on_trust(seen, trial) => Step::Commit(trial.slot),
        // `Armed` here: a boot loader that does not mark the try itself.
        Phase::Armed | Phase::Trying => match &seen.tests {
            Tests::Done(Verdict::Good) if is_drill(seen) => Step::Fail(vec![DRILL.to_string()]),
            Tests::Done(Verdict::Good) => Step::Commit(trial.slot),
            Tests::Done(Verdict::Bad(reasons)) => Step::Fail(reasons.clone()),
            Tests::NotRun if seen.uptime > trial.deadline => Step::Fail(vec![alloc::format!(
                "not judged {} s after boot",
                trial.deadline
            )]),
            Tests::NotRun => Step::SelfTest,
        },
        // Judged bad in this boot: go back. Judged bad earlier and running all the same: the default does not come up.
        Phase::Failed | Phase::Lost if seen.tried => Step::RebootBack,
        Phase::Failed | Phase::Lost => match &seen.tests {
            Tests::NotRun => Step::SelfTest,
            Tests::Done(Verdict::Good) => Step::Adopt(trial.slot),
            Tests::Done(Verdict::Bad(reasons)) => {
                unless_in_trouble(seen, Step::Settle(Outcome::Failed, reasons.clone()))
            }
        },
    }
}

/// Why a drill fails.
pub const DRILL: &str = "a drill: made to fail, to prove the way back";

/// What is tried is a copy of what ran, to prove the way back.
fn is_drill(seen: &Seen) -> bool {
    let pending = seen.record.pending.as_ref();
    pending.is_some_and(|p| p.drill && p.slot == seen.booted)
}

/// The other slot was, or is to be, tried.
fn after_trial(seen: &Seen, trial: &Trial, policy: &Policy) -> Step {
    unless_in_trouble(seen, end_of_trial(seen, trial, policy))
}

fn unless_in_trouble(seen: &Seen, step: Step) -> Step {
    match (&step, &seen.trouble) {
        // What is gone is gone: the end of the trial can be recorded all the same.
        (_, None) | (Step::Settle(..), Some(Trouble::DataLost | Trouble::Settings(_))) => step,
        // Else it stays in the boot state until it can be recorded, and nothing is tried meanwhile.
        (_, Some(trouble)) => Step::Wait(Why::Trouble(trouble.clone())),
    }
}

fn end_of_trial(seen: &Seen, trial: &Trial, policy: &Policy) -> Step {
    let reported = seen
        .report
        .as_ref()
        .filter(|(id, _)| *id == trial.id)
        .map(|(_, reasons)| reasons.clone());
    let pending = seen.record.pending.as_ref();
    let will = terms::will(policy, &seen.record);
    let asked_now = |p: &Pending| p.asked_in.as_ref() == Some(&seen.boot_id);
    match trial.phase {
        Phase::Armed if pending.is_none() => Step::Settle(
            Outcome::NeverTried,
            vec!["the record of this update is lost".to_string()],
        ),
        Phase::Armed if pending.is_some_and(|p| p.ignored >= MAX_IGNORED && !asked_now(p)) => {
            Step::Settle(
                Outcome::NeverTried,
                vec![alloc::format!(
                    "the boot loader did not start slot {} in {MAX_IGNORED} reboots",
                    trial.slot
                )],
            )
        }
        Phase::Armed => match pending {
            Some(p) if terms::restarts(policy, will) => {
                terms::armed(seen, policy, &p.release, will, trial)
            }
            _ if !seen.tested_within(BASELINE_RENEWED) => Step::SelfTest,
            _ => Step::Wait(Why::OwnerReboots(trial.slot)),
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
            (None, Some(p)) if p.lost < MAX_LOST && !p.drill => {
                terms::to_arm(seen, policy, &p.release, will, Step::Retry(trial.slot))
            }
            (None, _) => Step::Settle(
                Outcome::Unknown,
                vec!["the board was reset during the trial (panic, hang or power cut)".to_string()],
            ),
        },
    }
}

/// Nothing is on trial.
fn idle(seen: &Seen, policy: &Policy) -> Step {
    let pending = seen.record.pending.as_ref();
    if pending.is_some_and(|p| p.slot == seen.booted)
        && !matches!(seen.trouble, Some(Trouble::Record(_)))
    {
        // The commit reached the boot state but not the record.
        return Step::Settle(Outcome::Confirmed, Vec::new());
    }
    if let Some(trouble) = &seen.trouble {
        return Step::Wait(Why::Trouble(trouble.clone()));
    }
    if let Some(pending) = pending
        && seen.record.content(pending.slot) == Some(&pending.release)
    {
        let arm = Step::Arm {
            slot: pending.slot,
            release: pending.release.clone(),
        };
        let will = terms::will(policy, &seen.record);
        return terms::to_arm(seen, policy, &pending.release, will, arm);
    }
    let pin = seen.record.pin.as_ref().map(|p| &p.version);
    let (release, hold) = match &seen.offer {
        Offer::Due => return Step::Ask,
        _ if pin == Some(&seen.running) => return Step::Wait(Why::Pinned(seen.running.clone())),
        Offer::Unreachable(why) => return Step::Wait(Why::Unreachable(why.clone())),
        Offer::Nothing => return Step::Wait(Why::NoOffer),
        Offer::UpToDate => return Step::Wait(Why::UpToDate),
        Offer::Stuck(why) => return Step::Wait(Why::Hold(why.clone())),
        Offer::Release { release, hold } => (release, hold),
    };
    if release.version <= seen.running {
        return Step::Wait(Why::UpToDate);
    }
    if let Some(pin) = pin.filter(|p| **p != release.version) {
        return Step::Wait(Why::Pinned(pin.clone()));
    }
    if refused(seen, release) {
        return Step::Wait(Why::Refused(release.digest));
    }
    if let Some(why) = seen.too_new_for(release) {
        return Step::Wait(why);
    }
    if let Some(why) = hold {
        return Step::Wait(Why::Hold(why.clone()));
    }
    if policy.install == Automatic::No {
        return Step::Wait(Why::OwnerInstalls(release.clone()));
    }
    if let Some(why) = terms::held(seen, policy.will) {
        return Step::Wait(why);
    }
    let into = !seen.booted;
    if seen.record.content(into) == Some(release) {
        let arm = Step::Arm {
            slot: into,
            release: release.clone(),
        };
        return terms::to_arm(seen, policy, release, policy.will, arm);
    }
    if let Some(why) = terms::closed(seen, policy.will).filter(|_| policy.window_covers_install) {
        return Step::Wait(why);
    }
    Step::Install {
        into,
        release: release.clone(),
    }
}

/// It failed here: by the record, or by the boot state if the record was lost meanwhile.
fn refused(seen: &Seen, release: &Release) -> bool {
    seen.record.refusal(&release.digest).is_some()
        || seen.boot.failed.as_deref() == Some(release.digest.short().as_str())
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
pub(crate) mod tests;
