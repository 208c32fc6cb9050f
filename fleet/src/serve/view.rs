//! What the cluster looks like: for the page, and for programs that ask for JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::desk::Shown;
use crate::lock::books::{Board, Failure, Group, Pause, Rollout};
use crate::lock::shared::Shared;
use crate::lock::{Event, What};
use crate::rollout::Health;
use crate::rollout::journal::{self, Outcome, State as Step};

/// One lock, as `GET /v1/locks` tells it.
#[derive(Debug, Serialize)]
pub struct Held<'a> {
    group: &'a str,
    id: &'a str,
    name: &'a str,
    since: u64,
    until: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    version: &'a str,
    target: &'a str,
    reason: &'a str,
}

/// All locks.
pub fn locks(shown: &Shown) -> Vec<Held<'_>> {
    let mut all = Vec::new();
    for (name, group) in &shown.books.groups {
        for (id, lock) in &group.locks {
            all.push(Held {
                group: name,
                id,
                name: group.called(id),
                since: lock.since,
                until: lock.until,
                failed: lock.failed.as_deref(),
                version: &lock.report.version,
                target: &lock.report.target,
                reason: &lock.report.reason,
            });
        }
    }
    all
}

/// All there is to see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    at: u64,
    seq: u64,
    trouble: Option<&'a str>,
    groups: Vec<GroupView<'a>>,
    recent: Vec<Said<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupView<'a> {
    name: &'a str,
    slots: usize,
    deadline: u64,
    max_failures: usize,
    windows: Vec<String>,
    paused: Option<&'a Pause>,
    failures: &'a [Failure],
    out: usize,
    rollout: Option<RolloutView<'a>>,
    boards: Vec<BoardView<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RolloutView<'a> {
    run: &'a str,
    operator: &'a str,
    version: Option<&'a str>,
    state: &'static str,
    stopped: Option<&'a str>,
    allowed: usize,
    waves: Vec<Wave>,
}

#[derive(Debug, Serialize)]
struct Wave {
    canary: bool,
    boards: usize,
    done: usize,
    out: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BoardView<'a> {
    id: &'a str,
    name: &'a str,
    model: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: &'a str,
    slot: &'a str,
    /// `ok`, `warn`, `ill`, `silent`, `out`, `failed`.
    state: &'static str,
    /// What it does, or why it does nothing.
    does: String,
    heard: u64,
    since: Option<u64>,
    until: Option<u64>,
    wave: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Said<'a> {
    at: u64,
    group: &'a str,
    text: String,
}

/// All there is to see, now.
pub fn state(shown: &Shown) -> State<'_> {
    State {
        at: shown.at,
        seq: shown.seq,
        trouble: shown.trouble.as_deref(),
        groups: shown
            .books
            .groups
            .iter()
            .map(|(name, g)| group(name, g, shown.at))
            .collect(),
        recent: shown.recent.iter().rev().map(|e| said(e, shown)).collect(),
    }
}

fn group<'a>(name: &'a str, group: &'a Group, at: u64) -> GroupView<'a> {
    let mut waves = BTreeMap::new();
    let paused = group.paused.is_some();
    let rollout = group
        .rollout
        .as_deref()
        .map(|r| rollout(r, paused, &mut waves));
    let board = |(id, b): (&'a String, &'a Shared<Board>)| board(id, b, group, &waves, at);
    GroupView {
        name,
        slots: group.settings.slots,
        deadline: group.settings.deadline,
        max_failures: group.settings.max_failures,
        windows: group
            .settings
            .windows
            .iter()
            .map(ToString::to_string)
            .collect(),
        paused: group.paused.as_ref(),
        failures: &group.failures,
        out: group.locks.len(),
        boards: group.boards.iter().map(board).collect(),
        rollout,
    }
}

fn rollout<'a>(
    rollout: &'a Rollout,
    paused: bool,
    of: &mut BTreeMap<&'a str, usize>,
) -> RolloutView<'a> {
    let (plan, journal) = (&rollout.plan, &rollout.journal);
    let waves = plan.waves(journal);
    let wave = |(n, boards): (usize, &Vec<usize>)| {
        let mut wave = Wave {
            canary: boards
                .first()
                .is_some_and(|b| n == 0 && plan.is_canary(journal, *b)),
            boards: boards.len(),
            done: 0,
            out: 0,
            failed: 0,
        };
        for board in boards {
            let name = plan.boards[*board].name.as_str();
            of.insert(name, n);
            match journal.track(name).map(|t| &t.state) {
                Some(Step::Reached(_)) => wave.done += 1,
                Some(Step::Out(_)) => wave.out += 1,
                Some(Step::Failed(_)) => wave.failed += 1,
                _ => {}
            }
        }
        wave
    };
    RolloutView {
        run: &journal.run,
        operator: &rollout.operator,
        version: plan.version.as_deref(),
        state: match journal.ended {
            None if journal.aborted.is_some() => "being aborted",
            // nobody goes: that is not what running looks like
            None if paused => "paused",
            ended => word(ended),
        },
        stopped: journal.stopped.as_deref(),
        allowed: plan.allowed(),
        waves: waves.iter().enumerate().map(wave).collect(),
    }
}

