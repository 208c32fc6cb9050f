//! Every phase of an update as a row, and the properties no sequence of events may break.

use super::*;
use crate::record::{Attempt, Pending};
use crate::slot::Digest;
use alloc::boxed::Box;
use hypriot_keys::time::Timestamp;

mod starts;

pub(crate) const POLICY: Policy = Policy {
    trial_deadline: 600,
    ..Policy::AUTOMATIC
};

pub(crate) fn release(n: u8) -> Release {
    Release {
        version: semver::Version::new(u64::from(n), 0, 0),
        digest: Digest([n; 32]),
        state_version: 0,
    }
}

/// Slot A with 1.0.0 runs, committed; 2.0.0 is offered; tests ran and hold.
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

pub(super) fn pending(lost: u8, ignored: u8) -> Pending {
    Pending {
        release: release(2),
        slot: Slot::B,
        baseline: Vec::new(),
        lost,
        ignored,
        asked_in: None,
        asked_at: None,
        will: Will::Settings,
        drill: false,
    }
}

pub(super) fn trial(phase: Phase) -> impl Fn(&mut Seen) {
    move |s| {
        s.boot.trial = Some(Trial {
            slot: Slot::B,
            phase,
            id: "t".into(),
            rearms: 0,
            deadline: 600,
        });
        s.record.pending = Some(pending(0, 0));
    }
}

