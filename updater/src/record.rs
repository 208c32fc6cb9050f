//! The one small thing a board must remember, on the data partition, outside both slots.
//!
//! Everything else is read from the disk each time. If the record is lost the board still boots and updates; it only
//! forgets which releases failed.

use alloc::string::String;
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::TestResult;
use crate::slot::{Digest, Release, Slot};

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

/// The last attempt, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// What was tried.
    pub release: Release,
    /// Where it lay.
    pub slot: Slot,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, one line each.
    pub reasons: Vec<String>,
    /// When the end was seen.
    pub at: Timestamp,
}

/// A release that is not installed again until the owner says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Which.
    pub release: Release,
    /// Why.
    pub reasons: Vec<String>,
    /// Since when.
    pub at: Timestamp,
}

/// What is known to lie completely in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// In slot A.
    pub a: Option<Release>,
    /// In slot B.
    pub b: Option<Release>,
}

/// An update between its first write and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// What is on its way.
    pub release: Release,
    /// Where to.
    pub slot: Slot,
    /// Tests as they were before.
    pub baseline: Vec<TestResult>,
    /// Trials whose end nobody saw.
    pub lost: u8,
    /// Reboots after which the armed slot had not been started.
    pub ignored: u8,
}

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What the slots hold. Cleared before a slot is written, set after it was read back.
    #[serde(default)]
    pub contents: Contents,
    /// The update that is going on.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// The last one that ended.
    #[serde(default)]
    pub last: Option<Attempt>,
    /// Releases that failed here.
    #[serde(default)]
    pub refused: Vec<Refused>,
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
