//! What is done before a restart and after an update. That the second is owed is on record before the first begins.

use hypriot_updater::decide::Seen;
use hypriot_updater::record::{After, Outcome};
use hypriot_updater::slot::Release;

use crate::update::board::{Board, Session};
use crate::update::hooks::{Call, Event};

/// Runs what is to be run before the board restarts to try `release`. That it says no is no error: the answer is kept and heeded.
pub(super) fn prepare(
    release: &Release,
    seen: &Seen,
    board: &Board,
    session: &mut Session,
) -> anyhow::Result<()> {
    let event = Event::BeforeReboot;
    if board.machine.has_hooks(event) {
        // if nothing comes of it: what was drained is put back all the same
        let mut record = seen.record.clone();
        record.after = Some(After {
            outcome: Outcome::NeverTried,
            version: release.version.clone(),
        });
        board.store.save(&record)?;
        let call = call(event, release.version.to_string(), None, seen, board);
        if let Err(refusal) = board.machine.run_hooks(&call) {
            tracing::warn!("the board does not restart now: {}", refusal.why);
            let now = board.machine.uptime();
            let who = board.machine.boot_id();
            session
                .preparing
                .failed(refusal.why, now, refusal.again, who.as_bytes());
            return Ok(());
        }
    }
    session.preparing.went_well();
    session.prepared = Some(release.digest);
    Ok(())
}

/// Runs what is owed after an update, until it goes well.
pub(super) fn after(
    after: &After,
    seen: &Seen,
    board: &Board,
    session: &mut Session,
) -> anyhow::Result<()> {
    let event = Event::after(after.outcome);
    let target = after.version.to_string();
    let call = call(event, target, Some(after.outcome), seen, board);
    if let Err(refusal) = board.machine.run_hooks(&call) {
        tracing::warn!("after the update to {}: {}", after.version, refusal.why);
        let now = board.machine.uptime();
        let who = board.machine.boot_id();
        session
            .after
            .failed(refusal.why, now, refusal.again, who.as_bytes());
        return Ok(());
    }
    session.after.went_well();
    let mut record = seen.record.clone();
    record.after = None;
    board.store.save(&record)
}

fn call(
    event: Event,
    target: String,
    outcome: Option<Outcome>,
    seen: &Seen,
    board: &Board,
) -> Call {
    Call {
        event,
        version: seen.running.to_string(),
        target,
        outcome,
        limit: board.settings.hooks,
    }
}
