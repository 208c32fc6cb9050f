//! The boot state in the raw gap of the card, which U-Boot's script reads and writes (see [`hypriot_updater::boot`]).

use std::io;

use hypriot_updater::boot::{BootState, Copies};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::slot::Slot;

use crate::card::ports::{Bootloader, Disk, Keep, TrialChange};

/// The two copies on a disk that begins with the raw gap.
#[derive(Debug)]
pub struct RawState<D>(pub D);

impl<D: Disk> RawState<D> {
    /// A copy that cannot be read is as good as torn: the other one counts, as U-Boot has it. That none can be read is
    /// an error, because "no state" would mean that nothing is on trial.
    fn copies(&self) -> io::Result<Copies> {
        let mut blocks = [[0; BOOT_STATE_SIZE]; 2];
        let mut unread = Vec::new();
        for (at, block) in BOOT_STATE.into_iter().zip(&mut blocks) {
            if let Err(error) = self.0.read_at(at, block) {
                *block = [0; BOOT_STATE_SIZE];
                unread.push((at, error));
            }
        }
        let copies = Copies::parse([&blocks[0], &blocks[1]]);
        match unread.pop() {
            Some((at, error)) if copies.newest().is_none() => Err(io::Error::new(
                error.kind(),
                format!("at byte {at}: {error}"),
            )),
            _ => Ok(copies),
        }
    }

    /// Which copy counts.
    #[cfg(test)]
    pub(crate) fn newest_copy(&self) -> Option<usize> {
        Some(self.copies().ok()?.newest()?.0)
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

    /// The initramfs' part of a start: a state that was lost puts the first slot on trial ([`BootState::doubt`]).
    pub(crate) fn doubt(&mut self, booted: Slot) -> io::Result<()> {
        let lost = booted == Slot::A && self.state()?.doubt();
        if !lost {
            return Ok(());
        }
        self.update(|state| {
            state.doubt();
            Ok(())
        })
    }

    /// Writes what a start has to write.
    pub(crate) fn replace(&mut self, next: BootState) -> io::Result<()> {
        self.update(|state| {
            *state = next;
            Ok(())
        })
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
            .map_or_else(BootState::lost, |(_, s)| s.clone()))
    }

    fn try_once(&mut self, slot: Slot, id: &str, deadline: u64) -> io::Result<()> {
        self.update(|s| s.arm(slot, id, deadline).map_err(io::Error::other))
    }

    fn commit(&mut self, slot: Slot, keep: Keep) -> io::Result<()> {
        self.update(|s| match keep {
            Keep::Won => s.win(slot).map_err(io::Error::other),
            Keep::StandsIn => {
                s.commit(slot);
                Ok(())
            }
        })
    }

    fn change(&mut self, change: TrialChange) -> io::Result<()> {
        self.update(|s| match change {
            TrialChange::Rearm => s.rearm().map(|_| ()).map_err(io::Error::other),
            TrialChange::Fail => s.fail().map_err(io::Error::other),
            TrialChange::Refuse => {
                s.refuse();
                Ok(())
            }
            TrialChange::Cancel => {
                s.cancel();
                Ok(())
            }
        })
    }

    fn came_up(&mut self, booted: Slot) -> io::Result<bool> {
        // bad copies are made good again by the same write
        let known = self.copies()?.newest().is_some();
        let news = self.state()?.came_up(booted);
        if known && !news {
            return Ok(false);
        }
        self.update(|s| {
            s.came_up(booted);
            Ok(())
        })?;
        Ok(true)
    }

    fn overwrite_other(&mut self) -> io::Result<()> {
        let known = self.state()?;
        let mut next = known.clone();
        next.overwrite_other();
        if next == known {
            return Ok(());
        }
        self.update(|s| {
            s.overwrite_other();
            Ok(())
        })
    }

    fn forgive(&mut self, id: &str) -> io::Result<()> {
        if self.state()?.failed.as_deref() != Some(id) {
            return Ok(());
        }
        self.update(|s| {
            s.failed = None;
            Ok(())
        })
    }

    fn keep_local(&mut self, local: bool) -> io::Result<()> {
        if self.state()?.local == local {
            return Ok(());
        }
        self.update(|s| {
            s.local = local;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use hypriot_updater::boot::Phase;

    use super::*;
    use crate::card::fakes::MemDisk;

    fn card() -> (MemDisk, RawState<MemDisk>) {
        let disk = MemDisk::new(16 << 20);
        let mut state = RawState(disk.clone());
        state.try_once(Slot::B, "x1", 900).expect("armed");
        state.change(TrialChange::Fail).expect("failed");
        (disk, state)
    }

    #[test]
    fn one_unreadable_copy_is_as_good_as_a_torn_one() {
        let phase = |s: &RawState<MemDisk>| s.state().expect("a state").trial.map(|t| t.phase);
        for at in BOOT_STATE {
            let (disk, mut state) = card();
            assert_eq!(phase(&state), Some(Phase::Failed));
            disk.unreadable(at, BOOT_STATE_SIZE);
            // the older copy at the worst, as U-Boot sees it too
            assert!(phase(&state).is_some());
            // and the agent can still change it
            state.change(TrialChange::Cancel).expect("changed");
            assert_eq!(phase(&state), None);
        }
        let (disk, mut state) = card();
        disk.unreadable(0, 16 << 20);
        assert!(
            state.state().is_err(),
            "nothing known is not nothing on trial"
        );
        disk.protect();
        let refused = state.change(TrialChange::Fail);
        assert!(refused.is_err(), "nothing is written on top of the unknown");
    }

    #[test]
    fn a_start_that_went_well_is_written_once_and_heals_bad_copies() {
        let disk = MemDisk::new(16 << 20);
        let mut state = RawState(disk.clone());
        assert!(state.came_up(Slot::A).expect("written"), "both were bad");
        assert!(disk.writes() == 2 && state.newest_copy().is_some());
        assert!(!state.came_up(Slot::A).expect("nothing to write"));
        assert_eq!(disk.writes(), 2, "the card is not worn");
        let starts = |s: &mut BootState| {
            s.starts = 2;
            Ok(())
        };
        state.update(starts).expect("counted");
        assert!(state.came_up(Slot::A).expect("written"));
        assert_eq!(state.state().expect("a state").starts, 0);
        disk.protect();
        assert!(
            state.came_up(Slot::B).is_err(),
            "what cannot be kept is said"
        );
    }

    #[test]
    fn what_restricts_is_written_once_and_survives() {
        let (disk, mut state) = card();
        state.keep_local(true).expect("kept");
        let writes = disk.writes();
        state.keep_local(true).expect("kept");
        assert_eq!(disk.writes(), writes, "the card is not worn");
        state.commit(Slot::B, Keep::StandsIn).expect("committed");
        assert!(state.state().expect("a state").local);
    }
}
