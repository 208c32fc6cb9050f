//! Groups with a plan: the rollout core says whose turn it is, the slots say whether there is room. A board goes when both agree.

use std::collections::BTreeMap;

use super::Settings;
use super::books::{Board, Books, Group, What};
use super::judge::{Answer, Who, Work, full, grant, no};
use super::shared::Shared;
use crate::rollout::journal::{self, Action, Before, Facts, State};
use crate::rollout::plan::{Canary, Member, Plan};
use crate::rollout::{self, BoardSeen, Order, decide};

/// A decision follows from a decision at most so often; the bound is for an error in the core.
const MOST: usize = 100;

/// Whether the group's rollout waits for this board.
pub(super) fn is_out(books: &Books, group: &str, board: &str) -> bool {
    let rollout = books.group(group).and_then(|g| g.rollout.as_ref());
    rollout.is_some_and(|r| {
        r.runs()
            && r.journal
                .track(board)
                .is_some_and(|t| matches!(t.state, State::Out(_)))
    })
}

/// Takes up a plan, and the settings that come with it: both, or neither.
pub(super) fn begin(
    work: &mut Work<'_>,
    name: &str,
    by: String,
    (run, plan): (&str, &Plan),
    settings: Option<&Settings>,
) -> Answer {
    let fresh = Group::default();
    let group = match (work.books.group(name), settings) {
        (Some(group), _) => group,
        (None, Some(_)) => &fresh,
        (None, None) => return no("unknown_group", format!("there is no group {name}")),
    };
    if let Some(other) = group.rollout.as_ref().filter(|r| r.runs()) {
        return no(
            "plan_runs",
            format!(
                "{name} carries out {} of {} already; end it first (plan abort)",
                other.journal.run, other.operator
            ),
        );
    }
    let plan = match adapted(group, name, plan, settings.unwrap_or(&group.settings)) {
        Ok(plan) => plan,
        Err(why) => return no("bad_request", why),
    };
    if let Some(settings) = settings {
        let (settings, by) = (settings.clone(), by.clone());
        work.note(name, What::Set { settings, by });
    }
    let what = Box::new(journal::What::Begun {
        run: run.to_owned(),
        operator: by,
        plan,
    });
    work.note(name, What::Rollout { what });
    step(work, name, &BTreeMap::new());
    Answer::Done
}

/// The plan as it fits the group: its boards, by their identities, its version, its patience.
fn adapted(group: &Group, name: &str, plan: &Plan, settings: &Settings) -> Result<Plan, String> {
    let mut plan = plan.clone();
    plan.pull = true;
    // boards that ask say nothing while they are well: being watched must not end in silence
    let longest = settings.deadline + plan.soak.max(plan.settle);
    plan.patience = plan.patience.max(longest + 60);
    plan.silence = plan.silence.max(longest + 60);
    if plan.boards.is_empty() {
        let member = |(id, board): (&String, &Shared<Board>)| Member {
            name: id.clone(),
            spread: Some(board.report.spread.clone()).filter(|s| !s.is_empty()),
            manager: board.report.manager,
            ..Member::default()
        };
        plan.boards = group.boards.iter().map(member).collect();
    }
    // identities, or names by which boards call themselves
    let id = |name: &mut String| {
        let known = group.boards.contains_key(name.as_str());
        let mut called = group
            .boards
            .iter()
            .filter(|(_, b)| !known && b.report.name == *name);
        if let (Some((id, _)), None) = (called.next(), called.next()) {
            name.clone_from(id);
        }
    };
    plan.boards.iter_mut().for_each(|m| id(&mut m.name));
    if let Canary::Named(names) = &mut plan.canary {
        names.iter_mut().for_each(id);
    }
    if plan.version.is_none() {
        plan.version = newest(group);
    }
    if plan.version.is_none() {
        return Err(format!(
            "no board of {name} has said that it is offered a version: name it in the plan (version = \"…\")"
        ));
    }
    plan.check()?;
    if group.locks.len() > plan.allowed() {
        return Err(format!(
            "{} boards of {name} are out already, and the plan allows {}",
            group.locks.len(),
            plan.allowed()
        ));
    }
    Ok(plan)
}

/// The newest version that a board of the group runs or is offered.
fn newest(group: &Group) -> Option<String> {
    let said = group
        .boards
        .values()
        .flat_map(|b| [&b.report.target, &b.report.version]);
    let versions = said.filter_map(|v| v.parse::<semver::Version>().ok());
    versions.max().map(|v| v.to_string())
}

/// Answers all boards of a group that ask for a lock.
pub(super) fn answer(
    work: &mut Work<'_>,
    name: &str,
    asks: &[(usize, &Who)],
) -> Vec<(usize, Answer)> {
    let by_board: BTreeMap<&str, &Who> = asks
        .iter()
        .map(|(_, who)| (who.board.as_str(), *who))
        .collect();
    let why = step(work, name, &by_board);
    let group = work.books.group(name);
    asks.iter()
        .map(|(n, who)| {
            let granted = group.is_some_and(|g| g.locks.contains_key(&who.board));
            let answer = if granted {
                Answer::Done
            } else {
                no("failed_lock_not_your_turn", reason(group, who, &why))
            };
            (*n, answer)
        })
        .collect()
}

