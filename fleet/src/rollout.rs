//! The rollout core: which board is told what, and when. Pure: values in, orders out, no clock, no network, no files.
//!
//! [`decide`] is level-triggered, like the board's own: it is asked again and again with what is seen now and with what the
//! journal remembers, and whoever asks may die in between. The boards hold the truth; the journal holds only what no board
//! can tell: who was told what, and what the operator said.
//!
//! * [`plan`]: what the operator wants, and the waves that follow from it
//! * [`journal`]: what has happened, as events and as their sum
//! * [`decide`]: the decision; `judge` and `room` are its two halves: who is done, and who can be spared

mod decide;
pub mod journal;
mod judge;
pub mod plan;
mod room;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use decide::decide;

use journal::{Action, What};

/// What was seen of one board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardSeen {
    /// As its owner calls it.
    pub name: String,
    /// Since when this hand has been watching it.
    pub watched: u64,
    /// When it last answered this hand.
    pub heard: Option<u64>,
    /// What it answered then.
    pub answer: Option<Answer>,
    /// Since when each of its answers was good and told the same version and boot.
    pub good_since: Option<u64>,
    /// Since when each of its answers was bad.
    pub bad_since: Option<u64>,
    /// Why it could not be looked at more closely, the last time.
    pub trouble: Option<String>,
    /// An order to it is under way from this hand.
    pub busy: bool,
    /// It asks at this moment whether it may go; of meaning in a plan whose boards ask.
    pub asks: bool,
}

impl BoardSeen {
    /// Nobody watched it for a while: its silence means nothing, and that it was good before does not mean that it stayed so.
    pub fn watch_anew(&mut self, now: u64) {
        self.watched = now;
        (self.heard, self.good_since, self.bad_since) = (None, None, None);
    }
}

/// A board's own words about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its health.
    pub health: Health,
    /// The version that runs.
    pub version: String,
    /// The slot that runs.
    pub slot: String,
    /// This boot.
    pub boot: String,
    /// The trial, if there is one.
    pub trial: Option<Trial>,
    /// The update that ended last.
    pub last: Option<Attempt>,
    /// Hooks that bring it back into service have not ended well yet: a node of a Swarm is still drained.
    pub owes: bool,
}

/// How a board says it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// All well.
    #[default]
    Pass,
    /// Worth a look; it does its work.
    Warn,
    /// It does not do its work.
    Fail,
}

/// A trial that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The version.
    pub version: String,
    /// `armed`: the next boot tries it. Otherwise this boot is the try.
    pub armed: bool,
}

/// An update that ended on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The version that was tried.
    pub version: String,
    /// `confirmed`, `failed`, `never-tried`, `unknown`.
    pub outcome: String,
    /// When, by the board's clock, which may be wrong: only whether it is the same as before counts.
    pub at: String,
}

impl Attempt {
    /// The board keeps the version.
    pub fn confirmed(&self) -> bool {
        self.outcome == "confirmed"
    }
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Ask this board over ssh what it is and what is offered to it, and write down whether it is fit.
    Look(String),
    /// Write this down: it follows from what is seen.
    Note(What),
    /// Write down that this is ordered, sync, and only then tell the board.
    Act {
        /// The board.
        board: String,
        /// What.
        action: Action,
        /// The version that it must come to.
        version: String,
        /// How the board was before.
        from: journal::Before,
    },
    /// Nothing to do now, for this reason.
    Wait(String),
}
