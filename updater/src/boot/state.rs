//! What the boot loader remembers, and the verbs that change it.
//!
//! Two copies lie on the card; the valid one with the higher sequence number counts, and a write always goes to the
//! other one. So a torn write destroys only what was already out of date. Every verb here changes a value in memory;
//! nothing is durable until the block of [`Copies::write`] is written and synced.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::env::{self, EnvError};
use crate::slot::Slot;

/// Names of the variables in the block. The script ([`super::script`]) uses the same ones.
pub mod name {
    /// Sequence number, hexadecimal without prefix: U-Boot's `setexpr` reads and writes it so.
    pub const SEQ: &str = "hy_seq";
    /// Default slot: `a` or `b`.
    pub const DEFAULT: &str = "hy_default";
    /// `none`, or the phase of the trial.
    pub const TRIAL: &str = "hy_trial";
    /// Slot on trial. Without a trial: the default; or the other one, when that is [`super::Spoilt`].
    pub const SLOT: &str = "hy_slot";
    /// Which release is on trial (opaque here). Without a trial: `-`, or in which way the other slot is spoilt.
    pub const ID: &str = "hy_id";
    /// How often this trial was re-armed after an orderly reboot, hexadecimal.
    pub const BOOTS: &str = "hy_boots";
    /// Seconds after boot by which a trial must be judged, hexadecimal. The script only carries it along.
    pub const DEADLINE: &str = "hy_deadline";
    /// Which release failed last (as [`ID`]), `-` when none did. The script only carries it along.
    pub const FAILED: &str = "hy_failed";
    /// `1`: the owner closed `/health` to the network. The script only carries it along.
    pub const LOCAL: &str = "hy_local";
    /// Starts in a row after which no system came up, hexadecimal; see [`super::super::start`].
    pub const STARTS: &str = "hy_starts";
    /// All of them, in the order they are written. There is room for no more: `env export` has 16 arguments with these.
    pub const ALL: [&str; 10] = [
        SEQ, DEFAULT, TRIAL, SLOT, ID, BOOTS, DEADLINE, FAILED, LOCAL, STARTS,
    ];
}

/// An orderly reboot during a trial does not spend the attempt, but only this often: a service that reboots the
/// board again and again must not keep a bad release on trial for ever.
pub const MAX_REARMS: u8 = 3;
/// What a trial's deadline is when the block says none: seconds after boot.
pub const DEFAULT_DEADLINE: u64 = 900;

/// The sequence number that a card is flashed with. Below it is only what the script starts anew when it finds no valid copy.
pub const FIRST: u32 = 2;
/// The name of a trial that no release began: see [`BootState::doubt`].
pub const UNKNOWN: &str = "unknown";

/// Stands where there is nothing to say: U-Boot has no empty variables.
const NONE: &str = "-";

/// How far a trial has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The next start tries the slot.
    Armed,
    /// The slot was started and has not been judged yet.
    Trying,
    /// The slot judged itself bad and left a report.
    Failed,
    /// The slot was started, and the board was reset before it was judged: panic, hang or power cut.
    Lost,
}

impl Phase {
    /// As the block and the script spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Trying => "trying",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Armed, Self::Trying, Self::Failed, Self::Lost]
            .into_iter()
            .find(|p| p.name() == text)
    }
}

/// The trial of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The slot that is tried.
    pub slot: Slot,
    /// How far it has come.
    pub phase: Phase,
    /// Which release it is: [`crate::slot::Digest::short`].
    pub id: String,
    /// How often it was re-armed.
    pub rearms: u8,
    /// It must be judged so many seconds after boot. Kept here, and not only in the settings, because the last resort
    /// must not depend on a file that an owner can break.
    pub deadline: u64,
}

/// Why the slot that is not the default is not as good as the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// It was the default, and did not come up any more.
    Left,
    /// What lies in it has not proven good: it failed its trial, or was never tried.
    Unproven,
}

