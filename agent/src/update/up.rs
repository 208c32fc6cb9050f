//! Tells the boot loader that this start went well.
//!
//! The boot loader counts each start of a committed slot, and after some that did not go well it starts the other slot
//! ([`hypriot_updater::boot::start`]). What clears the count needs as little as possible: the kernel command line, the
//! card's name from the initramfs, the raw boot state. No settings, no record, no daemon: a board whose agent is broken
//! has come up all the same.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use hypriot_updater::slot::Slot;

use crate::card::ports::Bootloader;
use crate::exec::Cmd;
use crate::paths::TRIED;
use crate::update::board::Place;

/// A start that is not finished after so long counts as one that went well: systemd lives, and an owner's service that
/// never ends its start must not cost a board its slot.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until systemd has finished starting, then clears the count. Says whether there was anything to write.
pub fn came_up() -> anyhow::Result<bool> {
    let tried = Path::new(TRIED).exists();
    if !tried {
        wait_for_systemd()?;
    }
    let place = Place::find()?;
    tell(&mut *place.boot()?, place.booted, tried)
        .context("telling the boot loader that the system came up")
}

/// Clears the count, if there is one and this boot did not begin as a trial: a trial is judged by its tests, and one that was
/// judged bad runs on for a moment.
pub fn tell(boot: &mut dyn Bootloader, booted: Slot, tried: bool) -> io::Result<bool> {
    if tried {
        return Ok(false);
    }
    boot.came_up(booted)
}

/// `systemctl is-system-running --wait` ends when the queue of jobs is empty, or the system goes down; it prints which.
fn wait_for_systemd() -> anyhow::Result<()> {
    let asked = Cmd::new("systemctl")
        .args(["is-system-running", "--wait"])
        .timeout(PATIENCE)
        .output();
    let state = match asked {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => {
            tracing::warn!("{error}: systemd is still starting units, which counts as up");
            return Ok(());
        }
    };
    match state.as_str() {
        // systemctl(1): some unit failed, which is for the self-tests to judge
        "running" | "degraded" => Ok(()),
        other => bail!("systemd says the system is {other:?}, which is not up"),
    }
}
