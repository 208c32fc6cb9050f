//! The report: what one look at the board found. The root half writes it, the HTTP half and `status` read it.
//!
//! It holds no secrets. What only the owner should read (names of units and containers) is in `detail`, which the HTTP
//! half leaves out unless told otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use hypriot_keys::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files;

/// The version of this shape. A reader refuses any other.
pub const SCHEMA: u32 = 2;
/// Where the root half leaves the newest report.
pub const PATH: &str = "/run/hypriot/report.json";
/// No report is larger: about 30 checks of less than 1 KiB each.
pub const LIMIT: u64 = 256 * 1024;

/// One look at the board.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the board file, `qemu-arm64`.
    pub board: String,
    /// Version of the running system.
    pub version: String,
    /// `a` or `b`; none on a system without slots.
    pub slot: Option<String>,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// When this look began, by the wall clock.
    pub taken_at: Timestamp,
    /// Seconds since boot when this look began. Its age is judged by this one, since the wall clock may jump.
    pub uptime: f64,
    /// What was looked at, by component: `memory`, `disk-data`.
    pub checks: BTreeMap<String, Check>,
    /// Numbers for `/metrics` that are no check of their own; see [`crate::serve::metrics`] for the names.
    pub gauges: BTreeMap<String, f64>,
    /// Slots, trial and last update.
    pub update: UpdateView,
    /// The last run of the self-tests in this boot.
    pub selftests: Option<TestsView>,
    /// The last run of the owner's own tests, which run again and again.
    pub owner_tests: Option<TestsView>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What was found.
    pub status: Status,
    /// What follows from it.
    pub severity: Severity,
    /// What was measured: `utilization`, `temperature`, `state`.
    pub measurement: String,
    /// The measured number.
    pub observed: Option<f64>,
    /// Its unit: `percent`, `celsius`, `seconds`.
    pub unit: Option<String>,
    /// One line for people, without names that only the owner should read.
    pub output: String,
    /// More lines, for the owner on the board.
    pub detail: Option<String>,
    /// What to do about it, when it is not `pass`.
    pub fix: Option<String>,
    /// Since when the status is what it is.
    pub since: Timestamp,
    /// When it was looked at; costly checks are not repeated in every look.
    pub checked_at: Timestamp,
    /// How much is known: what is not known is never `pass`.
    pub knowledge: Knowledge,
}

/// How much a check knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Knowledge {
    /// It is as the status says.
    #[default]
    Known,
    /// It is being started, within the time that it has for that.
    Starting,
    /// This board has nothing to measure it with.
    Unknown,
    /// The check itself broke.
    Broken,
}

/// As in draft-inadarei-api-health-check-06, section 3.1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Good.
    Pass,
    /// Worth a look.
    Warn,
    /// Bad.
    Fail,
}

/// What a bad check means for the whole board.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The board is as bad as this check.
    Required,
    /// The board is at worst `warn`.
    Wanted,
    /// For information: the board's status does not depend on it.
    Info,
}

/// Slots, trial and last update, as the update loop sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateView {
    /// Slot a; none on a system without slots.
    pub a: Option<SlotView>,
    /// Slot b.
    pub b: Option<SlotView>,
    /// The running slot: `a` or `b`.
    pub booted: Option<String>,
    /// The slot that the boot loader starts unless there is a trial.
    pub default: Option<String>,
    /// The trial, from arming to its end.
    pub trial: Option<TrialView>,
    /// The last update that came to an end.
    pub last_attempt: Option<AttemptView>,
    /// Where the update stands: `committed`, `installing`, `armed`, `on-trial`, `rolled-back`, `fallback`, `no-slots`.
    pub phase: String,
    /// A slot that gave back other bytes than its release has, when it was the base of an update; for people.
    #[serde(default)]
    pub worn: Option<String>,
    /// Data was left by a newer release than the one that runs, which does not read its shape; for people.
    #[serde(default)]
    pub newer_state: Option<String>,
    /// Why nothing new begins, or what went wrong last; for people.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Why nothing is done at the moment.
    #[serde(default)]
    pub waits: Option<WaitsView>,
    /// What a lock service has to do with it.
    #[serde(default)]
    pub lock: Option<LockView>,
    /// The last drill.
    #[serde(default)]
    pub drill: Option<DrillView>,
    /// The hooks of after an update that are still to end well: `after-commit` or `after-rollback`.
    #[serde(default)]
    pub owes: Option<String>,
    /// Whence the last installation came.
    #[serde(default)]
    pub fetched: Option<FetchedView>,
}