impl Spoilt {
    /// As the block spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Unproven => "unproven",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Left, Self::Unproven]
            .into_iter()
            .find(|s| s.name() == text)
    }
}

/// The whole memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    /// Grows by one at each write. 31 bits, because U-Boot's `test` compares signed longs.
    pub seq: u32,
    /// The committed slot: what starts when nothing else is said.
    pub default: Slot,
    /// The trial, if there is one.
    pub trial: Option<Trial>,
    /// The release that failed last, as [`Trial::id`]: known even when the data partition with the record is lost.
    pub failed: Option<String>,
    /// The owner closed `/health` to the network: holds even when the data partition with the settings is lost.
    pub local: bool,
    /// Starts in a row, trials aside, after which no system came up: [`super::start`] counts, [`BootState::came_up`] clears.
    pub starts: u8,
    /// What is wrong with the slot that is not the default, until something else is installed into it.
    pub spoilt: Option<Spoilt>,
}

/// A verb was used where it makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootStateError {
    /// Only the idle slot can be tried.
    #[error("slot {0} is the default slot: there is nothing to try")]
    TryDefault(Slot),
    /// The trial's name would not survive the script.
    #[error("a trial id is 1 to 64 letters and digits, not {0:?}")]
    BadId(String),
    /// No trial is going on.
    #[error("no trial is going on")]
    NoTrial,
    /// Somebody else ended the trial.
    #[error("slot {0} is not on trial any more: it was judged already")]
    Judged(Slot),
}

impl BootState {
    /// A freshly made card: slot A committed, nothing on trial.
    pub const fn fresh() -> Self {
        Self {
            seq: FIRST,
            default: Slot::A,
            trial: None,
            failed: None,
            local: false,
            starts: 0,
            spoilt: None,
        }
    }

    /// What is known where no copy is valid: as of a fresh card, but for the number, which no copy of ours has.
    pub fn lost() -> Self {
        Self {
            seq: 0,
            ..Self::fresh()
        }
    }

    /// Whether that is all that is known. Then it says nothing about a slot that was started on trial.
    pub const fn is_lost(&self) -> bool {
        self.seq == 0
    }

    /// Whether `slot`, if it runs, runs on trial: every question about it is this one.
    pub fn on_trial(&self, slot: Slot) -> Option<&Trial> {
        self.trial.as_ref().filter(|t| t.slot == slot)
    }

    /// Neither copy was valid, and the script took the first slot, for want of knowing better. It may be the one that was on trial,
    /// or that failed; so it is on trial now, and the other one is the way back. Says whether that is how things stand; only
    /// to be asked by the start that follows, in the first slot.
    pub fn doubt(&mut self) -> bool {
        let anew = Self {
            seq: self.seq,
            starts: self.starts,
            ..Self::fresh()
        };
        if self.seq >= FIRST || self.starts == 0 || *self != anew {
            return false;
        }
        self.default = Slot::B;
        self.trial = Some(Trial {
            slot: Slot::A,
            phase: Phase::Trying,
            id: UNKNOWN.into(),
            rearms: 0,
            deadline: DEFAULT_DEADLINE,
        });
        true
    }

