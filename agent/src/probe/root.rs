//! Where the board's files begin: `/` on the board, a directory in tests and for images that are not running.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Files of the kernel that we read are far smaller.
const LIMIT: u64 = 1024 * 1024;

/// The directory that stands for `/`.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// The tree at `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Whether this is the running system itself.
    pub fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The directory that stands for `/`.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The place of the absolute path `path` in this tree. `..` does not lead out of it.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut full = self.0.clone();
        for part in path.as_ref().components() {
            match part {
                Component::Normal(name) => full.push(name),
                Component::ParentDir if full != self.0 => {
                    full.pop();
                }
                _ => {}
            }
        }
        full
    }

    /// The text of a small file. Bytes that are not UTF-8 are replaced: the kernel prints names as they came.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let bytes = self.bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The bytes of a small file.
    pub fn bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        crate::files::read(&self.path(path), LIMIT)
            .map_err(|error| io::Error::new(error.source.kind(), error.to_string()))
    }

    /// The number in a small file, if there is one.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        self.text(path).ok()?.trim().parse().ok()
    }

    /// The sorted names in a directory; none when there is no such directory.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Whether there is something at `path`.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }
}
