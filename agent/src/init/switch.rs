//! Handing over: the slot's root becomes `/`, the initramfs is emptied, and this process becomes systemd.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags};

use super::mount;
use super::watchdog::Watchdog;
use crate::exec::Cmd;

/// Becomes `/sbin/init` of the root mounted at `root`, which takes the watchdog over.
///
/// The same steps as util-linux' switch_root(8): delete what the initramfs holds in memory, move the mount, change root.
pub(super) fn to(root: &Path, watchdog: Option<Watchdog>) -> anyhow::Result<Infallible> {
    // /dev, /proc, /sys, /run are bound into the new root already
    for old in ["/dev", "/proc", "/sys", "/run"] {
        nix::mount::umount2(old, MntFlags::MNT_DETACH)
            .with_context(|| format!("letting go of {old}"))?;
    }
    let memory = fs::metadata("/")?.dev();
    empty(Path::new("/"), memory);
    std::env::set_current_dir(root)?;
    mount(Path::new("."), Path::new("/"), None, MsFlags::MS_MOVE, None)?;
    nix::unistd::chroot(".").context("changing root")?;
    std::env::set_current_dir("/")?;
    if let Some(watchdog) = watchdog {
        watchdog.hand_over();
    }
    Err(Cmd::new("/sbin/init").become_it()).context("starting systemd")
}

/// Removes all files on the file system `device` at and below `dir`. What cannot be removed only costs memory.
fn empty(dir: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let Ok(meta) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if meta.dev() != device {
            continue;
        }
        if meta.is_dir() {
            empty(&entry.path(), device);
            drop(fs::remove_dir(entry.path()));
        } else {
            drop(fs::remove_file(entry.path()));
        }
    }
}
