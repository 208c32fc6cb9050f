//! The ways out of a sandbox that are known, and what scripts must be able to do in it. Each is played by a process of its own, as
//! root of the sandbox, in raw system calls: no library stands between the attack and the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long};

mod calls;

use calls::{any, call, denied, open_write, raw, read, text, write};

/// The variable that says where the test's folder is on the host.
pub(crate) const OUTSIDE: &str = "SANDBOX_OUTSIDE";
/// The variable that has the number of the disk the host's root lies on.
pub(crate) const DISK: &str = "SANDBOX_DISK";

/// One attempt.
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) danger: &'static str,
    /// Whether it must succeed; all others must fail.
    pub(crate) allowed: bool,
    pub(crate) act: fn() -> io::Result<()>,
}

const fn never(name: &'static str, danger: &'static str, act: fn() -> io::Result<()>) -> Play {
    Play {
        name,
        danger,
        allowed: false,
        act,
    }
}

const fn must(name: &'static str, danger: &'static str, act: fn() -> io::Result<()>) -> Play {
    Play {
        name,
        danger,
        allowed: true,
        act,
    }
}

/// All of them.
pub(crate) const PLAYS: [Play; 36] = [
    never(
        "left-open",
        "a file through a folder of the host that was left open",
        left_open,
    ),
    never(
        "left-open-write",
        "a root-owned file outside, the same way",
        left_open_write,
    ),
    never(
        "double-chroot",
        "a root below the root: `..` leads out of it",
        double_chroot,
    ),
    never(
        "double-chroot-write",
        "a root-owned file outside, the same way",
        double_chroot_write,
    ),
    never("chroot", "a root of its own", || {
        call(
            libc::SYS_chroot,
            [text("/tmp").as_ptr() as c_long, 0, 0, 0, 0],
        )
    }),
    never(
        "proc-root",
        "a file through another process's root",
        proc_root,
    ),
    never("by-handle", "a file by its number", || {
        denied(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0])
    }),
    never("disk", "the host's disk through a device of its own", disk),
    never("planted-device", "a device that a package brought", planted),
    never("mount", "a file system of its own", mount),
    never("remount", "what is read-only made writable", remount),
    never("unmount", "what was covered uncovered", unmount),
    never("pivot", "another root", || {
        denied(libc::SYS_pivot_root, [0; 5])
    }),
    never("mount-anew", "the newer calls that mount", mount_anew),
    never(
        "cover",
        "a program of the host is changed through the one that covers",
        || write("/usr/hypriot"),
    ),
    never(
        "own-program",
        "the host's program overwritten through the process that runs it",
        own_program,
    ),
    never(
        "device-mode",
        "the host's /dev/null closed for everybody",
        || fs::set_permissions("/dev/null", fs::Permissions::from_mode(0o666)),
    ),
    never(
        "core-pattern",
        "a setting of the kernel: the program it runs for a crash",
        || open_write("/proc/sys/kernel/core_pattern"),
    ),
    never(
        "modprobe",
        "a setting of the kernel: the program it runs for a module",
        || open_write("/proc/sys/kernel/modprobe"),
    ),
    never("sysrq", "the kernel's emergency keys", || {
        open_write("/proc/sysrq-trigger")
    }),
    never("kernel-memory", "the kernel's memory", kernel_memory),
    never("keyctl", "the kernel's keys", || {
        denied(libc::SYS_keyctl, [0, -4, 1, 0, 0])
    }),
    never("add-key", "the kernel's keys", || {
        denied(libc::SYS_add_key, [0; 5])
    }),
    never("module", "code in the kernel", modules),
    never(
        "unshare",
        "a user namespace, in which it is root anew",
        || call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0]),
    ),
    never("clone", "the same, by another call", clone),
    never("setns", "a namespace of another process", || {
        denied(libc::SYS_setns, [-1, 0, 0, 0, 0])
    }),
    never("ptrace", "another process is taken over", ptrace),
    never(
        "kernel-calls",
        "calls with a history of faults in the kernel, of no use to a script",
        kernel_calls,
    ),
    never(
        "terminal",
        "keys typed into the builder's terminal",
        terminal,
    ),
    never(
        "socket",
        "the machine below, and the kernel's ciphers",
        socket,
    ),
    never(
        "other-numbers",
        "the same calls under another architecture's numbers",
        other_numbers,
    ),
    never(
        "capabilities",
        "a right of root that no script needs",
        capabilities,
    ),
    must("files", "scripts make files of all kinds and owners", files),
    must("look", "scripts look at the machine", look),
    must(
        "accounts",
        "scripts run programs, as other users too",
        accounts,
    ),
];

