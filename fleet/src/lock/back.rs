//! How a board came back: well, and its lock is free; without what it went for, and it says so itself.

use std::collections::BTreeMap;

use super::Report;
use super::books::What;
use super::judge::{Answer, Who, Work, fail, follows_plan, lost, no, stranger};
use super::rollouts;
use crate::rollout::Health;

/// A board says that it is well, which gives its lock back.
pub(super) fn steady(work: &mut Work<'_>, who: &Who) -> Answer {
    if let Some(refused) = stranger(work, who) {
        return refused;
    }
    if who.report.health() == Health::Fail {
        work.hear(who);
        return no(
            "not_steady",
            format!("it says that it is not well: {}", who.report.reason),
        );
    }
    let Some(lock) = work
        .books
        .group(&who.group)
        .and_then(|g| g.locks.get(&who.board))
    else {
        work.hear(who);
        return Answer::Done;
    };
    let (board, report) = (who.board.clone(), who.report.clone());
    let failed = lock
        .failed
        .is_none()
        .then(|| came_back_without(&lock.report, &report))
        .flatten();
    work.note(
        &who.group,
        What::Released {
            board: board.clone(),
            report,
        },
    );
    match failed {
        // the rollout core judges by the same words
        Some(reason) if !follows_plan(work, who) => fail(work, &who.group, board, reason),
        _ => {}
    }
    Answer::Done
}

/// A board says that what it went for failed on it, and that it keeps its lock: the same as at the deadline, and at once. Only a
/// board that is out can say so, and only of what it went for: words that are late, or said twice, change nothing.
pub(super) fn failed(work: &mut Work<'_>, who: &Who) -> Answer {
    if let Some(refused) = stranger(work, who) {
        return refused;
    }
    let group = work.books.group(&who.group);
    let Some(lock) = group.and_then(|g| g.locks.get(&who.board)) else {
        // an operator has ended it, or it was never there: nobody waits for this board
        work.hear(who);
        return Answer::Done;
    };
    let (went, back) = (&lock.report, &who.report);
    let reason = match back.last {
        Some(_) => in_vain(went, back),
        // its record is lost: what runs must tell
        None => came_back_without(went, back),
    };
    let Some(reason) = reason else {
        return no(
            "not_failed",
            format!(
                "what it says failed is not what it is out for ({}): the lock stays, and its deadline counts",
                if went.target.is_empty() {
                    "it did not say"
                } else {
                    &went.target
                }
            ),
        );
    };
    give_up(work, who, reason);
    Answer::Done
}

/// The board itself says that it will not bring what it went for. Its own words take the place of what was thought before.
pub(super) fn give_up(work: &mut Work<'_>, who: &Who, reason: String) {
    work.hear(who);
    let lock = work
        .books
        .group(&who.group)
        .and_then(|g| g.locks.get(&who.board));
    if lock.is_some_and(|l| l.failed.as_ref() != Some(&reason)) {
        lost(work, &who.group, who.board.clone(), reason);
        // what follows from it is decided with the answer, and not a second later
        rollouts::step(work, &who.group, &BTreeMap::new());
    }
}

/// What it went for was tried and did not stay, by its own words. A trial that was cut off by a power failure and is tried once more
/// has not ended, and one of another version, or that had ended before the board went, is none of this lock's.
pub(super) fn in_vain(went: &Report, back: &Report) -> Option<String> {
    let last = back.last.as_ref()?;
    let same = went.target.is_empty() || went.target == last.version;
    let news = went.last.as_ref() != Some(last);
    let stayed = !went.boot.is_empty() && went.boot == back.boot;
    (same && news && !stayed && !last.confirmed())
        .then(|| ended(&last.version, &last.outcome, back))
}

fn ended(version: &str, outcome: &str, back: &Report) -> String {
    let why = match (back.reason.as_str(), back.progress.as_str()) {
        // what it wants now is no reason
        ("", _) | (_, "restart") => String::new(),
        (reason, _) => format!(": {reason}"),
    };
    format!("came back without {version}, which ended as {outcome}{why}")
}

/// It is back and well, but not with what it went for.
fn came_back_without(went: &Report, back: &Report) -> Option<String> {
    if let Some(last) = &back.last
        && went.last.as_ref() != Some(last)
        && !last.confirmed()
    {
        return Some(ended(&last.version, &last.outcome, back));
    }
    // it may give the lock back without having gone
    let stayed = !went.boot.is_empty() && went.boot == back.boot;
    let told = !went.target.is_empty() && !back.version.is_empty();
    if told && stayed && went.version != went.target && back.version == went.target {
        return Some(format!(
            "says that it runs {}, and has not restarted since it went for it",
            back.version
        ));
    }
    (told && !stayed && back.version != went.target).then(|| {
        format!(
            "went for {} and came back with {}",
            went.target, back.version
        )
    })
}
