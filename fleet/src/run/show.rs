//! What people and programs are told of a run. Words of boards were cleaned where they came in, and are cleaned again
//! here, since a journal may come from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hypriot_keys::time::Timestamp;
use serde_json::json;

use crate::answer::{clean, harmless};
use crate::rollout::journal::{Action, Event, Journal, Outcome, State, What};
use crate::rollout::plan::{Canary, Plan};

/// One event for people.
pub fn line(event: &Event) -> Option<String> {
    let text = match &event.what {
        What::Begun {
            run,
            operator,
            plan,
        } => format!("run {run} of {operator}: {} boards", plan.boards.len()),
        What::Fit { board, facts } => match &facts.target {
            Some(target) => format!(
                "{board}: {}, {} -> {target}",
                facts.model, facts.before.version
            ),
            None => format!(
                "{board}: {}, has {} already",
                facts.model, facts.before.version
            ),
        },
        What::Unfit { board, reason } => format!("{board}: NOT FIT: {reason}"),
        What::Ordered {
            board,
            action,
            version,
            ..
        } => format!("{board}: {} {version}", verb(*action)),
        What::Reached { board, version } => format!("{board}: has {version}"),
        What::Failed { board, reason } => format!("{board}: FAILED: {reason}"),
        What::Why { board, reasons } => format!("{board}: it says: {}", reasons.join("; ")),
        What::Withdrawn { board, reason } => {
            format!("{board}: the release is not offered any more: {reason}")
        }
        What::Stopped { reason } => format!("STOPPED: {reason}"),
        What::Paused { by } => format!("paused by {by}"),
        What::Resumed { by } => format!("resumed by {by}"),
        What::Aborted { by } => format!("aborted by {by}: boards keep what they have"),
        What::RollbackAsked { by } => format!("{by} wants the boards back on what they had"),
        What::Ended { .. } => return None,
    };
    Some(printable(&format!("{} {text}", Timestamp(event.at))))
}

/// A line that drives no terminal, however long.
fn printable(text: &str) -> String {
    text.chars().map(harmless).collect()
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Update => "installs and tries",
        Action::Download => "downloads",
        Action::Rollback => "goes back to",
    }
}

/// The waves, before anything is done.
pub fn waves(plan: &Plan, journal: &Journal) -> String {
    let mut text = format!(
        "{} boards, at most {} out at a time, stops after more than {} failures\n",
        plan.boards.len(),
        plan.allowed(),
        plan.max_failures
    );
    let mut put = |line: String| text += &(printable(&line) + "\n");
    let mut ways: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for facts in journal.boards.values().filter_map(|t| t.facts.as_ref()) {
        if let Some(target) = &facts.target {
            *ways.entry((&facts.before.version, target)).or_default() += 1;
        }
    }
    for ((from, to), boards) in ways {
        put(format!("{from} -> {to}: {boards}"));
    }
    for (n, wave) in plan.waves(journal).iter().enumerate() {
        let names: Vec<&str> = wave.iter().map(|b| plan.boards[*b].name.as_str()).collect();
        let what = if n == 0 && plan.canary != Canary::None {
            format!("canaries, good for {} s each", plan.soak)
        } else {
            format!("good for {} s each", plan.settle)
        };
        put(format!("wave {n}: {} ({what})", names.join(" ")));
    }
    for (name, track) in &journal.boards {
        match &track.state {
            State::Already => put(format!("{name}: has it already")),
            State::Unfit(why) => put(format!("{name}: NOT FIT: {why}")),
            _ => {}
        }
    }
    text
}

/// One word for a board's state, and more of it.
pub fn state(state: &State) -> (&'static str, String) {
    match state {
        State::New => ("unknown", String::new()),
        State::Unfit(why) => ("unfit", why.clone()),
        State::Already => ("already", String::new()),
        State::Ready => ("waiting", String::new()),
        State::Out(told) => match told.action {
            Action::Update => ("updating", told.version.clone()),
            Action::Download => ("downloading", told.version.clone()),
            Action::Rollback => ("going-back", told.version.clone()),
        },
        State::Reached(Action::Update) => ("updated", String::new()),
        State::Reached(Action::Download) => ("downloaded", String::new()),
        State::Reached(Action::Rollback) => ("back", String::new()),
        State::Failed(why) => ("failed", why.clone()),
    }
}

/// The table of all boards; `step` says what each does now.
pub fn table(
    plan: &Plan,
    journal: &Journal,
    now: u64,
    step: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let width = plan
        .boards
        .iter()
        .map(|m| m.name.chars().count())
        .max()
        .unwrap_or(4)
        .max(5);
    let mut lines = vec![format!(
        "{:width$}  STATE        VERSION                SINCE  NOTE",
        "BOARD"
    )];
    for member in &plan.boards {
        let track = journal.track(&member.name).cloned().unwrap_or_default();
        let (word, why) = state(&track.state);
        let versions = track
            .facts
            .as_ref()
            .map_or_else(String::new, |f| match &f.target {
                Some(target) => format!("{} -> {target}", f.before.version),
                None => f.before.version.clone(),
            });
        let since = if track.since == 0 {
            0
        } else {
            now.saturating_sub(track.since)
        };
        let note = match &track.state {
            State::Out(_) | State::New => step(&member.name),
            _ => why,
        };
        let line = format!(
            "{:width$}  {word:<11}  {versions:<21}  {since:>4}s  {note}",
            member.name
        );
        lines.push(printable(line.trim_end()));
    }
    lines
}

/// The report at the end.
pub fn report(plan: &Plan, journal: &Journal) -> String {
    let mut counts = BTreeMap::new();
    for member in &plan.boards {
        let track = journal.track(&member.name);
        *counts
            .entry(state(&track.map_or(State::New, |t| t.state.clone())).0)
            .or_insert(0) += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    let how = match journal.ended {
        Some(Outcome::Done) => "done",
        Some(Outcome::Partly) => "done, but not on all boards",
        Some(Outcome::Nothing) => "nothing to do",
        Some(Outcome::Refused) => {
            "refused by the preflight, nothing was changed; --skip-unfit leaves such boards out"
        }
        Some(Outcome::Stopped) => "stopped by itself",
        Some(Outcome::Aborted) => "aborted",
        Some(Outcome::RolledBack) => "rolled back",
        None => "goes on",
    };
    let mut text = format!("run {}: {how}: {}\n", journal.run, counts.join(", "));
    if let Some(reason) = &journal.stopped {
        let _infallible = writeln!(text, "  because {}", clean(reason));
    }
    for (name, track) in &journal.boards {
        if let State::Failed(why) | State::Unfit(why) = &track.state {
            let _infallible = writeln!(text, "  {name}: {}", printable(why));
            for reason in &track.why {
                let _infallible = writeln!(text, "    {}", printable(reason));
            }
        }
    }
    if journal.ended == Some(Outcome::Stopped) {
        let run = &journal.run;
        let _infallible = writeln!(
            text,
            "  hypriot-fleet resume {run} goes on without them, hypriot-fleet rollback {run} takes the others back"
        );
    }
    text
}

/// One event for programs: a line of JSON.
pub fn json(event: &Event) -> String {
    json!(event).to_string()
}

/// The exit code of an outcome.
pub fn code(outcome: Outcome, journal: &Journal) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Partly => 1,
        Outcome::Nothing => 3,
        Outcome::Refused => 4,
        Outcome::Stopped => 5,
        Outcome::Aborted => 6,
        Outcome::RolledBack => {
            let mut boards = journal.boards.values();
            let left = boards.any(|t| t.sent_back && matches!(t.state, State::Failed(_)));
            7 + u8::from(left)
        }
    }
}