fn outside(name: &str) -> String {
    format!("{}/{name}", std::env::var(OUTSIDE).unwrap())
}

fn at_each_open_folder(act: fn(&Path) -> io::Result<()>, name: &str) -> io::Result<()> {
    let up = "../".repeat(20);
    any((3..100).map(|fd| {
        let at = PathBuf::from(format!("/proc/self/fd/{fd}/{up}{}", outside(name)));
        raw(libc::SYS_fchdir, [fd, 0, 0, 0, 0])?;
        act(Path::new(&format!(".{}", outside(name)))).or_else(|_| act(&at))
    }))
}

fn left_open() -> io::Result<()> {
    at_each_open_folder(|p| read(p), "secret")
}

fn left_open_write() -> io::Result<()> {
    at_each_open_folder(|p| write(p), "written")
}

fn get_below() -> io::Result<()> {
    fs::create_dir_all("/tmp/below")?;
    let (below, up, here) = (text("/tmp/below"), text(".."), text("."));
    call(libc::SYS_chroot, [below.as_ptr() as c_long, 0, 0, 0, 0])?;
    for _ in 0..64 {
        call(libc::SYS_chdir, [up.as_ptr() as c_long, 0, 0, 0, 0])?;
    }
    call(libc::SYS_chroot, [here.as_ptr() as c_long, 0, 0, 0, 0])
}

fn double_chroot() -> io::Result<()> {
    get_below()?;
    read(outside("secret"))
}

fn double_chroot_write() -> io::Result<()> {
    get_below()?;
    write(outside("written"))
}

fn proc_root() -> io::Result<()> {
    let up = "../".repeat(20);
    let ways = ["1/root", "1/cwd", "self/root", "self/cwd"];
    any(ways
        .iter()
        .map(|way| read(format!("/proc/{way}/{up}{}", outside("secret")))))
}

fn disk() -> io::Result<()> {
    let device: c_long = std::env::var(DISK).unwrap().parse().unwrap();
    let at = text("/tmp/disk");
    let mode = c_long::from(libc::S_IFBLK | 0o600);
    call(
        libc::SYS_mknodat,
        [
            libc::AT_FDCWD.into(),
            at.as_ptr() as c_long,
            mode,
            device,
            0,
        ],
    )?;
    read("/tmp/disk")
}

fn planted() -> io::Result<()> {
    read("/planted")
}

fn mount_with(from: &str, to: &str, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let (from, to, kind) = (text(from), text(to), text(kind));
    let [from, to, kind] = [&from, &to, &kind].map(|t| t.as_ptr() as c_long);
    call(libc::SYS_mount, [from, to, kind, flags.cast_signed(), 0])
}

fn mount() -> io::Result<()> {
    any([
        ("tmpfs", 0),
        ("proc", 0),
        ("sysfs", 0),
        ("/", libc::MS_BIND),
    ]
    .into_iter()
    .map(|(kind, flags)| mount_with(kind, "/tmp", kind, flags)))
}

fn remount() -> io::Result<()> {
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    any(["/", "/usr", "/proc", "/dev/null"]
        .into_iter()
        .map(|at| mount_with("none", at, "none", flags)))
}

fn unmount() -> io::Result<()> {
    any(["/usr", "/proc", "/dev", "/"].into_iter().map(|at| {
        let at = text(at);
        call(
            libc::SYS_umount2,
            [at.as_ptr() as c_long, libc::MNT_DETACH.into(), 0, 0, 0],
        )
    }))
}

fn mount_anew() -> io::Result<()> {
    // open_tree to fspick, mount_setattr, open_tree_attr.
    any([428, 429, 430, 431, 432, 433, 442, 467]
        .into_iter()
        .map(|n| denied(n, [-1, 0, 0, 0, 0])))
}

fn own_program() -> io::Result<()> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let flags = statvfs("/proc/1/exe")?.flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        return Err(io::Error::from_raw_os_error(libc::EROFS));
    }
    Ok(())
}

fn kernel_memory() -> io::Result<()> {
    any([
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/keys",
        "/proc/timer_list",
    ]
    .into_iter()
    .map(read))
}

fn modules() -> io::Result<()> {
    let calls = [
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
    ];
    any(calls.into_iter().map(|n| denied(n, [-1, 0, 0, 0, 0])))
}

fn clone() -> io::Result<()> {
    let flags = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
    ];
    any(flags.into_iter().map(|flag| {
        // The child that must not be made ends at once: bit 31 of the flags is kept out of the sign.
        let flags = c_long::from(flag) & 0xffff_ffff;
        match raw(
            libc::SYS_clone,
            [flags | c_long::from(libc::SIGCHLD), 0, 0, 0, 0],
        )? {
            0 => std::process::exit(0),
            _ => Ok(()),
        }
    }))?;
    // clone3 has its flags where no filter can look.
    denied(libc::SYS_clone3, [0; 5])
}

