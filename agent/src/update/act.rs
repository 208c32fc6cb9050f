//! Performs one step. What the step is, [`hypriot_updater::decide`] said; in which order it writes stands there too.
//!
//! The way back comes first, here and everywhere: boot state, then the restart, and only what is left of the time goes into a
//! report for the other slot. No full disk, broken record or hanging program may stand between a bad slot and its end.

use std::time::Duration;

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::boot::Phase;
use hypriot_updater::decide::{Offer, Policy, Seen, Step, decide};
use hypriot_updater::health::{self, TestResult};
use hypriot_updater::index::Target;
use hypriot_updater::record::{
    After, Attempt, Fetched, Outcome, Pending, Record, Will, Worn, elapsed,
};
use hypriot_updater::slot::{Release, Slot};

use super::board::{self, Board, Session};
use super::drill;
use super::hooks::Event;
use super::install::{self, Progress};
use super::last;
use super::machine::PATIENCE;
use super::offer::Hurry;
use super::ports::Restart;
use super::store::FailureReport;
use super::trial;
use crate::card::ports::{Keep, TrialChange};

mod hooks;
mod lock;

/// From the verdict on, a slot that failed runs no longer than this, whatever hangs.
const LAST_RESTART: Duration = Duration::from_mins(4);

/// What an act needs besides the board.
pub struct Hands<'a> {
    /// Where updates come from.
    pub url: Option<String>,
    /// Whose will it is: the owner who stands before the board does not wait for a rollout.
    pub will: Will,
    /// Hears how far a long step is. Called often enough for a watchdog.
    pub tell: &'a mut dyn FnMut(Tell<'_>),
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands")
            .field("url", &self.url)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}

/// What is told while a step is done.
#[derive(Debug, Clone, Copy)]
pub enum Tell<'a> {
    /// An installation goes on.
    Installing(&'a Release, Progress),
    /// It is done.
    Installed(&'a Release, &'a install::Summary),
    /// The board restarts.
    Rebooting,
}

impl<'a> Hands<'a> {
    /// For steps that ask no repository.
    pub fn offline(tell: &'a mut dyn FnMut(Tell<'_>)) -> Self {
        Self {
            url: None,
            will: Will::Settings,
            tell,
        }
    }
}

/// The time as far as anybody trusted knows it: never before what was signed already.
pub(super) fn now(board: &Board) -> Timestamp {
    let floor = board.releases.floor().unwrap_or(board.settings.built);
    board.machine.now().max(floor)
}

/// One turn of the loop: look, decide, act. Gives what was seen and done; an error of the act is in the session, too.
pub fn turn(
    board: &mut Board,
    session: &mut Session,
    policy: &Policy,
    hands: &mut Hands<'_>,
) -> (Seen, Step, anyhow::Result<()>) {
    let seen = board.see(session);
    let step = decide(&seen, policy);
    let done = act(&step, &seen, board, session, hands);
    match &done {
        Err(error) => {
            session.error = Some(format!("{error:#}"));
            session.failures = session.failures.saturating_add(1);
        }
        // that there is nothing to do mends nothing
        Ok(()) if matches!(step, Step::Wait(_)) => (),
        Ok(()) => (session.error, session.failures) = (None, 0),
    }
    (seen, step, done)
}