    /// Lets the next start try `slot` once; the default stays.
    pub fn arm(&mut self, slot: Slot, id: &str, deadline: u64) -> Result<(), BootStateError> {
        if slot == self.default {
            return Err(BootStateError::TryDefault(slot));
        }
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return Err(BootStateError::BadId(id.into()));
        }
        self.trial = Some(Trial {
            slot,
            phase: Phase::Armed,
            id: id.into(),
            rearms: 0,
            deadline,
        });
        // what was wrong there has been overwritten, or is tried anew
        self.spoilt = None;
        Ok(())
    }

    /// An orderly reboot during the trial: the next start may try again. `false` when that was allowed often enough.
    pub fn rearm(&mut self) -> Result<bool, BootStateError> {
        let trial = self.trial.as_mut().ok_or(BootStateError::NoTrial)?;
        if trial.phase != Phase::Trying || trial.rearms >= MAX_REARMS {
            return Ok(false);
        }
        trial.phase = Phase::Armed;
        trial.rearms += 1;
        Ok(true)
    }

    /// The slot on trial judged itself bad: the next start is the default, and knows.
    pub fn fail(&mut self) -> Result<(), BootStateError> {
        self.trial.as_mut().ok_or(BootStateError::NoTrial)?.phase = Phase::Failed;
        Ok(())
    }

    /// The slot on trial proved good: makes it the default. One that was judged otherwise meanwhile is not.
    pub fn win(&mut self, slot: Slot) -> Result<(), BootStateError> {
        if !self.is_trying(slot) {
            return Err(BootStateError::Judged(slot));
        }
        self.commit(slot);
        Ok(())
    }

    /// Makes `slot` the default and ends any trial. If `slot` was not being tried, it runs because the default did not: that
    /// is remembered.
    pub fn commit(&mut self, slot: Slot) {
        let won = self.is_trying(slot);
        if slot != self.default {
            self.spoilt = (!won).then_some(Spoilt::Left);
        }
        self.default = slot;
        self.trial = None;
        self.starts = 0;
    }

    /// The system of slot `booted` came up. Says whether that changed anything.
    ///
    /// A trial is judged by its tests and not by this: not to be used in a boot that began as one. What runs although it is
    /// not the default runs because the default did not come up or did not load: it becomes the default, so that the next
    /// start needs no luck. But not what has not proven good: that stands in for one start, after which the
    /// default has its turn again.
    pub fn came_up(&mut self, booted: Slot) -> bool {
        if self.is_trying(booted) {
            return false;
        }
        if booted != self.default && self.trusted(booted) {
            self.commit(booted);
            return true;
        }
        core::mem::take(&mut self.starts) > 0
    }

    /// Whether the next start is to try.
    pub fn is_armed(&self) -> bool {
        self.trial.as_ref().is_some_and(|t| t.phase == Phase::Armed)
    }

    fn is_trying(&self, slot: Slot) -> bool {
        self.on_trial(slot)
            .is_some_and(|t| matches!(t.phase, Phase::Armed | Phase::Trying))
    }

    /// Whether a slot that runs without being on trial may become the default by that alone.
    pub fn trusted(&self, slot: Slot) -> bool {
        let refused = self.spoilt == Some(Spoilt::Unproven) || self.on_trial(slot).is_some();
        slot == self.default || !refused
    }

    /// Ends the trial and remembers what was tried as failed, and where it lies.
    pub fn refuse(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.failed = Some(trial.id);
            self.spoilt = Some(Spoilt::Unproven);
        }
    }

    /// Ends any trial; the default stays, and what was to be tried is still unproven.
    pub fn cancel(&mut self) {
        if self.trial.take().is_some() {
            self.spoilt = Some(Spoilt::Unproven);
        }
    }

    /// Something else is about to be written into the other slot: it must not become the default by coming up.
    pub fn overwrite_other(&mut self) {
        if self.trial.is_none() {
            self.spoilt = Some(Spoilt::Unproven);
        }
    }

    /// The 4 KiB block that says this.
    pub fn encode(&self) -> Result<Vec<u8>, EnvError> {
        let (slot, phase, id, rearms, deadline) = match &self.trial {
            Some(t) => (t.slot, t.phase.name(), t.id.as_str(), t.rearms, t.deadline),
            None => match self.spoilt {
                Some(how) => (!self.default, "none", how.name(), 0, 0),
                None => (self.default, "none", NONE, 0, 0),
            },
        };
        let failed = self.failed.as_deref().unwrap_or(NONE);
        env::encode(&[
            (name::SEQ, format!("{:x}", self.seq)),
            (name::DEFAULT, self.default.name().into()),
            (name::TRIAL, phase.into()),
            (name::SLOT, slot.name().into()),
            (name::ID, id.into()),
            (name::BOOTS, format!("{rearms:x}")),
            (name::DEADLINE, format!("{deadline:x}")),
            (name::FAILED, failed.into()),
            (name::LOCAL, if self.local { "1" } else { "0" }.into()),
            (name::STARTS, format!("{:x}", self.starts)),
        ])
    }

    /// Reads a block. Unknown variables are ignored: a newer script may add some.
    pub fn parse(block: &[u8]) -> Result<Self, EnvError> {
        Self::from_variables(&env::parse(block)?).ok_or(EnvError::Malformed)
    }

    fn from_variables(v: &BTreeMap<String, String>) -> Option<Self> {
        let seq = u32::from_str_radix(v.get(name::SEQ)?, 16)
            .ok()
            .filter(|n| i32::try_from(*n).is_ok())?;
        let default = v.get(name::DEFAULT)?.parse().ok()?;
        let phase = v.get(name::TRIAL)?;
        // A block of an older agent has none of these: what they say then is said of each.
        let failed = v.get(name::FAILED).filter(|id| *id != NONE).cloned();
        let local = v.get(name::LOCAL).is_some_and(|v| v == "1");
        let deadline = v
            .get(name::DEADLINE)
            .and_then(|v| u64::from_str_radix(v, 16).ok())
            .filter(|n| *n > 0)
            .unwrap_or(DEFAULT_DEADLINE);
        let starts = v
            .get(name::STARTS)
            .and_then(|n| u8::from_str_radix(n, 16).ok())
            .unwrap_or(0);
        let slot = || v.get(name::SLOT)?.parse::<Slot>().ok();
        let mut state = Self {
            seq,
            default,
            trial: None,
            failed,
            local,
            starts,
            spoilt: None,
        };
        if phase == "none" {
            if slot().is_some_and(|slot| slot != default) {
                state.spoilt = v.get(name::ID).and_then(|how| Spoilt::parse(how));
            }
            return Some(state);
        }
        let trial = Trial {
            slot: slot()?,
            phase: Phase::parse(phase)?,
            id: v.get(name::ID)?.clone(),
            rearms: u8::from_str_radix(v.get(name::BOOTS)?, 16).ok()?,
            deadline,
        };
        (trial.slot != default).then_some(Self {
            trial: Some(trial),
            ..state
        })
    }
}

