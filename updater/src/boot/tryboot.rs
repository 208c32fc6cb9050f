//! Raspberry Pi's own A/B: `autoboot.txt` names the default partition, and a flag in the firmware's memory starts the other one once.
//!
//! Sources: Raspberry Pi documentation, `computers/config_txt/autoboot.adoc` and `raspberry-pi/bootflow-eeprom.adoc`; the release
//! notes of rpi-eeprom. What they say, and what follows here:
//!
//! * `autoboot.txt` has at most 512 bytes: ours has exactly 512, one sector, which is changed in place ([`autoboot`], [`fat`]).
//!   It is the truth about the default slot; the boot state in the raw gap ([`super::state`]) is the rest of the memory, and
//!   follows it ([`reconciled`]).
//! * The flag is gone when the board loses power, and the firmware clears it before it starts anything: a hang, a panic or a cut
//!   in the trial ends in the default, and an armed trial that lost its flag is armed again ([`began`]).
//! * The firmware counts nothing. The initramfs does, so a kernel that dies before it leaves no trace, and the default has no
//!   other chance than the watchdog's.
//! * A sector that a cut made garbage names nothing: the firmware then walks over the partitions to the first that it can
//!   start ([`View::usable`] asks for an EEPROM that does), and the initramfs writes the file anew, since the flag means nothing
//!   without it. It is written nowhere else but at a commit.

pub mod autoboot;
pub mod fat;

use alloc::string::{String, ToString};

use hypriot_keys::time::Timestamp;

use super::start::MAX_STARTS;
use super::state::{BootState, MAX_REARMS, Phase};
use crate::layout;
use crate::slot::Slot;

/// Value of [`super::script::ARG_SLOT`] where the firmware knows the slot: both have the same command line.
pub const BY_FIRMWARE: &str = "firmware";
/// The first release of the EEPROM that walks over the partitions by itself when `autoboot.txt` is damaged, and can start
/// `start.elf` then, too: 2025-08-20 (rpi-eeprom, `firmware-2711/release-notes.md`: PARTITION_WALK is the default since
/// 2025-08-13, mended on 2025-08-20).
pub const EEPROM: Timestamp = Timestamp(1_755_648_000);

/// What the firmware says of this start, in `/proc/device-tree/chosen/bootloader/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// `partition`: where it started from; 0 is "the first that can be started".
    pub partition: u32,
    /// `tryboot`: whether the flag was set.
    pub tryboot: bool,
    /// `build-timestamp` of the EEPROM, seconds since 1970.
    pub built: u32,
}

/// Why this firmware cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It lacks what the way back needs.
    #[error(
        "the boot loader in this board's EEPROM is of {found}; updates need one of {needed} or newer: `sudo rpi-eeprom-update -a`, then restart"
    )]
    Old {
        /// Its date.
        found: String,
        /// That of [`EEPROM`].
        needed: String,
    },
    /// It does not say, or started from elsewhere (USB, network, a recovery).
    #[error(
        "the firmware says that it started from partition {0}, which is no slot: `autoboot.txt` was not followed"
    )]
    NoSlot(u32),
}

fn day(at: Timestamp) -> String {
    let mut text = at.to_string();
    text.truncate("2025-08-20".len());
    text
}

impl View {
    /// From the three cells of the device tree, as they lie there: 32 bits, the highest first (Devicetree Specification, 2.2.4).
    pub fn parse(partition: &[u8], tryboot: &[u8], built: &[u8]) -> Option<Self> {
        let cell = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
        Some(Self {
            partition: cell(partition)?,
            tryboot: cell(tryboot)? != 0,
            built: cell(built)?,
        })
    }

    /// The slot that was started.
    pub fn slot(&self) -> Result<Slot, Unusable> {
        Slot::ALL
            .into_iter()
            .find(|slot| u32::from(layout::boot(*slot).number) == self.partition)
            .ok_or(Unusable::NoSlot(self.partition))
    }

    /// Whether updates may rely on this firmware.
    pub fn usable(&self) -> Result<(), Unusable> {
        let built = Timestamp(self.built.into());
        if built < EEPROM {
            return Err(Unusable::Old {
                found: day(built),
                needed: day(EEPROM),
            });
        }
        self.slot().map(drop)
    }
}

/// The boot state as it holds: `autoboot.txt` is changed first at a commit, so where the two differ, a cut came between. A file
/// that names no slot says nothing.
pub fn reconciled(mut state: BootState, default: Option<Slot>) -> BootState {
    if let Some(default) = default
        && default != state.default
    {
        state.commit(default);
    }
    state
}

/// What the initramfs does with a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Goes on.
    Go,
    /// Sets the flag for the next start, and goes on: a trial is armed, and the flag is lost with each start.
    Arm,
    /// Sets the flag and restarts: the default does not come up, the other slot has its turn.
    Other,
}

/// A start, seen from the initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Began {
    /// What is written before anything else; its sequence number is one higher.
    pub write: Option<BootState>,
    /// And then.
    pub next: Next,
    /// Whether the trial must not go on if that cannot be written: nobody would know that it began.
    pub must: bool,
}

/// What [`super::start::start`] is to U-Boot's script: the same states, of a start that has already happened. `state` is
/// [`reconciled`], `tried` what the firmware says of its flag.
pub fn began(state: &BootState, booted: Slot, tried: bool) -> Began {
    let mut next = state.clone();
    next.seq = next.seq.saturating_add(1);
    let mut news = false;
    let mut then = Next::Go;
    if let Some(trial) = &mut next.trial {
        if trial.slot == booted {
            // what runs here in another phase only stands in
            let must = trial.phase == Phase::Armed && tried;
            if must {
                trial.phase = Phase::Trying;
            }
            return Began {
                write: must.then_some(next),
                next: Next::Go,
                must,
            };
        }
        match trial.phase {
            Phase::Trying => {
                trial.phase = Phase::Lost;
                news = true;
            }
            // never tried: the flag went with the power. But not for ever: a firmware may not know it
            Phase::Armed if trial.rearms >= MAX_REARMS => {
                trial.phase = Phase::Lost;
                news = true;
            }
            Phase::Armed => {
                trial.rearms += 1;
                (news, then) = (true, Next::Arm);
            }
            Phase::Failed | Phase::Lost => (),
        }
    }
    if booted == state.default && !tried {
        // From twice the number on nothing is written any more, and the slots take turns: what gives the other its turn is a
        // flag, which a cut takes away, so no number of turns says that it has had one.
        if state.starts < 2 * MAX_STARTS {
            next.starts += 1;
            news = true;
        }
        if next.starts > MAX_STARTS && then == Next::Go {
            then = Next::Other;
        }
    }
    Began {
        write: news.then_some(next),
        next: then,
        must: false,
    }
}

#[cfg(test)]
mod tests;