fn reason(group: Option<&Group>, who: &Who, why: &str) -> String {
    let Some(rollout) = group.and_then(|g| g.rollout.as_ref()) else {
        return why.to_owned();
    };
    let run = &rollout.journal.run;
    if !rollout.plan.boards.iter().any(|m| m.name == who.board) {
        return format!(
            "rollout {run} began before this board was known; it goes when that has ended"
        );
    }
    match rollout.journal.track(&who.board).map(|t| &t.state) {
        Some(State::Unfit(reason)) => format!("rollout {run} goes on without it: {reason}"),
        Some(State::Failed(reason)) => format!("it failed in rollout {run}: {reason}"),
        Some(State::Already) => format!("rollout {run} is for the version that it runs"),
        _ => format!("rollout {run}: {why}"),
    }
}

/// Lets the core decide until nothing follows any more; tells why nobody else goes.
pub(super) fn step(work: &mut Work<'_>, name: &str, asks: &BTreeMap<&str, &Who>) -> String {
    let mut why = String::new();
    for _ in 0..MOST {
        let Some(group) = work.books.group(name) else {
            return why;
        };
        let Some(rollout) = group.rollout.clone().filter(|r| r.runs()) else {
            return why;
        };
        let seen = seen(group, &rollout.plan, asks, work.now);
        let orders = decide(&rollout.plan, &seen, &rollout.journal, work.now.at);
        // a copy of it would be made for each note otherwise
        drop(rollout);
        let before = work.events.len();
        for order in orders {
            match order {
                Order::Look(board) => look(work, name, &board),
                Order::Note(what) => {
                    let what = Box::new(what);
                    work.note(name, What::Rollout { what });
                }
                Order::Act {
                    board,
                    action: Action::Update,
                    version,
                    from,
                } => {
                    if let Some(who) = asks.get(board.as_str()) {
                        go(work, who, version, from);
                    }
                }
                Order::Act { .. } => {}
                Order::Wait(text) => why = text,
            }
        }
        if work.events.len() == before {
            break;
        }
    }
    why
}

/// The core lets it go: the slots must agree.
fn go(work: &mut Work<'_>, who: &Who, version: String, from: Before) {
    let Some(group) = work.books.group(&who.group) else {
        return;
    };
    let other = !who.report.target.is_empty() && who.report.target != version;
    if other || group.locks.contains_key(&who.board) || full(group, &who.group, who).is_some() {
        return;
    }
    let what = Box::new(journal::What::Ordered {
        board: who.board.clone(),
        action: Action::Update,
        version,
        from,
    });
    work.note(&who.group, What::Rollout { what });
    grant(work, who);
}

/// A board was looked at when it has said what it is.
fn look(work: &mut Work<'_>, name: &str, board: &str) {
    let Some(group) = work.books.group(name) else {
        return;
    };
    let (Some(rollout), Some(known)) = (&group.rollout, group.boards.get(board)) else {
        return;
    };
    let (report, said) = (&known.report, words(known));
    let board = board.to_owned();
    let what = if report.version.is_empty() {
        let reason =
            "speaks plain FleetLock, without its version: a plan could not tell whether it arrived"
                .to_owned();
        journal::What::Unfit { board, reason }
    } else {
        let target = rollout
            .plan
            .version
            .clone()
            .filter(|v| *v != report.version);
        let facts = Facts {
            id: board.clone(),
            model: report.model.clone(),
            before: Before {
                version: said.version,
                slot: said.slot,
                last: said.last,
            },
            target,
        };
        journal::What::Fit { board, facts }
    };
    work.note(
        name,
        What::Rollout {
            what: Box::new(what),
        },
    );
}

fn seen(
    group: &Group,
    plan: &Plan,
    asks: &BTreeMap<&str, &Who>,
    now: super::Now,
) -> Vec<BoardSeen> {
    let one = |member: &Member| {
        let mut seen = BoardSeen {
            name: member.name.clone(),
            watched: now.listening,
            busy: group.locks.contains_key(&member.name),
            asks: asks.contains_key(member.name.as_str()),
            ..BoardSeen::default()
        };
        // what a board that is out said before it went is not how it is now
        if let Some(board) = group.boards.get(&member.name).filter(|_| !seen.busy) {
            // one that asks is there at this moment, whenever that was written down last
            seen.heard = Some(if seen.asks { now.at } else { board.heard });
            (seen.good_since, seen.bad_since) = (board.good_since, board.bad_since);
            seen.answer = Some(words(board)).filter(|a| !a.version.is_empty());
        }
        seen
    };
    plan.boards.iter().map(one).collect()
}

/// A board's words as the core knows them. One that does not name its slot has one for each version, and one that does not tell
/// how its last update ended has told it by coming back.
fn words(board: &Board) -> rollout::Answer {
    let report = &board.report;
    let slot = if report.slot.is_empty() {
        &report.version
    } else {
        &report.slot
    };
    rollout::Answer {
        health: report.health(),
        version: report.version.clone(),
        slot: slot.clone(),
        boot: report.boot.clone(),
        trial: None,
        last: report.last.clone().or_else(|| board.ended.clone()),
        // a board gives its lock back after its hooks
        owes: false,
    }
}
