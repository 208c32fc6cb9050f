//! The lock service before and after a restart. What it was asked for is on record before it is asked: a lock that nobody knows
//! of would never be given back.

use anyhow::Context;
use hypriot_keys::source::http::TlsTime;
use hypriot_updater::decide::Seen;
use hypriot_updater::record::Held;
use hypriot_updater::slot::Release;

use super::now;
use crate::config::Server;
use crate::identity;
use crate::update::board::{Board, Session};
use crate::update::lock::{Ask, Asker, Last, Refusal};

/// Asks for the lock. That it is refused is no error: the answer is kept and heeded.
pub(super) fn take(
    release: &Release,
    seen: &Seen,
    board: &Board,
    session: &mut Session,
) -> anyhow::Result<()> {
    let server = board.settings.lock.as_ref();
    let server = server.context("no lock service is set")?;
    let mut record = seen.record.clone();
    let held = Held {
        url: server.url.clone(),
        group: server.group.clone(),
        release: release.digest.to_string(),
        granted: false,
        boot: seen.boot_id.clone(),
        at: now(board),
    };
    let known = record.lock.as_ref();
    let same = known.is_some_and(|l| {
        Held {
            at: held.at,
            ..l.clone()
        } == held
    });
    if !same {
        record.lock = Some(held.clone());
        board.store.save(&record)?;
    }
    let asker = Asker {
        target: Some(release.version.to_string()),
        progress: "restart",
        reason: format!("to try {}", release.version),
        ..asker(seen, board)?
    };
    match board.lock.ask(Ask::PreReboot, server, &asker, time(board)) {
        Ok(()) => {
            tracing::info!("{} lets this board restart", server.url);
            session.lock.went_well();
            record.lock = Some(Held {
                granted: true,
                ..held
            });
            board.store.save(&record)
        }
        Err(refusal) => {
            failed(&refusal, seen, session, &asker.id);
            Ok(())
        }
    }
}

/// Says that the board is steady, to whoever gave the lock, and forgets the lock.
pub(super) fn give_back(seen: &Seen, board: &Board, session: &mut Session) -> anyhow::Result<()> {
    let held = seen.record.lock.as_ref();
    let giver = held.map(|h| Server {
        url: h.url.clone(),
        group: h.group.clone(),
    });
    let set = board.settings.lock.clone();
    let Some(server) = giver.or_else(|| set.clone()) else {
        session.steady = true;
        return Ok(());
    };
    let asker = asker(seen, board)?;
    let told = board
        .lock
        .ask(Ask::SteadyState, &server, &asker, time(board));
    if let Err(refusal) = told {
        // one that the owner took out of the settings is not asked for ever
        if set.is_some() {
            failed(&refusal, seen, session, &asker.id);
            return Ok(());
        }
        tracing::warn!("{} keeps its lock: {refusal}", server.url);
    }
    session.lock.went_well();
    session.steady = true;
    if held.is_some() {
        let mut record = seen.record.clone();
        record.lock = None;
        board.store.save(&record)?;
    }
    Ok(())
}

fn failed(refusal: &Refusal, seen: &Seen, session: &mut Session, id: &str) {
    let why = refusal.to_string();
    if session.lock.why() != Some(&why) {
        tracing::warn!("the lock service: {why}");
    }
    session
        .lock
        .failed(why, seen.uptime, refusal.after, id.as_bytes());
}

/// What the board says about itself, steady.
fn asker(seen: &Seen, board: &Board) -> anyhow::Result<Asker> {
    Ok(Asker {
        version: seen.running.to_string(),
        target: None,
        progress: "steady",
        reason: String::new(),
        model: board.settings.board.clone(),
        slot: seen.booted.name(),
        boot: seen.boot_id.clone(),
        last: seen.record.last.as_ref().map(|last| Last {
            version: last.release.version.to_string(),
            outcome: last.outcome.name(),
            at: last.at.to_string(),
        }),
        id: identity::fleet_id(&board.machine.id()?),
    })
}

fn time(board: &Board) -> TlsTime {
    TlsTime {
        clock: board.machine.now(),
        floor: board.releases.floor().unwrap_or(board.settings.built),
    }
}
