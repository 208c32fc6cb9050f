//! The lock service before and after a restart. What it was asked for is on record before it is asked: a lock that nobody knows
//! of would never be given back.

use anyhow::Context;
use hypriot_keys::source::http::TlsTime;
use hypriot_updater::decide::Seen;
use hypriot_updater::record::{Held, Outcome};
use hypriot_updater::slot::Release;

use super::now;
use crate::config::Server;
use crate::identity;
use crate::update::board::{Board, Session};
use crate::update::lock::{self, Ask, Asker, Last, Refusal};

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
        ..asker(seen, board, server)?
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
    let Some(server) = giver(seen, board) else {
        session.steady = true;
        return Ok(());
    };
    let asker = asker(seen, board, &server)?;
    let told = board
        .lock
        .ask(Ask::SteadyState, &server, &asker, time(board));
    if let Err(refusal) = told {
        // one that the owner took out of the settings is not asked for ever
        if board.settings.lock.is_some() {
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

/// Whoever gave the lock, else whoever is set.
fn giver(seen: &Seen, board: &Board) -> Option<Server> {
    let held = seen.record.lock.as_ref();
    let giver = held.map(|h| Server {
        url: h.url.clone(),
        group: h.group.clone(),
        spread: String::new(),
    });
    giver.or_else(|| board.settings.lock.clone())
}

/// Says what became of the release that the lock was for, and keeps the lock. A service without a word for that has heard nothing,
/// and finds out by its deadline.
pub(super) fn keep(seen: &Seen, board: &Board, session: &mut Session) -> anyhow::Result<()> {
    let Some(server) = giver(seen, board) else {
        session.told = true;
        return Ok(());
    };
    let asker = failure(seen, asker(seen, board, &server)?);
    match board.lock.ask(Ask::Failed, &server, &asker, time(board)) {
        Ok(()) => tracing::info!(
            "{} knows why its lock is kept: {}",
            server.url,
            asker.reason
        ),
        Err(refusal) if refusal.is_final() || board.settings.lock.is_none() => {
            tracing::info!(
                "{} cannot be told why its lock is kept: {refusal}",
                server.url
            );
        }
        Err(refusal) => {
            failed(&refusal, seen, session, &asker.id);
            return Ok(());
        }
    }
    session.lock.went_well();
    session.told = true;
    Ok(())
}

/// What failed here, as far as it is known.
fn failure(seen: &Seen, asker: Asker) -> Asker {
    let record = &seen.record;
    let held = record.lock.as_ref().map(|held| &held.release);
    let known = record
        .refused
        .iter()
        .find(|r| Some(&r.release.digest.to_string()) == held);
    let Some(refused) = known else {
        return Asker {
            progress: "failed",
            reason: "a release failed here; the record of which and why is lost".into(),
            ..asker
        };
    };
    let version = refused.release.version.to_string();
    // the newest attempt, unless that was another release's
    let newest = record.last.as_ref();
    let last = newest
        .filter(|last| last.release.digest == refused.release.digest)
        .and(asker.last.clone());
    Asker {
        progress: "failed",
        reason: lock::plain(&refused.reasons.join("; ")),
        target: Some(version.clone()),
        last: last.or_else(|| {
            Some(Last {
                version,
                outcome: Outcome::Failed.name(),
                at: refused.at.to_string(),
            })
        }),
        ..asker
    }
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
fn asker(seen: &Seen, board: &Board, server: &Server) -> anyhow::Result<Asker> {
    let standing = board.machine.standing(&server.url);
    let set = board.settings.lock.as_ref();
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
        name: lock::plain(&standing.name),
        manager: standing.manager,
        spread: set.map_or_else(String::new, |s| s.spread.clone()),
        address: standing.address,
        id: identity::fleet_id(&board.machine.id()?),
    })
}

fn time(board: &Board) -> TlsTime {
    TlsTime {
        clock: board.machine.now(),
        floor: board.releases.floor().unwrap_or(board.settings.built),
    }
}
