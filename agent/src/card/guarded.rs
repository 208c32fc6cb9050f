//! One change of the boot loader's memory at a time, whoever makes it: the loop, a command of the owner's, the unit that tells of
//! a start that went well, the one that ends a trial, the one that re-arms it.
//!
//! Each change reads, decides and writes; of two at once, one would be lost. The lock is held for the few milliseconds that takes,
//! never while anybody thinks or installs: the last resort of a trial must not wait for a loop that hangs. A process that was
//! killed holds nothing. One that hangs in the very write holds it, since its card hangs: whoever waits then is told so soon, and
//! goes back without a mark, which the boot loader understands too.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hypriot_updater::boot::BootState;
use hypriot_updater::slot::Slot;

use super::ports::{Bootloader, Keep, TrialChange};
use crate::lock::Lock;

/// Held by whoever changes the boot state. In a directory that root alone can enter, see [`Lock::try_take`].
pub const LOCK: &str = "/run/hypriot/private/boot-state";
/// A write of 4 KiB takes an old card a second at the most. systemd waits longer than this for each unit that waits here.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A boot loader's memory that several processes change.
pub struct Guarded {
    memory: Box<dyn Bootloader>,
    lock: PathBuf,
    patience: Duration,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("lock", &self.lock)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Guarded {
    /// Changes `memory` only while the file `lock` is locked, for which it waits so long.
    pub fn new(memory: Box<dyn Bootloader>, lock: PathBuf, patience: Duration) -> Self {
        Self {
            memory,
            lock,
            patience,
        }
    }

    fn alone<T>(
        &mut self,
        change: impl FnOnce(&mut dyn Bootloader) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = match Lock::take_within(&self.lock, self.patience) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => {
                let (lock, seconds) = (self.lock.display(), self.patience.as_secs());
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "{lock} is held for over {seconds} s: a process hangs while it writes the boot state"
                    ),
                ));
            }
            // a /run in which nothing can be made must not keep a bad slot running; two at once would have to meet in milliseconds
            Err(error) => {
                tracing::warn!("changing the boot state without a lock: {error}");
                None
            }
        };
        let done = change(&mut *self.memory);
        drop(lock);
        done
    }
}

impl Bootloader for Guarded {
    /// Without the lock: a copy that is being written is torn at the worst, and then the other one counts, as after a power cut.
    fn state(&self) -> io::Result<BootState> {
        self.memory.state()
    }

    fn try_once(&mut self, slot: Slot, id: &str, deadline: u64) -> io::Result<()> {
        self.alone(|memory| memory.try_once(slot, id, deadline))
    }

    fn commit(&mut self, slot: Slot, keep: Keep) -> io::Result<()> {
        self.alone(|memory| memory.commit(slot, keep))
    }

    fn change(&mut self, change: TrialChange) -> io::Result<()> {
        self.alone(|memory| memory.change(change))
    }

    fn came_up(&mut self, booted: Slot) -> io::Result<bool> {
        self.alone(|memory| memory.came_up(booted))
    }

    fn overwrite_other(&mut self) -> io::Result<()> {
        self.alone(|memory| memory.overwrite_other())
    }

    fn forgive(&mut self, id: &str) -> io::Result<()> {
        self.alone(|memory| memory.forgive(id))
    }

    fn keep_local(&mut self, local: bool) -> io::Result<()> {
        self.alone(|memory| memory.keep_local(local))
    }
}

#[cfg(test)]
mod tests;
