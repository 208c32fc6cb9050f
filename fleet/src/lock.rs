//! The lock core: who may be out, decided from values. Pure: no clock, no network, no store.
//!
//! A group of boards has so many slots. A board takes one before it restarts into an update (FleetLock's `pre-reboot`) and gives
//! it back once it is proven (`steady-state`). All that happens is an event in one log; [`Books`] is the sum of it, and
//! [`judge`] answers a batch of requests with answers and with the events that must be in the log before the answers are
//! given.
//!
//! * [`books`]: what has happened
//! * [`judge`]: the decision; `back` is how boards come back, `operator` is an operator's words, `rollouts` the part of groups with a plan, which asks [`crate::rollout`]
//! * [`shared`]: what copies of the books have in common
//! * [`window`]: when boards may go

mod back;
pub mod books;
mod judge;
mod operator;
mod rollouts;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod window;

use serde::{Deserialize, Serialize};

pub use books::{Books, Event, Group, What};
pub use judge::{Answer, Ask, Who, Word, judge};

use crate::answer::clean;
use crate::rollout::{Attempt, Health};
use window::Window;

/// What time it is, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix time as far as it can be trusted: never goes back, does not jump while the server runs. Deadlines count by it.
    pub at: u64,
    /// Since when this server has been listening, by the same clock: it cannot know what boards said before.
    pub listening: u64,
    /// Unix time as the machine has it: windows go by it.
    pub wall: u64,
}

/// What an operator wants of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// So many boards may be out at a time.
    pub slots: usize,
    /// Seconds after which a board that is out has failed.
    #[serde(default = "deadline")]
    pub deadline: u64,
    /// With more failures than this since the operator looked, the group is paused.
    #[serde(default)]
    pub max_failures: usize,
    /// When boards may go; without any, always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
}

fn deadline() -> u64 {
    1800
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: 1,
            deadline: deadline(),
            max_failures: 0,
            windows: Vec::new(),
        }
    }
}

/// Shortest and longest deadline: a restart takes a minute, and nobody waits a month.
const DEADLINES: std::ops::RangeInclusive<u64> = 60..=30 * 86_400;

impl Settings {
    /// Whether they make sense.
    pub fn check(&self) -> Result<(), String> {
        if self.slots == 0 {
            return Err(
                "a group with 0 slots would never update anybody; pause it instead (group pause)"
                    .into(),
            );
        }
        if !DEADLINES.contains(&self.deadline) {
            return Err(format!(
                "a deadline of {} s: it must be from {} s to {} s",
                self.deadline,
                DEADLINES.start(),
                DEADLINES.end()
            ));
        }
        Ok(())
    }
}

/// FleetLock's rule for names of groups: `^[a-zA-Z0-9.-]+$`, and not endless.
pub fn group_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
}

/// What a board says about itself beside its request. FleetLock does not ask for it: all of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// As its owner calls it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Kind of board.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The version that runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The version that it is about to try.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The slot that runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slot: String,
    /// This boot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// `pass`, `warn` or `fail`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health: String,
    /// Why it asks, or why it is not well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How far it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Where its own `/health` and `/metrics` are, `host:port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Shelf, switch or power supply: never two of one at a time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spread: String,
    /// A manager of a Swarm: never two at a time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub manager: bool,
    /// Seconds after which it should have been back, at most the group's deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// It says something at least so often, in seconds; without it, its silence means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// The update that ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Attempt>,
}

impl Report {
    /// Words from the network: no control characters, and not too many.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        for text in [
            &mut self.name,
            &mut self.model,
            &mut self.version,
            &mut self.target,
            &mut self.slot,
            &mut self.boot,
            &mut self.health,
            &mut self.reason,
            &mut self.progress,
            &mut self.address,
            &mut self.spread,
        ] {
            *text = clean(text);
        }
        if let Some(last) = &mut self.last {
            for text in [&mut last.version, &mut last.outcome, &mut last.at] {
                *text = clean(text);
            }
        }
        self
    }

    /// How it says it is; a board that says nothing would not ask if it were ill.
    pub fn health(&self) -> Health {
        match self.health.as_str() {
            "fail" => Health::Fail,
            "warn" => Health::Warn,
            _ => Health::Pass,
        }
    }

    /// Whether it says the same about itself, but for words that change all the time.
    fn same(&self, other: &Self) -> bool {
        let plain = |r: &Self| Self {
            progress: String::new(),
            reason: String::new(),
            expires: None,
            ..r.clone()
        };
        plain(self) == plain(other)
    }

    /// What it is called in messages.
    pub fn called<'a>(&'a self, id: &'a str) -> &'a str {
        if self.name.is_empty() { id } else { &self.name }
    }
}
