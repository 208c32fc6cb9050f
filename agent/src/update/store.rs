//! The agent's directory on the data partition: the record, the report of a failed trial, the TUF store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hypriot_updater::record::Record;
use serde::{Deserialize, Serialize};

use crate::files;

/// Where it lies on a board.
pub const DIRECTORY: &str = "/data/hypriot";
/// The record holds at most 32 refusals and one baseline.
const LIMIT: u64 = 1 << 20;

/// What a failing trial tells the slot that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureReport {
    /// Which trial: [`hypriot_updater::boot::Trial::id`].
    pub trial: String,
    /// Checks that failed, or what else ended it.
    pub reasons: Vec<String>,
    /// The last lines of the kernel log.
    pub kernel_log: Vec<String>,
    /// Units that failed.
    pub failed_units: Vec<String>,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Memory {
    directory: PathBuf,
}

impl Memory {
    /// The directory at `directory`, made if it is not there.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Self {
            directory: directory.into(),
        })
    }

    /// Where the TUF client keeps its trusted metadata.
    pub fn trust(&self) -> PathBuf {
        self.directory.join("tuf")
    }

    /// The record. One that cannot be read is kept aside for the owner and forgotten: the board must go on.
    pub fn record(&self) -> anyhow::Result<Record> {
        let path = self.directory.join("record.json");
        let Some(bytes) = read(&path)? else {
            return Ok(Record::default());
        };
        match Record::parse(&bytes) {
            Ok(record) => Ok(record),
            Err(why) => {
                tracing::warn!(
                    "{}: {why}; kept as record.json.damaged, starting anew",
                    path.display()
                );
                files::replace(&self.directory.join("record.json.damaged"), &bytes, 0o600)?;
                self.save(&Record::default())?;
                Ok(Record::default())
            }
        }
    }

    /// Replaces the record. Durable on return.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        Ok(files::replace(
            &self.directory.join("record.json"),
            &record.encode(),
            0o600,
        )?)
    }

    /// The report that a failed trial left, if any.
    pub fn failure(&self) -> anyhow::Result<Option<FailureReport>> {
        let Some(bytes) = read(&self.directory.join("failure.json"))? else {
            return Ok(None);
        };
        // a report torn by a power cut says nothing, and its absence is handled
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Leaves a report for the other slot. Durable on return.
    pub fn leave_failure(&self, report: &FailureReport) -> anyhow::Result<()> {
        Ok(files::replace(
            &self.directory.join("failure.json"),
            &serde_json::to_vec_pretty(report)?,
            0o600,
        )?)
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        Ok(_) => Ok(Some(files::read(path, LIMIT)?)),
    }
}
