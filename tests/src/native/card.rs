//! A card that is a file behind a loop device, and what the boot loader does with it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hypriot_updater::boot::script::{ARG_DISK, ARG_SLOT};
use hypriot_updater::boot::{BootState, Copies, start};
use hypriot_updater::layout::{self, BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::mbr;
use hypriot_updater::slot::Slot;

use super::releases::Root;
use crate::exec;

/// For a program that takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// Larger than the layout; the file is sparse.
const SIZE: u64 = 3_300 << 20;

/// The card.
#[derive(Debug)]
pub struct Card {
    file: PathBuf,
    signature: u32,
    /// Where the kernel has it.
    pub device: PathBuf,
    /// The device goes, with its partitions, when nobody has it open any more; however we end.
    _held: File,
}

/// What is started.
#[derive(Debug)]
pub struct Start {
    /// The content of the slot's root.
    pub root: Root,
    /// What the boot script says to the kernel.
    pub command_line: String,
    /// It is a trial.
    pub trial: bool,
}

impl Start {
    /// The version that the slot's settings name.
    pub fn version(&self) -> Result<&str> {
        let settings = self.root.get("agent.toml").context("no agent.toml")?;
        let line = settings.lines().find_map(|l| l.strip_prefix("version = "));
        Ok(line.context("no version")?.trim_matches('"'))
    }
}

impl Card {
    /// As imagegen flashes it: slot a holds `root`, and there is no boot state but a fresh one.
    pub fn flash(path: &Path, number: usize, root: &[u8]) -> Result<Self> {
        let signature = 0xb0a2_d000 + u32::try_from(number)?;
        let file = File::create_new(path)?;
        file.set_len(SIZE)?;
        for (sector, bytes) in mbr::card(signature).encode()? {
            file.write_all_at(&bytes, sector)?;
        }
        file.write_all_at(root, layout::root(Slot::A).start)?;
        let fresh = BootState::fresh().encode()?;
        for at in BOOT_STATE {
            file.write_all_at(&fresh, at)?;
        }
        file.sync_all()?;
        let mut attach = exec::command("losetup");
        attach.args(["--find", "--partscan", "--show"]).arg(path);
        let device = exec::run(attach, PATIENCE)?;
        let device = Path::new(device.trim());
        let held = File::open(device);
        // losetup(8): a device that is in use is detached when it is no more
        let mut detach = exec::command("losetup");
        detach.arg("--detach").arg(device);
        exec::run(detach, PATIENCE)?;
        let own = Self {
            file: path.to_owned(),
            signature,
            device: device.to_owned(),
            _held: held?,
        };
        // a kernel that is built without DOS partitions is told them
        let mut partx = exec::command("partx");
        partx.arg("--update").arg(&own.device);
        exec::run(partx, PATIENCE)?;
        let mut mkfs = exec::command("/usr/sbin/mkfs.ext4");
        mkfs.arg("-q").arg(format!("{}p7", own.device.display()));
        exec::run(mkfs, PATIENCE)?;
        Ok(own)
    }

    /// What `boot.scr` does (`hypriot_updater::boot::script` is made from the same rule): read, decide, write to the other copy,
    /// start what was decided.
    pub fn start(&self) -> Result<Start> {
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.device)?;
        let mut blocks = [[0; BOOT_STATE_SIZE]; 2];
        for (at, block) in BOOT_STATE.into_iter().zip(&mut blocks) {
            disk.read_exact_at(block, at)?;
        }
        let copies = Copies::parse([&blocks[0], &blocks[1]]);
        let mut state = copies
            .newest()
            .map_or_else(BootState::fresh, |(_, s)| s.clone());
        let start = start(&state);
        if let Some(next) = start.write {
            let (n, block) = copies.write(&next)?;
            disk.write_all_at(&block, BOOT_STATE[n])?;
            disk.sync_all()?;
            state = next;
        }
        let slot = start.slot;
        Ok(Start {
            root: self.root(slot)?,
            command_line: format!(
                "quiet {ARG_SLOT}={} {ARG_DISK}={:08x}-2\n",
                slot.name(),
                self.signature
            ),
            trial: state.on_trial(slot).is_some(),
        })
    }

    /// What the slot holds is in the file once it was synced.
    fn root(&self, slot: Slot) -> Result<Root> {
        let mut bytes = vec![0; super::releases::ROOT];
        let file = File::open(&self.file)?;
        file.read_exact_at(&mut bytes, layout::root(slot).start)?;
        let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
        serde_json::from_slice(text).with_context(|| format!("slot {slot} holds no root"))
    }
}
