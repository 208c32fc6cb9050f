//! Storage and sources that fail on purpose: for what hardware cannot be asked to do.

use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hypriot_keys::source::{Source, SourceError, SourceErrorKind};

use hypriot_updater::index::Target;

use crate::card::ports::{Disk, Running};

#[derive(Debug, Default)]
struct Memory {
    /// What a read sees.
    cache: Vec<u8>,
    /// What a power cut leaves.
    medium: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, usize)>,
    writes: usize,
    cut: Option<(usize, usize)>,
    off: bool,
    forgets: bool,
    /// The write of this number is acknowledged and dropped.
    loses: Option<usize>,
    protected: bool,
    /// So many writes are still refused, and none after them.
    refuses: usize,
    unreadable: Option<(usize, usize)>,
    /// Every write that was asked for.
    written: Vec<(usize, Vec<u8>)>,
}

/// A disk in memory that keeps [`Disk`]'s contract: unsynced writes are lost when the power is cut.
#[derive(Debug, Clone)]
pub(crate) struct MemDisk(Rc<RefCell<Memory>>);

impl MemDisk {
    pub(crate) fn new(size: usize) -> Self {
        Self(Rc::new(RefCell::new(Memory {
            cache: vec![0; size],
            medium: vec![0; size],
            ..Memory::default()
        })))
    }

    /// With this on the medium.
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let disk = Self::new(0);
        {
            let mut m = disk.0.borrow_mut();
            m.cache = bytes.to_vec();
            m.medium = bytes.to_vec();
        }
        disk
    }

    /// Cuts the power at the `n`-th write from now, of which the first `tear` bytes still reach the medium.
    pub(crate) fn cut_at_write(&self, n: usize, tear: usize) {
        let mut m = self.0.borrow_mut();
        m.writes = 0;
        m.cut = Some((n, tear));
    }

    pub(crate) fn power_on(&self) {
        let mut m = self.0.borrow_mut();
        m.off = false;
        m.cut = None;
        m.unsynced.clear();
        m.cache = m.medium.clone();
    }

    /// From now on, writes are acknowledged and dropped.
    pub(crate) fn forget_writes(&self) {
        self.0.borrow_mut().forgets = true;
    }

    /// The `n`-th write from now is acknowledged and dropped.
    pub(crate) fn lose_write(&self, n: usize) {
        let mut m = self.0.borrow_mut();
        m.loses = Some(m.writes + n);
    }

    /// From now on these bytes give an error when they are read, until all of them are written anew: a torn sector.
    pub(crate) fn unreadable(&self, at: u64, len: usize) {
        let at = usize::try_from(at).expect("fits");
        self.0.borrow_mut().unreadable = Some((at, at + len));
    }

    /// From now on every write is refused: the lock of the card slid on.
    pub(crate) fn protect(&self) {
        self.0.borrow_mut().protected = true;
    }

    /// The next write is refused: a bus that stumbles once.
    pub(crate) fn stumble(&self) {
        self.0.borrow_mut().refuses = 1;
    }

    /// Reading and writing work again.
    pub(crate) fn mended(&self) {
        let mut m = self.0.borrow_mut();
        m.protected = false;
        m.refuses = 0;
        m.unreadable = None;
    }

    /// Every write that there was: place and bytes.
    pub(crate) fn written(&self) -> Vec<(usize, Vec<u8>)> {
        self.0.borrow().written.clone()
    }

    /// Writes since the power is on.
    pub(crate) fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    pub(crate) fn medium(&self) -> Vec<u8> {
        self.0.borrow().medium.clone()
    }
}

