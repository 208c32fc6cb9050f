//! Owns the way of a finished image to a card: what the owner adds to it is checked and put in, the card is found and never the
//! disk this machine runs from, everything is read back.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hypriot_updater::layout;
use hypriot_updater::slot::Slot;

use crate::formats::erofs::read::Erofs;
use crate::formats::fat;
use crate::formats::fat::read::Fat;
use crate::formats::{Blocks, HostFile, Volume, Window};
use crate::inputs::userdata::{self, Locked, edit};
use crate::progress::Progress;
use crate::tree::Tree;

pub mod bmap;
mod boot;
pub mod disks;
pub mod source;
#[cfg(test)]
mod tests;
mod write;

pub use write::write;

/// A file for the first partition is not larger.
const FILE_MAX: u64 = 64 << 20;

/// What the owner adds.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// `user-data` instead of the image's.
    pub user_data: Option<PathBuf>,
    /// `network-config` instead of the image's.
    pub network_config: Option<PathBuf>,
    /// The host name.
    pub hostname: Option<String>,
    /// A public key for the first user: the key itself, or a file that holds it.
    pub ssh_key: Option<String>,
    /// Wi-Fi networks.
    pub wifi: Vec<edit::Network>,
    /// The country whose rules hold for them.
    pub country: Option<String>,
    /// Words for the kernel's command line.
    pub cmdline: Option<String>,
    /// More files for the first partition.
    pub files: Vec<PathBuf>,
}

impl Changes {
    fn is_none(&self) -> bool {
        self.user_data.is_none()
            && self.network_config.is_none()
            && self.hostname.is_none()
            && self.ssh_key.is_none()
            && self.wifi.is_empty()
            && self.cmdline.is_none()
            && self.files.is_empty()
    }
}

/// An image with what its owner added.
#[derive(Debug)]
pub struct Image {
    disk: HostFile,
    /// The first partition anew.
    config: Option<Volume>,
}

impl Blocks for Image {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let Some(volume) = &self.config else {
            return self.disk.read_at(at, buf);
        };
        let (start, end) = (
            layout::CONFIG.start,
            layout::CONFIG.start + layout::CONFIG.size,
        );
        let to = at + buf.len() as u64;
        if to <= start || at >= end {
            return self.disk.read_at(at, buf);
        }
        let before = usize::try_from(start.saturating_sub(at))?;
        let inside = usize::try_from(to.min(end) - at.max(start))?;
        let (head, rest) = buf.split_at_mut(before);
        let (middle, tail) = rest.split_at_mut(inside);
        if !head.is_empty() {
            self.disk.read_at(at, head)?;
        }
        volume.read_at(at.max(start) - start, middle)?;
        if !tail.is_empty() {
            self.disk.read_at(end, tail)?;
        }
        Ok(())
    }
}

impl Image {
    /// The runs of bytes that were not in the image as it came.
    pub fn changed(&self) -> Vec<(u64, u64)> {
        let runs = self.config.as_ref().map(Volume::mapped).unwrap_or_default();
        let here = runs.into_iter();
        here.map(|(at, len)| (layout::CONFIG.start + at, len))
            .collect()
    }
}

/// Puts what the owner adds into the first partition, after it was read as the board will read it. Nothing is written.
pub fn prepare(
    disk: HostFile,
    changes: &Changes,
    locked: Locked,
    progress: Progress,
) -> Result<Image> {
    if changes.is_none() {
        return Ok(Image { disk, config: None });
    }
    let config = {
        let part = Window {
            of: &disk,
            start: layout::CONFIG.start,
            len: layout::CONFIG.size,
        };
        let old = Fat::open(&part).context("the image's first partition")?;
        ensure!(
            old.label == "HypriotOS",
            "the image's first partition is called {:?}: this is no image of ours",
            old.label
        );
        let slot = layout::root(Slot::A);
        let part = Window {
            of: &disk,
            start: slot.start,
            len: slot.size,
        };
        let root = Erofs::open(&part).context("the image's root file system")?;
        let tree = first_partition(&old, &root, changes, locked, progress)?;
        let options = fat::Options {
            label: "HypriotOS",
            volume_id: old.volume_id,
            size: layout::CONFIG.size,
            last: &["user-data", "meta-data", "network-config"],
        };
        fat::plan(&tree, options).context("the card's first partition")?
    };
    Ok(Image {
        disk,
        config: Some(config),
    })
}

