//! Boards that do what boards do, for the tests of the core and of the runner: a step of time each, faults included.

use super::journal::{Action, Before, Facts, What};
use super::plan::{Member, Plan};
use super::{Answer, Attempt, BoardSeen, Health, Trial};

pub(crate) const OLD: &str = "1.0.0";
pub(crate) const NEW: &str = "1.1.0";
/// Seconds of one step.
pub(crate) const STEP: u64 = 10;

/// What is wrong with a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Its self-tests fail on the new version: it falls back.
    RollsBack,
    /// It is gone for good in this phase.
    DiesIn(Phase),
    /// Says that it runs the new version without having moved.
    Lies,
    /// Healthy enough to commit, broken afterwards.
    SickAfter,
    /// `warn` before and after.
    Warns,
    /// Ten times as long for everything.
    Slow,
    /// Never answers.
    Absent,
    /// The first order gets lost.
    LosesFirst,
    /// Its clock is years off.
    WrongClock,
    /// The hooks that put it back into service need minutes.
    HooksTakeLong,
    /// They never end well.
    HooksFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Idle,
    Downloading,
    Armed,
    Rebooting,
    OnTrial,
    RebootingBack,
    Settled,
}

#[derive(Debug, Clone)]
pub(crate) struct SimBoard {
    pub(crate) name: String,
    pub(crate) fault: Fault,
    pub(crate) phase: Phase,
    left: u64,
    pub(crate) version: &'static str,
    other: &'static str,
    slot: char,
    boot: u32,
    last: Option<Attempt>,
    dead: bool,
    action: Option<Action>,
    lost: bool,
    heard: Option<u64>,
    good_since: Option<u64>,
    bad_since: Option<u64>,
    pub(crate) told: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) watched: u64,
    pub(crate) boards: Vec<SimBoard>,
    /// Nothing is heard of anybody: the network of the laptop is split.
    pub(crate) split: bool,
}

impl Sim {
    pub(crate) fn new(faults: &[Fault]) -> Self {
        let board = |(n, fault): (usize, &Fault)| SimBoard {
            name: format!("n{n}"),
            fault: *fault,
            phase: Phase::Idle,
            left: 0,
            version: OLD,
            other: "0.9.0",
            slot: 'a',
            boot: 0,
            last: None,
            dead: *fault == Fault::Absent,
            action: None,
            lost: false,
            heard: None,
            good_since: None,
            bad_since: None,
            told: 0,
        };
        Self {
            now: 1_000_000,
            watched: 1_000_000,
            boards: faults.iter().enumerate().map(board).collect(),
            split: false,
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        let member = |b: &SimBoard| Member {
            name: b.name.clone(),
            ..Member::default()
        };
        Plan {
            soak: 60,
            settle: 20,
            patience: 1800,
            silence: 300,
            ..Plan::new(self.boards.iter().map(member).collect())
        }
    }

    pub(crate) fn board(&mut self, name: &str) -> &mut SimBoard {
        self.boards
            .iter_mut()
            .find(|b| b.name == name)
            .expect("one of the boards")
    }

    /// What the preflight finds.
    pub(crate) fn look(&self, name: &str) -> Option<What> {
        let board = self.boards.iter().find(|b| b.name == name)?;
        let answer = board.answer().filter(|_| !self.split)?;
        let facts = Facts {
            id: format!("id-{name}"),
            model: "virt".into(),
            before: Before {
                version: answer.version,
                slot: answer.slot,
                last: answer.last,
            },
            target: (board.version == OLD).then(|| NEW.to_owned()),
        };
        Some(What::Fit {
            board: name.to_owned(),
            facts,
        })
    }

    pub(crate) fn tell(&mut self, name: &str, action: Action) {
        if !self.split {
            self.board(name).tell(action);
        }
    }

    /// Time goes on.
    pub(crate) fn step(&mut self) {
        self.now += STEP;
        let (now, split) = (self.now, self.split);
        for board in &mut self.boards {
            board.step();
            let answer = board.answer().filter(|_| !split);
            if let Some(answer) = answer {
                board.heard = Some(now);
                if answer.owes {
                    board.good_since = None;
                } else if answer.health == Health::Fail {
                    board.good_since = None;
                    board.bad_since.get_or_insert(now);
                } else {
                    board.bad_since = None;
                    board.good_since.get_or_insert(now);
                }
            } else {
                board.good_since = None;
            }
        }
    }

    /// What this hand sees.
    pub(crate) fn seen(&self) -> Vec<BoardSeen> {
        let seen = |b: &SimBoard| BoardSeen {
            name: b.name.clone(),
            watched: self.watched,
            heard: b.heard.filter(|h| *h >= self.watched),
            answer: b.answer().filter(|_| !self.split),
            good_since: b.good_since.map(|g| g.max(self.watched)),
            bad_since: b.bad_since.map(|g| g.max(self.watched)),
            busy: !b.dead && matches!(b.phase, Phase::Downloading | Phase::Armed),
            asks: false,
            trouble: None,
        };
        self.boards.iter().map(seen).collect()
    }
}

impl SimBoard {
    /// Whether the cluster misses it.
    pub(crate) fn down(&self) -> bool {
        self.answer()
            .is_none_or(|a| a.health == Health::Fail || a.trial.is_some_and(|t| !t.armed) || a.owes)
    }

