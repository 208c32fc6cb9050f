//! One writer at a time: the lock of a repository's working directory.
//!
//! Signing a timestamp is read, change, write. Two programs that do it at once (a release by hand, the timer beside it) each
//! count on from the same state, and the second takes the first one's release off the air. Every change holds the lock from
//! before it reads until after it wrote.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{RepoError, Repository, read};
use crate::files;

/// How long another program is waited for: longer than the largest publication takes.
const PATIENCE: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock, for as long as it lives. Several in one process are one.
#[derive(Debug)]
#[must_use = "the repository is held only while this lives"]
pub struct Held(#[expect(dead_code, reason = "dropping it gives the lock back")] Arc<File>);

/// The lock as a repository remembers it.
#[derive(Debug, Default)]
pub(super) struct Lock(Mutex<Weak<File>>);

impl Repository {
    /// Keeps other programs from changing the repository: for several changes that belong together. Every single change
    /// takes it by itself.
    pub fn hold(&self) -> Result<Held, RepoError> {
        self.hold_within(PATIENCE)
    }

    fn hold_within(&self, patience: Duration) -> Result<Held, RepoError> {
        let mut known = self.lock.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = known.upgrade() {
            return Ok(Held(file));
        }
        let path = self.directory.join(".lock");
        let file = Arc::new(take(&path, patience)?);
        *known = Arc::downgrade(&file);
        // Whoever died while writing left these; nobody writes now but us.
        for folder in ["staged", "metadata", "targets"] {
            files::sweep(&self.directory.join(folder))
                .map_err(|e| RepoError::io("clearing", &self.directory, e))?;
        }
        self.settle()?;
        Ok(Held(file))
    }

    /// What is staged and current at once is current: a publication was cut off between the two. An edit must not change it
    /// under the version that may be public already.
    fn settle(&self) -> Result<(), RepoError> {
        for role in self.known_roles()? {
            let path = self.staged_path(&role);
            let staged = read(&path)?;
            if staged.is_some() && staged == read(&self.current_path(&role))? {
                files::remove(&path).map_err(|e| RepoError::io("removing", &path, e))?;
            }
        }
        Ok(())
    }
}

fn take(path: &Path, patience: Duration) -> Result<File, RepoError> {
    let io = |e| RepoError::io("locking", path, e);
    // Nobody else may open it, since whoever can open it can hold it.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(RepoError::Busy { path: path.into() }),
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Options;
    use crate::secret::SecretKey;
    use crate::time::Timestamp;

    #[test]
    fn a_second_writer_waits_and_then_says_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]);
        let now = Timestamp(1_800_000_000);
        let one = Repository::init(dir.path(), &Options::single(key.public()), now).unwrap();
        let two = Repository::open(dir.path(), now).unwrap();
        let held = one.hold().unwrap();
        let again = one.hold().unwrap();
        let busy = || two.hold_within(Duration::ZERO);
        assert!(matches!(busy(), Err(RepoError::Busy { .. })));
        drop(held);
        assert!(busy().is_err(), "one of two holds of one writer is left");
        drop(again);
        let _held = busy().unwrap();
    }
}
