//! Why a board does nothing now, as a value and in words.

use alloc::string::String;
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;

use super::Trouble;
use crate::data::Written;
use crate::record::Hold;
use crate::slot::{Digest, Release, Slot};

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing newer is offered.
    UpToDate,
    /// The repository cannot be asked; in its words.
    Unreachable(String),
    /// No update source, or nothing for this board.
    NoOffer,
    /// The offered release failed here before.
    Refused(Digest),
    /// Data on the board has a newer shape than the offered release reads.
    State {
        /// What is offered.
        version: semver::Version,
        /// The newest shape that it reads.
        reads: u32,
        /// What is there.
        written: Written,
    },
    /// Not yet: the release's rollout, in its words.
    Hold(String),
    /// The owner holds updates back.
    Held(Hold),
    /// The owner wants this version and no other.
    Pinned(semver::Version),
    /// The owner wants to install by hand.
    OwnerInstalls(Release),
    /// It lies in the other slot, and the owner says when it is tried.
    Downloaded(Release),
    /// Until this board's turn in the next maintenance window; none if they never open.
    Window(Option<Timestamp>),
    /// There are maintenance windows, and the clock is not known to be right.
    NoClock,
    /// Somebody asks not to restart the board.
    Inhibited(Vec<String>),
    /// The lock service did not grant the lock; in its words.
    Locked(String),
    /// What is done before a restart went wrong.
    Hook(String),
    /// The owner wants to reboot by hand.
    OwnerReboots(Slot),
    /// Something is wrong with the board.
    Trouble(Trouble),
}

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UpToDate => f.write_str("up to date"),
            Self::Unreachable(why) => write!(f, "the update source cannot be used: {why}"),
            Self::NoOffer => f.write_str("no release for this board is offered"),
            Self::Refused(digest) => {
                write!(
                    f,
                    "the offered release failed here before; `hypriot-agent forgive {digest}` allows it again"
                )
            }
            Self::State {
                version,
                reads,
                written: Written { state_version, by },
            } => write!(
                f,
                "{version} reads data up to state version {reads}, and {by} may have written version {state_version} here"
            ),
            Self::Hold(why) => f.write_str(why),
            Self::Held(hold) => hold.fmt(f),
            Self::Pinned(version) => write!(f, "the board is pinned to {version}"),
            Self::Downloaded(release) => write!(
                f,
                "{} lies in the other slot; `hypriot-agent install` tries it",
                release.version
            ),
            Self::Window(Some(at)) => {
                write!(f, "the board may restart from {at} on (maintenance window)")
            }
            Self::Window(None) => f.write_str("the maintenance windows that are set never open"),
            Self::NoClock => f.write_str(
                "the clock is not known to be right, so no maintenance window is taken for open",
            ),
            Self::Inhibited(who) => write!(f, "a restart is put off by {}", who.join("; ")),
            Self::Locked(why) => {
                write!(f, "the lock service does not let the board restart: {why}")
            }
            Self::Hook(why) => write!(f, "not ready to restart: {why}"),
            Self::OwnerInstalls(release) => write!(
                f,
                "{} is offered; `hypriot-agent install` installs it",
                release.version
            ),
            Self::OwnerReboots(slot) => write!(f, "slot {slot} is ready; a reboot tries it"),
            Self::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

impl Why {
    /// One word of a few, for metrics and programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UpToDate => "up-to-date",
            Self::Unreachable(_) => "unreachable",
            Self::NoOffer => "no-offer",
            Self::Refused(_) => "refused",
            Self::State { .. } => "state",
            Self::Hold(_) => "rollout",
            Self::Held(_) => "held",
            Self::Pinned(_) => "pinned",
            Self::OwnerInstalls(_) => "owner-installs",
            Self::OwnerReboots(_) => "owner-reboots",
            Self::Downloaded(_) => "downloaded",
            Self::Window(_) => "window",
            Self::NoClock => "no-clock",
            Self::Inhibited(_) => "inhibited",
            Self::Locked(_) => "locked",
            Self::Hook(_) => "hook",
            Self::Trouble(_) => "trouble",
        }
    }

    /// All of them, for whoever shows each.
    pub const NAMES: [&'static str; 17] = [
        "up-to-date",
        "unreachable",
        "no-offer",
        "refused",
        "state",
        "rollout",
        "held",
        "pinned",
        "owner-installs",
        "owner-reboots",
        "downloaded",
        "window",
        "no-clock",
        "inhibited",
        "locked",
        "hook",
        "trouble",
    ];
}

impl core::fmt::Display for Hold {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the owner holds updates back")?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}
