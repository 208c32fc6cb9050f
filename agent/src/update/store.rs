//! The agent's directory on the data partition: the record, the report of a failed trial, the TUF store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hypriot_updater::record::{Record, or_default};
use serde::{Deserialize, Serialize};

use super::ports::Store;
use crate::files;

/// Where it lies on a board.
pub const DIRECTORY: &str = "/data/hypriot";
/// The record holds at most 32 refusals and one baseline. What is larger is neither read nor written.
const LIMIT: usize = 1 << 20;
/// Below it: the TUF store.
const TRUST: &str = "tuf";
/// Below it: inhibitors that outlast a restart ([`super::inhibit::KEPT`]).
const INHIBIT: &str = "inhibit.d";
/// Below it: indexes of what lies in the slots ([`crate::neighbours::shelf::KEPT`]).
const LEND: &str = "lend";
const RECORD: &str = "record.json";
const FAILURE: &str = "failure.json";
/// The one before, which judges nothing and is shown.
const LAST_FAILURE: &str = "last-failure.json";

/// What a failing trial tells the slot that takes over. Read by another version of the agent than the one that wrote it, so
/// what is missing is empty and what is unknown is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureReport {
    /// Which trial: [`hypriot_updater::boot::Trial::id`].
    pub trial: String,
    /// The boot in which it was judged.
    pub boot_id: String,
    /// Checks that failed, or what else ended it.
    #[serde(deserialize_with = "or_default")]
    pub reasons: Vec<String>,
    /// The last lines of the kernel log.
    #[serde(deserialize_with = "or_default")]
    pub kernel_log: Vec<String>,
    /// Units that failed.
    #[serde(deserialize_with = "or_default")]
    pub failed_units: Vec<String>,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    trust: PathBuf,
    lost: bool,
}

impl Directory {
    /// The directory at `path`. `lost` says that it lies in memory, because the data partition could not be used.
    pub fn new(path: &Path, lost: bool) -> Self {
        Self {
            path: path.into(),
            trust: path.join(TRUST),
            lost,
        }
    }

    /// A report that is torn, or cannot be read, says nothing, and its absence is handled.
    fn report(&self, name: &str) -> Option<FailureReport> {
        let bytes = read(&self.path.join(name)).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        anyhow::ensure!(
            bytes.len() <= LIMIT,
            "{name} would have {} bytes, which nobody would read again",
            bytes.len()
        );
        fs::create_dir_all(&self.path)
            .with_context(|| format!("making {}", self.path.display()))?;
        Ok(files::replace(&self.path.join(name), bytes, 0o600)?)
    }
}

impl Store for Directory {
    fn record(&self) -> anyhow::Result<Record> {
        let path = self.path.join(RECORD);
        let Some(bytes) = read(&path)? else {
            return Ok(Record::default());
        };
        Record::parse(&bytes).or_else(|why| {
            // kept for the owner if that is possible: the board must go on, and the boot state knows what failed last
            let kept = self.put("record.json.damaged", &bytes);
            tracing::warn!(
                "{}: {why}; starting anew{}",
                path.display(),
                if kept.is_ok() {
                    ", it is kept as record.json.damaged"
                } else {
                    ""
                }
            );
            if let Err(error) = self.save(&Record::default()) {
                tracing::warn!("{error:#}");
            }
            Ok(Record::default())
        })
    }

    fn save(&self, record: &Record) -> anyhow::Result<()> {
        self.put(RECORD, &record.encode())
    }

    fn failure(&self) -> Option<FailureReport> {
        self.report(FAILURE)
    }

    fn leave_failure(&self, report: &FailureReport) -> anyhow::Result<()> {
        self.put(FAILURE, &serde_json::to_vec_pretty(report)?)
    }

    fn forget_failure(&self) -> anyhow::Result<()> {
        let path = self.path.join(FAILURE);
        // to be shown only: that it judges nothing any more must not depend on room for a copy, or on being readable
        if let Ok(Some(bytes)) = read(&path)
            && let Err(error) = self.put(LAST_FAILURE, &bytes)
        {
            tracing::warn!("{error:#}");
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).context("removing the report of an earlier trial"),
            Ok(()) => Ok(files::sync_directory(&self.path)?),
        }
    }

    fn last_failure(&self) -> Option<FailureReport> {
        self.failure().or_else(|| self.report(LAST_FAILURE))
    }

    fn trust(&self) -> &Path {
        &self.trust
    }

    fn is_lost(&self) -> bool {
        self.lost
    }
}

