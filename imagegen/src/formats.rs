//! File system images as plans: every byte of an image has a known place before the first one is read.
//!
//! Owns [`Volume`], which can tell any range of an image without the image ever being made, and [`Blocks`], what
//! all readers here read from. So hashing, compressing and writing an image are one pass over it, in any order, on
//! all cores, and file content is read only once.

pub mod cpio;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};

use crate::tree::{Content, PackedFile};

pub mod erofs;
pub mod fat;
pub mod pass;

/// Something of a known length that can be read at any place.
pub trait Blocks: Sync {
    /// Length in bytes.
    fn size(&self) -> u64;
    /// Fills `buf` with the bytes from `at` on. Reading past the end is an error.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()>;

    /// The `len` bytes from `at` on.
    fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; len];
        self.read_at(at, &mut buf)?;
        Ok(buf)
    }
}

impl Blocks for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let from = usize::try_from(at).context("offset")?;
        let part = from
            .checked_add(buf.len())
            .and_then(|to| self.get(from..to))
            .ok_or_else(|| {
                anyhow!(
                    "{} bytes at {at} are past the end ({})",
                    buf.len(),
                    self.len()
                )
            })?;
        buf.copy_from_slice(part);
        Ok(())
    }
}

/// A part of something else: a partition of an image.
#[derive(Debug)]
pub struct Window<'a, B: ?Sized> {
    /// What it is a part of.
    pub of: &'a B,
    /// Where it starts.
    pub start: u64,
    /// How long it is.
    pub len: u64,
}

impl<B: Blocks + ?Sized> Blocks for Window<'_, B> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at.checked_add(buf.len() as u64);
        ensure!(
            end.is_some_and(|end| end <= self.len),
            "{} bytes at {at} are past the end ({})",
            buf.len(),
            self.len
        );
        self.of.read_at(self.start + at, buf)
    }
}

/// A file of the host.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    name: Arc<Path>,
    len: u64,
}

impl HostFile {
    /// Opens it for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let len = file
            .metadata()
            .with_context(|| format!("cannot look at {}", path.display()))?
            .len();
        Ok(Self {
            file,
            name: path.into(),
            len,
        })
    }
}

impl Blocks for HostFile {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, at).with_context(|| {
            format!(
                "cannot read {} bytes at {at} of {}",
                buf.len(),
                self.name.display()
            )
        })
    }
}

#[derive(Debug, Clone)]
enum Source {
    /// In the volume's arena from here on.
    Arena(usize),
    /// In a file of the tree that is in memory, from here on.
    Shared(Arc<[u8]>, usize),
    /// In a file of the host that must have `file_len` bytes, from `from` on.
    Host {
        path: Arc<Path>,
        from: u64,
        file_len: u64,
    },
    /// In a packed tree, from here on.
    Packed(Arc<PackedFile>, u64),
}

#[derive(Debug, Clone)]
struct Extent {
    at: u64,
    len: u64,
    source: Source,
}

/// An image that is planned to the last byte. What no extent covers is zero.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    len: u64,
    extents: Vec<Extent>,
    arena: Vec<u8>,
}

impl Volume {
    /// Puts bytes at a place; for metadata.
    fn put(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let source = Source::Arena(self.arena.len());
        self.arena.extend_from_slice(bytes);
        self.extents.push(Extent {
            at,
            len: bytes.len() as u64,
            source,
        });
    }

    /// Puts `len` bytes of a file, from its byte `from` on, at a place.
    fn put_content(&mut self, at: u64, content: &Content, from: u64, len: u64) {
        if len == 0 {
            return;
        }
        let source = match content {
            Content::Bytes(b) => {
                Source::Shared(b.clone(), usize::try_from(from).expect("it is in memory"))
            }
            Content::Host { path, len } => Source::Host {
                path: path.clone(),
                from,
                file_len: *len,
            },
            Content::Packed { file, at, .. } => Source::Packed(file.clone(), at + from),
        };
        self.extents.push(Extent { at, len, source });
    }

    /// Ends planning: the image has `len` bytes and no two things lie in one place.
    fn finish(&mut self, len: u64) -> Result<()> {
        self.len = len;
        self.extents.sort_by_key(|e| e.at);
        let mut end = 0;
        for e in &self.extents {
            ensure!(
                e.at >= end && e.at + e.len <= len,
                "two things were planned at {} of an image (a bug)",
                e.at
            );
            end = e.at + e.len;
        }
        Ok(())
    }

    /// Runs of bytes that something was planned for, as (start, length), neighbours joined; the rest is zero.
    pub fn mapped(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for e in &self.extents {
            match runs.last_mut() {
                Some((at, len)) if *at + *len == e.at => *len += e.len,
                _ => runs.push((e.at, e.len)),
            }
        }
        runs
    }

    fn read_extent(
        &self,
        e: &Extent,
        skip: u64,
        part: &mut [u8],
        open: &mut Option<(Arc<Path>, File)>,
    ) -> Result<()> {
        let within = usize::try_from(skip);
        match &e.source {
            Source::Arena(from) => {
                let from = from + within.expect("it is in memory");
                part.copy_from_slice(&self.arena[from..from + part.len()]);
            }
            Source::Shared(bytes, from) => {
                let from = from + within.expect("it is in memory");
                part.copy_from_slice(&bytes[from..from + part.len()]);
            }
            Source::Packed(file, from) => file.read_at(from + skip, part)?,
            Source::Host {
                path,
                from,
                file_len,
            } => {
                let file = match open {
                    Some((p, file)) if Arc::ptr_eq(p, path) => file,
                    _ => {
                        let file = File::open(path)
                            .with_context(|| format!("cannot open {}", path.display()))?;
                        let now = file
                            .metadata()
                            .with_context(|| format!("cannot look at {}", path.display()))?
                            .len();
                        ensure!(
                            now == *file_len,
                            "{} changed while the image was made: {now} bytes, {file_len} expected; build again and leave the tree alone meanwhile",
                            path.display()
                        );
                        &mut open.insert((path.clone(), file)).1
                    }
                };
                file.read_exact_at(part, from + skip)
                    .with_context(|| format!("cannot read {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl Blocks for Volume {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at + buf.len() as u64;
        ensure!(
            end <= self.len,
            "{} bytes at {at} are past the end ({})",
            buf.len(),
            self.len
        );
        let mut open = None;
        let mut done = at;
        let first = self.extents.partition_point(|e| e.at + e.len <= at);
        let place = |pos: u64| usize::try_from(pos - at).expect("inside the buffer");
        for e in self.extents[first..].iter().take_while(|e| e.at < end) {
            let from = e.at.max(at);
            let to = (e.at + e.len).min(end);
            buf[place(done)..place(from)].fill(0);
            self.read_extent(e, from - e.at, &mut buf[place(from)..place(to)], &mut open)?;
            done = to;
        }
        buf[place(done)..].fill(0);
        Ok(())
    }
}
