//! What the update loop needs besides the card: a memory, the machine it runs on, and somebody who offers releases.
//!
//! The loop knows nothing else of the world, so tests drive the loop itself, with a fault at any of these calls.

use std::path::Path;
use std::time::Duration;

use hypriot_keys::Verified;
use hypriot_keys::source::Source;
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::Offer;
use hypriot_updater::health::TestResult;
use hypriot_updater::index::Index;
use hypriot_updater::record::Record;
use hypriot_updater::slot::Release;

use super::hooks::{self, Call, Event};
use super::offer::Hurry;
use super::store::FailureReport;
use crate::config::Settings;
use crate::report::UpdateView;

/// The agent's memory on the data partition. Every call may fail: the partition may be full, read-only or gone.
pub trait Store {
    /// The record. What is there and is no record counts as none.
    fn record(&self) -> anyhow::Result<Record>;
    /// Replaces the record. Durable on return.
    fn save(&self, record: &Record) -> anyhow::Result<()>;
    /// What the slot of a failed trial left.
    fn failure(&self) -> Option<FailureReport>;
    /// Leaves that for the other slot. Durable on return.
    fn leave_failure(&self, report: &FailureReport) -> anyhow::Result<()>;
    /// Puts it aside: it is settled, or a new trial begins, and it judges nothing any more. Durable on return.
    fn forget_failure(&self) -> anyhow::Result<()>;
    /// The newest report there is, also one that was put aside: to be shown.
    fn last_failure(&self) -> Option<FailureReport> {
        self.failure()
    }
    /// Where trusted metadata is kept.
    fn trust(&self) -> &Path;
    /// The data partition could not be used in this boot; what is kept now is gone with the next one.
    fn is_lost(&self) -> bool;
}

/// The running system.
pub trait Machine {
    /// Seconds since boot.
    fn uptime(&self) -> u64;
    /// The kernel's name of this boot.
    fn boot_id(&self) -> String;
    /// The clock, as it is now.
    fn now(&self) -> Timestamp;
    /// Whether the clock was set by somebody who knows the time: a time server in this boot, or a battery.
    fn clock_is_right(&self) -> bool;
    /// Who asks not to restart the board: `who: why`.
    fn inhibitors(&self) -> Vec<String>;
    /// Whether there are hooks for `event`.
    fn has_hooks(&self, event: Event) -> bool;
    /// Runs the hooks of one event.
    fn run_hooks(&self, call: &Call) -> Result<(), hooks::Refusal>;
    /// What it is among others; `server` is the URL of who is told.
    fn standing(&self, server: &str) -> Standing;
    /// What a rollout knows this board by.
    fn id(&self) -> anyhow::Result<Vec<u8>>;
    /// Runs the self-tests, which may take so long, on a board that stands as `update` says.
    fn self_tests(
        &self,
        settings: &Settings,
        update: UpdateView,
        patience: Duration,
    ) -> anyhow::Result<Vec<TestResult>>;
    /// From now on the board restarts after so long, whatever this process does or waits for.
    fn restart_at_last(&self, after: Duration);
    /// The last lines of the kernel log, and the units that failed.
    fn diagnosis(&self) -> (Vec<String>, Vec<String>);
    /// Restarts the board. Comes back only with an error.
    fn restart(&self, how: Restart) -> anyhow::Result<()>;
}

/// What a board is among others of its cluster, as far as it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// As its owner calls it; empty if it has no name.
    pub name: String,
    /// A manager of a Swarm, or nobody can tell that it is none.
    pub manager: bool,
    /// Where who is told finds its `/health` and `/metrics`, `host:port`.
    pub address: Option<String>,
}

/// How a board is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// To try a slot: whoever asked systemd to wait (inhibitors) is heard.
    Orderly,
    /// To go back: nobody is heard, and what hangs is cut off.
    Back,
    /// To go back, and that could not be marked: by the kernel at once, since on an orderly way the trial would be re-armed.
    Unmarked,
}

/// Who offers releases, and gives what was offered.
pub trait Releases {
    /// Asks the repository at `url`; what it answers is verified.
    fn ask(
        &mut self,
        url: &str,
        trust: &Path,
        settings: &Settings,
        clock: Timestamp,
    ) -> anyhow::Result<()>;
    /// What the last answer means for a board that runs `running`.
    fn offer(
        &self,
        board_id: &[u8],
        running: &semver::Version,
        record: &Record,
        hurry: Hurry,
        now: Timestamp,
    ) -> Offer;
    /// The verified index of a release, and where its payload comes from.
    fn release(
        &self,
        release: &Release,
        board: &str,
    ) -> anyhow::Result<(Verified<Index>, &dyn Source)>;
    /// The newest time that anybody trusted has signed, if anybody was asked.
    fn floor(&self) -> Option<Timestamp>;
}
