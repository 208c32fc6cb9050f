//! What a layer would hide of the image. A layer may add files; it may not replace any that a package of the image brought, nor the agent's
//! own: those are what starts the board and brings it back. `dpkg` refuses most of that; scripts and diversions it does not see.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::dpkg::{self, Packages};

/// What is the project's own in an image, which no package brought.
const OWN: [&str; 4] = [
    "usr/bin/hypriot-agent",
    "usr/lib/hypriot",
    "usr/share/hypriot",
    "usr/lib/modules",
];
/// What the initramfs looks for before it lays a layer over a root, whoever made it. systemd, the C library's loader, shells, the
/// checker of the data partition and the agent start a board.
const FIRST: [&str; 9] = [
    "usr/bin/hypriot-agent",
    "usr/bin/sh",
    "usr/bin/dash",
    "usr/bin/systemctl",
    "usr/lib/systemd/systemd",
    "usr/lib/systemd/system/hypriot-agent.service",
    "usr/sbin/init",
    "usr/sbin/e2fsck",
    "usr/lib/hypriot",
];
/// Folders that are other places on a board, or start anew with it: nothing of a layer is seen there.
const ELSEWHERE: [&str; 2] = ["etc", "var"];
/// A list of a package's files is no larger.
const LIMIT: u64 = 16 * 1024 * 1024;
/// So many are named.
const NAMED: usize = 5;

/// The first thing of those that start a board which the layer would hide.
pub fn first(upper: &Path) -> Option<&'static str> {
    FIRST
        .into_iter()
        .find(|path| fs::symlink_metadata(upper.join(path)).is_ok())
}

/// Whether the layer in `upper` leaves all that the image has: its files, and its packages in dpkg's record. `merged` is how both look
/// together: a folder that was removed and made anew hides what the image has in it.
pub fn judge(upper: &Path, image: &Path, merged: &Path) -> anyhow::Result<()> {
    let owned = owned(image)?;
    let mut hidden = BTreeSet::new();
    let mut hide = |path: &str| {
        let below = |own: &&str| {
            path.strip_prefix(own)
                .is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        if OWN.iter().any(below) || owned.contains(path) {
            hidden.insert(path.to_owned());
        }
    };
    walk(upper, "", &mut |path, is_dir| {
        let Ok(there) = fs::symlink_metadata(image.join(path)) else {
            return;
        };
        if !(is_dir && there.is_dir()) {
            hide(path);
            return;
        }
        for entry in fs::read_dir(image.join(path))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = format!("{path}/{}", entry.file_name().to_string_lossy());
            if fs::symlink_metadata(merged.join(&name)).is_err() {
                hide(&name);
            }
        }
    })?;
    let named: Vec<&str> = hidden.iter().take(NAMED).map(String::as_str).collect();
    ensure!(
        hidden.is_empty(),
        "installing them replaced {} of the image's own files (/{}): a layer may only add",
        hidden.len(),
        named.join(", /")
    );
    let (before, after) = (
        dpkg::load(image)?,
        dpkg::load(upper).or_else(|_| dpkg::load(image))?,
    );
    let changed = changed(&before, &after);
    ensure!(
        changed.is_empty(),
        "installing them changed packages of the image ({}): a layer may only add",
        changed.join(", ")
    );
    Ok(())
}

fn changed(before: &Packages, after: &Packages) -> Vec<String> {
    let other = before
        .iter()
        .filter(|(name, package)| after.get(*name) != Some(*package));
    other
        .map(|((name, _), _)| name.clone())
        .take(NAMED)
        .collect()
}

/// Files that packages of the image brought, as dpkg lists them, by their real places: `/bin` is `/usr/bin` (file-hierarchy(7)).
fn owned(image: &Path) -> anyhow::Result<BTreeSet<String>> {
    let info = image.join("var/lib/dpkg/info");
    let mut all = BTreeSet::new();
    let entries = fs::read_dir(&info).with_context(|| format!("reading {}", info.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "list") {
            continue;
        }
        let bytes = crate::files::read(&path, LIMIT)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let name = line.trim_start_matches('/');
            let top = name.split('/').next().unwrap_or_default();
            let merged = matches!(top, "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32");
            all.insert(if merged {
                format!("usr/{name}")
            } else {
                name.to_owned()
            });
        }
    }
    Ok(all)
}

/// Every name below `dir`, without the places that are elsewhere on a board.
fn walk(dir: &Path, prefix: &str, tell: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = if prefix.is_empty() {
            name.to_string_lossy().into_owned()
        } else {
            format!("{prefix}/{}", name.to_string_lossy())
        };
        if ELSEWHERE.contains(&&*path) {
            continue;
        }
        let kind = entry.file_type()?;
        // overlayfs.rst, "whiteouts": what was removed is a character device
        tell(&path, kind.is_dir());
        if kind.is_dir() {
            walk(&entry.path(), &path, tell)?;
        }
    }
    Ok(())
}
