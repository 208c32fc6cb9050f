//! Locks between root's processes. The kernel takes one back from a process that ends, however it ends.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Who waits looks at least so often, and at most.
const STEPS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// A lock that is held for as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock if nobody has it.
    ///
    /// `flock` asks for no right to write, so the file lies in a directory of its own that root alone can enter: else any
    /// process could hold it and freeze every update.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let context = |what: &str, at: &Path, e: io::Error| {
            io::Error::new(e.kind(), format!("{what} {}: {e}", at.display()))
        };
        if let Some(dir) = path.parent() {
            let mut private = DirBuilder::new();
            let made = private.recursive(true).mode(0o700).create(dir);
            made.map_err(|e| context("making", dir, e))?;
        }
        let file = File::create(path).map_err(|e| context("opening", path, e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => Err(context("locking", path, e.into())),
        }
    }

    /// Takes the lock as soon as it can be had, for so long at the most.
    pub fn take_within(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let began = Instant::now();
        let step = (patience / 100).clamp(STEPS[0], STEPS[1]);
        loop {
            match Self::try_take(path)? {
                None if began.elapsed() < patience => thread::sleep(step),
                lock => return Ok(lock),
            }
        }
    }
}
