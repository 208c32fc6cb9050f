//! What is mounted where.

use std::fs::{DirBuilder, create_dir_all};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::mount::MsFlags;

use super::{in_root, mount, say, seed};
use crate::config::LOCAL;
use crate::exec::Exit;
use crate::files;
use crate::update::store::DATA_LOST;

/// Directories that live on the data partition and outlast updates. At their first use they are filled from the image.
/// Of systemd's own state only the clock is kept: it is what time starts from on a board without a battery.
const KEPT: [&str; 7] = [
    "home",
    "root",
    "var/lib/docker",
    "var/lib/containerd",
    "var/lib/cloud",
    "var/log",
    "var/lib/systemd/timesync",
];

/// `/dev`, `/proc`, `/sys`, `/run`.
pub(super) fn kernel() -> anyhow::Result<()> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    for (kind, target, flags, data) in [
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
        ("proc", "/proc", strict, ""),
        ("sysfs", "/sys", strict, ""),
        (
            "tmpfs",
            "/run",
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            "mode=0755",
        ),
    ] {
        create_dir_all(target)?;
        match mount(
            Path::new(kind),
            Path::new(target),
            Some(kind),
            flags,
            Some(data),
        ) {
            // CONFIG_DEVTMPFS_MOUNT
            Err(e) if e.downcast_ref() == Some(&nix::errno::Errno::EBUSY) => (),
            other => other?,
        }
    }
    Ok(())
}

/// The slot's root, which nothing ever writes.
pub(super) fn root(device: &Path, root: &Path) -> anyhow::Result<()> {
    create_dir_all(root)?;
    mount(device, root, Some("erofs"), MsFlags::MS_RDONLY, None)?;
    for place in ["dev", "proc", "sys", "run"] {
        let (from, to) = (Path::new("/").join(place), root.join(place));
        mount(&from, &to, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    }
    Ok(())
}

/// The data partition: checked, mended as far as that is safe, mounted.
///
/// A board whose data partition is beyond mending still starts, with an empty one in memory: it must answer its owner
/// and say what is wrong. `/run/hypriot/data-lost` tells the agent, and whether the owner had closed `/health` (`local`).
pub(super) fn data(device: &Path, root: &Path, local: bool) -> anyhow::Result<()> {
    let target = root.join("data");
    if let Err(error) = check(device, root)
        .and_then(|()| mount(device, &target, Some("ext4"), MsFlags::MS_NOATIME, None))
    {
        say(
            2,
            &format!(
                "the data partition cannot be used, starting with an empty one in memory: {error:#}"
            ),
        );
        let word = if local { LOCAL } else { "" };
        files::replace(Path::new(DATA_LOST), word.as_bytes(), 0o644)?;
        mount(
            Path::new("tmpfs"),
            &target,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
    }
    Ok(())
}

/// e2fsck(8): exit code 0 clean, 1 mended, 2 mended and wants a reboot (only for a mounted root), 4 and up not mended.
fn check(device: &Path, root: &Path) -> anyhow::Result<()> {
    let run = |how: &str| {
        in_root(root, "e2fsck")
            .arg(how)
            .arg(device)
            .timeout(Duration::from_mins(30))
            .output()
    };
    let first = run("-p")?;
    if let Exit::Code(0..=2) = first.exit {
        return Ok(());
    }
    say(
        3,
        &format!(
            "e2fsck -p cannot mend the data partition by itself ({}), trying e2fsck -y",
            first.exit
        ),
    );
    let second = run("-y")?;
    anyhow::ensure!(
        matches!(second.exit, Exit::Code(0..=2)),
        "e2fsck -y: {}",
        second.exit
    );
    Ok(())
}

/// The FAT partition with the owner's files, read-only: `mount -o remount,rw /boot` to edit it.
pub(super) fn config(device: &Path, root: &Path) {
    let options = "umask=0022,iocharset=ascii,codepage=437,shortname=mixed";
    if let Err(error) = mount(
        device,
        &root.join("boot"),
        Some("vfat"),
        MsFlags::MS_RDONLY | MsFlags::MS_NOATIME,
        Some(options),
    ) {
        say(4, &format!("{error:#}"));
    }
}

/// Overlays and bind mounts over the read-only root.
pub(super) fn state(root: &Path) -> anyhow::Result<()> {
    let data = root.join("data");
    let etc = data.join("overlay/etc");
    overlay(&root.join("etc"), &etc)?;
    // everything below /var that is not kept starts from the image at each boot
    overlay(&root.join("var"), Path::new("/run/hypriot/var"))?;
    for name in KEPT {
        let (kept, place) = (data.join(name), root.join(name));
        seed::once(&place, &kept)
            .with_context(|| format!("preparing {name} on the data partition"))?;
        create_dir_all(&place)?;
        mount(&kept, &place, None, MsFlags::MS_BIND, None)?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data.join("hypriot"))
        .context("making the agent's own directory")
}

/// Lays a writable layer in `store` over `place`.
fn overlay(place: &Path, store: &Path) -> anyhow::Result<()> {
    let (upper, work): (PathBuf, PathBuf) = (store.join("upper"), store.join("work"));
    create_dir_all(&upper)?;
    create_dir_all(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        place.display(),
        upper.display(),
        work.display()
    );
    mount(
        Path::new("overlay"),
        place,
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
    )
}
