//! The bytes of a file of a tree, wherever they lie.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

/// The bytes of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A file of the host with the length that it had when the tree was made; a writer refuses another length.
    Host {
        /// Where it lies.
        path: Arc<Path>,
        /// Its length in bytes.
        len: u64,
    },
    /// A part of a packed tree.
    Packed {
        /// The packed tree.
        file: Arc<PackedFile>,
        /// Where the part starts.
        at: u64,
        /// Its length in bytes.
        len: u64,
    },
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(b) => b.len() as u64,
            Self::Host { len, .. } | Self::Packed { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, piece by piece, whatever their number.
    pub fn chunks(&self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let (file, mut at, len) = match self {
            Self::Bytes(bytes) => {
                each(bytes);
                return Ok(());
            }
            Self::Host { path, len } => (Arc::new(PackedFile::open(path)?), 0, *len),
            Self::Packed { file, at, len } => (file.clone(), *at, *len),
        };
        let mut piece = vec![0; 1 << 18];
        let end = at + len;
        while at < end {
            let n = usize::try_from((end - at).min(piece.len() as u64)).context("a piece")?;
            file.read_at(at, &mut piece[..n])?;
            each(&piece[..n]);
            at += n as u64;
        }
        Ok(())
    }

    /// All bytes. `Host` content is read whole; a length other than the one on record is an error.
    pub fn read(&self) -> Result<Arc<[u8]>> {
        match self {
            Self::Bytes(b) => Ok(b.clone()),
            Self::Host { path, len } => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                ensure!(
                    bytes.len() as u64 == *len,
                    "{} changed while the image was made: {} bytes, {len} expected; build again and leave the tree alone meanwhile",
                    path.display(),
                    bytes.len()
                );
                Ok(bytes.into())
            }
            Self::Packed { file, at, len } => {
                let mut bytes =
                    vec![0; usize::try_from(*len).context("too long to be read whole")?];
                file.read_at(*at, &mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// A packed tree, open: it can be read even when somebody cleans the cache meanwhile.
#[derive(Debug)]
pub struct PackedFile {
    file: File,
    path: Box<Path>,
}

impl PackedFile {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            file,
            path: path.into(),
        })
    }

    /// The open file. Whoever moves its position must be the only one who uses it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buf` with the bytes from `at` on.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, at).with_context(|| {
            format!(
                "cannot read {} bytes at {at} of {}",
                buf.len(),
                self.path.display()
            )
        })
    }
}

/// Packed trees are never changed under their name: one name, one content.
impl PartialEq for PackedFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PackedFile {}
