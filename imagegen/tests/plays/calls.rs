//! How plays speak to the kernel.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use nix::libc::{self, c_long};

pub(super) fn text(s: &str) -> CString {
    CString::new(s).unwrap()
}

pub(super) fn call(number: c_long, a: [c_long; 5]) -> io::Result<()> {
    raw(number, a).map(drop)
}

#[expect(unsafe_code, reason = "no crate wraps what no program should call")]
pub(super) fn raw(number: c_long, a: [c_long; 5]) -> io::Result<c_long> {
    // SAFETY: pointers among the arguments are null, or texts that live on; the kernel checks all of them.
    let got = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4]) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(got)
}

/// A call with arguments that are no good: only a refusal before they are looked at counts as one.
pub(super) fn denied(number: c_long, a: [c_long; 5]) -> io::Result<()> {
    match raw(number, a) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => Err(e),
        _ => Ok(()),
    }
}

/// Fails only if all fail: with the last one's error.
pub(super) fn any(mut results: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    results
        .try_fold(io::Error::other("nothing tried"), |_, r| match r {
            Ok(()) => Err(()),
            Err(e) => Ok(e),
        })
        .map_or(Ok(()), Err)
}

pub(super) fn read(path: impl AsRef<Path>) -> io::Result<()> {
    let mut bytes = [0; 16];
    fs::File::open(path)?.read_exact(&mut bytes)
}

pub(super) fn write(path: impl AsRef<Path>) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map(drop)
}

/// Opens and no more: a test does not change the settings of the machine it runs on.
pub(super) fn open_write(path: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}
