//! The owner's word about updates: hold, pin, inhibit, and a lock that is given back by hand.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::Step;
use hypriot_updater::record::{Hold as Held, Pin as Pinned};
use hypriot_updater::slot::Slot;

use super::{BUSY, NOTHING, lock_within, locked, open, print};
use crate::update::act::{self, Hands};
use crate::update::board::{Board, Session};
use crate::update::hooks;
use crate::update::inhibit::{self, Inhibitor};
use crate::update::machine;
use crate::update::ports::Machine as _;

/// Longest reason.
const REASON: usize = 200;

#[derive(Debug, Args)]
pub(super) struct Hold {
    /// Until then, as 2026-12-24T18:00:00Z
    #[arg(long, conflicts_with = "time")]
    until: Option<String>,
    /// For so long: 90s, 15m, 2h, 3d
    #[arg(long = "for")]
    time: Option<String>,
    /// Why, for `why` and `status`
    #[arg(long, default_value = "")]
    reason: String,
    /// Let updates go on
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Args)]
pub(super) struct Pin {
    /// The version; without it, the one that runs
    version: Option<semver::Version>,
    /// Why, for `why` and `status`
    #[arg(long, default_value = "")]
    reason: String,
    /// Let the board follow what is offered
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inhibit {
    /// A name for it; without one, all are listed
    name: Option<String>,
    /// Why, for `why` and `status`
    #[arg(long, default_value = "")]
    reason: String,
    /// Who
    #[arg(long, default_value = "")]
    owner: String,
    /// For so long: 90s, 15m, 2h, 3d; without it, until it is released
    #[arg(long = "for")]
    time: Option<String>,
    /// Keep it over restarts
    #[arg(long)]
    keep: bool,
    /// Release it
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Args)]
pub(super) struct State {
    /// `restored`: the data is of the release that runs, or older, again
    word: Option<Restored>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Restored {
    Restored,
}

fn reason(text: &str) -> anyhow::Result<String> {
    ensure!(
        text.len() <= REASON && !text.chars().any(char::is_control),
        "a reason is one line of at most {REASON} bytes"
    );
    Ok(text.to_owned())
}

/// The clock, if it can be right.
fn clock(board: &Board) -> anyhow::Result<Timestamp> {
    let (clock, floor) = (machine::clock(), board.settings.built);
    ensure!(
        clock >= floor,
        "the clock says {clock}, which is before this image was built: a time cannot be counted from there"
    );
    Ok(clock)
}

/// Shows which state version lies here, or takes the owner's word that an older one was put back.
pub(super) fn state(wish: &State) -> anyhow::Result<ExitCode> {
    let board = open()?;
    let mut seen = board.see(&Session::default());
    if let Some(Restored::Restored) = wish.word {
        // a hook says so, beside others that the agent still waits for
        let _lock = lock_within(hooks::ALL.as_secs() + 60)?.context(BUSY)?;
        let mut record = board.store.record()?;
        record.written = None;
        board.store.save(&record)?;
        seen.record = record;
    }
    let written = seen.written();
    let slots = Slot::ALL.map(|slot| {
        if slot == seen.booted {
            return Some((seen.running.clone(), seen.state_version));
        }
        let release = seen.record.content(slot)?;
        Some((release.version.clone(), release.state_version))
    });
    if wish.json {
        let [a, b] = slots.map(|s| s.map(|(version, reads)| serde_json::json!({ "version": version, "state_version": reads })));
        let all = serde_json::json!({ "state_version": written.state_version, "by": written.by, "a": a, "b": b });
        print(&format!("{all}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "data has state version {}, of {}\n",
        written.state_version, written.by
    ));
    for (slot, release) in Slot::ALL.into_iter().zip(slots) {
        let words = release.map_or_else(
            || "nothing whole".into(),
            |(version, reads)| format!("{version} reads it up to {reads}"),
        );
        print(&format!("slot {slot}: {words}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn hold(wish: &Hold) -> anyhow::Result<ExitCode> {
    let (_lock, board) = (locked()?, open()?);
    let mut record = board.store.record()?;
    if wish.release {
        let held = record.hold.take();
        board.store.save(&record)?;
        return Ok(released(
            held.is_some(),
            "updates go on\n",
            "nothing was held\n",
        ));
    }
    let until = match (&wish.until, &wish.time) {
        (Some(text), _) => match Timestamp::parse(text) {
            Some(at) => Some(at),
            None => bail!("{text:?} is no time like 2026-12-24T18:00:00Z"),
        },
        (None, Some(time)) => Some(clock(&board)?.plus(inhibit::duration(time)?.as_secs())),
        (None, None) => None,
    };
    let held = Held {
        until,
        reason: reason(&wish.reason)?,
        since: machine::clock(),
    };
    print(&format!("{held}\n"));
    record.hold = Some(held);
    board.store.save(&record)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pin(wish: &Pin) -> anyhow::Result<ExitCode> {
    let (_lock, board) = (locked()?, open()?);
    let mut record = board.store.record()?;
    if wish.release {
        let pinned = record.pin.take();
        board.store.save(&record)?;
        return Ok(released(
            pinned.is_some(),
            "the board follows what is offered\n",
            "it was not pinned\n",
        ));
    }
    let running = &board.settings.version;
    let version = wish.version.clone().unwrap_or_else(|| running.clone());
    ensure!(
        version >= *running,
        "{version} is older than {running}, which runs; `hypriot-agent rollback` goes back"
    );
    record.pin = Some(Pinned {
        version: version.clone(),
        reason: reason(&wish.reason)?,
        since: machine::clock(),
    });
    board.store.save(&record)?;
    print(&format!("the board is pinned to {version}\n"));
    Ok(ExitCode::SUCCESS)
}

fn released(was: bool, yes: &str, no: &str) -> ExitCode {
    print(if was { yes } else { no });
    if was {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOTHING)
    }
}

pub(super) fn inhibit(wish: &Inhibit) -> anyhow::Result<ExitCode> {
    let uptime = machine::Board.uptime();
    let Some(name) = &wish.name else {
        let all = inhibit::all(machine::clock(), uptime);
        if all.is_empty() {
            print("nobody inhibits a restart\n");
            return Ok(ExitCode::from(NOTHING));
        }
        print(&(all.join("\n") + "\n"));
        return Ok(ExitCode::SUCCESS);
    };
    if wish.release {
        let mut there = false;
        for directory in [inhibit::RUN, inhibit::KEPT] {
            there |= inhibit::remove(Path::new(directory), name)?;
        }
        return Ok(released(
            there,
            "released\n",
            "there is no such inhibitor\n",
        ));
    }
    let time = wish.time.as_deref().map(inhibit::duration).transpose()?;
    let seconds = time.map(|t| t.as_secs());
    let one = Inhibitor {
        owner: reason(&wish.owner)?,
        reason: reason(&wish.reason)?,
        // a kept one outlives the count of seconds since boot
        until: seconds
            .filter(|_| wish.keep)
            .map(|s| machine::clock().plus(s)),
        until_uptime: seconds
            .filter(|_| !wish.keep)
            .map(|s| uptime.saturating_add(s)),
    };
    let directory = if wish.keep {
        inhibit::KEPT
    } else {
        inhibit::RUN
    };
    let path = inhibit::put(Path::new(directory), name, &one)?;
    print(&format!(
        "{}: no restart for an update while it is there\n",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Gives the lock of the lock service back, whatever became of the update it was for.
pub(super) fn unlock() -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let seen = board.see(&session);
    ensure!(
        seen.boot.trial.is_none(),
        "a trial is going on; its end gives the lock back"
    );
    if seen.record.lock.is_none() && board.settings.lock.is_none() {
        print("no lock service is set, and no lock is held\n");
        return Ok(ExitCode::from(NOTHING));
    }
    let mut quiet = |_: act::Tell<'_>| ();
    let mut hands = Hands::offline(&mut quiet);
    act::act(&Step::Steady, &seen, &mut board, &mut session, &mut hands)?;
    if let Some(why) = session.lock.why() {
        bail!("the lock service does not take it back: {why}");
    }
    print("the lock was given back\n");
    Ok(ExitCode::SUCCESS)
}