/// Removes what power cuts left of files that were being replaced, in every directory of `data` that one is replaced in. The ones
/// that cannot be cleared do not keep the others from it.
pub fn sweep(data: &Path) -> Vec<String> {
    let trust = data.join(TRUST);
    let theirs = hypriot_keys::files::sweep(&trust);
    let theirs = theirs.map_err(|e| format!("sweeping {}: {e}", trust.display()));
    let (kept, lend) = (data.join(INHIBIT), data.join(LEND));
    let own = [data, &*kept, &*lend]
        .into_iter()
        .filter(|dir| dir.is_dir());
    let own = own.map(|dir| files::sweep(dir).map_err(|e| e.to_string()));
    own.chain([theirs]).filter_map(Result::err).collect()
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        Ok(_) => Ok(Some(files::read(path, LIMIT as u64)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(trial: &str) -> FailureReport {
        FailureReport {
            trial: trial.into(),
            boot_id: "one".into(),
            reasons: vec!["docker".into()],
            ..FailureReport::default()
        }
    }

    #[test]
    fn what_power_cuts_left_of_files_is_cleared_wherever_there_are_some() {
        assert_eq!(
            Path::new(DIRECTORY).join(INHIBIT),
            Path::new(super::super::inhibit::KEPT)
        );
        assert_eq!(
            Path::new(DIRECTORY).join(LEND),
            Path::new(crate::neighbours::shelf::KEPT)
        );
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path();
        let left = [
            data.join(".record.json.hypriot-new-1-0"),
            data.join(INHIBIT).join(".backup.hypriot-new-1-0"),
            data.join(LEND).join(".02.json.hypriot-new-1-0"),
            data.join(TRUST).join(".timestamp.json.hypriot-new-1-0"),
        ];
        for path in &left {
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::File::create(path).expect("made");
        }
        let whole = data.join(TRUST).join("root.json");
        fs::File::create(&whole).expect("made");
        assert_eq!(sweep(data), Vec::<String>::new());
        assert!(left.iter().all(|path| !path.exists()) && whole.exists());
        // and where there is none of them
        assert_eq!(sweep(&data.join("nothing")), Vec::<String>::new());
    }

    #[test]
    fn a_report_of_another_version_of_the_agent_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Directory::new(dir.path(), false);
        for (text, expected) in [
            (r#"{"trial": "t", "reasons": ["x"]}"#, Some("t")),
            (
                r#"{"trial": "t", "reasons": ["x"], "pstore": [1]}"#,
                Some("t"),
            ),
            ("{\"trial\": \"t", None),
        ] {
            files::replace(&dir.path().join(FAILURE), text.as_bytes(), 0o600).expect("written");
            let found = store.failure().map(|r| r.trial);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_settled_report_does_not_judge_the_next_trial() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Directory::new(&dir.path().join("new"), false);
        store.forget_failure().expect("nothing to forget");
        store.leave_failure(&report("t")).expect("left");
        assert_eq!(store.failure(), Some(report("t")));
        store.forget_failure().expect("forgotten");
        assert_eq!(store.failure(), None);
        // but the owner still sees what failed
        assert_eq!(store.last_failure(), Some(report("t")));
    }

    #[test]
    fn a_damaged_record_costs_itself_alone_also_where_nothing_can_be_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Directory::new(dir.path(), false);
        files::replace(&dir.path().join(RECORD), b"{\"refused\": 7}", 0o600).expect("written");
        assert_eq!(store.record().expect("a record"), Record::default());
        assert!(dir.path().join("record.json.damaged").exists());
        // a directory in the place of the file: it can neither be read nor replaced
        fs::remove_file(dir.path().join(RECORD)).expect("removed");
        fs::create_dir(dir.path().join(RECORD)).expect("made");
        assert!(
            store.record().is_err(),
            "said, and not taken for an empty one"
        );
    }

    #[test]
    fn what_nobody_would_read_again_is_not_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Directory::new(dir.path(), false);
        let mut long = report("t");
        long.kernel_log = vec!["x".repeat(LIMIT)];
        assert!(store.leave_failure(&long).is_err());
        assert_eq!(store.failure(), None);
    }
}
