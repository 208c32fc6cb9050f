//! What the operator wants, and the waves that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::journal::{Facts, Journal};

/// One rollout. It stands in the journal's first line, so that whoever takes the run up has the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "words of the operator, each with a meaning of its own"
)]
pub struct Plan {
    /// The boards, in the order in which they are preferred.
    pub boards: Vec<Member>,
    /// The version; without one, what each board is offered.
    pub version: Option<String>,
    /// Repository, when it is not the one that is set on the boards.
    pub source: Option<String>,
    /// Who goes first.
    pub canary: Canary,
    /// Sizes of the waves after the canaries; the rest follows in one.
    pub waves: Vec<Share>,
    /// So many boards may be out at a time.
    pub max_unavailable: Share,
    /// With more failed boards than this the rollout stops. One failed canary stops it always.
    pub max_failures: usize,
    /// A canary must be good for so many seconds.
    pub soak: u64,
    /// Any other board must be good for so many seconds.
    pub settle: u64,
    /// Seconds for looking at all boards before the first order.
    pub preflight: u64,
    /// Seconds from an order until the board must be done.
    pub patience: u64,
    /// A board that says nothing for so many seconds while it is out has failed.
    pub silence: u64,
    /// Only bring the release into the idle slot.
    pub download_only: bool,
    /// When it stops by itself, bring back the boards that have the release already.
    pub rollback_updated: bool,
    /// Leave out boards that are not fit, instead of refusing the run.
    pub skip_unfit: bool,
    /// `warn` is not good enough.
    pub strict: bool,
    /// Options for ssh.
    #[serde(default)]
    pub ssh: Vec<String>,
    /// The agent is called without sudo.
    #[serde(default)]
    pub no_sudo: bool,
    /// Boards are not told but ask, and are let go when it is their turn.
    #[serde(default)]
    pub pull: bool,
    /// A board that was not told anything and says nothing for so many seconds counts as out.
    #[serde(default = "quiet")]
    pub quiet: u64,
}

/// Boards that are watched over HTTP are asked every few seconds.
fn quiet() -> u64 {
    60
}

/// One board of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// As its owner calls it.
    pub name: String,
    /// How to reach it, as a line of a file of hosts, so that whoever takes the run up reaches it as well.
    #[serde(default)]
    pub line: String,
    /// Shelf, switch or power supply: never two of one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// A manager of a Swarm (or a server of k3s): never two at a time.
    #[serde(default)]
    pub manager: bool,
}

/// Who goes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Canary {
    /// One board of each model.
    PerModel,
    /// These.
    Named(Vec<String>),
    /// Nobody.
    None,
}

/// A number of boards, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// So many.
    Boards(usize),
    /// So many of a hundred.
    Percent(usize),
}

impl Share {
    /// Of `all` boards: rounded down, so that a limit is kept, but at least one, or nothing would ever happen.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Boards(n) => n,
            Self::Percent(p) => (all * p / 100).max(1),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?}: a number of boards from 1, or a share from 1% to 100% (0 would update nobody)"
            )
        };
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let n: usize = digits.trim().parse().map_err(|_not_a_number| wrong())?;
        match (n, percent) {
            (1..=100, true) => Ok(Self::Percent(n)),
            (1.., false) => Ok(Self::Boards(n)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boards(n) => write!(f, "{n}"),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl Plan {
    /// The plan for `boards` with the documented defaults.
    pub fn new(boards: Vec<Member>) -> Self {
        Self {
            boards,
            version: None,
            source: None,
            canary: Canary::PerModel,
            waves: vec![Share::Percent(25)],
            max_unavailable: Share::Boards(1),
            max_failures: 0,
            soak: 900,
            settle: 30,
            preflight: 120,
            patience: 3600,
            silence: 900,
            download_only: false,
            rollback_updated: false,
            skip_unfit: false,
            strict: false,
            ssh: Vec::new(),
            no_sudo: false,
            pull: false,
            quiet: quiet(),
        }
    }

    /// Whether it can be carried out at all.
    pub fn check(&self) -> Result<(), String> {
        if self.boards.is_empty() {
            return Err("the rollout has no boards: the list or group is empty".into());
        }
        let names: BTreeSet<&str> = self.boards.iter().map(|b| b.name.as_str()).collect();
        if names.len() != self.boards.len() {
            return Err("a board is named twice".into());
        }
        if let Canary::Named(canaries) = &self.canary {
            for canary in canaries {
                if !names.contains(canary.as_str()) {
                    return Err(format!(
                        "the canary {canary:?} is not one of the boards; name it as in the list"
                    ));
                }
            }
        }
        Ok(())
    }

    /// How many boards may be out at a time.
    pub fn allowed(&self) -> usize {
        self.max_unavailable.of(self.boards.len())
    }

    /// The waves, by index into `boards`: they follow from the plan and from what the preflight wrote down, so they
    /// never change during a run. Boards that need nothing or are not fit are in none.
    pub fn waves(&self, journal: &Journal) -> Vec<Vec<usize>> {
        let facts: Vec<Option<&Facts>> = self
            .boards
            .iter()
            .map(|b| journal.track(&b.name).and_then(|t| t.facts.as_ref()))
            .collect();
        let needs = |n: &usize| facts[*n].is_some_and(|f| f.target.is_some());
        let mut rest: Vec<usize> = (0..self.boards.len()).filter(needs).collect();
        let canaries = self.canaries(&rest, &facts);
        rest.retain(|n| !canaries.contains(n));
        let mut waves = vec![canaries];
        for share in &self.waves {
            let size = share.of(self.boards.len()).min(rest.len());
            waves.push(rest.drain(..size).collect());
        }
        waves.push(rest);
        waves.retain(|wave| !wave.is_empty());
        waves
    }

    fn canaries(&self, all: &[usize], facts: &[Option<&Facts>]) -> Vec<usize> {
        match &self.canary {
            Canary::None => Vec::new(),
            Canary::Named(names) => all
                .iter()
                .copied()
                .filter(|n| names.contains(&self.boards[*n].name))
                .collect(),
            Canary::PerModel => {
                let mut first: BTreeMap<&str, usize> = BTreeMap::new();
                // rather a worker than a manager, which the cluster misses more
                let workers = all.iter().filter(|n| !self.boards[**n].manager);
                let managers = all.iter().filter(|n| self.boards[**n].manager);
                for n in workers.chain(managers) {
                    let model = facts[*n].map_or("", |f| f.model.as_str());
                    first.entry(model).or_insert(*n);
                }
                let mut canaries: Vec<usize> = first.into_values().collect();
                canaries.sort_unstable();
                canaries
            }
        }
    }

    /// Whether board `n` is one of those that go first.
    pub fn is_canary(&self, journal: &Journal, n: usize) -> bool {
        self.canary != Canary::None
            && self
                .waves(journal)
                .first()
                .is_some_and(|wave| wave.contains(&n))
    }
}
