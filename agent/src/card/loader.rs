//! Which boot loader this board has: the kernel's command line names the slot (U-Boot's script), or sends to the firmware, which
//! knows from where it started.

use std::io;

use hypriot_updater::slot::Slot;

use super::bootloader::RawState;
use super::disk::{Card, Window};
use super::guarded::{self, Guarded};
use super::ports::Bootloader;
use super::tryboot::firmware::{Firmware, Mailbox};
use super::tryboot::{Tryboot, place_of_autoboot};
use crate::cmdline::Told;

type OnCard = Tryboot<Window, Window, Mailbox>;

/// The slot that runs.
pub fn slot(told: Told) -> io::Result<Slot> {
    match told {
        Told::Slot(slot) => Ok(slot),
        Told::Firmware => Mailbox.view()?.slot().map_err(io::Error::other),
    }
}

/// The boot loader's memory on this card, which other processes change, too.
pub fn open(card: &Card, told: Told) -> io::Result<Guarded> {
    let memory: Box<dyn Bootloader> = match told {
        Told::Slot(_) => Box::new(RawState(card.open_gap()?)),
        Told::Firmware => Box::new(tryboot(card)?),
    };
    Ok(Guarded::new(
        memory,
        guarded::LOCK.into(),
        guarded::PATIENCE,
    ))
}

/// The initramfs' part of a start: whether the board must restart, for the other slot's turn.
pub fn began(card: &Card, told: Told) -> io::Result<bool> {
    match told {
        Told::Slot(slot) => {
            let doubted = card.open_gap().and_then(|gap| RawState(gap).doubt(slot));
            if let Err(error) = doubted {
                // a card that cannot be written is told of by the agent, and this slot is as good a guess as any
                tracing::warn!("the boot state was lost, and cannot be made anew: {error}");
            }
            Ok(false)
        }
        Told::Firmware => {
            let view = Mailbox.view()?;
            let slot = view.slot().map_err(io::Error::other)?;
            tryboot(card)?.began(slot, view.tryboot)
        }
    }
}

fn tryboot(card: &Card) -> io::Result<OnCard> {
    let first = card.open_first()?;
    let at = place_of_autoboot(&first)?;
    Ok(Tryboot::new(card.open_gap()?, first, at, Mailbox))
}
