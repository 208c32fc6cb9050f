//! The one call that async-tar (below debian-packaging) makes of xattr 0.2.
//!
//! xattr 0.2.3 uses `libc::ENOATTR`, which libc 0.2.190 no longer has on Linux, and tokio's mio asks for that libc. We never
//! let async-tar unpack anything (the unpacker is `imagegen/src/unpack.rs`), so refusing is right. Delete this folder and the
//! `[patch]` line once debian-packaging moves to a newer async-tar.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Refuses: nothing in this workspace sets attributes this way.
pub fn set<N: AsRef<OsStr>, P: AsRef<Path>>(path: P, name: N, _value: &[u8]) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{}: attribute {} is not set this way", path.as_ref().display(), name.as_ref().display()),
    ))
}
