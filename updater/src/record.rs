//! The one small thing a board must remember, on the data partition, outside both slots.
//!
//! Everything else is read from the disk each time. If the record is lost the board still boots; it forgets which
//! releases failed, save the last one, which the boot state knows too.
//!
//! Two versions of the agent share it: the one that was updated to, and the one that comes back after a rollback. So it is
//! read forward: what a newer agent added is passed over and kept, and an entry that cannot be read costs that entry alone.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::data::Written;
use crate::health::TestResult;
use crate::slot::{Digest, Release, Slot};

mod drill;
mod fetched;
pub use drill::{Drill, elapsed};
pub use fetched::Fetched;

/// Refusals beyond this many are forgotten, oldest first: the record stays small.
pub const MAX_REFUSED: usize = 32;
/// A trial whose end nobody saw (power cut, hang) is repeated this often before the release is refused.
pub const MAX_LOST: u8 = 1;
/// An armed slot that the boot loader does not start is given up after this many reboots: its write may be broken.
pub const MAX_IGNORED: u8 = 3;

/// How an attempt to update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The slot was committed.
    Confirmed,
    /// The slot judged itself bad, or the owner ended the trial.
    Failed,
    /// The board was reset during the trial: panic, hang or power cut.
    Unknown,
    /// The boot loader never started the slot.
    NeverTried,
}

impl Outcome {
    /// As the record and the report spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::NeverTried => "never-tried",
        }
    }
}

/// The last attempt, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried.
    pub release: Release,
    /// Where it lay.
    pub slot: Slot,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, one line each.
    #[serde(default, deserialize_with = "or_default")]
    pub reasons: Vec<String>,
    /// When the end was seen.
    #[serde(default, deserialize_with = "or_default")]
    pub at: Timestamp,
    /// Seconds from the restart that tried it to then, by the wall clock; none if that cannot be right.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub seconds: Option<u64>,
}

/// A release that is not installed again until the owner says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which. All that is needed to refuse it: a newer agent may say the rest in another way.
    pub release: Release,
    /// Why.
    #[serde(default, deserialize_with = "or_default")]
    pub reasons: Vec<String>,
    /// Since when.
    #[serde(default, deserialize_with = "or_default")]
    pub at: Timestamp,
}

/// What is known to lie completely in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// In slot A.
    #[serde(default, deserialize_with = "readable")]
    pub a: Option<Release>,
    /// In slot B.
    #[serde(default, deserialize_with = "readable")]
    pub b: Option<Release>,
}

/// Whose will it is that an update goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Will {
    /// The settings': it happens by itself, when the settings allow it.
    #[default]
    Settings,
    /// The owner asked for it: windows and the like are for what happens by itself.
    Now,
    /// The owner asked for it, and restarts the board himself.
    AtRestart,
}

/// The owner's word that nothing is updated for now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// Until then; without it, until the owner says otherwise.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Hold {
    /// Whether it is over. A clock that is behind only keeps it longer.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The owner's word that the board stays on, or goes to, one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Which.
    pub version: semver::Version,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default)]
    pub since: Timestamp,
}

/// A lock of a lock service that this board has, or asked for and may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The service.
    pub url: String,
    /// The group in which it was asked for.
    pub group: String,
    /// For which release: its digest.
    pub release: String,
    /// It was granted, in the boot `boot`.
    pub granted: bool,
    /// In which boot it was asked for.
    pub boot: String,
    /// When it was asked for.
    pub at: Timestamp,
}

/// Hooks that are still to be run because an update came to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// How it ended.
    pub outcome: Outcome,
    /// What was tried.
    pub version: semver::Version,
}

/// An update between its first write and its verdict. Agents of two versions share it: what one says beyond the other costs that alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is on its way.
    pub release: Release,
    /// Where to.
    pub slot: Slot,
    /// Tests as they were before.
    #[serde(default, deserialize_with = "all_readable")]
    pub baseline: Vec<TestResult>,
    /// Trials whose end nobody saw.
    #[serde(default, deserialize_with = "or_default")]
    pub lost: u8,
    /// Boots in which the loader had been asked to start the armed slot and did not.
    #[serde(default, deserialize_with = "or_default")]
    pub ignored: u8,
    /// The boot in which it was asked last: several requests in one boot are one.
    #[serde(default, deserialize_with = "readable")]
    pub asked_in: Option<String>,
    /// When it was asked last.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub asked_at: Option<Timestamp>,
    /// Whose will it is.
    #[serde(default, deserialize_with = "or_default")]
    pub will: Will,
    /// It is a drill: what is tried is a copy of what runs, and fails when its self-tests have run.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub drill: bool,
}

