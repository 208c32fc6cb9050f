//! Each reason for which a board does not update, as a row: what is said and what is advised.

use hypriot_updater::boot::{BootState, Phase, Trial};
use hypriot_updater::decide::{Automatic, Prepared, Terms, Tests};
use hypriot_updater::health::Verdict;
use hypriot_updater::record::{Pending, Record, Will};
use hypriot_updater::slot::{Digest, Release};

use super::*;
use crate::report::tests::example;

const POLICY: Policy = Policy::AUTOMATIC;

fn release(n: u8) -> Release {
    Release {
        version: semver::Version::new(u64::from(n), 0, 0),
        digest: Digest([n; 32]),
        state_version: 0,
    }
}

/// Slot a with 1.0.0 runs, 2.0.0 is offered.
pub(crate) fn calm() -> Seen {
    Seen {
        booted: Slot::A,
        running: release(1).version,
        state_version: 0,
        boot: BootState::fresh(),
        record: Record::default(),
        offer: Offer::Release {
            release: release(2),
            hold: None,
        },
        tests: Tests::Done(Verdict::Good),
        tests_age: 0,
        report: None,
        tried: false,
        boot_id: "this".into(),
        trouble: None,
        uptime: 60,
        terms: Terms {
            prepared: Prepared::Yes,
            ..Terms::default()
        },
    }
}

fn facts(seen: &Seen, policy: Policy) -> Facts<'_> {
    Facts {
        seen,
        policy,
        url: Some("https://host/repo/"),
        neighbours: true,
        failure: None,
        report: None,
        clock: (Timestamp(100), Timestamp(100)),
    }
}

fn failed(seen: &mut Seen, outcome: Outcome) {
    seen.record.settle(Attempt {
        release: release(2),
        slot: Slot::B,
        outcome,
        reasons: vec!["service:docker:running: inactive".into()],
        at: Timestamp(50),
        seconds: None,
    });
}

fn armed(seen: &mut Seen) {
    seen.record.pending = Some(Pending {
        release: release(2),
        slot: Slot::B,
        baseline: Vec::new(),
        lost: 0,
        ignored: 0,
        asked_in: None,
        asked_at: None,
        will: Will::Settings,
        drill: false,
    });
    seen.boot.trial = Some(Trial {
        slot: Slot::B,
        phase: Phase::Armed,
        id: release(2).digest.short(),
        rearms: 0,
        deadline: 900,
    });
}

#[test]
fn every_reason_is_said_with_what_to_do() {
    type Row = (fn(&mut Seen), Policy, State, &'static str, &'static str);
    let by_hand = Policy {
        install: Automatic::No,
        reboot: Automatic::No,
        ..POLICY
    };
    let hold = |seen: &mut Seen| {
        seen.offer = Offer::Release {
            release: release(2),
            hold: Some("its turn comes on Thursday".into()),
        };
    };
    let rows: [Row; 9] = [
        (
            |s| s.offer = Offer::UpToDate,
            POLICY,
            State::UpToDate,
            "1.0.0 is the newest",
            "",
        ),
        (|_| (), POLICY, State::Updating, "2.0.0 is offered", ""),
        (
            hold,
            POLICY,
            State::Waiting,
            "its turn comes on Thursday",
            "hypriot-agent install",
        ),
        (
            |s| failed(s, Outcome::Failed),
            POLICY,
            State::Waiting,
            "failed on this board before",
            "forgive 0202020202020202",
        ),
        (
            |s| s.offer = Offer::Unreachable("no route to host".into()),
            POLICY,
            State::Waiting,
            "no route to host",
            "hypriot-agent check",
        ),
        (
            |s| s.offer = Offer::Nothing,
            POLICY,
            State::Waiting,
            "no release for this board",
            "published for",
        ),
        (
            |_| (),
            by_hand,
            State::Waiting,
            "installing is by hand",
            "hypriot-agent install",
        ),
        (
            armed,
            by_hand,
            State::Waiting,
            "restarting is by hand",
            "systemctl reboot",
        ),
        (armed, POLICY, State::Updating, "restarts to try it", ""),
    ];
    for (change, policy, state, because, fix) in rows {
        let mut seen = calm();
        change(&mut seen);
        let answer = answer(&facts(&seen, policy));
        assert_eq!(answer.state, state, "{answer:?}");
        assert!(answer.because.contains(because), "{because}: {answer:?}");
        let advice = answer.fix.unwrap_or_default();
        assert!(
            advice.contains(fix) && advice.is_empty() == fix.is_empty(),
            "{because}: {advice}"
        );
    }
}

#[test]
fn a_rollback_shows_what_failed_and_no_report_of_another_trial() {
    let mut seen = calm();
    failed(&mut seen, Outcome::Failed);
    let left = |trial: String| {
        Some(FailureReport {
            trial,
            boot_id: "that".into(),
            reasons: vec!["service:docker:running: inactive".into()],
            kernel_log: vec!["overlayfs: failed".into()],
            failed_units: vec!["docker.service".into()],
        })
    };
    for (trial, lines) in [(release(2).digest.short(), 1), ("older".into(), 0)] {
        let rollback = answer(&Facts {
            failure: left(trial),
            ..facts(&seen, POLICY)
        })
        .rollback
        .expect("it was rolled back");
        assert_eq!(rollback.reasons, ["service:docker:running: inactive"]);
        assert_eq!(
            (rollback.kernel_log.len(), rollback.failed_units.len()),
            (lines, lines)
        );
    }
    failed(&mut seen, Outcome::Confirmed);
    assert_eq!(answer(&facts(&seen, POLICY)).rollback, None);
}

#[test]
fn who_switched_neighbours_off_is_told_so_when_there_is_something_to_fetch() {
    let said = |seen: &Seen, neighbours| {
        let answer = answer(&Facts {
            neighbours,
            ..facts(seen, POLICY)
        });
        answer.also.iter().any(|o| o.what.starts_with("neighbours"))
    };
    let mut seen = calm();
    assert!(said(&seen, false));
    assert!(!said(&seen, true));
    seen.offer = Offer::UpToDate;
    assert!(!said(&seen, false), "nothing is to be fetched");
}

#[test]
fn what_else_stands_in_the_way_is_said_but_no_inhibitor_while_no_restart_is_due() {
    let mut report = example();
    let mut check = report.checks.values().next().expect("a check").clone();
    check.status = Status::Warn;
    check.output = "under-voltage".into();
    report.checks = [
        ("power".to_owned(), check.clone()),
        ("load".to_owned(), check),
    ]
    .into();
    let mut seen = calm();
    let also = |seen: &Seen| {
        let answer = answer(&Facts {
            report: Some(&report),
            clock: (Timestamp(5), Timestamp(100)),
            ..facts(seen, POLICY)
        });
        answer.also.into_iter().map(|o| o.what).collect::<Vec<_>>()
    };
    let calm = also(&seen);
    assert_eq!(calm.len(), 2, "{calm:?}");
    assert!(
        calm[0].contains("clock") && calm[1] == "power: under-voltage",
        "{calm:?}"
    );
    armed(&mut seen);
    seen.terms.inhibitors = vec!["backup: copies the data".into()];
    assert!(
        also(&seen)
            .iter()
            .any(|o| o.contains("backup: copies the data"))
    );
}