    fn takes(&self, seconds: u64) -> u64 {
        if self.fault == Fault::Slow {
            seconds * 10
        } else {
            seconds
        }
    }

    fn tell(&mut self, action: Action) {
        if self.dead {
            return;
        }
        if self.fault == Fault::LosesFirst && !self.lost {
            self.lost = true;
            return;
        }
        self.told += 1;
        match (action, self.phase) {
            (Action::Update | Action::Download, Phase::Idle) => {
                self.action = Some(action);
                self.enter(Phase::Downloading, 60);
            }
            (Action::Rollback, Phase::Settled | Phase::Idle) | (Action::Update, Phase::Armed) => {
                self.action = Some(action);
                self.enter(Phase::Rebooting, 40);
            }
            // an order that is given again changes nothing
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, seconds: u64) {
        self.phase = phase;
        self.left = self.takes(seconds);
        if self.fault == Fault::DiesIn(phase) {
            self.dead = true;
        }
    }

    fn goes_back(&self) -> bool {
        matches!(
            self.fault,
            Fault::RollsBack | Fault::DiesIn(Phase::RebootingBack)
        )
    }

    fn settle(&mut self, outcome: &str) {
        let version = if outcome == "confirmed" {
            self.version
        } else {
            NEW
        };
        let year = if self.fault == Fault::WrongClock {
            1970
        } else {
            2026
        };
        self.last = Some(Attempt {
            version: version.into(),
            outcome: outcome.into(),
            at: format!("{year}-{}", self.boot),
        });
    }

    fn swap(&mut self) {
        std::mem::swap(&mut self.version, &mut self.other);
        self.slot = if self.slot == 'a' { 'b' } else { 'a' };
        self.boot += 1;
    }

    fn step(&mut self) {
        if self.dead {
            return;
        }
        self.left = self.left.saturating_sub(STEP);
        if self.left > 0 {
            return;
        }
        match self.phase {
            Phase::Idle | Phase::Settled => {}
            Phase::Downloading => {
                self.other = NEW;
                self.enter(Phase::Armed, 10);
            }
            Phase::Armed if self.action == Some(Action::Download) => {}
            Phase::Armed if self.fault == Fault::Lies => {
                self.version = NEW;
                self.settle("confirmed");
                self.phase = Phase::Settled;
            }
            Phase::Armed => self.enter(Phase::Rebooting, 40),
            Phase::Rebooting => {
                self.swap();
                self.enter(Phase::OnTrial, 30);
            }
            Phase::OnTrial if self.goes_back() && self.version == NEW => {
                self.enter(Phase::RebootingBack, 40);
            }
            Phase::OnTrial => {
                self.settle("confirmed");
                let hooks = if self.fault == Fault::HooksTakeLong {
                    300
                } else {
                    10
                };
                self.enter(Phase::Settled, hooks);
            }
            Phase::RebootingBack => {
                self.swap();
                self.settle("failed");
                self.enter(Phase::Idle, 10);
            }
        }
    }

    fn answer(&self) -> Option<Answer> {
        if self.dead || matches!(self.phase, Phase::Rebooting | Phase::RebootingBack) {
            return None;
        }
        let sick =
            self.fault == Fault::SickAfter && self.phase == Phase::Settled && self.version == NEW;
        let trial = match self.phase {
            Phase::Armed => Some((NEW, true)),
            Phase::OnTrial => Some((self.version, false)),
            _ => None,
        };
        Some(Answer {
            health: match self.fault {
                _ if sick => Health::Fail,
                Fault::Warns => Health::Warn,
                _ => Health::Pass,
            },
            version: self.version.into(),
            slot: self.slot.into(),
            boot: self.boot.to_string(),
            trial: trial.map(|(version, armed)| Trial {
                version: version.into(),
                armed,
            }),
            last: self.last.clone(),
            owes: self.phase == Phase::Settled
                && match self.fault {
                    Fault::HooksTakeLong => self.left > 0,
                    Fault::HooksFail => self.version == NEW,
                    _ => false,
                },
        })
    }
}
