//! Owns what scripts see: the tree, what is laid over it, and kernel file systems that nothing can be changed through. The host's
//! root is left behind for good (pivot_root(2)): no folder of it stays mounted, open, or writable on the way there.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::foreign::{self, Table};
use super::{Guest, Plan};

/// Devices that programs expect; none of them reaches hardware.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Files of /proc that tell about the kernel's memory, keys and timers. Nothing of /proc can be written anyway.
const HIDDEN: [&str; 8] = [
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "timer_list",
    "sysrq-trigger",
];

/// Mounts what the plan says and makes its root ours.
pub(super) fn enter(plan: &Plan) -> anyhow::Result<()> {
    let root = &plan.root;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|e| place("/", e))?;
    bind(root, root)?;
    read_only_below(Path::new("/"))?;
    // A device that a package brings opens nothing.
    remount(root, MsFlags::MS_NODEV)?;
    for (from, to) in &plan.covers {
        cover(from, &root.join(to))?;
    }
    if let Guest::Builder { shared } = &plan.guest {
        for (from, to) in shared {
            bind(from, &root.join(to))?;
            remount(&root.join(to), MsFlags::MS_NODEV)?;
        }
    }
    temporary(root)?;
    devices(root)?;
    let table = proc(plan)?;
    // The caller's further groups are none of the scripts' business.
    nix::unistd::setgroups(&[])?;
    nix::unistd::sethostname("localhost")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    change_root(root)?;
    match (table, &plan.foreign) {
        (Some(Table::Hosts), Some(program)) => foreign::probe(program),
        _ => Ok(()),
    }
}

/// Nothing of the host is writable from here on, not even through what the kernel itself opens: the emulator, and the program that
/// runs this, lead back to where they lie (`/proc/PID/exe`).
#[expect(unsafe_code, reason = "no crate of ours wraps mount_setattr")]
fn read_only_below(at: &Path) -> anyhow::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(at.as_os_str().as_bytes())?;
    // mount_setattr(2): struct mount_attr, four numbers of 64 bits: set, clear, propagation, user namespace.
    let attr: [u64; 4] = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: both pointers live until the call returns, and the size is that of what the second points to.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    match Errno::result(done) {
        // Before Linux 5.12: the host's root is left behind all the same.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(e) => Err(place(&at.display().to_string(), e)),
    }
}

/// What is there for the run only.
fn temporary(root: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (dir, options) in [("run", "mode=755"), ("tmp", "mode=1777")] {
        fs_mount("tmpfs", &root.join(dir), flags, Some(options))?;
    }
    Ok(fs::create_dir_all(root.join("run/lock"))?)
}

fn devices(root: &Path) -> anyhow::Result<()> {
    let dev = root.join("dev");
    fs_mount("tmpfs", &dev, MsFlags::MS_NOSUID, Some("mode=755"))?;
    for dir in ["pts", "shm"] {
        fs::create_dir(dev.join(dir))?;
    }
    for node in DEVICES {
        let to = dev.join(node);
        fs::File::create(&to)?;
        // Read-only holds for the node, whose owner and mode are the host's, and not for what is written to the device.
        cover(&Path::new("/dev").join(node), &to)?;
    }
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(to, dev.join(link))?;
    }
    Ok(())
}

/// The kernel's settings ask for the host's root by number, and that is what scripts run as: all of it is read-only.
fn proc(plan: &Plan) -> anyhow::Result<Option<Table>> {
    let at = plan.root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fs_mount("proc", &at, flags, None)?;
    let table = match &plan.foreign {
        Some(program) => Some(foreign::register(&plan.root, program)?),
        None => None,
    };
    if matches!(table, Some(Table::Own)) {
        remount(&at.join(foreign::TABLE), MsFlags::MS_RDONLY)?;
    }
    let null = plan.root.join("dev/null");
    for name in HIDDEN {
        let hidden = at.join(name);
        if hidden.exists() {
            cover(&null, &hidden)?;
        }
    }
    remount(&at, MsFlags::MS_RDONLY)?;
    Ok(table)
}

/// pivot_root(2), "pivot_root(".", ".")": the old root comes to lie over the new one, and goes.
fn change_root(root: &Path) -> anyhow::Result<()> {
    let cannot = |e| {
        anyhow::anyhow!(
            "cannot leave the host's root for {}: {e} (the root we start from must be a mounted file system: no initramfs, and in a \
             container no plain chroot)",
            root.display()
        )
    };
    nix::unistd::chdir(root).map_err(cannot)?;
    nix::unistd::pivot_root(".", ".").map_err(cannot)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(cannot)?;
    nix::unistd::chdir("/").map_err(cannot)
}

/// Options of a mount, as they are read and as they are set; times of access stay as they are when none is named (mount(2)).
const KEPT: [(FsFlags, MsFlags); 5] = [
    (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
    (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
    (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
    (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
];

/// Lays `from` over `to`, read-only: a script that changes what it takes for the tree's file must fail, not change ours unseen.
fn cover(from: &Path, to: &Path) -> anyhow::Result<()> {
    bind(from, to)?;
    remount(to, MsFlags::MS_RDONLY)
}

/// One mount and none below it: those would come with options of their own.
fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_BIND;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .map_err(|e| place(&to.display().to_string(), e))
}

/// Gives a mount these options; it is writable without `MS_RDONLY`.
fn remount(at: &Path, options: MsFlags) -> anyhow::Result<()> {
    // mount_namespaces(7): in a user namespace the options that the mount had before must stay on.
    let kept = statvfs(at)?.flags();
    let kept = KEPT.into_iter().filter(|(set, _)| kept.contains(*set));
    let kept = kept.fold(MsFlags::empty(), |all, (_, keep)| all | keep);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | options | kept;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .map_err(|e| place(&at.display().to_string(), e))
}

pub(super) fn fs_mount(
    kind: &str,
    at: &Path,
    flags: MsFlags,
    options: Option<&str>,
) -> anyhow::Result<()> {
    mount(Some(kind), at, Some(kind), flags, options)
        .map_err(|e| place(&at.display().to_string(), e))
}

fn place(at: &str, e: Errno) -> anyhow::Error {
    anyhow::Error::new(io::Error::from(e)).context(format!("cannot mount at {at}"))
}
