//! The decision: answers to a batch of requests, and the events that must be in the log before they are given.

use std::collections::BTreeMap;

use super::books::{Books, Event, Group, What};
use super::{Now, Report, Settings, back, operator, rollouts, window};
use crate::rollout::journal::{self, Outcome};
use crate::rollout::plan::Plan;

/// Boards of one group. Whoever invents names must not fill our memory.
pub(super) const BOARDS: usize = 20_000;
/// That a board is still there is written down so often, in seconds.
pub(super) const HEARTBEAT: u64 = 300;
/// A server that was just started has not heard the boards yet.
const GRACE: u64 = 120;
/// Who wrote what no operator said.
const SERVER: &str = "the server";
/// A board that is refused asks again after so many seconds.
const AGAIN: u64 = 30;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// FleetLock's `RecursiveLock`: a board wants to go.
    Lock(Who),
    /// FleetLock's `UnlockIfHeld`: a board is well, and whatever it went for is proven.
    Steady(Who),
    /// Ours: a board is back without what it went for, and keeps its lock.
    Failed(Who),
    /// An operator's word about a group.
    Operator {
        /// The group.
        group: String,
        /// Who.
        by: String,
        /// The word.
        word: Word,
    },
    /// Time has passed.
    Tick,
}

/// The board that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its group.
    pub group: String,
    /// Its identity.
    pub board: String,
    /// Its words.
    pub report: Report,
}

/// What an operator may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Make the group, or change its settings.
    Set(Settings),
    /// Nobody gets a lock.
    Pause(String),
    /// Go on; failures so far are forgiven.
    Resume,
    /// Nobody need wait for this board.
    Clear(String),
    /// This board is no more.
    Forget(String),
    /// Carry out this plan, under this id; the boards are those that are named, or all that are known. Settings come in force with
    /// it: between the two boards would go as the new settings allow, and not as the plan does.
    Plan(String, Box<Plan>, Option<Settings>),
    /// End the plan; boards keep what they have, and nobody gets a lock for it.
    Abort,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Done,
    /// No.
    Refused {
        /// One of few words, for metrics.
        kind: &'static str,
        /// For people.
        value: String,
        /// Seconds after which asking again makes sense.
        again: u64,
    },
}

pub(super) fn no(kind: &'static str, value: String) -> Answer {
    Answer::Refused {
        kind,
        value,
        again: AGAIN,
    }
}

/// Books in which is written, and what was written.
pub(super) struct Work<'a> {
    pub(super) books: &'a mut Books,
    pub(super) events: Vec<Event>,
    pub(super) now: Now,
}

impl Work<'_> {
    pub(super) fn note(&mut self, group: &str, what: What) {
        let event = Event {
            at: self.now.at,
            group: group.to_owned(),
            what,
        };
        self.books.add(&event);
        self.events.push(event);
    }

    /// Writes down what a board said, if it is new, or shows after a while that the board is still there.
    pub(super) fn hear(&mut self, who: &Who) {
        let known = self
            .books
            .group(&who.group)
            .and_then(|g| g.boards.get(&who.board));
        let old = known.is_none_or(|b| {
            !b.report.same(&who.report) || self.now.at.saturating_sub(b.heard) >= HEARTBEAT
        });
        if old {
            let (board, report) = (who.board.clone(), who.report.clone());
            self.note(&who.group, What::Seen { board, report });
        }
    }
}

/// Answers `asks`. `books` is changed to what holds once the events are in the log: if they do not get there, it is void,
/// and so are the answers.
pub fn judge(books: &mut Books, asks: &[Ask], now: Now) -> (Vec<Event>, Vec<Answer>) {
    let mut work = Work {
        books,
        events: Vec::new(),
        now,
    };
    let mut answers = vec![Answer::Done; asks.len()];
    let mut planned: BTreeMap<&str, Vec<(usize, &Who)>> = BTreeMap::new();
    for (n, ask) in asks.iter().enumerate() {
        match ask {
            Ask::Lock(who) => match precondition(&mut work, who) {
                Some(answer) => answers[n] = answer,
                None if follows_plan(&work, who) => {
                    planned.entry(&who.group).or_default().push((n, who));
                }
                None => answers[n] = take(&mut work, who),
            },
            Ask::Steady(who) => answers[n] = back::steady(&mut work, who),
            Ask::Failed(who) => answers[n] = back::failed(&mut work, who),
            Ask::Operator { group, by, word } => {
                answers[n] = operator::say(&mut work, group, by, word);
            }
            Ask::Tick => tick(&mut work),
        }
    }
    for (group, asks) in planned {
        for (n, answer) in rollouts::answer(&mut work, group, &asks) {
            answers[n] = answer;
        }
    }
    (work.events, answers)
}

