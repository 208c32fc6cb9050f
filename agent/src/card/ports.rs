//! The boundaries to the card. Each takes and gives values, so that the update loop runs against memory in tests.

use std::io;

use hypriot_updater::boot::BootState;
use hypriot_updater::index::Target;
use hypriot_updater::slot::Slot;

/// The boot loader's own memory of which slot to start.
///
/// Each call is atomic: after a power cut at any moment the board boots the default slot or the armed one, never neither.
pub trait Bootloader {
    /// Reads it from the medium, never from a cache.
    fn state(&self) -> io::Result<BootState>;
    /// One trial of `slot`, to be judged `deadline` seconds after boot; the default is untouched. Durable on return.
    fn try_once(&mut self, slot: Slot, id: &str, deadline: u64) -> io::Result<()>;
    /// Makes `slot` the default and ends the trial. Durable on return.
    fn commit(&mut self, slot: Slot, keep: Keep) -> io::Result<()>;
    /// Changes how the trial stands (re-armed, failed, cancelled). Durable on return.
    fn change(&mut self, change: TrialChange) -> io::Result<()>;
    /// The system of slot `booted` came up, in a boot that began as no trial: the boot loader need not count it as failed.
    /// Says whether that was news; written only then. Durable on return.
    fn came_up(&mut self, booted: Slot) -> io::Result<bool>;
    /// The slot that is not the default is about to be overwritten: by coming up alone it is never made the default. Written
    /// only when it was not known. Durable on return.
    fn overwrite_other(&mut self) -> io::Result<()>;
    /// Forgets that this release failed last. Durable on return.
    fn forgive(&mut self, id: &str) -> io::Result<()>;
    /// Remembers whether the owner closed `/health` to the network. Written only when it differs. Durable on return.
    fn keep_local(&mut self, local: bool) -> io::Result<()>;
}

/// The partitions of both slots.
pub trait Slots {
    /// Refuses a card whose partition table is not the one this agent knows, or that cannot be written.
    fn check(&self) -> io::Result<()>;
    /// A partition of a slot that nobody uses; the running slot's is refused.
    fn open(&self, slot: Slot, target: Target) -> io::Result<Box<dyn Disk>>;
    /// The slot that runs, which is read and never written.
    fn running(&self, slot: Slot) -> io::Result<Box<dyn Running>>;
}

/// Why a slot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It won its trial: refused when the trial is no longer going on, because somebody ended it since the loop looked.
    Won,
    /// It runs because the default did not come up.
    StandsIn,
}

/// What can happen to a trial besides being won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialChange {
    /// An orderly reboot: the next start tries again. Nothing happens when that was allowed often enough.
    Rearm,
    /// The slot judged itself bad.
    Fail,
    /// There is no trial any more, and what was tried failed.
    Refuse,
    /// There is no trial any more.
    Cancel,
}

/// The slot that runs, to be read: what a delta starts from.
pub trait Running {
    /// Fills `buf` from `at` of a partition of it.
    fn read_at(&self, target: Target, at: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// One stretch of storage. Writes may be lost or reordered until `sync` returns.
pub trait Disk {
    /// Length in bytes.
    fn size(&self) -> u64;
    /// Fills `buf` from `at`; after `sync`, from the medium and not from a cache.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `at`.
    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on the medium.
    fn sync(&mut self) -> io::Result<()>;
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(at, buf)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(at, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}