/// Does `step`. [`Step::Wait`] does nothing.
pub fn act(
    step: &Step,
    seen: &Seen,
    board: &mut Board,
    session: &mut Session,
    hands: &mut Hands<'_>,
) -> anyhow::Result<()> {
    match step {
        Step::Wait(_) => Ok(()),
        Step::Ask => {
            session.offer = ask(seen, board, hands);
            session.asked = board.machine.uptime();
            Ok(())
        }
        Step::SelfTest => {
            let results = self_test(seen, board)?;
            session.tested = board.machine.uptime();
            session.tests = Some(results.clone());
            drill::healthy(&results, seen, board, now(board))?;
            renew_baseline(&results, seen, board)
        }
        Step::Install { into, release } => match install(*into, release, board, hands) {
            Ok(()) => Ok(()),
            Err(error) => {
                // tried again after the next question; what was written is not written twice
                session.offer =
                    Offer::Unreachable(format!("installing {}: {error:#}", release.version));
                Err(error)
            }
        },
        Step::Arm { slot, release } => {
            let will = match hands.will {
                Will::Settings => began(seen),
                now => now,
            };
            trial::arm(*slot, release, will, seen, board, session)
        }
        Step::Disarm(slot) => {
            tracing::info!("slot {slot} is not tried now");
            session.prepared = None;
            board
                .boot
                .change(TrialChange::Cancel)
                .context("disarming the slot")
        }
        Step::Lock(release) => lock::take(release, seen, board, session),
        Step::Steady => lock::give_back(seen, board, session),
        Step::KeepLock => lock::keep(seen, board, session),
        Step::Prepare(release) => hooks::prepare(release, seen, board, session),
        Step::After(after) => hooks::after(after, seen, board, session),
        Step::Retry(slot) => trial::retry(*slot, seen, board, session),
        Step::RebootToTry => reboot_to_try(seen, board, hands),
        Step::Commit(slot) => {
            let won = board.boot.commit(*slot, Keep::Won);
            won.context("committing the slot")?;
            settle(Outcome::Confirmed, &[], seen, board)
        }
        Step::Fail(reasons) => fail(reasons, seen, board, hands),
        Step::RebootBack => {
            (hands.tell)(Tell::Rebooting);
            board.machine.restart_at_last(LAST_RESTART);
            board
                .machine
                .restart(last::way_back(&*board.boot, board.booted))
        }
        Step::Settle(outcome, reasons) => {
            settle(*outcome, reasons, seen, board)?;
            let drill = seen.record.pending.as_ref().is_some_and(|p| p.drill);
            let end = match outcome {
                // what was tried is what runs: it is not refused
                _ if drill => TrialChange::Cancel,
                Outcome::Failed | Outcome::Unknown => TrialChange::Refuse,
                Outcome::Confirmed | Outcome::NeverTried => TrialChange::Cancel,
            };
            if seen.boot.trial.is_some() {
                board.boot.change(end).context("clearing the trial")?;
            }
            board.store.forget_failure()
        }
        Step::Adopt(slot) => adopt(*slot, seen, board),
        Step::CameUp => {
            tracing::warn!("nobody told the boot loader that this start went well; it is told now");
            let told = board.boot.came_up(seen.booted);
            told.map(|_| ())
                .context("telling the boot loader that this start went well")
        }
    }
}

fn ask(seen: &Seen, board: &mut Board, hands: &Hands<'_>) -> Offer {
    let Some(url) = &hands.url else {
        return Offer::Nothing;
    };
    let clock = board.machine.now();
    let answer = board
        .releases
        .ask(url, board.store.trust(), &board.settings, clock)
        .and_then(|()| board.machine.id());
    match answer {
        Ok(id) => {
            let now = now(board);
            let hurry = match hands.will {
                Will::Settings => Hurry::No,
                Will::Now | Will::AtRestart => Hurry::Yes,
            };
            board
                .releases
                .offer(&id, &seen.running, &seen.record, hurry, now)
        }
        Err(error) => Offer::Unreachable(format!("{error:#}")),
    }
}

/// Runs the self-tests; on trial they must be done before the deadline.
fn self_test(seen: &Seen, board: &Board) -> anyhow::Result<Vec<TestResult>> {
    let patience = seen.on_trial().map_or(PATIENCE, |trial| {
        Duration::from_secs(trial.deadline.saturating_sub(seen.uptime))
    });
    let update = board::view(seen, None);
    board.machine.self_tests(&board.settings, update, patience)
}

/// While the other slot is armed, the newest results are what its trial is compared with.
fn renew_baseline(results: &[TestResult], seen: &Seen, board: &Board) -> anyhow::Result<()> {
    let armed = seen
        .boot
        .on_trial(!seen.booted)
        .is_some_and(|t| t.phase == Phase::Armed);
    let mut record = seen.record.clone();
    match &mut record.pending {
        Some(pending) if armed => pending.baseline = health::baseline(results),
        _ => return Ok(()),
    }
    board.store.save(&record)
}

fn install(
    into: Slot,
    release: &Release,
    board: &mut Board,
    hands: &mut Hands<'_>,
) -> anyhow::Result<()> {
    board.slots.check()?;
    let (index, source) = board.releases.release(release, &board.settings.board)?;
    let mut record = board.store.record()?;
    record.set_content(into, None);
    board.store.save(&record)?;
    // from its last sector on the slot loads, and nobody has tried it yet
    let known = board.boot.overwrite_other();
    known.context("telling the boot loader that the other slot is no way out")?;
    let mut disks = [
        board.slots.open(into, Target::Boot)?,
        board.slots.open(into, Target::Root)?,
    ];
    let running = board.slots.running(board.booted);
    if let Err(error) = &running {
        tracing::warn!("the running slot cannot be read ({error}): going on without deltas");
    }
    let base = running.as_deref().ok().map(|slot| install::Base {
        version: &board.settings.version,
        slot,
    });
    let url = hands.url.as_deref();
    let near = board.near.as_ref().map(|shelves| shelves.nearby(into, url));
    let tell = &mut hands.tell;
    let summary = install::install(&index, source, base, near.as_ref(), &mut disks, &mut |p| {
        tell(Tell::Installing(release, p));
    })?;
    record.set_content(into, Some(release.clone()));
    record.fetched = Some(Fetched {
        source: summary.fetched,
        neighbours: summary.lent,
        lenders: summary.neighbours,
    });
    if summary.worn > 0 {
        record.worn = Some(Worn {
            slot: board.booted,
            segments: summary.worn,
            at: now(board),
        });
    }
    board.store.save(&record)?;
    if let Some(shelves) = &board.near {
        shelves.keep(release, &index, &record);
    }
    tell(Tell::Installed(release, &summary));
    Ok(())
}

