//! The second boot loader: Raspberry Pi's own firmware ([`hypriot_updater::boot::tryboot`]). Same trial record, other arming step.
//!
//! Order of the writes. Arming: the record, then the flag, which a power cut takes away and the next start sets again. A commit:
//! `autoboot.txt`, one sector in place, synced and read back; then the record, which the next reader completes if a cut came between.

pub mod firmware;

use std::io;

use hypriot_updater::boot::BootState;
use hypriot_updater::boot::tryboot::autoboot::{self, AutobootError};
use hypriot_updater::boot::tryboot::fat::{self, FindError};
use hypriot_updater::boot::tryboot::{Next, began, reconciled};
use hypriot_updater::layout::CONFIG;
use hypriot_updater::slot::Slot;

use crate::card::bootloader::RawState;
use crate::card::ports::{Bootloader, Disk, Keep, TrialChange};
use firmware::Firmware;

/// Where `autoboot.txt` lies on a disk that begins with the partition table.
pub fn place_of_autoboot(disk: &impl Disk) -> io::Result<u64> {
    let read = |at, sector: &mut [u8; autoboot::SIZE]| disk.read_at(CONFIG.start + at, sector);
    fat::find(read, autoboot::FILE, b"AUTOBOOTTXT")
        .map(|at| CONFIG.start + at)
        .map_err(|e| match e {
            FindError::Disk(e) => e,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
}

/// The boot state, the sector with `autoboot.txt`, and the firmware's flag.
#[derive(Debug)]
pub struct Tryboot<D, S, F> {
    record: RawState<D>,
    autoboot: S,
    /// Where the sector lies on `autoboot`.
    at: u64,
    firmware: F,
}

impl<D: Disk, S: Disk, F: Firmware> Tryboot<D, S, F> {
    /// With the boot state on `gap`, and the sector at `at` of `autoboot`.
    pub fn new(gap: D, autoboot: S, at: u64, firmware: F) -> Self {
        Self {
            record: RawState(gap),
            autoboot,
            at,
            firmware,
        }
    }

    /// The default that the file names; nothing if it is damaged, which the firmware answers with a walk over the partitions.
    fn named(&self) -> io::Result<Option<Slot>> {
        let mut sector = [0; autoboot::SIZE];
        self.autoboot.read_at(self.at, &mut sector)?;
        match autoboot::parse(&sector) {
            Ok(slot) => Ok(Some(slot)),
            Err(AutobootError::NotOurs | AutobootError::Size(_)) => Ok(None),
        }
    }

    /// Makes the file name this default. Nothing is written where it does already.
    fn name(&mut self, default: Slot) -> io::Result<()> {
        if self.named().ok().flatten() == Some(default) {
            return Ok(());
        }
        let sector = autoboot::encode(default);
        self.autoboot.write_at(self.at, &sector)?;
        self.autoboot.sync()?;
        let mut back = [0; autoboot::SIZE];
        self.autoboot.read_at(self.at, &mut back)?;
        if back != sector {
            return Err(io::Error::other(
                "autoboot.txt reads back differently: the card is failing, replace it",
            ));
        }
        Ok(())
    }

    /// Completes a commit that a cut came into, so that the record can be changed.
    fn settle(&mut self) -> io::Result<()> {
        let state = self.record.state()?;
        match self.named()? {
            Some(default) if default != state.default => {
                self.record.commit(default, Keep::StandsIn)
            }
            _ => Ok(()),
        }
    }

    /// The initramfs' part of a start ([`hypriot_updater::boot::tryboot::began`]): whether the board must restart now, because
    /// the other slot has its turn.
    pub fn began(&mut self, booted: Slot, tried: bool) -> io::Result<bool> {
        self.settle()?;
        let state = self.record.state()?;
        if self.named()?.is_none() {
            // The firmware cannot go anywhere but where its walk leads, flag or not. If it cannot be mended, that has to do.
            drop(self.name(state.default));
        }
        let start = began(&state, booted, tried);
        let kept = match start.write {
            Some(next) => self.record.replace(next),
            None => Ok(()),
        };
        match kept {
            Err(error) if start.must => return Err(error),
            // the default goes on, as U-Boot's script has it
            Err(_) => return Ok(false),
            Ok(()) => (),
        }
        match start.next {
            Next::Go => Ok(false),
            // not set: the trial is not tried in the next start, and that is counted
            Next::Arm => self.firmware.try_next(true).map(|()| false).or(Ok(false)),
            Next::Other => self.firmware.try_next(true).map(|()| true),
        }
    }
}

impl<D: Disk, S: Disk, F: Firmware> Bootloader for Tryboot<D, S, F> {
    fn state(&self) -> io::Result<BootState> {
        Ok(reconciled(self.record.state()?, self.named()?))
    }

    fn try_once(&mut self, slot: Slot, id: &str, deadline: u64) -> io::Result<()> {
        let view = self.firmware.view()?;
        view.usable().map_err(io::Error::other)?;
        self.settle()?;
        // a file that is damaged starts no trial
        let default = self.record.state()?.default;
        self.name(default)?;
        self.record.try_once(slot, id, deadline)?;
        if let Err(error) = self.firmware.try_next(true) {
            self.record.change(TrialChange::Cancel)?;
            return Err(error);
        }
        Ok(())
    }

    fn commit(&mut self, slot: Slot, keep: Keep) -> io::Result<()> {
        self.settle()?;
        let mut known = self.record.state()?;
        // by `settle`: what came between the file and the record before was this very commit
        let keep = if known.default == slot {
            Keep::StandsIn
        } else {
            keep
        };
        if keep == Keep::Won {
            // asked before the file is changed, which cannot be taken back
            known.win(slot).map_err(io::Error::other)?;
        }
        self.name(slot)?;
        // the flag was gone with the start of the trial
        self.record.commit(slot, keep)
    }

    fn change(&mut self, change: TrialChange) -> io::Result<()> {
        self.settle()?;
        self.record.change(change)?;
        let armed = self.record.state()?.is_armed();
        let told = self.firmware.try_next(armed);
        match change {
            // the flag was gone with the start of the trial
            TrialChange::Fail | TrialChange::Refuse => Ok(()),
            TrialChange::Rearm | TrialChange::Cancel => told,
        }
    }

    fn came_up(&mut self, booted: Slot) -> io::Result<bool> {
        self.settle()?;
        let mut next = self.record.state()?;
        next.came_up(booted);
        let mended = self.named()? != Some(next.default);
        self.name(next.default)?;
        Ok(self.record.came_up(booted)? || mended)
    }

    fn overwrite_other(&mut self) -> io::Result<()> {
        self.settle()?;
        self.record.overwrite_other()
    }

    fn forgive(&mut self, id: &str) -> io::Result<()> {
        self.settle()?;
        self.record.forgive(id)
    }

    fn keep_local(&mut self, local: bool) -> io::Result<()> {
        self.settle()?;
        self.record.keep_local(local)
    }
}

#[cfg(test)]
mod tests;