/// Whence an installation came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchedView {
    /// Bytes that came from the source.
    pub source: u64,
    /// Bytes that came from neighbours.
    pub neighbours: u64,
    /// How many of them gave something.
    pub lenders: u64,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitsView {
    /// One word: `up-to-date`, `window`, `locked`, …
    pub reason: String,
    /// That in a sentence, for the owner.
    pub text: String,
}

/// A lock of a lock service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockView {
    /// `none`, `asked`, `held`, or `kept` because what it was for failed here.
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What the service answered last, if that was no.
    pub refused: Option<String>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotView {
    /// The version that it holds, when it holds a whole one.
    pub version: Option<String>,
    /// `good`, `idle`, `empty`, the phase of its trial (`armed`, `trying`, `failed`, `lost`), `unproven` (it failed
    /// its trial, or was never tried), or `left` (it was the default, and did not come up any more).
    pub state: String,
}

/// A trial boot that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialView {
    /// The slot on trial.
    pub slot: String,
    /// The version on trial.
    pub version: String,
    /// `armed`, `trying`, or `lost` when nobody saw its end and it is tried once more.
    pub state: String,
    /// It must have been judged so many seconds after boot.
    pub deadline_seconds: u64,
}

/// The last update that came to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptView {
    /// The version that was tried.
    pub version: String,
    /// `confirmed`, `failed`, `never-tried`, `unknown`.
    pub outcome: String,
    /// Why, for people.
    pub reason: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// Seconds from the restart that tried it to its end.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// The last drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillView {
    /// The board came back by itself.
    pub passed: bool,
    /// `failed` is what was wanted; `confirmed`, `never-tried`, `unknown`.
    pub outcome: String,
    /// When it ended.
    pub at: Timestamp,
    /// Seconds from the restart to healthy in the old slot.
    pub seconds: Option<u64>,
}

/// The last run of the self-tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestsView {
    /// When the run ended.
    pub ran_at: Timestamp,
    /// Number of properties that hold.
    pub passed: u32,
    /// Number of those that do not.
    pub failed: u32,
    /// Ids of the required ones that failed, at most [`TestsView::NAMED`].
    pub failed_required: Vec<String>,
    /// Ids of the other ones that failed, at most [`TestsView::NAMED`].
    #[serde(default)]
    pub failed_wanted: Vec<String>,
    /// Ids of those that failed, and held a moment later with nothing done about it, at most [`TestsView::NAMED`].
    pub flaky: Vec<String>,
}

impl TestsView {
    /// How many failed tests are named.
    pub const NAMED: usize = 20;
}

impl Report {
    /// The status of the whole board: that of its worst required check, and `warn` at worst for wanted ones.
    pub fn status(&self) -> Status {
        self.checks
            .values()
            .map(Check::weight)
            .max()
            .unwrap_or(Status::Pass)
    }

    /// Reads a report; the text comes from another process and is not trusted to be whole.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let report: Self = serde_json::from_slice(bytes)?;
        anyhow::ensure!(
            report.schema == SCHEMA,
            "report has schema {}, this program reads {SCHEMA}; restart both halves of the agent",
            report.schema
        );
        Ok(report)
    }

    /// Reads the report at `path`.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&files::read(path, LIMIT)?)
    }

    /// Writes the report to `path`, readable by everybody.
    pub fn store(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        // else the other half has none, and nobody knows why
        anyhow::ensure!(
            bytes.len() as u64 <= LIMIT,
            "the report would have {} bytes, which nobody would read",
            bytes.len()
        );
        files::replace(path, &bytes, 0o644)?;
        Ok(())
    }
}

impl Check {
    /// What this check does to the status of the whole board.
    pub fn weight(&self) -> Status {
        match self.severity {
            Severity::Required => self.status,
            Severity::Wanted => self.status.min(Status::Warn),
            Severity::Info => Status::Pass,
        }
    }
}

impl Status {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Warn, Self::Fail];

    /// `pass`, `warn` or `fail`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Severity {
    /// `required`, `wanted` or `info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Wanted => "wanted",
            Self::Info => "info",
        }
    }

    /// The reverse of [`Severity::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Required, Self::Wanted, Self::Info]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