/// A rollout's state in a word.
fn word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(Outcome::Done) => "done",
        Some(Outcome::Partly) => "partly done",
        Some(Outcome::Nothing) => "nothing to do",
        Some(Outcome::Refused) => "refused",
        Some(Outcome::Stopped) => "stopped",
        Some(Outcome::Aborted) => "aborted",
        Some(Outcome::RolledBack) => "rolled back",
    }
}

fn board<'a>(
    id: &'a str,
    board: &'a Board,
    group: &'a Group,
    waves: &BTreeMap<&str, usize>,
    at: u64,
) -> BoardView<'a> {
    let (lock, report) = (group.locks.get(id), &board.report);
    let step = group
        .rollout
        .as_ref()
        .and_then(|r| r.journal.track(id))
        .map(|t| &t.state);
    let failed = lock.and_then(|l| l.failed.as_deref()).or(match step {
        Some(Step::Failed(why)) => Some(why.as_str()),
        _ => group
            .failures
            .iter()
            .rfind(|f| f.board == id)
            .map(|f| f.reason.as_str()),
    });
    let quiet = at.saturating_sub(board.heard);
    let (state, does) = match (failed, lock, report.health()) {
        (Some(why), ..) => ("failed", why.to_owned()),
        (None, Some(lock), _) if matches!(report.progress.as_str(), "" | "restart") => {
            let to = if lock.report.target.is_empty() {
                "an update"
            } else {
                &lock.report.target
            };
            ("out", format!("restarts into {to}"))
        }
        (None, Some(_), _) => ("out", report.progress.clone()),
        (None, None, Health::Fail) => ("ill", report.reason.clone()),
        _ if board.silent(at) => ("silent", format!("said nothing for {} min", quiet / 60)),
        (None, None, health) => {
            let state = if health == Health::Warn { "warn" } else { "ok" };
            let text = match step {
                Some(Step::Ready) => "waits for its turn".to_owned(),
                Some(Step::Out(_)) => "is new, and watched".to_owned(),
                Some(Step::Unfit(why)) => format!("left out: {why}"),
                _ if report.target.is_empty() || report.target == report.version => {
                    report.reason.clone()
                }
                _ => format!("wants {}", report.target),
            };
            (state, text)
        }
    };
    BoardView {
        id,
        name: report.called(id),
        model: &report.model,
        version: &report.version,
        target: &report.target,
        slot: &report.slot,
        state,
        does,
        heard: board.heard,
        since: lock.map(|l| l.since),
        until: lock.map(|l| l.until),
        wave: waves.get(id).copied(),
    }
}

fn said<'a>(event: &'a Event, shown: &Shown) -> Said<'a> {
    let group = shown.books.group(&event.group);
    let called = |id: &str| group.map_or_else(|| id.to_owned(), |g| g.called(id).to_owned());
    Said {
        at: event.at,
        group: &event.group,
        text: match &event.what {
            What::Set { settings, by } => format!(
                "{by}: {} slots, deadline {} s",
                settings.slots, settings.deadline
            ),
            What::Seen { board, .. } => called(board),
            What::Granted { board, report, .. } if report.target.is_empty() => {
                format!("{} may go", called(board))
            }
            What::Granted { board, report, .. } => {
                format!("{} may go, to {}", called(board), report.target)
            }
            What::Released { board, report } => {
                format!("{} is back, with {}", called(board), report.version)
            }
            What::Failed { board, reason } => format!("{} {reason}", called(board)),
            What::Cleared { board, by } => format!("{by}: nobody waits for {}", called(board)),
            What::Forgotten { board, by } => format!("{by}: {board} is no more"),
            What::Paused { by, reason } => format!("paused by {by}: {reason}"),
            What::Resumed { by } => format!("{by}: it goes on"),
            What::Rollout { what } => rolled(what, &called),
        },
    }
}

fn rolled(what: &journal::What, called: &dyn Fn(&str) -> String) -> String {
    use journal::What as W;
    match what {
        W::Begun {
            run,
            operator,
            plan,
        } => {
            format!(
                "{operator}: rollout {run} of {}",
                plan.version.as_deref().unwrap_or("what is offered")
            )
        }
        W::Fit { board, .. } => format!("{} can take part", called(board)),
        W::Unfit { board, reason } => format!("{} is left out: {reason}", called(board)),
        W::Ordered { board, version, .. } => {
            format!("it is the turn of {} for {version}", called(board))
        }
        W::Reached { board, version } => format!("{} has {version}", called(board)),
        W::Failed { board, reason } => format!("{} {reason}", called(board)),
        W::Why { board, reasons } => format!("{}: {}", called(board), reasons.join("; ")),
        W::Withdrawn { reason, .. } => format!("withdrawn: {reason}"),
        W::Stopped { reason } => format!("the rollout stopped: {reason}"),
        W::Paused { by } => format!("{by} paused the rollout"),
        W::Resumed { by } => format!("{by}: the rollout goes on"),
        W::Aborted { by } => format!("{by} ended the rollout"),
        W::RollbackAsked { by } => format!("{by} wants the old version back"),
        W::Ended { outcome } => format!("the rollout ended: {}", word(Some(*outcome))),
    }
}
