//! The self-tests as the update sees them: results with stable ids, and a summary for the report.

use std::time::Duration;

use hypriot_keys::time::Timestamp;
use hypriot_updater::health::{Severity, TestResult};

use crate::report::TestsView;

/// Runs all self-tests of this board within `limit`.
pub fn run(_board: &str, _limit: Duration) -> anyhow::Result<Vec<TestResult>> {
    anyhow::bail!("not yet")
}

/// The summary of a run that ended at `ran_at`.
pub fn view(results: &[TestResult], ran_at: Timestamp) -> TestsView {
    let failed: Vec<&TestResult> = results.iter().filter(|r| !r.passed).collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    TestsView {
        ran_at,
        passed: count(results.len() - failed.len()),
        failed: count(failed.len()),
        skipped: 0,
        failed_required: failed
            .iter()
            .filter(|r| r.severity == Severity::Required)
            .take(TestsView::NAMED)
            .map(|r| r.id.clone())
            .collect(),
    }
}