/// The files of the first partition, with the owner's.
fn first_partition(
    old: &Fat<'_, Window<'_, HostFile>>,
    root: &Erofs<'_, Window<'_, HostFile>>,
    changes: &Changes,
    locked: Locked,
    progress: Progress,
) -> Result<Tree> {
    let mut tree = Tree::new(0);
    for (path, found) in &old.names {
        if found.dir {
            tree.insert_dir(path, 0o755)?;
        } else {
            tree.insert_bytes(path, 0o644, old.read(path)?)?;
        }
    }
    for path in &changes.files {
        let name = path.file_name().and_then(|n| n.to_str());
        let name = name.with_context(|| format!("{} has no usable name", path.display()))?;
        tree.insert_bytes(name, 0o644, small(path, FILE_MAX)?)?;
    }
    boot::add(&mut tree, changes)?;
    let (text, name) = match &changes.user_data {
        Some(path) => (
            small(path, userdata::MAX_BYTES as u64)?,
            path.display().to_string(),
        ),
        None => (old.read("user-data")?, "the image's user-data".to_owned()),
    };
    // Read twice: before it is changed, since only a whole one can be, and as it will lie on the card.
    let first = userdata::user_data(&name, &text, Some(root), Locked::Meant)?;
    let mut text = first.text;
    if let Some(host) = &changes.hostname {
        text = edit::set_host_name(&text, host)?;
    }
    if let Some(key) = &changes.ssh_key {
        text = edit::add_key(&text, &key_of(key)?)?;
    }
    let last = userdata::user_data(&name, text.as_bytes(), Some(root), locked)?;
    let mended = first
        .words
        .iter()
        .filter(|w| w.kind == userdata::Kind::Repaired);
    for word in mended.chain(&last.words) {
        progress.note(&format!("note: {name}: {word}"));
    }
    if let Some(host) = userdata::host_name_of(&text) {
        let meta = format!("instance-id: hypriotos\nlocal-hostname: {host}\n");
        tree.insert_bytes("meta-data", 0o644, meta)?;
    }
    tree.insert_bytes("user-data", 0o644, last.text)?;
    let network = match &changes.network_config {
        Some(_) if !changes.wifi.is_empty() => {
            bail!("--network-config and --ssid are both given: write the Wi-Fi into the file, too")
        }
        Some(path) => Some((
            small(path, userdata::MAX_BYTES as u64)?,
            path.display().to_string(),
        )),
        None if changes.wifi.is_empty() => None,
        None => {
            let text = edit::wifi(&changes.wifi, changes.country.as_deref());
            Some((text.into_bytes(), "--ssid".to_owned()))
        }
    };
    if let Some((text, name)) = network {
        let checked = userdata::network_config(&name, &text, Some(root))?;
        for word in &checked.words {
            progress.note(&format!("note: {name}: {word}"));
        }
        tree.insert_bytes("network-config", 0o644, checked.text)?;
    }
    Ok(tree)
}

/// A key, or what the file of this name holds.
fn key_of(given: &str) -> Result<String> {
    if userdata::public_key(given).is_ok() {
        return Ok(given.to_owned());
    }
    let bytes = small(Path::new(given), 1 << 16)
        .with_context(|| format!("`{given}` is neither a public key nor a file that holds one"))?;
    Ok(String::from_utf8(bytes)
        .context("the key file is not text")?
        .trim()
        .to_owned())
}

fn small(path: &Path, most: u64) -> Result<Vec<u8>> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    ensure!(meta.is_file(), "{} is not a file", path.display());
    ensure!(
        meta.len() <= most,
        "{} has {} bytes; at most {most} are taken",
        path.display(),
        meta.len()
    );
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
