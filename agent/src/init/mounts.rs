//! What is mounted where.

use std::fs::{DirBuilder, OpenOptions, create_dir_all};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::mount::MsFlags;

use super::layer::Kept;
use super::{in_root, mount, say, seed};
use crate::exec::Exit;
use crate::files;
use crate::paths::{DATA_LOST, LOCAL, UNCLEAN};

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

/// Places over which the owner's own files lie, on the data partition, so that they outlast updates. Below them an update brings what is
/// new in the image: `/etc`, and where the Filesystem Hierarchy Standard (3.0: 4.9, 3.13, 3.17) puts what is no distribution's.
const OVERLAID: [&str; 4] = ["etc", "usr/local", "opt", "srv"];

/// The upper layer of `/var`: memory of its own, so that a user who fills `/var/tmp` fills nothing else.
const VAR: &str = "/run/hypriot/var";
/// What stands in for state that cannot be used.
const STAND_IN: &str = "/run/hypriot/stand-in";

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
/// and say what is wrong.
pub(super) fn data(device: &Path, root: &Path, local: bool) -> anyhow::Result<()> {
    let target = root.join("data");
    if let Err(error) = check(device, root)
        .and_then(|()| mount(device, &target, Some("ext4"), MsFlags::MS_NOATIME, None))
    {
        lost(local, "the data partition", &error);
        memory(&target, "50%")?;
    }
    Ok(())
}

/// Says that something of the owner's is replaced by memory in this boot: on the console, in the journal, and to the agent.
/// [`DATA_LOST`] begins with a line of its own: whether the owner had closed `/health` (`local`).
fn lost(local: bool, what: &str, error: &anyhow::Error) {
    say(
        2,
        &format!("{what} cannot be used, starting with an empty one in memory: {error:#}"),
    );
    let mut text = String::new();
    if !Path::new(DATA_LOST).exists() {
        text.push_str(if local { LOCAL } else { "" });
        text.push('\n');
    }
    text.extend([what, ": ", &format!("{error:#}"), "\n"]);
    let told = OpenOptions::new()
        .append(true)
        .create(true)
        .open(DATA_LOST)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = told {
        say(2, &format!("and {DATA_LOST} cannot be written: {error}"));
    }
}

