//! The last resort of a trial, and its only favour: what must work when nothing else does.
//!
//! Neither loads settings, record or report. They know the slot from the kernel's command line, the card from the initramfs,
//! and all else from the boot state on the card itself; so a typo in a file of the owner, a full or lost data partition or an
//! agent that does not start keeps no bad slot running. Nor does a daemon that hangs: what it holds while it works is not asked for
//! here, only the lock around a change of the boot state itself ([`crate::card::guarded`]), which nobody holds for long.

use std::io;
use std::thread;
use std::time::Duration;

use hypriot_updater::boot::state::DEFAULT_DEADLINE;
use hypriot_updater::boot::{BootState, Phase, Trial};
use hypriot_updater::slot::Slot;

use super::board::Place;
use super::machine;
use super::ports::{Machine, Restart};
use crate::card::ports::{Bootloader, TrialChange};

/// The agent itself judges at the deadline; so much later it is taken for one that does not run.
const GRACE: u64 = 120;
/// How often the boot state is looked at: a verdict may come at any time.
const PULSE: Duration = Duration::from_secs(10);
/// From the moment it is ended, a trial runs no longer than this, whatever hangs.
const LAST_RESTART: Duration = Duration::from_mins(3);

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
pub fn next(state: Option<&BootState>, place: Slot, uptime: u64) -> Next {
    let Some(state) = state else {
        // On trial by what the initramfs saw, and nobody can vouch for the slot any more.
        return if uptime > DEFAULT_DEADLINE + GRACE {
            Next::Back
        } else {
            Next::Wait
        };
    };
    match state.on_trial(place) {
        None if state.default == place && !state.is_lost() => Next::Over,
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
    loop {
        pulse();
        match look(&mut *boot, &machine::Board, place.booted) {
            Next::Over => return Ok(()),
            Next::Wait => thread::sleep(PULSE),
            // the restart failed, and the unit's own failure is one
            Next::Back => anyhow::bail!("the board does not restart"),
        }
    }
}

/// One look at the trial, and its end if nobody judged it in time. [`Next::Back`] is told after the restart was asked for.
pub fn look(boot: &mut dyn Bootloader, board: &dyn Machine, booted: Slot) -> Next {
    let now = |boot: &dyn Bootloader| next(boot.state().ok().as_ref(), booted, board.uptime());
    match now(boot) {
        Next::Back => (),
        other => return other,
    }
    tracing::error!("nobody judged this slot in time: going back");
    if let Err(error) = boot.change(TrialChange::Fail) {
        // it may have been judged this very moment
        if now(boot) == Next::Over {
            return Next::Over;
        }
        // the boot loader finds a trial that nobody judged, and goes back all the same
        tracing::error!("marking the trial failed: {error}");
    }
    board.restart_at_last(LAST_RESTART);
    if let Err(error) = board.restart(way_back(boot, booted)) {
        tracing::error!("{error:#}");
    }
    Next::Back
}

/// How the slot that runs is left. An orderly restart re-arms what is still on trial ([`rearm`]), so it is one only if the boot
/// state is known to say something else.
pub fn way_back(boot: &dyn Bootloader, booted: Slot) -> Restart {
    let open = |t: &Trial| matches!(t.phase, Phase::Armed | Phase::Trying);
    match boot.state() {
        Ok(state) if !state.on_trial(booted).is_some_and(open) => Restart::Back,
        _ => Restart::Unmarked,
    }
}

/// During an orderly shutdown: lets the trial of the running slot be tried again. A slot that was judged is not.
pub fn rearm() -> anyhow::Result<()> {
    let place = Place::find()?;
    Ok(rearm_on(&mut *place.boot()?, place.booted)?)
}

/// The same on this memory. [`TrialChange::Rearm`] changes a trial that is being tried, and no other.
pub fn rearm_on(boot: &mut dyn Bootloader, booted: Slot) -> io::Result<()> {
    if boot.state()?.on_trial(booted).is_some() {
        boot.change(TrialChange::Rearm)?;
    }
    Ok(())
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
            (
                "both copies are bad, and it is the first slot",
                Some(BootState::lost()),
                Slot::A,
                1021,
                Next::Back,
            ),
            ("unreadable, early", None, Slot::B, 60, Next::Wait),
            ("unreadable, late", None, Slot::B, 1021, Next::Back),
        ] {
            assert_eq!(next(state.as_ref(), booted, uptime), expected, "{danger}");
        }
    }
}