pub(super) fn follows_plan(work: &Work<'_>, who: &Who) -> bool {
    let group = work.books.group(&who.group);
    group
        .and_then(|g| g.rollout.as_ref())
        .is_some_and(|r| r.runs())
}

/// What is the same for all groups. None: it depends on whether there is room.
fn precondition(work: &mut Work<'_>, who: &Who) -> Option<Answer> {
    if let Some(refused) = stranger(work, who) {
        return Some(refused);
    }
    let now = work.now;
    let group = work.books.group(&who.group)?;
    if let Some(lock) = group.locks.get(&who.board) {
        let (had, has) = (&lock.report.name, &who.report.name);
        if !had.is_empty() && !has.is_empty() && had != has {
            // RecursiveLock would let both out on one slot
            return Some(no(
                "identity_in_use",
                format!(
                    "{had} is out under the identity {}, and now {has} asks under it: two boards with one identity; \
                     give the second an identity of its own (a cloned card?)",
                    who.board
                ),
            ));
        }
        if let Some(reason) = back::in_vain(&lock.report, &who.report) {
            // it asks for the next release before anybody heard what became of the last one
            back::give_up(work, who, reason);
        }
        let group = work.books.group(&who.group)?;
        if let Some(why) = group.locks.get(&who.board).and_then(|l| l.failed.as_ref()) {
            return Some(no(
                "failed_lock_group_paused",
                format!(
                    "{} {why}; an operator must look (group clear)",
                    group.called(&who.board)
                ),
            ));
        }
        return Some(Answer::Done);
    }
    let paused = group.paused.as_ref().map(|pause| {
        let text = format!(
            "the group {} is paused by {}: {}",
            who.group, pause.by, pause.reason
        );
        no("failed_lock_group_paused", text)
    });
    let closed = window::open(&group.settings.windows, now.wall)
        .err()
        .map(|minutes| Answer::Refused {
            kind: "failed_lock_outside_window",
            value: format!("the group {} is open again in {minutes} minutes", who.group),
            again: (u64::from(minutes) * 60).clamp(AGAIN, 3600),
        });
    let refused = paused.or_else(|| ended_badly(group)).or(closed);
    work.hear(who);
    refused
}

/// A rollout that stopped leaves a release that is not to go further.
fn ended_badly(group: &Group) -> Option<Answer> {
    let rollout = group.rollout.as_ref()?;
    let why = match rollout.journal.ended? {
        Outcome::Stopped => rollout
            .journal
            .stopped
            .as_deref()
            .unwrap_or("it stopped by itself"),
        Outcome::Refused => "boards were not fit",
        Outcome::Aborted | Outcome::RolledBack => "an operator ended it",
        Outcome::Done | Outcome::Partly | Outcome::Nothing => return None,
    };
    Some(no(
        "failed_lock_group_paused",
        format!(
            "rollout {} did not reach its end: {why}; `group resume` goes on with it, another `plan apply` replaces it",
            rollout.journal.run
        ),
    ))
}

/// Who has no say at all in this group.
pub(super) fn stranger(work: &Work<'_>, who: &Who) -> Option<Answer> {
    let Some(group) = work.books.group(&who.group) else {
        return Some(no(
            "unknown_group",
            format!(
                "there is no group {}; an operator makes it: hypriot-fleet group set {0} --slots 1",
                who.group
            ),
        ));
    };
    let known = group.boards.get(&who.board);
    if known.is_some_and(|b| b.over.contains(&who.report.boot)) {
        return Some(no(
            "identity_in_use",
            format!(
                "{} was heard of from a later start than this one: two boards with the identity {}; give the second an identity of \
                 its own (a cloned card?)",
                group.called(&who.board),
                who.board
            ),
        ));
    }
    (known.is_none() && group.boards.len() >= BOARDS).then(|| {
        no(
            "invalid_client_identity",
            format!("the group {} has {BOARDS} boards already", who.group),
        )
    })
}

