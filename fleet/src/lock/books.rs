//! What has happened, as events and as their sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::{Report, Settings};
use crate::rollout::journal::{self, Journal};
use crate::rollout::plan::Plan;
use crate::rollout::{Attempt, Health};

/// Silence of less than this says nothing: it is written down only every few minutes that a board is there.
const SILENT: u64 = 900;

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix time of the server that wrote it.
    pub at: u64,
    /// The group.
    pub group: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The group is made, or its settings are changed.
    Set {
        /// What is wanted.
        settings: Settings,
        /// Who.
        by: String,
    },
    /// A board said something about itself.
    Seen {
        /// Which.
        board: String,
        /// Its words.
        report: Report,
    },
    /// A board may go.
    Granted {
        /// Which.
        board: String,
        /// What it said when it asked.
        report: Report,
        /// Unix time by which it must be back.
        until: u64,
    },
    /// A board is back, and well.
    Released {
        /// Which.
        board: String,
        /// What it said.
        report: Report,
    },
    /// A board that was out did not come back in time, or came back without what it went for. Once more for one lock: why, better known.
    Failed {
        /// Which.
        board: String,
        /// Why.
        reason: String,
    },
    /// The operator says that nobody need wait for a board.
    Cleared {
        /// Which.
        board: String,
        /// Who.
        by: String,
    },
    /// The operator says that a board is no more.
    Forgotten {
        /// Which.
        board: String,
        /// Who.
        by: String,
    },
    /// Nobody gets a lock until the operator says so.
    Paused {
        /// Who, or what.
        by: String,
        /// Why.
        reason: String,
    },
    /// It goes on; failures so far are forgiven.
    Resumed {
        /// Who.
        by: String,
    },
    /// Something happened in the group's rollout.
    Rollout {
        /// What.
        what: Box<journal::What>,
    },
}

/// All groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// By name.
    pub groups: BTreeMap<String, Shared<Group>>,
    /// Time of the newest event.
    pub last: u64,
}

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What the operator wants.
    pub settings: Settings,
    /// Nobody gets a lock.
    pub paused: Option<Pause>,
    /// Who is out.
    pub locks: BTreeMap<String, Lock>,
    /// Everybody who was heard of.
    pub boards: BTreeMap<String, Shared<Board>>,
    /// Failures since the operator looked.
    pub failures: Vec<Failure>,
    /// The plan, and how far it is.
    pub rollout: Option<Shared<Rollout>>,
}

/// Why nobody gets a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: u64,
    /// Who, or what.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A board that is out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Since when.
    pub since: u64,
    /// By when it must be back.
    pub until: u64,
    /// What it said when it asked.
    pub report: Report,
    /// Nobody believes in its return any more, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A failure that the operator has not seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: u64,
    /// Which board.
    pub board: String,
    /// Why.
    pub reason: String,
}

/// A board as it was heard of last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// When.
    pub heard: u64,
    /// Since when all its words were good and told the same version and boot.
    pub good_since: Option<u64>,
    /// Since when they were bad.
    pub bad_since: Option<u64>,
    /// Its words.
    pub report: Report,
    /// How it came back from what it went for last, by what it said then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Attempt>,
    /// Starts of it that were followed by another one, the newest last. A board that restarts has a new one: who speaks out of one of
    /// these is a second board with the same identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
}

/// So many are remembered: a second board that is on speaks more often than the first restarts.
const STARTS: usize = 4;

impl Board {
    /// It should have said something long ago.
    pub fn silent(&self, at: u64) -> bool {
        let longest = self.report.every.map(|e| e.saturating_mul(3).max(SILENT));
        longest.is_some_and(|longest| at.saturating_sub(self.heard) > longest)
    }
}

/// A plan that a group carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The plan.
    pub plan: Plan,
    /// Who applied it.
    pub operator: String,
    /// How far it is.
    pub journal: Journal,
}

impl Rollout {
    /// It has not ended.
    pub fn runs(&self) -> bool {
        self.journal.ended.is_none()
    }
}

