//! The boot loaders of the world: U-Boot's script, by its definition, and Raspberry Pi's firmware, by its model.

use super::{Catalog, Event, Medium, Part, RecordingDisk, World, loads};

use hypriot_updater::boot::tryboot::{autoboot, reconciled};
use hypriot_updater::boot::{BootState, Copies, Phase, start};
use hypriot_updater::layout;
use hypriot_updater::slot::Slot;

use crate::card::bootloader::RawState;
use crate::card::ports::Bootloader;
use crate::card::tryboot::Tryboot;
use crate::card::tryboot::firmware::model::Model;

/// A boot loader of the Raspberry Pi that does all that is asked of it: 2025-10-09.
pub(super) const EEPROM: u32 = 1_760_000_000;

/// The boot state of a card as whoever reads it next takes it.
pub(in super::super) fn state_of(medium: &Medium) -> BootState {
    let copies = Copies::parse(medium.copies());
    let state = copies
        .newest()
        .map_or_else(BootState::fresh, |(_, s)| s.clone());
    reconciled(state, autoboot::parse(medium.part(Part::Autoboot)).ok())
}

impl World {
    fn is_tryboot(&self) -> bool {
        // a cut may leave garbage there, never the zeros of a card without it
        self.0.borrow().medium.part(Part::Autoboot)[0] != 0
    }

    /// The agent's way to the boot loader's memory.
    pub(super) fn boot(&self) -> Box<dyn Bootloader> {
        if self.is_tryboot() {
            Box::new(self.tryboot())
        } else {
            Box::new(RawState(RecordingDisk(self.clone(), Part::State)))
        }
    }

    fn tryboot(&self) -> Tryboot<RecordingDisk, RecordingDisk, Model> {
        let part = |part| RecordingDisk(self.clone(), part);
        let firmware = self.0.borrow().firmware.clone();
        Tryboot::new(part(Part::State), part(Part::Autoboot), 0, firmware)
    }

    /// The slot that starts, and whether as a trial.
    pub(super) fn power_on(&self, catalog: &Catalog) -> Result<(Slot, bool), String> {
        if self.is_tryboot() {
            self.firmware_starts(catalog)
        } else {
            self.script_starts(catalog)
        }
    }

    /// The firmware starts a partition, and the initramfs has its part.
    fn firmware_starts(&self, catalog: &Catalog) -> Result<(Slot, bool), String> {
        for _ in 0..3 {
            let view = {
                let live = self.0.borrow();
                let starts = |partition: u32| {
                    let slot = |s: &Slot| u32::from(layout::boot(*s).number) == partition;
                    let slot = Slot::ALL.into_iter().find(slot);
                    slot.is_some_and(|slot| loads(catalog, &live.medium, slot))
                };
                let file = live.medium.part(Part::Autoboot);
                live.firmware.start(file, starts).ok_or("no slot starts")?
            };
            let slot = view.slot().map_err(|e| e.to_string())?;
            let mut boot = self.tryboot();
            if boot.began(slot, view.tryboot).map_err(|e| e.to_string())? {
                continue;
            }
            let state = boot.state().map_err(|e| e.to_string())?;
            let tried = state
                .on_trial(slot)
                .is_some_and(|t| matches!(t.phase, Phase::Armed | Phase::Trying));
            return Ok((slot, tried));
        }
        Err("the firmware goes from slot to slot".into())
    }

    /// What U-Boot's script does, by [`hypriot_updater::boot::start`], until a slot loads.
    fn script_starts(&self, catalog: &Catalog) -> Result<(Slot, bool), String> {
        for _ in 0..3 {
            let (start, write) = {
                let live = self.0.borrow();
                let copies = Copies::parse(live.medium.copies());
                let found = copies.newest();
                let start = start(&found.map_or_else(BootState::fresh, |(_, s)| s.clone()));
                let write = start.write.as_ref().map(|next| copies.write(next));
                (start, write.transpose().map_err(|e| e.to_string())?)
            };
            if let Some((index, block)) = write {
                let at = index * block.len();
                self.change(Event::Write(Part::State, at, block.into()))
                    .and_then(|()| self.change(Event::Flush(Part::State)))
                    .map_err(|e| e.to_string())?;
            }
            let live = self.0.borrow();
            let tried = start.write.is_some_and(|state| {
                state
                    .on_trial(start.slot)
                    .is_some_and(|t| t.phase == Phase::Trying)
            });
            if loads(catalog, &live.medium, start.slot) {
                return Ok((start.slot, tried));
            }
            // the script's last resort; a trial that does not load is a reset
            if !tried && loads(catalog, &live.medium, !start.slot) {
                return Ok((!start.slot, false));
            }
        }
        Err("no slot loads".into())
    }
}
