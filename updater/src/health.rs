//! From test results to the verdict on a trial.
//!
//! A trial is judged against the baseline taken before the update: a check that already failed then cannot be the
//! update's fault, and an unplugged cable must not throw a good release away (seapath/meta-seapath#287).

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How much a check weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Shown only.
    Info,
    /// A failure is a warning.
    Wanted,
    /// A failure is a failure; on trial it ends the trial.
    Required,
}

/// The result of one check. Kept in the record as part of a baseline, so read by other versions, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Stable name, such as `service docker running`.
    pub id: String,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether it held.
    pub passed: bool,
    /// What was found instead, for people; empty when it held.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// The run's time was up before it could tell. Such a failure counts on trial, and excuses nothing as a baseline,
    /// so it is never part of one and never stored.
    #[serde(skip)]
    pub cut_short: bool,
}

/// What a later trial is compared with: the `results` that found something out. A check whose time was up has not failed
/// before the update, or a slow minute would excuse every regression of the release.
pub fn baseline(results: &[TestResult]) -> Vec<TestResult> {
    results.iter().filter(|r| !r.cut_short).cloned().collect()
}

/// What the tests say about the slot they ran on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every required check holds, or did not hold before either.
    Good,
    /// These required checks fail and did not fail before: `id: found`.
    Bad(Vec<String>),
}

/// Judges `now` against the `baseline` taken before the update; without one every failure counts.
///
/// No result at all is bad: a suite that did not run has not vouched for anything.
pub fn verdict(now: &[TestResult], baseline: Option<&[TestResult]>) -> Verdict {
    if now.is_empty() {
        return Verdict::Bad(alloc::vec!["no self-test ran".into()]);
    }
    let failed_before: BTreeSet<&str> = baseline
        .unwrap_or_default()
        .iter()
        .filter(|r| !r.passed)
        .map(|r| r.id.as_str())
        .collect();
    let regressions: Vec<String> = now
        .iter()
        .filter(|r| {
            !r.passed && r.severity == Severity::Required && !failed_before.contains(r.id.as_str())
        })
        .map(|r| {
            if r.found.is_empty() {
                r.id.clone()
            } else {
                alloc::format!("{}: {}", r.id, r.found)
            }
        })
        .collect();
    if regressions.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad(regressions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, severity: Severity, passed: bool) -> TestResult {
        TestResult {
            id: id.into(),
            severity,
            passed,
            found: String::new(),
            cut_short: false,
        }
    }

    #[test]
    fn a_check_cut_off_by_the_time_budget_excuses_no_regression() {
        let mut slow = result("x", Severity::Required, false);
        slow.cut_short = true;
        let broken = [result("x", Severity::Required, false)];
        let before = baseline(&[slow.clone(), result("y", Severity::Required, false)]);
        assert_eq!(
            verdict(&broken, Some(&before)),
            Verdict::Bad(alloc::vec!["x".into()])
        );
        // on trial it is no excuse either: what did not answer in time does not hold
        assert!(matches!(verdict(&[slow], Some(&before)), Verdict::Bad(_)));
    }

    #[test]
    fn only_new_failures_of_required_checks_are_bad() {
        use Severity::{Info, Required, Wanted};
        let bad = |id: &str| Verdict::Bad(alloc::vec![id.into()]);
        for (danger, severity, passed, before, expected) in [
            ("passes", Required, true, None, Verdict::Good),
            (
                "fails, nothing known from before",
                Required,
                false,
                None,
                bad("x"),
            ),
            (
                "failed before too",
                Required,
                false,
                Some(false),
                Verdict::Good,
            ),
            ("held before", Required, false, Some(true), bad("x")),
            ("only wanted", Wanted, false, Some(true), Verdict::Good),
            ("only info", Info, false, Some(true), Verdict::Good),
        ] {
            let baseline = before.map(|passed| [result("x", severity, passed)]);
            let baseline = baseline.as_ref().map(<[TestResult; 1]>::as_slice);
            assert_eq!(
                verdict(&[result("x", severity, passed)], baseline),
                expected,
                "{danger}"
            );
        }
    }

    #[test]
    fn a_check_that_is_new_in_the_release_counts() {
        let before = [result("other", Severity::Required, false)];
        let now = [result("new", Severity::Required, false)];
        assert_eq!(
            verdict(&now, Some(&before)),
            Verdict::Bad(alloc::vec!["new".into()])
        );
    }

    #[test]
    fn an_empty_suite_vouches_for_nothing() {
        assert!(matches!(verdict(&[], Some(&[])), Verdict::Bad(_)));
    }
}
