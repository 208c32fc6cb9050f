//! The terms on which a board may restart to try a slot, and what is put back when it need not: window, inhibitors, the lock of a
//! lock service, hooks.
//!
//! Asked in this order, so that nobody holds a lock while waiting for something else. Nothing of it stands before the way back:
//! a slot on trial, and one that failed, is judged without asking anybody.
//!
//! The lock is the gate of a whole cluster. It is given back only by a board that is well: after the commit, which only passed
//! self-tests bring about. A board that came back without the release it was locked for keeps it, so that the next board does
//! not walk into the same hole, and says so: a service that knows the word need not wait for its deadline, any other sees a lock
//! that lasts too long. The owner ends it with `hypriot-agent forgive` or `hypriot-agent unlock`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;

use super::{Automatic, Policy, Seen, Step, Tests, Why};
use crate::boot::Trial;
use crate::health::Verdict;
use crate::record::{Held, Record, Will};
use crate::slot::Release;

/// What stands between a slot that is ready and the restart that tries it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The time as far as the board knows it: never before what was signed already.
    pub now: Timestamp,
    /// The owner's maintenance windows.
    pub window: Window,
    /// Who asks not to restart the board, and why.
    pub inhibitors: Vec<String>,
    /// The lock service.
    pub lock: Service,
    /// What is done before a restart.
    pub prepared: Prepared,
    /// Why the hooks of after an update are not run now: they failed, and their time has not come again.
    pub after: Option<String>,
}

/// What the maintenance windows say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Window {
    /// None is set, or one is open and this board's turn in it has come.
    #[default]
    Open,
    /// The next turn.
    Opens(Timestamp),
    /// The windows that are set never open.
    Never,
    /// The clock is not known to be right, so they cannot be judged.
    NoClock,
}

/// The lock service, as far as it was spoken to since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// One is set.
    pub set: bool,
    /// What it answered, if that was no, and the time to ask again has not come.
    pub later: Option<String>,
    /// It was told in this boot that the board is steady.
    pub steady: bool,
    /// It was told in this boot that a lock is kept, and why; or it has no word for that.
    pub told: bool,
}

/// What is done before a restart: hooks, containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prepared {
    /// Not yet.
    #[default]
    No,
    /// All of it.
    Yes,
    /// It went wrong, and its time has not come again.
    Later(String),
}

/// Whether the board restarts without being told.
pub(super) fn restarts(policy: &Policy, will: Will) -> bool {
    match will {
        Will::Settings => policy.reboot == Automatic::Yes,
        Will::Now => true,
        Will::AtRestart => false,
    }
}

/// Whose will it is: that of who decides now, else that of who began it.
pub(super) fn will(policy: &Policy, record: &Record) -> Will {
    match policy.will {
        Will::Settings => record.pending.as_ref().map_or(Will::Settings, |p| p.will),
        now => now,
    }
}

/// What the owner set against anything that happens by itself.
pub(super) fn held(seen: &Seen, will: Will) -> Option<Why> {
    let hold = seen
        .record
        .hold
        .as_ref()
        .filter(|_| will == Will::Settings)?;
    (!hold.is_over(seen.terms.now)).then(|| Why::Held(hold.clone()))
}

/// What the windows say, for who is bound by them.
pub(super) fn closed(seen: &Seen, will: Will) -> Option<Why> {
    if will != Will::Settings {
        return None;
    }
    match &seen.terms.window {
        Window::Open => None,
        Window::Opens(at) => Some(Why::Window(Some(*at))),
        Window::Never => Some(Why::Window(None)),
        Window::NoClock => Some(Why::NoClock),
    }
}

/// Why the board does not restart now.
fn blocked(seen: &Seen, policy: &Policy, release: &Release, will: Will) -> Option<Why> {
    let downloaded = policy.download_only && will == Will::Settings;
    held(seen, will)
        .or_else(|| downloaded.then(|| Why::Downloaded(release.clone())))
        .or_else(|| closed(seen, will))
        .or_else(|| {
            let all = &seen.terms.inhibitors;
            (!all.is_empty()).then(|| Why::Inhibited(all.clone()))
        })
        .or_else(|| match &seen.terms.prepared {
            Prepared::Later(why) => Some(Why::Hook(why.clone())),
            Prepared::No | Prepared::Yes => None,
        })
}

