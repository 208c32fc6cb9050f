//! A log in memory that several servers share, with the faults of a network: for the tests of what is above it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};

use super::{Entry, KEEP, Kept, Store};

/// What etcd takes in one request, 1.5 MiB, as bytes before base64 and with some room for what is around them.
const LIMIT: usize = 1024 * 1024;

/// What goes wrong with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive.
    Lost,
    /// It is done, and the answer does not arrive.
    AnswerLost,
}

/// One server's way to the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    shared: Arc<Mutex<Kept>>,
    /// The fault of the next call.
    pub(crate) fault: Option<Fault>,
}

impl Memory {
    fn locked(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&mut self) -> Result<Option<Fault>> {
        match self.fault.take() {
            Some(Fault::Lost) => bail!("it did not arrive"),
            other => Ok(other),
        }
    }
}

impl Store for Memory {
    const SHARED: bool = true;

    async fn load(&mut self) -> Result<Kept> {
        self.reach()?;
        let mut kept = self.locked().clone();
        let summed = kept.summary.as_ref().map_or(0, |(at, _)| *at);
        kept.entries.retain(|(n, _)| *n > summed);
        Ok(kept)
    }

    async fn read(&mut self, after: u64) -> Result<Vec<Entry>> {
        self.reach()?;
        let kept = self.locked();
        Ok(kept
            .entries
            .iter()
            .filter(|(n, _)| *n > after)
            .cloned()
            .collect())
    }

    async fn append(&mut self, after: u64, entry: Vec<u8>) -> Result<bool> {
        let fault = self.reach()?;
        if entry.len() > LIMIT {
            bail!("etcdserver: request is too large");
        }
        let mut kept = self.locked();
        let last = kept.entries.last().map_or(0, |(n, _)| *n);
        let first = last == after;
        if first {
            kept.entries.push((after + 1, entry));
        }
        if fault.is_some() {
            bail!("the answer did not arrive");
        }
        Ok(first)
    }

    async fn sum_up(&mut self, at: u64, summary: Vec<u8>) -> Result<()> {
        self.reach()?;
        let mut kept = self.locked();
        if kept.summary.as_ref().is_none_or(|(n, _)| *n < at) {
            kept.summary = Some((at, summary));
            kept.entries.retain(|(n, _)| *n + KEEP > at);
        }
        Ok(())
    }
}