impl Books {
    /// A group, if there is one of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name).map(|g| &**g)
    }

    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        // A clock that was set back must not make anything older than it is.
        let at = event.at.max(self.last);
        self.last = at;
        let group = self.groups.entry(event.group.clone()).or_default();
        group.add(at, &event.what);
    }
}

impl Group {
    /// What a board is called in messages.
    pub fn called<'a>(&'a self, id: &'a str) -> &'a str {
        self.boards.get(id).map_or(id, |b| b.report.called(id))
    }

    fn add(&mut self, at: u64, what: &What) {
        match what {
            What::Set { settings, .. } => self.settings = settings.clone(),
            What::Seen { board, report } => self.hear(board, report, at),
            What::Granted {
                board,
                report,
                until,
            } => {
                self.hear(board, report, at);
                let lock = Lock {
                    since: at,
                    until: *until,
                    report: report.clone(),
                    failed: None,
                };
                self.locks.insert(board.clone(), lock);
            }
            What::Released { board, report } => {
                self.hear(board, report, at);
                let went = self.locks.remove(board).map(|l| l.report.target);
                self.end(board, went.filter(|t| !t.is_empty()), at);
            }
            What::Failed { board, reason } => self.fail(at, board, reason),
            What::Cleared { board, .. } => {
                self.locks.remove(board);
                self.failures.retain(|f| f.board != *board);
            }
            What::Forgotten { board, .. } => {
                self.locks.remove(board);
                self.boards.remove(board);
                self.failures.retain(|f| f.board != *board);
            }
            What::Paused { by, reason } => {
                let (by, reason) = (by.clone(), reason.clone());
                self.paused = Some(Pause { at, by, reason });
            }
            What::Resumed { .. } => {
                self.paused = None;
                self.failures.clear();
            }
            What::Rollout { what } => self.roll(at, what),
        }
    }

    fn fail(&mut self, at: u64, board: &str, reason: &str) {
        if let Some(lock) = self.locks.get_mut(board)
            && lock.failed.replace(reason.to_owned()).is_some()
        {
            // no second failure: more is known of the first, which an operator may have forgiven meanwhile
            if let Some(known) = self.failures.iter_mut().find(|f| f.board == board) {
                reason.clone_into(&mut known.reason);
            }
            return;
        }
        self.failures.push(Failure {
            at,
            board: board.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn roll(&mut self, at: u64, what: &journal::What) {
        if let journal::What::Begun { operator, plan, .. } = what {
            self.rollout = Some(Shared::from(Rollout {
                plan: plan.clone(),
                operator: operator.clone(),
                journal: Journal::default(),
            }));
        }
        if let journal::What::Failed { board, reason } = what
            && let Some(lock) = self.locks.get_mut(board)
        {
            lock.failed = Some(reason.clone());
        }
        if let Some(rollout) = &mut self.rollout {
            let what = what.clone();
            rollout.journal.add(&journal::Event { at, what });
        }
    }

    /// A board that says no more than its version proves by `steady-state` that it is well with it.
    fn end(&mut self, id: &str, went: Option<String>, at: u64) {
        let (Some(target), Some(board)) = (went, self.boards.get_mut(id)) else {
            return;
        };
        let there = board.report.version == target;
        board.ended = Some(Attempt {
            version: target,
            outcome: if there { "confirmed" } else { "failed" }.into(),
            at: at.to_string(),
        });
    }

    fn hear(&mut self, id: &str, report: &Report, at: u64) {
        let board: &mut Board = self.boards.entry(id.to_owned()).or_default();
        let before = &board.report;
        let moved = before.version != report.version || before.boot != report.boot;
        if report.health() == Health::Fail {
            board.good_since = None;
            board.bad_since.get_or_insert(at);
        } else {
            board.bad_since = None;
            if moved {
                board.good_since = None;
            }
            board.good_since.get_or_insert(at);
        }
        let followed = !before.boot.is_empty() && !report.boot.is_empty();
        if followed && before.boot != report.boot {
            board.over.push(before.boot.clone());
            let old = board.over.len().saturating_sub(STARTS);
            board.over.drain(..old);
        }
        board.heard = at;
        board.report = report.clone();
    }
}
