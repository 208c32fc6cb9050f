//! How a drill went, and how long it took.

use alloc::string::String;
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Outcome;

/// How the last drill went: a trial of a copy of what runs, made to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// `failed` is what was wanted: the board came back by itself.
    pub outcome: Outcome,
    /// What the slot on trial said.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// When the board restarted to try it; none if it never did.
    #[serde(default)]
    pub began: Option<Timestamp>,
    /// When it ran in its old slot again.
    pub at: Timestamp,
    /// When its self-tests held there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Timestamp>,
}

impl Drill {
    /// Whether the way back was proven.
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Failed
    }

    /// Seconds from the restart to a healthy old slot, if both are known.
    pub fn seconds(&self) -> Option<u64> {
        elapsed(self.began?, self.healthy?)
    }
}

/// Seconds between two looks at the wall clock; none if it was set in between.
pub fn elapsed(from: Timestamp, to: Timestamp) -> Option<u64> {
    to.0.checked_sub(from.0).filter(|seconds| *seconds < DAY)
}

/// No trial lasts so long: then the clock was set meanwhile.
const DAY: u64 = 86_400;