/// A slot that did not give back what its release says, when it was the base of an update: the card may be wearing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worn {
    /// The slot that ran.
    pub slot: Slot,
    /// Segments for which it was of no use; they came whole.
    pub segments: usize,
    /// When that was seen.
    pub at: Timestamp,
}

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the slots hold. Cleared before a slot is written, set after it was read back.
    #[serde(default, deserialize_with = "or_default")]
    pub contents: Contents,
    /// The update that is going on.
    #[serde(default, deserialize_with = "readable")]
    pub pending: Option<Pending>,
    /// The last one that ended.
    #[serde(default, deserialize_with = "readable")]
    pub last: Option<Attempt>,
    /// A slot that reads wrong, until it is written anew.
    #[serde(default, deserialize_with = "readable")]
    pub worn: Option<Worn>,
    /// Releases that failed here.
    #[serde(default, deserialize_with = "all_readable")]
    pub refused: Vec<Refused>,
    /// What was kept once and did not come up later: written anew one time, in case it was the card's fault.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub left: Option<Release>,
    /// The owner holds updates back.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub hold: Option<Hold>,
    /// The owner wants one version and no other.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub pin: Option<Pin>,
    /// The lock that a lock service gave, or may have given, to this board.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub lock: Option<Held>,
    /// Hooks that are to be run after the last update.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub after: Option<After>,
    /// The last drill.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub drill: Option<Drill>,
    /// The newest shape that a release which ran here may have given to the data of its services, whether it was kept or not.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub written: Option<Written>,
    /// Whence the last installation came.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub fetched: Option<Fetched>,
    /// What a newer agent wrote and this one does not know: kept for when that one is back.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A value, unless it says something that this version does not understand.
fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(d)?;
    Ok(serde_json::from_value(value).ok())
}

/// A value of what another version wrote, or the default where it says something that this one does not understand.
pub fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(readable(d)?.unwrap_or_default())
}

/// Those values of a list that this version understands.
fn all_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::<serde_json::Value>::deserialize(d)?;
    let read = |v| serde_json::from_value(v).ok();
    Ok(values.into_iter().filter_map(read).collect())
}

impl Record {
    /// Reads the record's JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| alloc::format!("{e}"))
    }

    /// The record's JSON, for [`Record::parse`].
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// What lies in `slot`, if that is known.
    pub const fn content(&self, slot: Slot) -> Option<&Release> {
        match slot {
            Slot::A => self.contents.a.as_ref(),
            Slot::B => self.contents.b.as_ref(),
        }
    }

    /// Sets or clears what lies in `slot`.
    pub fn set_content(&mut self, slot: Slot, release: Option<Release>) {
        if self.worn.as_ref().is_some_and(|w| w.slot == slot) {
            // all of it was written and read back
            self.worn = None;
        }
        match slot {
            Slot::A => self.contents.a = release,
            Slot::B => self.contents.b = release,
        }
    }

    /// Why a release is refused here, if it is.
    pub fn refusal(&self, digest: &Digest) -> Option<&Refused> {
        self.refused.iter().find(|r| r.release.digest == *digest)
    }

    /// Ends the pending update. Anything but success is remembered and not tried again.
    pub fn settle(&mut self, attempt: Attempt) {
        if attempt.outcome != Outcome::NeverTried {
            self.ran(&attempt.release);
        }
        if attempt.outcome == Outcome::Confirmed {
            self.refused
                .retain(|r| r.release.digest != attempt.release.digest);
        } else {
            let Attempt {
                release,
                reasons,
                at,
                ..
            } = attempt.clone();
            self.refuse(release, reasons, at);
        }
        self.pending = None;
        self.last = Some(attempt);
    }

    /// Ends the pending drill: nothing is refused, since what was tried is what runs.
    pub fn end_drill(&mut self, drill: Drill) {
        self.pending = None;
        self.drill = Some(drill);
    }

    /// What lay in `slot` was the default and did not come up any more. It is no longer taken for whole, so that the next
    /// update compares and mends all of it; when the same release is left for the second time, it is refused.
    pub fn leave(&mut self, slot: Slot, at: Timestamp) {
        let Some(release) = self.content(slot).cloned() else {
            return;
        };
        self.set_content(slot, None);
        if self.left.as_ref() == Some(&release) {
            let why = "it was kept, and did not come up later, twice".into();
            self.refuse(release, [why].into(), at);
        } else {
            self.left = Some(release);
        }
    }

    /// Keeps a release from being installed again by itself; the first reason stays.
    pub fn refuse(&mut self, release: Release, reasons: Vec<String>, at: Timestamp) {
        if self.refusal(&release.digest).is_some() {
            return;
        }
        self.refused.push(Refused {
            release,
            reasons,
            at,
        });
        let surplus = self.refused.len().saturating_sub(MAX_REFUSED);
        self.refused.drain(..surplus);
    }

    /// The owner allows a refused release again.
    pub fn forgive(&mut self, digest: &Digest) -> bool {
        let before = self.refused.len();
        self.refused.retain(|r| r.release.digest != *digest);
        self.refused.len() < before
    }
}

#[cfg(test)]
mod tests;
