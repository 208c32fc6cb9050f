//! The last resort of a trial, and its only favour: what must work when nothing else does.
//!
//! Neither loads settings, record or report. They know the slot from the kernel's command line, the card from the initramfs,
//! and all else from the boot state on the card itself; so a typo in a file of the owner, a full or lost data partition or an
//! agent that does not start keeps no bad slot running.

use std::path::Path;
use std::thread;
use std::time::Duration;

use hypriot_updater::boot::state::DEFAULT_DEADLINE;
use hypriot_updater::boot::{BootState, Phase};

use super::board::{Lock, Place};
use super::daemon::LOCK;
use super::machine;
use super::ports::{Machine, Restart};
use crate::card::ports::TrialChange;

/// The agent itself judges at the deadline; so much later it is taken for one that does not run.
const GRACE: u64 = 120;
/// The lock is waited for so long. A daemon that holds it longer hangs, and must not keep the slot.
const LOCK_PATIENCE: u32 = 30;
/// How often the boot state is looked at: a verdict may come at any time.
const PULSE: Duration = Duration::from_secs(10);

/// What is to be done at one moment of a boot that began on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing any more: it was judged.
    Over,
    /// Nothing yet.
    Wait,
    /// Nobody judged it in time, or it was judged and still runs: go back.
    Back,
}

/// Decides from the boot state, which may be unreadable, and the time since boot.
pub fn next(state: Option<&BootState>, place: hypriot_updater::slot::Slot, uptime: u64) -> Next {
    let Some(state) = state else {
        // On trial by what the initramfs saw, and nobody can vouch for the slot any more.
        return if uptime > DEFAULT_DEADLINE + GRACE {
            Next::Back
        } else {
            Next::Wait
        };
    };
    match state.on_trial(place) {
        None if state.default == place => Next::Over,
        // the boot state forgot the trial: both copies are bad
        None if uptime > DEFAULT_DEADLINE + GRACE => Next::Back,
        Some(trial) if uptime > trial.deadline.saturating_add(GRACE) => Next::Back,
        // the daemon restarts the board right after such a verdict
        Some(trial) if trial.phase == Phase::Failed && uptime > trial.deadline => Next::Back,
        None | Some(_) => Next::Wait,
    }
}

/// Waits beside a trial until it was judged, or ends it. `pulse` is called every few seconds.
pub fn expire(pulse: &dyn Fn()) -> anyhow::Result<()> {
    let place = Place::find()?;
    let mut boot = place.boot()?;
    let board = machine::Board;
    loop {
        pulse();
        let state = boot.state().ok();
        match next(state.as_ref(), place.booted, board.uptime()) {
            Next::Over => return Ok(()),
            Next::Wait => thread::sleep(PULSE),
            Next::Back => break,
        }
    }
    tracing::error!("nobody judged this slot in time: going back");
    let lock = patient_lock(pulse);
    if let Err(error) = boot.change(TrialChange::Fail) {
        // the boot loader finds a trial that nobody judged, and goes back all the same
        tracing::error!("marking the trial failed: {error}");
    }
    drop(lock);
    board.restart_at_last(Duration::from_mins(3));
    board.restart(Restart::Back)
}

/// During an orderly shutdown: lets the trial of the running slot be tried again. A slot that was judged is not.
pub fn rearm() -> anyhow::Result<()> {
    let place = Place::find()?;
    let mut boot = place.boot()?;
    let lock = patient_lock(&|| ());
    // `Rearm` changes a trial that is being tried, and no other
    if boot.state()?.on_trial(place.booted).is_some() {
        boot.change(TrialChange::Rearm)?;
    }
    drop(lock);
    Ok(())
}

fn patient_lock(pulse: &dyn Fn()) -> Option<Lock> {
    for _ in 0..LOCK_PATIENCE {
        pulse();
        match Lock::try_take(Path::new(LOCK)) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => thread::sleep(Duration::from_secs(1)),
            Err(error) => {
                tracing::warn!("{error:#}");
                return None;
            }
        }
    }
    tracing::warn!("{LOCK} cannot be had; going on without it");
    None
}

#[cfg(test)]
mod tests {
    use hypriot_updater::slot::Slot;

    use super::*;

    #[test]
    fn a_trial_that_nobody_judges_ends_at_its_own_deadline() {
        use Phase::{Failed, Trying};
        let state = |phase, deadline| {
            let mut state = BootState::fresh();
            state.arm(Slot::B, "x1", deadline).expect("armed");
            if let Some(trial) = &mut state.trial {
                trial.phase = phase;
            }
            state
        };
        for (danger, state, booted, uptime, expected) in [
            (
                "committed",
                Some(BootState::fresh()),
                Slot::A,
                9999,
                Next::Over,
            ),
            (
                "the old slot runs",
                Some(state(Trying, 60)),
                Slot::A,
                9999,
                Next::Over,
            ),
            (
                "in time",
                Some(state(Trying, 900)),
                Slot::B,
                900,
                Next::Wait,
            ),
            (
                "the agent hangs",
                Some(state(Trying, 900)),
                Slot::B,
                1021,
                Next::Back,
            ),
            (
                "a deadline of six hours",
                Some(state(Trying, 21_600)),
                Slot::B,
                20_000,
                Next::Wait,
            ),
            (
                "and after it",
                Some(state(Trying, 21_600)),
                Slot::B,
                21_721,
                Next::Back,
            ),
            (
                "a deadline beyond all",
                Some(state(Trying, u64::MAX)),
                Slot::B,
                u64::MAX,
                Next::Wait,
            ),
            (
                "judged, and the restart hangs",
                Some(state(Failed, 900)),
                Slot::B,
                901,
                Next::Back,
            ),
            ("unreadable, early", None, Slot::B, 60, Next::Wait),
            ("unreadable, late", None, Slot::B, 1021, Next::Back),
        ] {
            assert_eq!(next(state.as_ref(), booted, uptime), expected, "{danger}");
        }
    }
}
