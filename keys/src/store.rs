//! The device's trusted metadata on disk: one directory, one file per role, unversioned names as the specification has them.
//!
//! The directory belongs on the data partition, never under /tmp: with it the memory of version numbers would go, and with
//! that the protection against rollback (what happened to updog, which kept it in a temporary directory).

use std::path::{Path, PathBuf};
use std::vec::Vec;

use crate::error::Error;
use crate::files::{self, Access};
use crate::names;

/// The store directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the directory, makes it if need be.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        files::make_directory(directory).map_err(|e| failed(directory, "creating", &e))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The stored file of a role. One that is too long or unreadable is as good as none, it will be fetched again; only
    /// root is looked at by the caller in that case.
    pub(crate) fn read(&self, role: &str, limit: u64) -> Option<Vec<u8>> {
        files::read(&self.path(role), limit).unwrap_or(None)
    }

    /// Replaces the stored file of a role, durably.
    pub(crate) fn write(&self, role: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(role);
        files::replace(&path, bytes, Access::Public).map_err(|e| failed(&path, "writing", &e))
    }

    /// Forgets the stored file of a role, durably.
    pub(crate) fn remove(&self, role: &str) -> Result<(), Error> {
        let path = self.path(role);
        files::remove(&path).map_err(|e| failed(&path, "removing", &e))
    }

    /// Role names are encoded, so that `../x` is a file in here like any other.
    fn path(&self, role: &str) -> PathBuf {
        self.directory.join(names::metadata(role, None))
    }
}

pub(crate) fn failed(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    Error::Store {
        what: std::format!("{doing} {}", path.display()),
        why: std::format!("{error}"),
    }
}