/// The two copies as they were read from the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies(pub [Option<BootState>; 2]);

impl Copies {
    /// Reads both blocks; a bad one is as good as absent.
    pub fn parse(blocks: [&[u8]; 2]) -> Self {
        Self(blocks.map(|b| BootState::parse(b).ok()))
    }

    /// The copy that counts, as in the script: the valid one with the higher sequence number. Where a boot loader cannot count,
    /// its writes leave that number alone; they only ever go on from armed to trying to lost, and to one start more, so of two
    /// equals that one counts which is further. Else the first.
    pub fn newest(&self) -> Option<(usize, &BootState)> {
        let far = |s: &BootState| {
            let phase = match s.trial.as_ref().map(|t| t.phase) {
                Some(Phase::Armed) => 0,
                None | Some(Phase::Trying | Phase::Failed) => 1,
                Some(Phase::Lost) => 2,
            };
            (s.seq, s.starts, phase)
        };
        match &self.0 {
            [Some(a), Some(b)] if far(b) > far(a) => Some((1, b)),
            [Some(a), _] => Some((0, a)),
            [None, Some(b)] => Some((1, b)),
            [None, None] => None,
        }
    }

    /// Which copy to overwrite with which block, so that `next` counts from then on.
    /// When no copy is valid both must be written; this is then the first of them.
    pub fn write(&self, next: &BootState) -> Result<(usize, Vec<u8>), EnvError> {
        let (index, seq) = self
            .newest()
            .map_or((0, FIRST), |(i, s)| (1 - i, s.seq.saturating_add(1)));
        BootState {
            seq,
            ..next.clone()
        }
        .encode()
        .map(|block| (index, block))
    }
}

#[cfg(test)]
mod tests;
