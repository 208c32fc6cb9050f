//! Owns which disks may be written: removable ones, never one that this machine runs from or has mounted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its device: `/dev/mmcblk0`.
    pub path: PathBuf,
    /// What its maker calls it.
    pub model: String,
    /// Its bytes.
    pub size: u64,
    /// Whether it is made to be taken out: a card, a USB disk.
    pub removable: bool,
    /// What it is mounted on, or what else uses it.
    pub used: Vec<String>,
}

impl Disk {
    /// In a line.
    pub fn line(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "gigabytes for people")]
        let gb = self.size as f64 / 1e9;
        let used = if self.used.is_empty() {
            String::new()
        } else {
            format!(", used by {}", self.used.join(", "))
        };
        format!("{}  {gb:.1} GB  {}{used}", self.path.display(), self.model)
    }
}

/// All disks that could be cards, as the kernel tells them below `sys` (`/sys`), with what `mounts` (`/proc/self/mountinfo`) and
/// `swaps` (`/proc/swaps`) say of their use.
pub fn list(sys: &Path, mounts: &str, swaps: &str) -> Result<Vec<Disk>> {
    let dir = sys.join("block");
    let mut out = Vec::new();
    let entries =
        fs::read_dir(&dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let virtual_one = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
        if virtual_one.iter().any(|v| name.starts_with(v))
            || name.contains("boot")
            || name.contains("rpmb")
        {
            continue;
        }
        let at = dir.join(&name);
        let text = |file: &str| {
            fs::read_to_string(at.join(file))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let sectors: u64 = text("size").parse().unwrap_or(0);
        if sectors == 0 {
            continue;
        }
        let way = fs::canonicalize(&at).unwrap_or_default();
        let way = way.to_string_lossy();
        // Documentation/ABI/stable/sysfs-block: sizes are in sectors of 512 bytes.
        let removable =
            text("removable") == "1" || way.contains("/usb") || name.starts_with("mmcblk");
        let model = [
            text("device/vendor"),
            text("device/model"),
            text("device/name"),
        ];
        let model: Vec<String> = model.into_iter().filter(|m| !m.is_empty()).collect();
        out.push(Disk {
            path: Path::new("/dev").join(&name),
            model: model.join(" "),
            size: sectors * 512,
            removable,
            used: used(sys, &name, mounts, swaps),
        });
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// What uses a disk or anything that lies on it: mounts, swap, and devices made of it.
fn used(sys: &Path, disk: &str, mounts: &str, swaps: &str) -> Vec<String> {
    let mut devices = BTreeSet::new();
    let mut todo = vec![sys.join("block").join(disk)];
    let mut names = BTreeSet::new();
    while let Some(at) = todo.pop() {
        let name = at
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !names.insert(name) {
            continue;
        }
        if let Ok(number) = fs::read_to_string(at.join("dev")) {
            devices.insert(number.trim().to_owned());
        }
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                todo.push(entry.path());
            }
        }
        // An encrypted or joined disk on it (sysfs-block, `holders`).
        for entry in fs::read_dir(at.join("holders"))
            .into_iter()
            .flatten()
            .flatten()
        {
            todo.push(sys.join("block").join(entry.file_name()));
        }
    }
    let mut out = Vec::new();
    for line in mounts.lines() {
        // proc(5), mountinfo: id, parent, device, root, place.
        let words: Vec<&str> = line.split(' ').collect();
        if words.len() > 4 && devices.contains(words[2]) {
            out.push(words[4].to_owned());
        }
    }
    for line in swaps.lines().skip(1) {
        let device = line.split_whitespace().next().unwrap_or_default();
        if names.iter().any(|n| device == format!("/dev/{n}")) {
            out.push("swap".to_owned());
        }
    }
    out
}

/// The disk of this name, if it may be written: `needs` bytes fit on it, and nothing uses it.
pub fn chosen(disks: &[Disk], path: &Path, needs: u64) -> Result<Disk> {
    let real = fs::canonicalize(path).unwrap_or_else(|_e| path.to_owned());
    let Some(disk) = disks.iter().find(|d| d.path == real) else {
        let whole = disks.iter().find(|d| {
            real.to_string_lossy()
                .starts_with(&*d.path.to_string_lossy())
        });
        match whole {
            Some(d) => bail!(
                "{} is a part of {}; name the whole disk",
                path.display(),
                d.path.display()
            ),
            None => bail!(
                "{} is no disk that can be written; there are:\n  {}",
                path.display(),
                candidates(disks)
            ),
        }
    };
    ensure!(
        disk.used.is_empty(),
        "{} is in use ({}); nothing was written. If it is the right one: umount {}",
        disk.path.display(),
        disk.used.join(", "),
        disk.used.join(" ")
    );
    ensure!(
        disk.removable,
        "{} is built into this machine ({}); cards are removable. Nothing was written",
        disk.path.display(),
        disk.model
    );
    ensure!(
        disk.size >= needs,
        "{} has {} MB, the image needs {} MB",
        disk.path.display(),
        disk.size / 1_000_000,
        needs / 1_000_000
    );
    Ok(disk.clone())
}

/// The disks that may be written, a line each.
pub fn candidates(disks: &[Disk]) -> String {
    let good = disks.iter().filter(|d| d.removable && d.used.is_empty());
    let lines: Vec<String> = good.map(Disk::line).collect();
    if lines.is_empty() {
        "(none that is removable and not in use)".to_owned()
    } else {
        lines.join("\n  ")
    }
}