fn drill(seen: &mut Seen) {
    if let Some(pending) = &mut seen.record.pending {
        pending.drill = true;
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row for each situation")]
fn every_situation_has_its_step() {
    type Change = Box<dyn Fn(&mut Seen)>;
    let on_b = |phase: Phase, more: fn(&mut Seen)| -> Change {
        Box::new(move |s| {
            trial(phase)(s);
            s.booted = Slot::B;
            s.running = release(2).version;
            more(s);
        })
    };
    let back_on_a = |phase: Phase, more: fn(&mut Seen)| -> Change {
        Box::new(move |s| {
            trial(phase)(s);
            more(s);
        })
    };
    let calm_but = |more: fn(&mut Seen)| -> Change { Box::new(more) };
    let install = Step::Install {
        into: Slot::B,
        release: release(2),
    };
    let arm = Step::Arm {
        slot: Slot::B,
        release: release(2),
    };
    let rows: Vec<(&str, Change, Step)> = vec![
        ("newer release offered", calm_but(|_| ()), install.clone()),
        ("time to ask", calm_but(|s| s.offer = Offer::Due), Step::Ask),
        (
            "no baseline yet: not needed to write",
            calm_but(|s| s.tests = Tests::NotRun),
            install.clone(),
        ),
        (
            "no baseline yet, about to arm",
            calm_but(|s| {
                s.record.set_content(Slot::B, Some(release(2)));
                s.tests = Tests::NotRun;
            }),
            Step::SelfTest,
        ),
        (
            "baseline of 60 days ago, about to arm",
            calm_but(|s| {
                s.record.set_content(Slot::B, Some(release(2)));
                s.tests_age = 60 * 86_400;
            }),
            Step::SelfTest,
        ),
        (
            "baseline of before a power cut, about to arm again",
            calm_but(|s| {
                s.record.pending = Some(pending(0, 0));
                s.record.set_content(Slot::B, Some(release(2)));
                s.tests = Tests::NotRun;
            }),
            Step::SelfTest,
        ),
        (
            "baseline of before a lost trial, about to arm again",
            back_on_a(Phase::Lost, |s| s.tests = Tests::NotRun),
            Step::SelfTest,
        ),
        (
            "data lost, a newer release offered",
            calm_but(|s| s.trouble = Some(Trouble::DataLost)),
            Step::Wait(Why::Trouble(Trouble::DataLost)),
        ),
        (
            "record lost, but the boot state knows that the release failed",
            calm_but(|s| s.boot.failed = Some(release(2).digest.short())),
            Step::Wait(Why::Refused(release(2).digest)),
        ),
        (
            "settings broken: what they forbid is not known",
            calm_but(|s| s.trouble = Some(Trouble::Settings("x".into()))),
            Step::Wait(Why::Trouble(Trouble::Settings("x".into()))),
        ),
        (
            "armed, settings broken meanwhile",
            back_on_a(Phase::Armed, |s| {
                s.trouble = Some(Trouble::Settings("x".into()));
            }),
            Step::Wait(Why::Trouble(Trouble::Settings("x".into()))),
        ),
        (
            "failed, and the record with the data lost",
            back_on_a(Phase::Failed, |s| {
                s.record = Record::default();
                s.trouble = Some(Trouble::DataLost);
            }),
            Step::Settle(
                Outcome::Failed,
                vec!["the slot judged itself bad but its report is lost".into()],
            ),
        ),
        (
            "lost, and the record cannot be written",
            back_on_a(Phase::Lost, |s| {
                s.trouble = Some(Trouble::Record("full".into()));
            }),
            Step::Wait(Why::Trouble(Trouble::Record("full".into()))),
        ),
        (
            "trying, bad, data, record, settings and card in trouble: back all the same",
            on_b(Phase::Trying, |s| {
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
                s.trouble = Some(Trouble::Card("write-protected".into()));
            }),
            Step::Fail(vec!["docker".into()]),
        ),
        (
            "asked three times in this boot: systemd is slow, the loader was not asked yet",
            back_on_a(Phase::Armed, |s| {
                s.record.pending = Some(Pending {
                    asked_in: Some("this".into()),
                    ..pending(0, MAX_IGNORED)
                });
            }),
            Step::RebootToTry,
        ),
        (
            "failing baseline does not block",
            calm_but(|s| s.tests = Tests::Done(Verdict::Bad(vec!["x".into()]))),
            install.clone(),
        ),
        (
            "same version",
            calm_but(|s| s.running = release(2).version),
            Step::Wait(Why::UpToDate),
        ),
        (
            "older version",
            calm_but(|s| s.running = release(3).version),
            Step::Wait(Why::UpToDate),
        ),
        (
            "nothing offered",
            calm_but(|s| s.offer = Offer::Nothing),
            Step::Wait(Why::NoOffer),
        ),
        (
            "asked, nothing newer",
            calm_but(|s| s.offer = Offer::UpToDate),
            Step::Wait(Why::UpToDate),
        ),
        (
            "withdrawn release runs",
            calm_but(|s| s.offer = Offer::Stuck("flash".into())),
            Step::Wait(Why::Hold("flash".into())),
        ),
        (
            "held by rollout",
            calm_but(|s| {
                s.offer = Offer::Release {
                    release: release(2),
                    hold: Some("Thursday".into()),
                }
            }),
            Step::Wait(Why::Hold("Thursday".into())),
        ),
        (
            "source down",
            calm_but(|s| s.offer = Offer::Unreachable("x".into())),
            Step::Wait(Why::Unreachable("x".into())),
        ),
        (
            "failed here before",
            calm_but(|s| {
                s.record.settle(Attempt {
                    release: release(2),
                    slot: Slot::B,
                    outcome: Outcome::Failed,
                    reasons: vec![],
                    at: Timestamp(0),
                    seconds: None,
                });
            }),
            Step::Wait(Why::Refused(release(2).digest)),
        ),
        (
            "written, not armed",
            calm_but(|s| s.record.set_content(Slot::B, Some(release(2)))),
            arm.clone(),
        ),
        (
            "cut between record and boot state when arming",
            calm_but(|s| {
                s.record.pending = Some(pending(0, 0));
                s.record.set_content(Slot::B, Some(release(2)));
                s.offer = Offer::Due;
            }),
            arm,
        ),
        (
            "cut during the write",
            calm_but(|s| s.record.pending = Some(pending(0, 0))),
            install,
        ),
        (
            "default slot did not load",
            calm_but(|s| s.booted = Slot::B),
            Step::Adopt(Slot::B),
        ),
        (
            "on trial, and both copies of the boot state went bad: not kept unjudged",
            calm_but(|s| {
                (s.booted, s.tried, s.tests) = (Slot::B, true, Tests::NotRun);
            }),
            Step::SelfTest,
        ),
        (
            "on trial, forgotten by the boot state, and bad",
            calm_but(|s| {
                (s.booted, s.tried) = (Slot::B, true);
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Fail(vec!["docker".into()]),
        ),
        (
            "armed, before the reboot",
            back_on_a(Phase::Armed, |_| ()),
            Step::RebootToTry,
        ),
        (
            "armed, boot loader ignores it",
            back_on_a(Phase::Armed, |s| {
                s.record.pending = Some(pending(0, MAX_IGNORED));
            }),
            Step::Settle(
                Outcome::NeverTried,
                vec!["the boot loader did not start slot b in 3 reboots".into()],
            ),
        ),
        (
            "armed, record lost",
            back_on_a(Phase::Armed, |s| s.record.pending = None),
            Step::Settle(
                Outcome::NeverTried,
                vec!["the record of this update is lost".into()],
            ),
        ),
        (
            "trying, tests to run",
            on_b(Phase::Trying, |s| s.tests = Tests::NotRun),
            Step::SelfTest,
        ),
        (
            "trying, agent came too late",
            on_b(Phase::Trying, |s| {
                s.tests = Tests::NotRun;
                s.uptime = 601;
            }),
            Step::Fail(vec!["not judged 600 s after boot".into()]),
        ),
        (
            "trying, good",
            on_b(Phase::Trying, |_| ()),
            Step::Commit(Slot::B),
        ),
        (
            "a drill, good: made to fail",
            on_b(Phase::Trying, drill),
            Step::Fail(vec![DRILL.into()]),
        ),
        (
            "a drill, and its self-tests fail by themselves",
            on_b(Phase::Trying, |s| {
                drill(s);
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Fail(vec!["docker".into()]),
        ),
        (
            "a drill whose end nobody saw is not tried once more",
            back_on_a(Phase::Lost, drill),
            Step::Settle(
                Outcome::Unknown,
                vec!["the board was reset during the trial (panic, hang or power cut)".into()],
            ),
        ),
        (
            "loader does not mark, good",
            on_b(Phase::Armed, |_| ()),
            Step::Commit(Slot::B),
        ),
        (
            "trying, bad",
            on_b(Phase::Trying, |s| {
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Fail(vec!["docker".into()]),
        ),
        (
            "judged, before the reboot",
            on_b(Phase::Failed, |s| s.tried = true),
            Step::RebootBack,
        ),
        (
            "failed slot started as last resort: its tests first",
            on_b(Phase::Failed, |s| s.tests = Tests::NotRun),
            Step::SelfTest,
        ),
        (
            "failed slot started as last resort, and it works now",
            on_b(Phase::Failed, |_| ()),
            Step::Adopt(Slot::B),
        ),
        (
            "failed slot started as last resort, and it is as bad as before",
            on_b(Phase::Lost, |s| {
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Settle(Outcome::Failed, vec!["docker".into()]),
        ),
        (
            "a trial is judged, whatever was counted before it",
            on_b(Phase::Trying, |s| {
                (s.boot.starts, s.uptime) = (2, UP_AT_LAST + 1);
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Fail(vec!["docker".into()]),
        ),
        (
            "cut after the commit",
            Box::new(|s| {
                s.booted = Slot::B;
                s.boot.default = Slot::B;
                s.record.pending = Some(pending(0, 0));
            }),
            Step::Settle(Outcome::Confirmed, vec![]),
        ),
        (
            "failed with a report",
            back_on_a(Phase::Failed, |s| {
                s.report = Some(("t".into(), vec!["docker".into()]));
            }),
            Step::Settle(Outcome::Failed, vec!["docker".into()]),
        ),
        (
            "failed, report lost",
            back_on_a(Phase::Failed, |_| ()),
            Step::Settle(
                Outcome::Failed,
                vec!["the slot judged itself bad but its report is lost".into()],
            ),
        ),
        (
            "power cut between report and mark",
            back_on_a(Phase::Lost, |s| {
                s.report = Some(("t".into(), vec!["docker".into()]));
            }),
            Step::Settle(Outcome::Failed, vec!["docker".into()]),
        ),
        (
            "report of an older trial",
            back_on_a(Phase::Lost, |s| {
                s.report = Some(("old".into(), vec!["docker".into()]));
            }),
            Step::Retry(Slot::B),
        ),
        (
            "hang or power cut, first time",
            back_on_a(Phase::Lost, |_| ()),
            Step::Retry(Slot::B),
        ),
        (
            "hang or power cut, again",
            back_on_a(Phase::Lost, |s| {
                s.record.pending = Some(pending(MAX_LOST, 0));
            }),
            Step::Settle(
                Outcome::Unknown,
                vec!["the board was reset during the trial (panic, hang or power cut)".into()],
            ),
        ),
        (
            "loader could not write lost",
            back_on_a(Phase::Trying, |_| ()),
            Step::Retry(Slot::B),
        ),
    ];
    for (danger, change, expected) in rows {
        let mut seen = calm();
        change(&mut seen);
        assert_eq!(decide(&seen, &POLICY), expected, "{danger}");
    }
}

#[test]
fn the_owner_can_keep_the_last_word() {
    let policy = Policy {
        install: Automatic::No,
        reboot: Automatic::No,
        ..POLICY
    };
    assert_eq!(
        decide(&calm(), &policy),
        Step::Wait(Why::OwnerInstalls(release(2)))
    );
    let mut armed = calm();
    trial(Phase::Armed)(&mut armed);
    assert_eq!(
        decide(&armed, &policy),
        Step::Wait(Why::OwnerReboots(Slot::B))
    );
    // what the owner changes before that reboot must not be laid on the release
    armed.tests_age = BASELINE_RENEWED + 1;
    assert_eq!(decide(&armed, &policy), Step::SelfTest);
}