impl Disk for MemDisk {
    fn size(&self) -> u64 {
        self.0.borrow().cache.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let m = self.0.borrow();
        if m.off {
            return Err(io::Error::other("power is off"));
        }
        let at = usize::try_from(at).map_err(io::Error::other)?;
        if m.unreadable
            .is_some_and(|(a, b)| at < b && a < at + buf.len())
        {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        buf.copy_from_slice(
            m.cache
                .get(at..at + buf.len())
                .ok_or_else(|| io::Error::other("beyond the end"))?,
        );
        Ok(())
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let mut m = self.0.borrow_mut();
        let at = usize::try_from(at).map_err(io::Error::other)?;
        if m.off {
            return Err(io::Error::other("power is off"));
        }
        if m.protected {
            return Err(io::Error::from_raw_os_error(1)); // EPERM
        }
        if m.refuses > 0 {
            m.refuses -= 1;
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        if let Some((n, tear)) = m.cut
            && m.writes == n
        {
            let torn = tear.min(data.len());
            m.medium[at..at + torn].copy_from_slice(&data[..torn]);
            // of what was not synced, every other write happens to have reached the medium
            for (at, len) in std::mem::take(&mut m.unsynced)
                .into_iter()
                .skip(n % 2)
                .step_by(2)
            {
                let bytes = m.cache[at..at + len].to_vec();
                m.medium[at..at + len].copy_from_slice(&bytes);
            }
            m.off = true;
            return Err(io::Error::other("power cut"));
        }
        let lost = m.forgets || m.loses == Some(m.writes);
        m.writes += 1;
        m.written.push((at, data.to_vec()));
        if m.unreadable
            .is_some_and(|(a, b)| at <= a && b <= at + data.len())
        {
            m.unreadable = None;
        }
        if !lost {
            m.cache
                .get_mut(at..at + data.len())
                .ok_or_else(|| io::Error::other("beyond the end"))?
                .copy_from_slice(data);
            m.unsynced.push((at, data.len()));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut m = self.0.borrow_mut();
        if m.off {
            return Err(io::Error::other("power is off"));
        }
        for (at, len) in std::mem::take(&mut m.unsynced) {
            let bytes = m.cache[at..at + len].to_vec();
            m.medium[at..at + len].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// A slot that runs: its two disks, boot and root.
impl Running for [MemDisk; 2] {
    fn read_at(&self, target: Target, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self[usize::from(target == Target::Root)].read_at(at, buf)
    }
}

/// Files, served from memory.
#[derive(Debug)]
pub(crate) struct MemSource {
    files: Vec<(String, Vec<u8>)>,
    cut: Option<u64>,
    /// Knows no ranges: whatever part is asked for, the front comes before it.
    whole: bool,
    asked: Mutex<Vec<String>>,
    /// Bytes that were sent and not asked for.
    fronts: AtomicU64,
}

impl MemSource {
    pub(crate) fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self {
            files: vec![(name.into(), bytes)],
            cut: None,
            whole: false,
            asked: Mutex::default(),
            fronts: AtomicU64::default(),
        }
    }

    /// As a server that knows no ranges.
    pub(crate) fn without_parts(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Bytes that came before what was asked for.
    pub(crate) fn fronts(&self) -> u64 {
        self.fronts.load(Ordering::Relaxed)
    }

    /// Serves one more file.
    pub(crate) fn and(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((name.into(), bytes));
        self
    }

    /// Names that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Every transfer ends after this many bytes.
    pub(crate) fn cut_every(mut self, bytes: u64) -> Self {
        self.cut = Some(bytes);
        self
    }
}

impl Source for MemSource {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        self.asked.lock().expect("no panic").push(name.into());
        let file = self.files.iter().find(|(n, _)| n == name);
        let (_, bytes) = file.ok_or_else(|| SourceError {
            kind: SourceErrorKind::Missing,
            what: format!("{name}: no such file"),
        })?;
        let rest = usize::try_from(from)
            .ok()
            .and_then(|from| bytes.get(from..))
            .unwrap_or_default();
        if self.whole {
            self.fronts.fetch_add(from, Ordering::Relaxed);
        }
        Ok(Box::new(
            Cursor::new(rest).take(self.cut.unwrap_or(u64::MAX)),
        ))
    }

    fn has_parts(&self, _name: &str) -> bool {
        !self.whole
    }
}
