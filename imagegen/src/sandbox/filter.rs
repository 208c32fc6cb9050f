//! Owns the filter on what scripts may ask the kernel for (seccomp(2)): calls that no script needs and that lead out of sandboxes are
//! refused, and those by which programs wait for the disk do nothing. dpkg waits for every line of its records, and none of them
//! counts before the whole tree is complete and written out.

use std::io;

use nix::libc::{self, c_long, sock_filter};

use super::Sync;

/// What these processors call themselves in seccomp_data (include/uapi/linux/audit.h).
const ARCH: Option<u32> = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => Some(0xc000_003e),
    b"aarch64" => Some(0xc000_00b7),
    b"riscv64" => Some(0xc000_00f3),
    _ => None,
};

/// Each returns at once, as if it had succeeded.
const WAITS: [c_long; 5] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];

/// Refused: what changes mounts, roots, namespaces, the kernel, its keys, its clock, or another process.
const REFUSED: [c_long; 46] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // A ring of its own would do calls that no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// The last call we know (Linux 6.13). Later ones, and those of x86's x32 (bit 30), are not there, as on an older kernel.
const LAST: c_long = 466;

/// Namespaces that clone(2) would make.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Offsets in seccomp_data (seccomp(2)); of an argument of 64 bits, the low half on these processors.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGUMENT_AT: [u32; 2] = [16, 24];

/// From now on this process and all it starts are held to what scripts need.
#[expect(
    unsafe_code,
    reason = "no crate of ours wraps PR_SET_SECCOMP, and one call is not worth a dependency"
)]
pub(super) fn set(sync: Sync) -> io::Result<()> {
    let Some(arch) = ARCH else {
        return Err(io::Error::other(format!(
            "the numbers of {}'s calls are not known here",
            std::env::consts::ARCH
        )));
    };
    let mut program = program(arch, sync);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies `filter` and the instructions it points to, both of which live until the call returns.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::from_ref(&filter),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The filter in classic BPF. Every rule leaves out its own instructions where it does not apply, so rules can stand in any order.
fn program(arch: u32, sync: Sync) -> Vec<sock_filter> {
    let absent = refuse(libc::ENOSYS);
    // Another architecture's calls (i386 below x86-64, 32-bit ARM below 64) have other numbers: none of them is there.
    let mut all = vec![load(ARCH_AT), equal(arch, 1, 0), absent, load(NUMBER_AT)];
    all.extend([above(LAST, 0, 1), absent]);
    if sync == Sync::Ignored {
        // An error of number 0 is success (seccomp(2), SECCOMP_RET_ERRNO).
        for call in WAITS {
            all.extend([equal(number(call), 0, 1), refuse(0)]);
        }
    }
    for call in REFUSED {
        all.extend([equal(number(call), 0, 1), refuse(libc::EPERM)]);
    }
    // Its flags lie in memory, where no filter can look: programs fall back to clone, whose flags are an argument.
    all.extend([equal(number(libc::SYS_clone3), 0, 1), absent]);
    all.extend([
        equal(number(libc::SYS_clone), 0, 4),
        load(ARGUMENT_AT[0]),
        any_of(NAMESPACES.cast_unsigned(), 0, 1),
        refuse(libc::EPERM),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    // The kernel takes the low half of these two arguments only, and so do we. Keys typed into a terminal (TIOCSTI, TIOCLINUX)
    // are typed by whoever sits there; AF_VSOCK reaches the machine below ours, and has no namespaces; AF_ALG the kernel's ciphers.
    all.extend(unless(
        libc::SYS_ioctl,
        1,
        [libc::TIOCSTI, libc::TIOCLINUX].map(ioctl),
    ));
    all.extend(unless(
        libc::SYS_socket,
        0,
        [libc::AF_VSOCK, libc::AF_ALG].map(i32::cast_unsigned),
    ));
    all.push(answer(libc::SECCOMP_RET_ALLOW));
    all
}

/// Refuses `call` where its argument is one of two.
fn unless(call: c_long, argument: usize, [one, other]: [u32; 2]) -> [sock_filter; 6] {
    [
        equal(number(call), 0, 5),
        load(ARGUMENT_AT[argument]),
        equal(one, 1, 0),
        equal(other, 0, 1),
        refuse(libc::EPERM),
        answer(libc::SECCOMP_RET_ALLOW),
    ]
}

fn load(at: u32) -> sock_filter {
    op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

fn equal(to: u32, yes: u8, no: u8) -> sock_filter {
    op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to, yes, no)
}

fn above(what: c_long, yes: u8, no: u8) -> sock_filter {
    op(
        libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K,
        number(what),
        yes,
        no,
    )
}

fn any_of(bits: u32, yes: u8, no: u8) -> sock_filter {
    op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits, yes, no)
}

fn answer(what: u32) -> sock_filter {
    op(libc::BPF_RET | libc::BPF_K, what, 0, 0)
}

fn refuse(error: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | error.cast_unsigned())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "call numbers are small and positive"
)]
fn number(call: c_long) -> u32 {
    call as u32
}

/// Requests are of another type in each C library; all have 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel takes 32 bits of a request"
)]
fn ioctl(request: libc::Ioctl) -> u32 {
    request as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "operation codes have sixteen bits"
)]
fn op(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
