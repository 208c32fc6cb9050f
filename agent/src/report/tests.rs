//! Tests of [`super`], and the example report that other tests use.

use super::*;

/// A report of a healthy board with one check of each severity.
pub(crate) fn example() -> Report {
    let check = |severity, observed| Check {
        status: Status::Pass,
        severity,
        measurement: "utilization".into(),
        observed: Some(observed),
        unit: Some("percent".into()),
        output: "12 % used".into(),
        detail: None,
        fix: None,
        since: Timestamp(1_700_000_000),
        checked_at: Timestamp(1_700_000_100),
        knowledge: Knowledge::Known,
    };
    Report {
        schema: SCHEMA,
        board: "qemu-arm64".into(),
        version: "1.2.3".into(),
        slot: Some("b".into()),
        boot_id: "5f5f8b1e-0a6c-4c5e-9d0f-000000000001".into(),
        taken_at: Timestamp(1_700_000_100),
        uptime: 100.5,
        checks: BTreeMap::from([
            ("disk-data".into(), check(Severity::Required, 12.0)),
            ("memory".into(), check(Severity::Wanted, 40.0)),
            ("load".into(), check(Severity::Info, 0.5)),
        ]),
        gauges: BTreeMap::from([("load1".into(), 0.5)]),
        update: UpdateView {
            a: Some(SlotView {
                version: Some("1.2.2".into()),
                state: "good".into(),
            }),
            b: Some(SlotView {
                version: Some("1.2.3".into()),
                state: "good".into(),
            }),
            booted: Some("b".into()),
            default: Some("b".into()),
            trial: None,
            last_attempt: Some(AttemptView {
                version: "1.2.4".into(),
                outcome: "failed".into(),
                reason: Some("self-test file:/etc/hostname:exists failed".into()),
                at: Timestamp(1_699_999_000),
                seconds: None,
            }),
            phase: "committed".into(),
            worn: None,
            newer_state: None,
            trouble: None,
            waits: None,
            lock: None,
            drill: None,
            fetched: None,
            owes: None,
        },
        selftests: None,
        owner_tests: None,
    }
}

#[test]
fn worst_check_decides_within_its_severity() {
    use Severity::{Info, Required, Wanted};
    use Status::{Fail, Pass, Warn};
    let table = [
        (Required, Pass, Pass),
        (Required, Warn, Warn),
        (Required, Fail, Fail),
        (Wanted, Warn, Warn),
        (Wanted, Fail, Warn),
        (Info, Fail, Pass),
    ];
    for (severity, status, board) in table {
        let mut report = example();
        let check = report.checks.get_mut("memory").expect("there");
        (check.severity, check.status) = (severity, status);
        assert_eq!(report.status(), board, "{severity:?} {status:?}");
    }
}

#[test]
fn report_survives_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    example().store(&path).expect("stored");
    assert_eq!(Report::load(&path).expect("loaded"), example());
}

#[test]
fn foreign_cut_and_newer_reports_are_refused() {
    let good = serde_json::to_string(&example()).expect("json");
    for bad in [
        String::new(),
        good[..good.len() / 2].into(),
        good.replace("\"schema\":2", "\"schema\":3"),
        good.replace("\"schema\":2", "\"schema\":2,\"more\":1"),
        good.replace("\"status\":\"pass\"", "\"status\":\"great\""),
    ] {
        assert!(Report::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}
