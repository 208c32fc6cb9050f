//! The places below one folder of the data partition, and what keeps that folder tidy.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The folder. Root's alone: what lies in it becomes part of the system.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

impl Store {
    /// The folder at `directory`, which need not be there.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The folder itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// What the owner wants.
    pub fn wanted(&self) -> PathBuf {
        self.0.join("wanted")
    }

    /// The layers.
    pub fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    /// The packages that layers were made of, under the names that apt gives them.
    pub fn debs(&self) -> PathBuf {
        self.0.join("debs")
    }

    /// A layer that is being made.
    pub fn building(&self) -> PathBuf {
        self.0.join("building")
    }

    /// What apt fetches for it: apart from what is kept: an owner's apt may clear its cache after each use.
    pub fn fetched(&self) -> PathBuf {
        self.building().join("fetched")
    }

    /// Makes what is not there.
    pub fn make(&self) -> anyhow::Result<()> {
        for dir in [&self.0, &self.layers(), &self.debs()] {
            let mut private = DirBuilder::new();
            let made = private.recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("making {}", dir.display()))?;
        }
        Ok(())
    }

    /// Removes what a power cut left of a layer that was being made.
    pub fn clear_building(&self) -> anyhow::Result<()> {
        remove_tree(&self.building())
    }
}

/// Removes a folder with all that is in it. One that is not there is no error.
pub(super) fn remove_tree(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