/// A group without a plan: whoever comes first.
fn take(work: &mut Work<'_>, who: &Who) -> Answer {
    let Some(group) = work.books.group(&who.group) else {
        return Answer::Done;
    };
    if let Some(refused) = full(group, &who.group, who) {
        return refused;
    }
    grant(work, who);
    Answer::Done
}

/// Whether the group can spare this board.
pub(super) fn full(group: &Group, name: &str, who: &Who) -> Option<Answer> {
    let holders = |text: &str| {
        let names: Vec<&str> = group
            .locks
            .keys()
            .take(5)
            .map(|id| group.called(id))
            .collect();
        no(
            "failed_lock_semaphore_full",
            format!("{text} of {name}; out: {}", names.join(", ")),
        )
    };
    if group.locks.len() >= group.settings.slots {
        return Some(holders(&format!(
            "all {} slots are taken",
            group.settings.slots
        )));
    }
    let report = &who.report;
    let mut others = group.locks.values().map(|l| &l.report);
    if report.manager && others.clone().any(|o| o.manager) {
        return Some(holders("another manager is out"));
    }
    if !report.spread.is_empty() && others.any(|o| o.spread == report.spread) {
        return Some(holders(&format!(
            "another board of {} is out",
            report.spread
        )));
    }
    None
}

pub(super) fn grant(work: &mut Work<'_>, who: &Who) {
    let most = work
        .books
        .group(&who.group)
        .map_or(0, |g| g.settings.deadline);
    let wanted = who.report.expires.unwrap_or(most).clamp(60.min(most), most);
    let what = What::Granted {
        board: who.board.clone(),
        report: who.report.clone(),
        until: work.now.at.max(work.books.last) + wanted,
    };
    work.note(&who.group, what);
}

/// One more failure; more of them than allowed pause the group.
pub(super) fn fail(work: &mut Work<'_>, name: &str, board: String, reason: String) {
    let text = |g: &Group| format!("{} {reason}", g.called(&board));
    let shown = work.books.group(name).map_or_else(String::new, text);
    work.note(name, What::Failed { board, reason });
    let over = work
        .books
        .group(name)
        .is_some_and(|g| g.paused.is_none() && g.failures.len() > g.settings.max_failures);
    if over {
        let by = SERVER.to_owned();
        work.note(name, What::Paused { by, reason: shown });
    }
}

/// A board that is out will not bring what it went for, and its lock stays.
pub(super) fn lost(work: &mut Work<'_>, name: &str, board: String, reason: String) {
    if rollouts::is_out(work.books, name, &board) {
        let what = Box::new(journal::What::Failed { board, reason });
        work.note(name, What::Rollout { what });
    } else {
        fail(work, name, board, reason);
    }
}

fn tick(work: &mut Work<'_>) {
    let names: Vec<String> = work.books.groups.keys().cloned().collect();
    for name in names {
        for (board, late) in overdue(work, &name) {
            let reason = format!("is not back {late} s after it was let go");
            lost(work, &name, board, reason);
        }
        rollouts::step(work, &name, &BTreeMap::new());
    }
}

fn overdue(work: &Work<'_>, name: &str) -> Vec<(String, u64)> {
    let Some(group) = work.books.group(name) else {
        return Vec::new();
    };
    if work.now.at.saturating_sub(work.now.listening) < GRACE.min(group.settings.deadline) {
        return Vec::new();
    }
    let late = group
        .locks
        .iter()
        .filter(|(_, l)| l.failed.is_none() && work.now.at >= l.until);
    late.map(|(id, l)| (id.clone(), work.now.at.saturating_sub(l.since)))
        .collect()
}
