//! The boot state in the raw gap of the card, which U-Boot's script reads and writes (see [`hypriot_updater::boot`]).

use std::io;

use hypriot_updater::boot::{BootState, Copies};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::slot::Slot;

use crate::card::ports::{Bootloader, Disk, TrialChange};

/// The two copies on a disk that begins with the raw gap.
#[derive(Debug)]
pub struct RawState<D>(pub D);

impl<D: Disk> RawState<D> {
    fn copies(&self) -> io::Result<Copies> {
        let mut blocks = [[0; BOOT_STATE_SIZE]; 2];
        for (at, block) in BOOT_STATE.into_iter().zip(&mut blocks) {
            self.0.read_at(at, block)?;
        }
        Ok(Copies::parse([&blocks[0], &blocks[1]]))
    }

    /// Changes the state. The older copy is overwritten, synced and read back; when none was valid, both are written.
    fn update(&mut self, change: impl FnOnce(&mut BootState) -> io::Result<()>) -> io::Result<()> {
        let copies = self.copies()?;
        let mut state = copies
            .newest()
            .map_or_else(BootState::fresh, |(_, s)| s.clone());
        change(&mut state)?;
        let (index, block) = copies.write(&state).map_err(io::Error::other)?;
        self.put(index, &block)?;
        if copies.newest().is_none() {
            self.put(1 - index, &block)?;
        }
        Ok(())
    }

    fn put(&mut self, index: usize, block: &[u8]) -> io::Result<()> {
        let at = BOOT_STATE[index];
        self.0.write_at(at, block)?;
        self.0.sync()?;
        let mut back = vec![0; block.len()];
        self.0.read_at(at, &mut back)?;
        if back != block {
            return Err(io::Error::other(format!(
                "the boot state written at byte {at} reads back differently: the card is failing, replace it"
            )));
        }
        Ok(())
    }
}

impl<D: Disk> Bootloader for RawState<D> {
    fn state(&self) -> io::Result<BootState> {
        Ok(self
            .copies()?
            .newest()
            .map_or_else(BootState::fresh, |(_, s)| s.clone()))
    }

    fn try_once(&mut self, slot: Slot, id: &str) -> io::Result<()> {
        self.update(|s| s.arm(slot, id).map_err(io::Error::other))
    }

    fn commit(&mut self, slot: Slot) -> io::Result<()> {
        self.update(|s| {
            s.commit(slot);
            Ok(())
        })
    }

    fn change(&mut self, change: TrialChange) -> io::Result<()> {
        self.update(|s| match change {
            TrialChange::Rearm => s.rearm().map(|_| ()).map_err(io::Error::other),
            TrialChange::Fail => s.fail().map_err(io::Error::other),
            TrialChange::Cancel => {
                s.cancel();
                Ok(())
            }
        })
    }
}
