//! `hypriot-fleet group show`: the groups on a terminal.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Server, exchange};
use crate::answer::clean;
use crate::ask::runtime;
use crate::cli::write_out;

#[derive(Deserialize)]
struct Seen {
    at: u64,
    trouble: Option<String>,
    groups: Vec<SeenGroup>,
}

#[derive(Deserialize)]
struct SeenGroup {
    name: String,
    slots: usize,
    out: usize,
    paused: Option<SeenPause>,
    rollout: Option<SeenRollout>,
    boards: Vec<SeenBoard>,
}

#[derive(Deserialize)]
struct SeenPause {
    by: String,
    reason: String,
}

#[derive(Deserialize)]
struct SeenRollout {
    run: String,
    version: Option<String>,
    state: String,
    stopped: Option<String>,
}

#[derive(Deserialize)]
struct SeenBoard {
    id: String,
    name: String,
    version: String,
    state: String,
    does: String,
    heard: u64,
}

fn state(server: &Server) -> Result<Vec<u8>> {
    let (status, text) = runtime()?.block_on(exchange(server, "/v1/state", None))?;
    ensure!(status != 401, "reading is closed there: give --token-file");
    ensure!(status == 200, "{} answers {status}", server.server);
    Ok(text)
}

/// By whom a group is paused, and why.
pub(super) fn paused(server: &Server, group: &str) -> Result<Option<String>> {
    let seen: Seen =
        serde_json::from_slice(&state(server)?).context("the answer is not understood")?;
    let group = seen.groups.into_iter().find(|g| g.name == group);
    let pause = group.and_then(|g| g.paused);
    Ok(pause.map(|p| format!("by {}: {}", clean(&p.by), clean(&p.reason))))
}

pub(super) fn show(server: &Server, json: bool) -> Result<u8> {
    let text = state(server)?;
    if json {
        write_out(&(String::from_utf8_lossy(&text).into_owned() + "\n"))?;
        return Ok(0);
    }
    let seen: Seen = serde_json::from_slice(&text).context("the answer is not understood")?;
    let trouble = seen
        .trouble
        .iter()
        .map(|t| format!("nothing is decided: {}\n", clean(t)));
    let groups = seen.groups.iter().flat_map(|g| lines(g, seen.at));
    write_out(&trouble.chain(groups).collect::<String>())?;
    Ok(0)
}

fn lines(group: &SeenGroup, at: u64) -> Vec<String> {
    let boards = group.boards.len();
    let mut lines = vec![format!(
        "{}: {} of {} slots taken, {boards} boards\n",
        clean(&group.name),
        group.out,
        group.slots
    )];
    if let Some(pause) = &group.paused {
        lines.push(format!(
            "  paused by {}: {}\n",
            clean(&pause.by),
            clean(&pause.reason)
        ));
    }
    if let Some(r) = &group.rollout {
        let version = r.version.as_deref().unwrap_or("what is offered");
        lines.push(format!(
            "  rollout {} to {}: {}\n",
            clean(&r.run),
            clean(version),
            clean(&r.state)
        ));
        lines.extend(
            r.stopped
                .iter()
                .map(|why| format!("  stopped by itself: {}\n", clean(why))),
        );
    }
    lines.extend(group.boards.iter().map(|b| {
        let age = at.saturating_sub(b.heard);
        format!(
            "  {:<7} {:<20} {:<12} {} (heard {age} s ago)\n          {}\n",
            clean(&b.state),
            clean(&b.name),
            clean(&b.version),
            clean(&b.does),
            clean(&b.id)
        )
    }));
    lines
}
