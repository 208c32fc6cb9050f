//! An operator's words about a group.

use std::collections::BTreeMap;

use super::books::{Rollout, What};
use super::judge::{Answer, Word, Work, no};
use super::{group_name, rollouts};
use crate::rollout::journal::{self, Outcome};

/// Groups. Whoever invents names must not fill our memory.
const GROUPS: usize = 1_000;

pub(super) fn say(work: &mut Work<'_>, name: &str, by: &str, said: &Word) -> Answer {
    let by = by.to_owned();
    let wrong = |text: String| no("bad_request", text);
    if let Word::Set(settings) | Word::Plan(_, _, Some(settings)) = said {
        if let Err(why) = settings.check() {
            return wrong(why);
        }
        let full = work.books.groups.len() >= GROUPS && work.books.group(name).is_none();
        if !group_name(name) || full {
            return wrong(format!(
                "{name:?}: a group is named by letters, digits, `.` and `-`, and there are at most {GROUPS}"
            ));
        }
    }
    if let Word::Plan(run, plan, settings) = said {
        return rollouts::begin(work, name, by, (run, plan), settings.as_ref());
    }
    if let Word::Set(settings) = said {
        let settings = settings.clone();
        work.note(name, What::Set { settings, by });
        return Answer::Done;
    }
    let Some(group) = work.books.group(name) else {
        return no("unknown_group", format!("there is no group {name}"));
    };
    let known =
        |board: &String| group.boards.contains_key(board) || group.locks.contains_key(board);
    let rollout = group.rollout.clone();
    match said {
        Word::Set(_) | Word::Plan(..) => {}
        Word::Pause(reason) => {
            let reason = reason.clone();
            work.note(name, What::Paused { by, reason });
        }
        Word::Resume => {
            work.note(name, What::Resumed { by: by.clone() });
            let open = |r: &Rollout| {
                !matches!(
                    r.journal.ended,
                    Some(Outcome::Done | Outcome::Partly | Outcome::Nothing | Outcome::Aborted)
                )
            };
            if rollout.is_some_and(|r| open(&r)) {
                let what = Box::new(journal::What::Resumed { by });
                work.note(name, What::Rollout { what });
            }
        }
        Word::Clear(board) | Word::Forget(board) => {
            if !known(board) {
                return no(
                    "unknown_board",
                    format!("no board {board} in {name}; `group show` lists the identities"),
                );
            }
            let told = rollout.is_some_and(|r| r.runs() && r.journal.track(board).is_some());
            let board = board.clone();
            if told {
                let what = Box::new(journal::What::Unfit {
                    board: board.clone(),
                    reason: format!("was left out by {by}"),
                });
                work.note(name, What::Rollout { what });
            }
            let what = if matches!(said, Word::Clear(_)) {
                What::Cleared { board, by }
            } else {
                What::Forgotten { board, by }
            };
            work.note(name, what);
        }
        Word::Abort => {
            let Some(rollout) = rollout.filter(|r| r.runs()) else {
                return no("no_plan", format!("{name} carries out no plan"));
            };
            drop(rollout);
            let what = Box::new(journal::What::Aborted { by });
            work.note(name, What::Rollout { what });
        }
    }
    // what follows is there with the answer, and not a second later
    rollouts::step(work, name, &BTreeMap::new());
    Answer::Done
}