/// Whose will the update was that is going on.
fn began(seen: &Seen) -> Will {
    seen.record
        .pending
        .as_ref()
        .map_or(Will::Settings, |p| p.will)
}

/// The boot loader is asked once in a boot, however often systemd must be.
fn reboot_to_try(seen: &Seen, board: &Board, hands: &mut Hands<'_>) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    if let Some(pending) = &mut record.pending
        && pending.asked_in.as_ref() != Some(&seen.boot_id)
    {
        pending.ignored += 1;
        pending.asked_in = Some(seen.boot_id.clone());
        pending.asked_at = Some(now(board));
        board.store.save(&record)?;
    }
    (hands.tell)(Tell::Rebooting);
    board.machine.restart(Restart::Orderly)
}

/// Records how the pending update ended. Nothing is pending when a trial was made by hand and its record lost.
fn settle(outcome: Outcome, reasons: &[String], seen: &Seen, board: &Board) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    let Some(pending) = record.pending.clone() else {
        return Ok(());
    };
    tracing::info!(
        "update to {} in slot {}: {} {}",
        pending.release.version,
        pending.slot,
        outcome.name(),
        reasons.join("; ")
    );
    let at = now(board);
    if pending.drill {
        record.end_drill(drill::end(&pending, outcome, reasons, at));
        owe_hooks(&mut record, outcome, &pending.release, board);
        return board.store.save(&record);
    }
    let seconds = pending.asked_at.and_then(|asked| elapsed(asked, at));
    let Pending { release, slot, .. } = pending;
    owe_hooks(&mut record, outcome, &release, board);
    record.settle(Attempt {
        release,
        slot,
        outcome,
        reasons: reasons.to_vec(),
        at,
        seconds,
    });
    board.store.save(&record)
}

/// Hooks of after an update are owed from now on, if there are any.
fn owe_hooks(record: &mut Record, outcome: Outcome, release: &Release, board: &Board) {
    if record.after.is_some() || board.machine.has_hooks(Event::after(outcome)) {
        record.after = Some(After {
            outcome,
            version: release.version.clone(),
        });
    }
}

/// Keeps to the slot that runs because the default did not come up. First what keeps the board on it, if the boot loader was not
/// told already, then what is told about it.
fn adopt(slot: Slot, seen: &Seen, board: &mut Board) -> anyhow::Result<()> {
    let reason = format!(
        "slot {} did not come up; slot {slot} runs and is kept",
        !slot
    );
    tracing::warn!("{reason}");
    if seen.boot.default != slot || seen.boot.is_lost() {
        let kept = board.boot.commit(slot, Keep::StandsIn);
        kept.context("keeping the running slot")?;
    }
    settle(Outcome::Unknown, &[reason], seen, board)?;
    let mut record = board.store.record()?;
    record.leave(!slot, now(board));
    board.store.save(&record)
}

/// Gives the trial up and restarts. Each step is done whatever became of the one before: without the mark in the boot state
/// the boot loader finds a trial that nobody judged and goes back all the same.
fn fail(
    reasons: &[String],
    seen: &Seen,
    board: &mut Board,
    hands: &mut Hands<'_>,
) -> anyhow::Result<()> {
    if seen.on_trial().is_none() && !seen.tried {
        bail!("no trial is going on")
    }
    tracing::error!("this slot failed its trial: {}", reasons.join("; "));
    if let Err(error) = board.boot.change(TrialChange::Fail) {
        tracing::error!("marking the trial failed: {error}");
    }
    board.machine.restart_at_last(LAST_RESTART);
    (hands.tell)(Tell::Rebooting);
    let (kernel_log, failed_units) = board.machine.diagnosis();
    let left = board.store.leave_failure(&FailureReport {
        trial: seen.on_trial().map(|t| t.id.clone()).unwrap_or_default(),
        boot_id: seen.boot_id.clone(),
        reasons: reasons.to_vec(),
        kernel_log,
        failed_units,
    });
    if let Err(error) = left {
        tracing::error!("the other slot will not know why: {error:#}");
    }
    board
        .machine
        .restart(last::way_back(&*board.boot, board.booted))
}
