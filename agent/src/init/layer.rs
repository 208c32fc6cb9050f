//! The layer of the owner's packages over the slot's root ([`crate::packages`]).
//!
//! It is the owner's, and no start may need it: whatever is wrong with it, it is left out, and that is said. A board that does not come up
//! with it is started without it before the boot loader gives the slot up.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use hypriot_updater::boot::BootState;
use hypriot_updater::boot::start::MAX_STARTS;
use nix::mount::{MntFlags, MsFlags};

use super::{mount, say};
use crate::files;
use crate::packages::{layer, release, shadow, store::Store};
use crate::paths::{LAYER, LAYER_LEFT, RELEASE};

/// What is mounted in the root already, from the initramfs' own.
const KERNEL: [&str; 4] = ["dev", "proc", "sys", "run"];

/// What a layer brings that lives on the data partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Folders below `/var` of which the owner's copy is used.
    pub(super) state: Vec<String>,
    /// Folders of logs, made where they are not there: from, and name.
    pub(super) logs: Vec<(PathBuf, String)>,
}

/// Lays the layer of this release over `root`, if there is one. The data partition is mounted in it.
///
/// `merged` is a place of the initramfs where both are put together.
pub(super) fn lay(root: &Path, merged: &Path, state: Option<&BootState>) -> Kept {
    let store = Store::new(root.join("data/packages"));
    if !store.layers().is_dir() {
        return Kept::default();
    }
    match find(root, merged, &store, state) {
        Ok(None) => Kept::default(),
        Ok(Some((layer, kept))) => {
            say(6, &format!("the owner's packages: layer {}", layer.name));
            note(LAYER, &layer.name);
            kept
        }
        Err(error) => {
            let why = format!("{error:#}");
            say(3, &format!("the owner's packages are left out: {why}"));
            note(LAYER_LEFT, &why);
            Kept::default()
        }
    }
}

fn note(path: &str, text: &str) {
    if let Err(error) = files::replace(Path::new(path), text.as_bytes(), 0o644) {
        say(4, &error.to_string());
    }
}

fn find(
    root: &Path,
    merged: &Path,
    store: &Store,
    state: Option<&BootState>,
) -> anyhow::Result<Option<(layer::Layer, Kept)>> {
    let id = release::id(root)?;
    note(RELEASE, &id);
    let Some(layer) = layer::newest(store, &id)?.filter(|layer| !layer.record.is_empty()) else {
        return Ok(None);
    };
    // who counts the starts says when it is too much; without a count a layer that hangs the board would do so for ever
    let state = state.context(
        "the boot state cannot be read, and nobody would count the starts that fail with it",
    )?;
    ensure!(
        !is_last_chance(state.starts),
        "the board did not come up in its last {} starts",
        MAX_STARTS - 1
    );
    let upper = layer.upper();
    if let Some(path) = shadow::first(&upper) {
        bail!("it would replace /{path}, which starts the board");
    }
    let kept = Kept {
        state: layer::kept(&upper, root),
        logs: layer::logs(&upper, root)
            .into_iter()
            .map(|name| (upper.join(&name), name))
            .collect(),
    };
    over(root, merged, &upper)?;
    Ok(Some((layer, kept)))
}

/// The last start of a slot before the other one has its turn ([`hypriot_updater::boot::start`]): it is made without the layer.
fn is_last_chance(starts: u8) -> bool {
    starts > 0 && starts.is_multiple_of(MAX_STARTS)
}

/// Replaces what is mounted at `root` by an overlay of both, with all that is mounted in it. Until the last step `root` is as it was.
fn over(root: &Path, merged: &Path, upper: &Path) -> anyhow::Result<()> {
    create_dir_all(merged)?;
    let options = format!("lowerdir={}:{}", upper.display(), root.display());
    let overlay = Path::new("overlay");
    mount(
        overlay,
        merged,
        Some("overlay"),
        MsFlags::MS_RDONLY,
        Some(&options),
    )?;
    let moved = fill(root, merged).and_then(|()| mount(merged, root, None, MsFlags::MS_MOVE, None));
    if let Err(error) = moved {
        let (from, to) = (merged.join("data"), root.join("data"));
        if !to.join("packages").is_dir() {
            mount(&from, &to, None, MsFlags::MS_MOVE, None)?;
        }
        nix::mount::umount2(merged, MntFlags::MNT_DETACH).context("taking the layer away again")?;
        return Err(error);
    }
    Ok(())
}

fn fill(root: &Path, merged: &Path) -> anyhow::Result<()> {
    for name in ["sbin/init", "usr/bin/hypriot-agent"] {
        // its end may lie in the layer alone, or nowhere
        std::fs::symlink_metadata(merged.join(name))
            .with_context(|| format!("/{name} is not to be seen with it"))?;
    }
    for name in KERNEL {
        let (from, to) = (Path::new("/").join(name), merged.join(name));
        mount(&from, &to, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    }
    let (from, to) = (root.join("data"), merged.join("data"));
    mount(&from, &to, None, MsFlags::MS_MOVE, None)
}

#[cfg(test)]
mod tests;