/// Memory at `target`, bounded: what fills it must not take `/run` or the board's memory along.
fn memory(target: &Path, size: &str) -> anyhow::Result<()> {
    create_dir_all(target)?;
    mount(
        Path::new("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(&format!("mode=0755,size={size}")),
    )
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
    if is_unclean(&first.stdout)
        && let Err(error) = files::replace(Path::new(UNCLEAN), b"", 0o644)
    {
        say(4, &format!("{UNCLEAN}: {error}"));
    }
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

/// Whether e2fsck had to read the journal (e2fsck/journal.c, `PR_0_…`): the file system had not been unmounted.
fn is_unclean(said: &[u8]) -> bool {
    String::from_utf8_lossy(said).contains("recovering journal")
}

/// The FAT partition with the owner's files, read-only: `mount -o remount,rw /boot` to edit it. It has no permissions of
/// its own, and `user-data` and `network-config` hold passwords: for root alone.
pub(super) fn config(device: &Path, root: &Path) {
    let options = "fmask=0077,dmask=0077,iocharset=ascii,codepage=437,shortname=mixed";
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
///
/// The state that they keep is the owner's, and shared by both slots: if any of it cannot be used, no slot could start.
/// So each part of it falls back to memory by itself, and the board starts and says so.
///
/// `brought` is what the layer of the owner's packages has of it.
pub(super) fn state(root: &Path, local: bool, brought: &Kept) -> anyhow::Result<()> {
    let data = root.join("data");
    // A place that an image does not have must keep no board from starting.
    for name in OVERLAID.iter().filter(|name| root.join(name).is_dir()) {
        let (place, store) = (root.join(name), Path::new("overlay").join(name));
        if let Err(error) = overlay(&place, &data.join(&store)) {
            lost(local, &format!("the overlay of /{name}"), &error);
            overlay(&place, &stand_in()?.join(&store))?;
        }
    }
    // Everything below /var that is not kept starts from the image at each boot. Any user may write to /var/tmp.
    let var = Path::new(VAR);
    memory(var, "25%")?;
    overlay(&root.join("var"), var)?;
    let brought_state = brought.state.iter().map(String::as_str);
    for name in KEPT.into_iter().chain(brought_state) {
        if let Err(error) = keep(root, &data, name) {
            lost(local, &format!("/{name}"), &error);
            keep(root, &stand_in()?, name)?;
        }
    }
    // below /var/log, which is kept by now: what the layer has there is not to be seen any more
    for (from, name) in &brought.logs {
        if let Err(error) = seed::once(from, &data.join(name)) {
            say(4, &format!("/{name}: {error}"));
        }
    }
    let own = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data.join("hypriot"));
    if let Err(error) = own {
        lost(local, "the agent's own directory", &error.into());
    }
    Ok(())
}

/// Where state lies that the data partition does not take.
fn stand_in() -> anyhow::Result<PathBuf> {
    let place = PathBuf::from(STAND_IN);
    if !place.exists() {
        memory(&place, "25%")?;
    }
    Ok(place)
}

/// Lets `name` live in `store`, filled from the image at its first use.
fn keep(root: &Path, store: &Path, name: &str) -> anyhow::Result<()> {
    let (kept, place) = (store.join(name), root.join(name));
    seed::once(&place, &kept).with_context(|| format!("preparing {name}"))?;
    create_dir_all(&place)?;
    mount(&kept, &place, None, MsFlags::MS_BIND, None)
}

/// Lays a writable layer in `store` over `place`.
fn overlay(place: &Path, store: &Path) -> anyhow::Result<()> {
    let (upper, work): (PathBuf, PathBuf) = (store.join("upper"), store.join("work"));
    for dir in [&upper, &work] {
        create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::exec::Cmd;
    use crate::files;

    /// Mounts are made in a name space of its own: the test runs itself once more in there.
    #[test]
    fn state_that_cannot_be_used_is_replaced_by_memory_and_said() {
        const INSIDE: &str = "HYPRIOT_TEST_IN_NAMESPACE";
        if std::env::var_os(INSIDE).is_none() {
            let user = if fs::metadata("/proc/self").unwrap().uid() == 0 {
                &[][..]
            } else {
                &["--user", "--map-root-user"]
            };
            let name =
                "init::mounts::tests::state_that_cannot_be_used_is_replaced_by_memory_and_said";
            Cmd::new("unshare")
                .args(["--mount", "--propagation", "private"])
                .args(user)
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(INSIDE, "1")
                .run()
                .unwrap();
            return;
        }
        memory(Path::new("/run"), "16m").unwrap();
        // by now the card's name lies there
        create_dir_all("/run/hypriot").unwrap();
        // the words are for a board's console, not for this machine's
        mount(
            Path::new("/dev/null"),
            Path::new("/dev/kmsg"),
            None,
            MsFlags::MS_BIND,
            None,
        )
        .unwrap();
        let root = Path::new("/run/root");
        memory(root, "8m").unwrap();
        for (path, text) in [("etc/hostname", "pearl"), ("home/README", "of the image")] {
            create_dir_all(root.join(path).parent().unwrap()).unwrap();
            files::replace(&root.join(path), text.as_bytes(), 0o644).unwrap();
        }
        for name in KEPT.iter().chain(&OVERLAID).chain(&["data", "var/tmp"]) {
            create_dir_all(root.join(name)).unwrap();
        }
        // what a failing card makes of directories
        for broken in ["overlay", "home", "hypriot"] {
            files::replace(&root.join("data").join(broken), b"", 0o644).unwrap();
        }
        state(root, true, &Kept::default()).unwrap();

        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("etc/hostname"), "pearl");
        assert_eq!(read("home/README"), "of the image");
        for path in [
            "etc/new",
            "opt/new",
            "home/new",
            "var/tmp/new",
            "var/log/new",
        ] {
            files::replace(&root.join(path), b"x", 0o644).unwrap();
        }
        assert!(
            root.join("data/var/log/new").exists(),
            "what can be kept is kept"
        );
        let told = fs::read_to_string(DATA_LOST).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        let places = [
            "overlay of /etc",
            "overlay of /usr/local",
            "overlay of /opt",
            "overlay of /srv",
            "/home",
            "own dir",
        ];
        assert_eq!(lines.len(), 1 + places.len(), "{told}");
        assert_eq!(lines[0], LOCAL);
        for (line, what) in lines[1..].iter().zip(places) {
            assert!(line.contains(what), "{line}");
        }
        // a user who fills /var/tmp fills neither /run nor the board's memory
        let size = |path: &Path| {
            let fs = nix::sys::statvfs::statvfs(path).unwrap();
            u128::from(fs.blocks()) * u128::from(fs.fragment_size())
        };
        let ours = size(&root.join("var/tmp"));
        assert_eq!(ours, size(Path::new(VAR)));
        assert_ne!(ours, size(Path::new("/run")));
    }
}
