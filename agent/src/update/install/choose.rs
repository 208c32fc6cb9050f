//! Which payload costs the fewest bytes, given what lies in both slots.

use hypriot_keys::source::Source;
use hypriot_updater::index::{Index, PayloadFile};
use hypriot_updater::payload::{self, Entry};

use super::InstallError;
use super::transfer::Transfer;

/// A payload whose table was read.
pub(super) struct Chosen<'i> {
    pub(super) index: &'i Index,
    pub(super) file: &'i PayloadFile,
    pub(super) entries: Vec<Entry>,
}

/// The payloads of a release that this board can use.
pub(super) struct Payloads<'i> {
    index: &'i Index,
    source: &'i dyn Source,
    /// The smallest first.
    usable: Vec<&'i PayloadFile>,
    /// Bytes of tables that were fetched.
    pub(super) fetched: u64,
}

impl<'i> Payloads<'i> {
    pub(super) fn new(
        index: &'i Index,
        source: &'i dyn Source,
        running: Option<&semver::Version>,
    ) -> Self {
        // By version alone: what a delta makes of the running slot is compared with the index, segment by segment, so a
        // slot that is not what its version says costs bytes, and nothing else.
        let fits = |file: &&PayloadFile| {
            let base = file.base.as_ref().map(|b| &b.version);
            base.is_none() || base == running
        };
        let mut usable: Vec<_> = index.known().filter(fits).collect();
        usable.sort_by_key(|file| file.size);
        Self {
            index,
            source,
            usable,
            fetched: 0,
        }
    }

    /// The cheapest for a slot in which these segments are missing. Tables that cannot win are not asked for.
    pub(super) fn cheapest(&mut self, missing: &[bool]) -> Result<Chosen<'i>, InstallError> {
        let mut best: Option<(u64, Chosen<'i>)> = None;
        for file in self.usable.clone() {
            if best
                .as_ref()
                .is_some_and(|(cost, _)| *cost <= least(self.index, file, missing))
            {
                continue;
            }
            let entries = match self.table(file) {
                Ok(entries) => entries,
                // without a delta it is dearer, not impossible
                Err(error) if file.base.is_some() => {
                    tracing::warn!("{error}; going on without it");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let cost = payload::cost(file, &entries, missing);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                let index = self.index;
                best = Some((
                    cost,
                    Chosen {
                        index,
                        file,
                        entries,
                    },
                ));
            }
        }
        match best {
            Some((_, choice)) => Ok(choice),
            None => self.full(),
        }
    }

    /// The full payload.
    pub(super) fn full(&mut self) -> Result<Chosen<'i>, InstallError> {
        let file = self.index.full();
        let file = file.ok_or(InstallError::NoPayload)?;
        let entries = self.table(file)?;
        let index = self.index;
        Ok(Chosen {
            index,
            file,
            entries,
        })
    }

    /// The table, which is parsed only when it is the one that was signed.
    fn table(&mut self, file: &PayloadFile) -> Result<Vec<Entry>, InstallError> {
        // bounded by `MAX_TABLE`, which the index's reader asks for
        let mut bytes = vec![0; file.table_size as usize];
        let mut transfer = Transfer::new(self.source, &file.name);
        let read = transfer.read(0, bytes.len() as u64, &mut bytes);
        self.fetched += transfer.fetched;
        read?;
        payload::parse_table(self.index, file, &bytes).map_err(|source| InstallError::Payload {
            name: file.name.clone(),
            source,
        })
    }
}

/// A payload cannot cost less than this, whatever its table says: what need not be fetched is no longer than its segments.
fn least(index: &Index, file: &PayloadFile, missing: &[bool]) -> u64 {
    let there = index.segments().zip(missing).filter(|(_, m)| !**m);
    let spared: u64 = there.map(|((_, _, len, _), _)| len as u64).sum();
    file.size
        .saturating_sub(spared)
        .max(u64::from(file.table_size))
}
