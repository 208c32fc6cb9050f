//! Owns the filter that makes the calls by which programs wait for the disk do nothing. dpkg waits for every line of its records,
//! and none of them counts before the whole tree is complete and written out.

use std::io;

use nix::libc::{self, c_long, sock_filter};

/// What these processors call themselves in seccomp_data (include/uapi/linux/audit.h).
const ARCH: Option<u32> = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => Some(0xc000_003e),
    b"aarch64" => Some(0xc000_00b7),
    _ => None,
};
/// Each returns at once, as if it had succeeded.
const CALLS: [c_long; 5] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];
/// Offsets in seccomp_data (seccomp(2)).
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// From now on this process and all it starts wait for no disk. Does nothing on processors whose numbers are not known here.
#[expect(
    unsafe_code,
    reason = "no crate of ours wraps PR_SET_SECCOMP, and one call is not worth a dependency"
)]
pub(super) fn ignore() -> io::Result<()> {
    let Some(arch) = ARCH else { return Ok(()) };
    let mut program = program(arch);
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

/// The filter in classic BPF: other architectures' calls and all other calls pass.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "call numbers are small and positive, and so is their count"
)]
fn program(arch: u32) -> Vec<sock_filter> {
    let load = |at| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
    let equal = |to, yes, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to, yes, no);
    let answer = |what| op(libc::BPF_RET | libc::BPF_K, what, 0, 0);
    let count = CALLS.len() as u8;
    let mut all = vec![
        load(ARCH_AT),
        equal(arch, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    all.push(load(NUMBER_AT));
    for (i, call) in (0..).zip(CALLS) {
        // Jumps count the instructions that are left out: the last two are the answers.
        all.push(equal(call as u32, count - i, 0));
    }
    all.push(answer(libc::SECCOMP_RET_ALLOW));
    // An error of number 0 is success (seccomp(2), SECCOMP_RET_ERRNO).
    all.push(answer(libc::SECCOMP_RET_ERRNO));
    all
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
