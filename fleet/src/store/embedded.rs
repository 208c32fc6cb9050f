//! A file for one server: redb, a B-tree with transactions that are on the disk when they return.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Entry, KEEP, Kept, Store};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const SUMMARY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("summary");
/// Pages held in memory. The log of a year of a thousand boards is a few megabytes.
const CACHE: usize = 4 * 1024 * 1024;

/// The file.
#[derive(Debug, Clone)]
pub struct Embedded {
    path: PathBuf,
    /// None after an error: a file that could not be written is opened anew, which checks and repairs it.
    open: Arc<Mutex<Option<Database>>>,
}

impl Embedded {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, make: bool) -> Result<Self> {
        let database = open(path, make)?;
        let own = Self {
            path: path.to_owned(),
            open: Arc::new(Mutex::new(Some(database))),
        };
        own.with(|db| {
            let write = db.begin_write()?;
            write.open_table(LOG)?;
            write.open_table(SUMMARY)?;
            Ok(write.commit()?)
        })?;
        Ok(own)
    }

    fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T> {
        let mut held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => open(&self.path, false)?,
        };
        let done = act(&database).with_context(|| format!("the store {}", self.path.display()))?;
        *held = Some(database);
        Ok(done)
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let own = self.clone();
        tokio::task::spawn_blocking(move || own.with(act)).await?
    }
}

fn open(path: &Path, make: bool) -> Result<Database> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    let opened = if make {
        // whoever reads it knows who may be talked into going
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("making the store {}", path.display()))?;
        let database = FileBackend::new(file).and_then(|f| builder.create_with_backend(f));
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::File::open(folder)
                .and_then(|f| f.sync_all())
                .with_context(|| format!("syncing {}", folder.display()))?;
        }
        database
    } else {
        if !path.exists() {
            bail!(
                "there is no store {}. Is this the first start? Then add --new. If the disk was lost, boards may be out that \
                 a new store knows nothing of: wait until all are back before --new",
                path.display()
            );
        }
        builder.open(path)
    };
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => anyhow!(
            "another hypriot-fleet serves from {}: one file is for one server, several share an etcd",
            path.display()
        ),
        other => anyhow!(other).context(format!("opening the store {}", path.display())),
    })
}

impl Store for Embedded {
    const SHARED: bool = false;

    async fn load(&mut self) -> Result<Kept> {
        self.off_thread(|db| {
            let read = db.begin_read()?;
            let summaries = read.open_table(SUMMARY)?;
            let last = summaries.last()?;
            let summary = last.map(|(at, bytes)| (at.value(), bytes.value().to_vec()));
            let after = summary.as_ref().map_or(0, |(at, _)| *at);
            let entries = entries(&read.open_table(LOG)?, after)?;
            Ok(Kept { summary, entries })
        })
        .await
    }

    async fn read(&mut self, after: u64) -> Result<Vec<Entry>> {
        self.off_thread(move |db| entries(&db.begin_read()?.open_table(LOG)?, after))
            .await
    }

    async fn append(&mut self, after: u64, entry: Vec<u8>) -> Result<bool> {
        self.off_thread(move |db| {
            let write = db.begin_write()?;
            {
                let mut log = write.open_table(LOG)?;
                let last = log.last()?.map_or(0, |(n, _)| n.value());
                if last != after {
                    return Ok(false);
                }
                log.insert(after + 1, entry.as_slice())?;
            }
            write.commit()?;
            Ok(true)
        })
        .await
    }

    async fn sum_up(&mut self, at: u64, summary: Vec<u8>) -> Result<()> {
        self.off_thread(move |db| {
            let write = db.begin_write()?;
            {
                let mut kept = write.open_table(SUMMARY)?;
                kept.retain(|n, _| n >= at)?;
                kept.insert(at, summary.as_slice())?;
                write
                    .open_table(LOG)?
                    .retain_in(..at.saturating_sub(KEEP), |_, _| false)?;
            }
            Ok(write.commit()?)
        })
        .await
    }
}

fn entries(
    log: &redb::ReadOnlyTable<u64, &'static [u8]>,
    after: u64,
) -> Result<Vec<Entry>, redb::Error> {
    let mut all = Vec::new();
    for entry in log.range(after + 1..)? {
        let (n, bytes) = entry?;
        all.push((n.value(), bytes.value().to_vec()));
    }
    Ok(all)
}