/// The lock for `release`, then `step`.
fn locked(seen: &Seen, release: &Release, step: Step) -> Step {
    let service = &seen.terms.lock;
    if !service.set || granted(seen, release) {
        return step;
    }
    match &service.later {
        Some(why) => Step::Wait(Why::Locked(why.clone())),
        None => Step::Lock(release.clone()),
    }
}

/// A grant counts in the boot in which it was given: who was away has to ask again, and may be told no.
fn granted(seen: &Seen, release: &Release) -> bool {
    let held = seen.record.lock.as_ref();
    held.is_some_and(|held| {
        held.granted && held.boot == seen.boot_id && held.release == release.digest.to_string()
    })
}

/// `arm`, when the board may restart right after it.
pub(super) fn to_arm(
    seen: &Seen,
    policy: &Policy,
    release: &Release,
    will: Will,
    arm: Step,
) -> Step {
    if !restarts(policy, will) {
        return seen.with_baseline(arm);
    }
    if let Some(why) = blocked(seen, policy, release, will) {
        return Step::Wait(why);
    }
    match locked(seen, release, arm) {
        arm @ (Step::Arm { .. } | Step::Retry(_)) => seen.with_baseline(arm),
        other => other,
    }
}

/// A slot is armed, and the board restarts by itself.
pub(super) fn armed(
    seen: &Seen,
    policy: &Policy,
    release: &Release,
    will: Will,
    trial: &Trial,
) -> Step {
    if blocked(seen, policy, release, will).is_some() {
        // or a power cut would try it at a time that was forbidden; it is armed again when it may
        return Step::Disarm(trial.slot);
    }
    match locked(seen, release, Step::RebootToTry) {
        Step::RebootToTry => match &seen.terms.prepared {
            Prepared::Yes => Step::RebootToTry,
            Prepared::No | Prepared::Later(_) => Step::Prepare(release.clone()),
        },
        other => other,
    }
}

/// Nothing is on trial and nothing can be done for `why`: time to put back what the last update left behind.
pub(super) fn put_back(seen: &Seen, why: &Why) -> Option<Step> {
    if seen.trouble.is_some() {
        return None;
    }
    // before the hooks, which take their time: until it is said the next board may walk into the same hole
    if seen.terms.lock.later.is_none() && keeps_untold(seen) {
        return Some(Step::KeepLock);
    }
    if let (Some(after), None) = (&seen.record.after, &seen.terms.after) {
        return Some(Step::After(after.clone()));
    }
    // hooks that bring the board back into service come before the lock
    if seen.record.after.is_some() || seen.terms.lock.later.is_some() {
        return None;
    }
    match &seen.record.lock {
        Some(_) if matches!(why, Why::Locked(_)) => None,
        Some(held) => (!is_kept(&seen.record, held)).then_some(Step::Steady),
        // once in a boot also without a lock that the record knows of: it may be lost, and the lock with it
        None => {
            let well = seen.tests == Tests::Done(Verdict::Good);
            let service = &seen.terms.lock;
            // not on a board that came back: the boot state remembers, should the record be lost
            let failed = seen.boot.failed.is_some();
            (service.set && !service.steady && well && !failed).then_some(Step::Steady)
        }
    }
}

/// A lock stays taken for what failed here, and nobody was told. Should the record be lost, the boot state remembers the failure.
fn keeps_untold(seen: &Seen) -> bool {
    let service = &seen.terms.lock;
    let keeps = match &seen.record.lock {
        Some(held) => is_kept(&seen.record, held),
        None => service.set && seen.boot.failed.is_some(),
    };
    keeps && !service.told
}

/// The release it was taken for was tried here and is not kept.
pub fn is_kept(record: &Record, held: &Held) -> bool {
    let refused = |r: &crate::record::Refused| r.release.digest.to_string() == held.release;
    record.refused.iter().any(refused)
}

#[cfg(test)]
mod tests;
