//! One turn of the loop: hear what happened, write it down, decide, write down what is ordered, order it.

use anyhow::Result;

use super::book::{Book, Log};
use crate::rollout::journal::{Action, Event, Outcome, What};
use crate::rollout::{BoardSeen, Order, decide};

/// The boards, however they are reached.
pub trait Boards {
    /// What is seen of each now.
    fn seen(&mut self) -> Vec<BoardSeen>;
    /// Begins to look at one more closely; what comes of it is news.
    fn look(&mut self, board: &str);
    /// Begins to tell one something; what comes of it is news, or is seen.
    fn tell(&mut self, board: &str, action: Action, version: &str);
    /// What came of it since the last time.
    fn news(&mut self) -> Vec<What>;
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Time must pass, for this reason.
    Wait(String),
    /// The run has ended.
    Ended(Outcome),
}

/// A decision follows from a decision at most so often in one turn; the bound is for an error in the core.
const MOST: usize = 1_000;

/// Does what is to be done at `now`. Each event that is written down is told.
pub fn turn<L: Log>(
    book: &mut Book<L>,
    boards: &mut impl Boards,
    now: u64,
    tell: &mut dyn FnMut(&Event),
) -> Result<Turn> {
    let before = book.events.len();
    if book.hear(now)? > 0 {
        book.events[before..].iter().for_each(&mut *tell);
    }
    for what in boards.news() {
        if still_matters(book, &what) {
            tell(book.add(what, now)?);
        }
    }
    for _ in 0..MOST {
        if let Some(outcome) = book.journal.ended {
            return Ok(Turn::Ended(outcome));
        }
        let mut wait = None;
        let orders = decide(&book.plan, &boards.seen(), &book.journal, now);
        let only_looks = orders.iter().all(|o| matches!(o, Order::Look(_)));
        for order in orders {
            match order {
                Order::Look(board) => boards.look(&board),
                Order::Note(what) => tell(book.add(what, now)?),
                Order::Act {
                    board,
                    action,
                    version,
                    from,
                } => {
                    let what = What::Ordered {
                        board: board.clone(),
                        action,
                        version: version.clone(),
                        from,
                    };
                    tell(book.add(what, now)?);
                    boards.tell(&board, action, &version);
                }
                Order::Wait(why) => wait = Some(why),
            }
        }
        if let Some(why) = wait {
            return Ok(Turn::Wait(why));
        }
        if only_looks {
            return Ok(Turn::Wait("looking at all boards first".into()));
        }
    }
    anyhow::bail!(
        "the decision does not settle; this is an error of hypriot-fleet, the journal shows it"
    )
}

/// News of an order that has ended meanwhile is old.
fn still_matters<L: Log>(book: &Book<L>, what: &What) -> bool {
    use crate::rollout::journal::State;
    let state = |board: &str| {
        book.journal
            .track(board)
            .map_or(State::New, |t| t.state.clone())
    };
    match what {
        What::Fit { board, .. } | What::Unfit { board, .. } => state(board) == State::New,
        What::Failed { board, .. } | What::Withdrawn { board, .. } => {
            matches!(state(board), State::Out(_))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
