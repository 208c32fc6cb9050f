//! What has happened in a run: events, one on a line of the journal, and [`Journal`], the sum of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Attempt;
use super::plan::Plan;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix time of the hand that wrote it.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The first line of each journal.
    Begun {
        /// The run's id.
        run: String,
        /// Who began it: user and machine.
        operator: String,
        /// What for.
        plan: Plan,
    },
    /// A board can take part.
    Fit {
        /// Which.
        board: String,
        /// What it is.
        facts: Facts,
    },
    /// A board cannot take part.
    Unfit {
        /// Which.
        board: String,
        /// Why.
        reason: String,
    },
    /// A board is told something. Written before it is told.
    Ordered {
        /// Which.
        board: String,
        /// What.
        action: Action,
        /// The version that it must come to.
        version: String,
        /// How it was before.
        from: Before,
    },
    /// A board is where it was sent.
    Reached {
        /// Which.
        board: String,
        /// Its version now.
        version: String,
    },
    /// A board is not where it was sent, and nobody waits for it any more.
    Failed {
        /// Which.
        board: String,
        /// Why.
        reason: String,
    },
    /// What the failing slot left behind, in the board's words.
    Why {
        /// Which.
        board: String,
        /// Its words.
        reasons: Vec<String>,
    },
    /// The release that a board was to install is not offered any more.
    Withdrawn {
        /// Which board found out.
        board: String,
        /// In its words.
        reason: String,
    },
    /// The rollout stops by itself: no more boards are told to update.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The operator wants no more boards to be told for now.
    Paused {
        /// Who.
        by: String,
    },
    /// The operator wants it to go on, after a pause or a stop.
    Resumed {
        /// Who.
        by: String,
    },
    /// The operator wants it to end; boards keep what they have.
    Aborted {
        /// Who.
        by: String,
    },
    /// The operator wants the boards that have the release back on what they had.
    RollbackAsked {
        /// Who.
        by: String,
    },
    /// Nothing is left to do.
    Ended {
        /// How it went.
        outcome: Outcome,
    },
}

/// What a board is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Install and try.
    Update,
    /// Install, and leave the restart to later.
    Download,
    /// Go back to the other slot.
    Rollback,
}

/// What the preflight found out about a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its identity, by which two names of one board are told.
    pub id: String,
    /// Kind of board.
    pub model: String,
    /// How it is before anything happens.
    pub before: Before,
    /// The version that it is offered, verified by the board itself; none when it runs that already.
    pub target: Option<String>,
}

/// What a board ran when it was told something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Version.
    pub version: String,
    /// Slot.
    pub slot: String,
    /// Last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Attempt>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All boards have it.
    Done,
    /// All but some have it, no more than were allowed to fail.
    Partly,
    /// All boards had it already.
    Nothing,
    /// A board was not fit; nothing was changed anywhere.
    Refused,
    /// It stopped by itself.
    Stopped,
    /// The operator ended it.
    Aborted,
    /// The boards that had it are back.
    RolledBack,
}

/// Where one board stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What the preflight found.
    pub facts: Option<Facts>,
    /// The state that follows from the events.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// What the failing slot left behind.
    pub why: Vec<String>,
    /// It was told to go back once.
    pub sent_back: bool,
}

/// A board's state within the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not looked at yet.
    #[default]
    New,
    /// Cannot take part.
    Unfit(String),
    /// Runs what it should already.
    Already,
    /// Waits for its turn.
    Ready,
    /// Was told something.
    Out(Told),
    /// Is where it was sent.
    Reached(Action),
    /// Is not.
    Failed(String),
}

/// An order that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub action: Action,
    /// The version that it must come to.
    pub version: String,
    /// How it was before.
    pub from: Before,
    /// When it was told first.
    pub at: u64,
    /// When it was told last: an order whose messenger died is given again.
    pub again: u64,
}

/// The sum of a run's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The run's id.
    pub run: String,
    /// When it began.
    pub began: u64,
    /// When anything was written last.
    pub last: u64,
    /// Each board that was written about.
    pub boards: BTreeMap<String, Track>,
    /// Who paused it.
    pub paused: Option<String>,
    /// Why it stopped by itself.
    pub stopped: Option<String>,
    /// Who aborted it.
    pub aborted: Option<String>,
    /// Who wants the old version back.
    pub rollback: Option<String>,
    /// Failures that the operator has seen and gone on after.
    pub forgiven: BTreeSet<String>,
    /// How it ended.
    pub ended: Option<Outcome>,
}

impl Journal {
    /// Where a board stands, once anything was written about it.
    pub fn track(&self, board: &str) -> Option<&Track> {
        self.boards.get(board)
    }

    /// The boards that failed.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.boards.iter().filter_map(|(name, t)| match &t.state {
            State::Failed(why) => Some((name.as_str(), why.as_str())),
            _ => None,
        })
    }

    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        // A clock that jumps back must not make anything older than it is.
        let at = event.at.max(self.last);
        self.last = at;
        match &event.what {
            What::Begun { run, .. } => {
                self.run.clone_from(run);
                self.began = at;
            }
            What::Stopped { reason } => self.stopped = Some(reason.clone()),
            What::Withdrawn { board, reason } => {
                self.stopped = Some(format!("{board}: {reason}"));
                self.put(board, at, State::Ready);
            }
            What::Paused { by } => self.paused = Some(by.clone()),
            What::Resumed { .. } => {
                self.forgiven = self.failed().map(|(name, _)| name.to_owned()).collect();
                (self.paused, self.stopped, self.ended) = (None, None, None);
            }
            What::Aborted { by } => {
                self.aborted = Some(by.clone());
                self.ended = None;
            }
            What::RollbackAsked { by } => {
                self.rollback = Some(by.clone());
                self.ended = None;
            }
            What::Ended { outcome } => self.ended = Some(*outcome),
            What::Fit { .. }
            | What::Unfit { .. }
            | What::Ordered { .. }
            | What::Reached { .. }
            | What::Failed { .. }
            | What::Why { .. } => self.add_board(at, &event.what),
        }
    }

    fn add_board(&mut self, at: u64, what: &What) {
        match what {
            What::Fit { board, facts } => {
                let state = if facts.target.is_some() {
                    State::Ready
                } else {
                    State::Already
                };
                self.put(board, at, state);
                self.entry(board).facts = Some(facts.clone());
            }
            What::Unfit { board, reason } => self.put(board, at, State::Unfit(reason.clone())),
            What::Ordered {
                board,
                action,
                version,
                from,
            } => {
                if let State::Out(told) = &mut self.entry(board).state
                    && told.action == *action
                {
                    told.again = at;
                    return;
                }
                self.entry(board).sent_back |= *action == Action::Rollback;
                let told = Told {
                    action: *action,
                    version: version.clone(),
                    from: from.clone(),
                    at,
                    again: at,
                };
                self.put(board, at, State::Out(told));
            }
            What::Reached { board, .. } => {
                let action = match &self.entry(board).state {
                    State::Out(told) => told.action,
                    _ => Action::Update,
                };
                self.put(board, at, State::Reached(action));
            }
            What::Failed { board, reason } => self.put(board, at, State::Failed(reason.clone())),
            What::Why { board, reasons } => self.entry(board).why.clone_from(reasons),
            _ => {}
        }
    }

    fn entry(&mut self, board: &str) -> &mut Track {
        self.boards.entry(board.to_owned()).or_default()
    }

    fn put(&mut self, board: &str, at: u64, state: State) {
        let track = self.entry(board);
        track.state = state;
        track.since = at;
    }
}
