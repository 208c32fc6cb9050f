//! Puts the other slot on trial: a new release, once more after a trial that nobody judged, the owner's way back, a drill.

use anyhow::{Context as _, bail};
use hypriot_updater::decide::Seen;
use hypriot_updater::health::{self, TestResult};
use hypriot_updater::record::{Pending, Record, Will};
use hypriot_updater::slot::{Digest, Release, Slot};

use super::act::now;
use super::board::{Board, Session};

/// A trial that nothing is known of yet.
pub(super) fn new(slot: Slot, release: &Release, will: Will, session: &Session) -> Pending {
    Pending {
        release: release.clone(),
        slot,
        baseline: fresh_baseline(session),
        lost: 0,
        ignored: 0,
        asked_in: None,
        asked_at: None,
        will,
        drill: false,
    }
}

fn fresh_baseline(session: &Session) -> Vec<TestResult> {
    let tests = session.tests.as_deref();
    tests.map(health::baseline).unwrap_or_default()
}

/// Writes down what is pending, then tells the boot loader to try `slot` once.
pub(super) fn begin(slot: Slot, record: &Record, board: &mut Board) -> anyhow::Result<()> {
    let pending = record.pending.as_ref().context("no update is pending")?;
    // a report that is there from now on is of this trial
    board.store.forget_failure()?;
    board.store.save(record)?;
    let deadline = board.settings.policy.trial_deadline;
    board
        .boot
        .try_once(slot, &pending.release.digest.short(), deadline)
        .context("arming the slot")
}

pub(super) fn arm(
    slot: Slot,
    release: &Release,
    will: Will,
    seen: &Seen,
    board: &mut Board,
    session: &Session,
) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    // after a power cut between the two writes it is pending already, with a baseline that may be old
    let before = record.pending.take().filter(|p| p.release == *release);
    record.pending = Some(Pending {
        lost: before.as_ref().map_or(0, |p| p.lost),
        ignored: before.as_ref().map_or(0, |p| p.ignored),
        drill: before.as_ref().is_some_and(|p| p.drill),
        ..new(slot, release, will, session)
    });
    if record.content(seen.booted).is_none() {
        // what was flashed has no index, so no digest; its version is enough to go back to it by hand
        record.set_content(
            seen.booted,
            Some(Release {
                version: seen.running.clone(),
                digest: Digest([0; 32]),
                state_version: seen.state_version,
            }),
        );
    }
    begin(slot, &record, board)
}

/// Goes back to what lies in the other slot, as a trial of its own; what runs now is not installed again by itself. Over data that it
/// does not read only when the owner knows: `newer_state`.
pub fn roll_back(
    seen: &Seen,
    board: &mut Board,
    session: &Session,
    newer_state: bool,
) -> anyhow::Result<Release> {
    if seen.boot.trial.is_some() {
        bail!("a trial is going on; it ends by itself, or by restarting the board");
    }
    if let Some(trouble) = &seen.trouble {
        bail!("{trouble}");
    }
    let slot = !seen.booted;
    let mut record = seen.record.clone();
    let Some(release) = record.content(slot).cloned() else {
        bail!("slot {slot} holds nothing complete to go back to");
    };
    if let Some(why) = seen.too_new_for(&release).filter(|_| !newer_state) {
        bail!(
            "{why}: put the data of before back first (and say so: `hypriot-agent state restored`), or go back all the same with \
             `hypriot-agent rollback --newer-state`"
        );
    }
    if let Some(running) = record.content(seen.booted).cloned() {
        record.refuse(running, vec!["the owner rolled it back".into()], now(board));
    }
    // with a baseline: an unplugged cable must not veto the owner's way back either
    record.pending = Some(new(slot, &release, Will::Now, session));
    begin(slot, &record, board)?;
    Ok(release)
}

pub(super) fn retry(
    slot: Slot,
    seen: &Seen,
    board: &mut Board,
    session: &Session,
) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    let pending = record.pending.as_mut().context("no update is pending")?;
    pending.lost += 1;
    pending.ignored = 0;
    pending.asked_in = None;
    pending.baseline = fresh_baseline(session);
    tracing::warn!(
        "the trial of {} ended without a verdict; trying once more",
        pending.release.version
    );
    begin(slot, &record, board)
}