fn ptrace() -> io::Result<()> {
    any([
        denied(libc::SYS_ptrace, [0x4206, 1, 0, 0, 0]),
        denied(libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        denied(libc::SYS_process_vm_writev, [1, 0, 0, 0, 0]),
        denied(libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0]),
        open_write("/proc/1/mem"),
    ]
    .into_iter())
}

fn kernel_calls() -> io::Result<()> {
    let calls = [
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_acct,
        libc::SYS_quotactl,
        // No call of today: what comes after those we know is unknown too.
        1000,
    ];
    any(calls.into_iter().map(|n| denied(n, [-1, 0, 0, 0, 0])))
}

fn terminal() -> io::Result<()> {
    let key = text("x");
    any([libc::TIOCSTI, libc::TIOCLINUX].into_iter().map(|what| {
        // The kernel takes the low half of the number only.
        let what = what.cast_signed() | (1 << 40);
        denied(libc::SYS_ioctl, [0, what, key.as_ptr() as c_long, 0, 0])
    }))
    .and_then(|()| open_write("/dev/tty"))
}

fn socket() -> io::Result<()> {
    any([libc::AF_VSOCK, libc::AF_ALG].into_iter().map(|family| {
        denied(
            libc::SYS_socket,
            [family.into(), libc::SOCK_STREAM.into(), 0, 0, 0],
        )
    }))
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the old door of the processor has no other handle"
)]
fn other_numbers() -> io::Result<()> {
    let x32 = denied(0x4000_0000 | libc::SYS_mount, [0; 5]);
    let got: i64;
    // SAFETY: number 20 of i386 is getpid: it takes no arguments and changes nothing.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => got, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    let i386 = if got < 0 {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    } else {
        Ok(())
    };
    any([x32, i386].into_iter())
}

#[cfg(not(target_arch = "x86_64"))]
fn other_numbers() -> io::Result<()> {
    Err(io::Error::other("this processor's programs cannot do it"))
}

fn capabilities() -> io::Result<()> {
    // capabilities(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETFCAP.
    let kept = [0, 1, 3, 4, 5, 6, 7, 31]
        .iter()
        .fold(0_u64, |all, bit| all | 1 << bit);
    let status = fs::read_to_string("/proc/self/status")?;
    let more = status.lines().filter(|l| l.starts_with("Cap")).any(|l| {
        let set = u64::from_str_radix(l.split_whitespace().nth(1).unwrap(), 16).unwrap();
        set & !kept != 0
    });
    if more {
        Ok(())
    } else {
        Err(io::Error::other("none"))
    }
}

fn files() -> io::Result<()> {
    fs::write("/etc/made", "x")?;
    chown("/etc/made", Some(12), Some(34))?;
    fs::set_permissions("/etc/made", fs::Permissions::from_mode(0o4755))?;
    let fifo = text("/var/fifo");
    let mode = c_long::from(libc::S_IFIFO | 0o600);
    call(
        libc::SYS_mknodat,
        [libc::AT_FDCWD.into(), fifo.as_ptr() as c_long, mode, 0, 0],
    )?;
    std::os::unix::net::UnixListener::bind("/run/socket")?;
    for dir in ["/tmp", "/dev/shm", "/run/lock"] {
        fs::write(format!("{dir}/made"), "x")?;
    }
    fs::write("/dev/null", "x")?;
    fs::write("/proc/self/fd/1", "\n")?;
    call(libc::SYS_fsync, [0; 5])
}

fn look() -> io::Result<()> {
    for path in [
        "mounts",
        "self/status",
        "cpuinfo",
        "meminfo",
        "filesystems",
        "sys/kernel/osrelease",
        "1/stat",
    ] {
        fs::read(Path::new("/proc").join(path))?;
    }
    fs::read_link("/proc/1/root")?;
    fs::read_dir("/proc/self/fd").map(drop)?;
    read("/dev/urandom")
}

fn accounts() -> io::Result<()> {
    let thread = std::thread::spawn(|| ());
    thread.join().unwrap();
    let id = nix::unistd::Uid::from_raw(33);
    nix::unistd::setgid(nix::unistd::Gid::from_raw(33))?;
    nix::unistd::setuid(id)?;
    let secret = write("/etc/another");
    if secret.is_ok() {
        return Err(io::Error::other("still root"));
    }
    let limit = std::time::Duration::from_secs(5);
    let cmd = hypriot_imagegen::exec::tool("/usr/bin/true").timeout(limit);
    cmd.run().map(drop).map_err(io::Error::other)
}
