//! Every phase of an update as a row, and the properties no sequence of events may break.

use super::*;
use crate::record::{Attempt, Pending};
use crate::slot::Digest;
use alloc::boxed::Box;
use hypriot_keys::time::Timestamp;
use proptest::prelude::*;

const POLICY: Policy = Policy {
    install: Automatic::Yes,
    reboot: Automatic::Yes,
    trial_deadline: 600,
};

fn release(n: u8) -> Release {
    Release {
        version: semver::Version::new(u64::from(n), 0, 0),
        digest: Digest([n; 32]),
    }
}

/// Slot A with 1.0.0 runs, committed; 2.0.0 is offered; tests ran and hold.
fn calm() -> Seen {
    Seen {
        booted: Slot::A,
        running: release(1).version,
        boot: BootState::fresh(),
        record: Record::default(),
        offer: Offer::Release {
            release: release(2),
            hold: None,
        },
        tests: Tests::Done(Verdict::Good),
        report: None,
        tests_age: 0,
        judged: false,
        uptime: 60,
    }
}

fn pending(lost: u8, ignored: u8) -> Pending {
    Pending {
        release: release(2),
        slot: Slot::B,
        baseline: Vec::new(),
        lost,
        ignored,
    }
}

fn trial(phase: Phase) -> impl Fn(&mut Seen) {
    move |s| {
        s.boot.trial = Some(Trial {
            slot: Slot::B,
            phase,
            id: "t".into(),
            rearms: 0,
        });
        s.record.pending = Some(pending(0, 0));
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
            on_b(Phase::Failed, |s| s.judged = true),
            Step::RebootBack,
        ),
        (
            "failed slot started as last resort",
            on_b(Phase::Failed, |_| ()),
            Step::Adopt(Slot::B),
        ),
        (
            "lost slot started as last resort",
            on_b(Phase::Lost, |_| ()),
            Step::Adopt(Slot::B),
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

/// A small board in memory: it does what it is told, and what happens to it is drawn at random.
#[derive(Debug, Clone)]
struct Board {
    seen: Seen,
    /// Slots whose content starts at all.
    good: [bool; 2],
    slots: [u8; 2],
    offered: u8,
}

impl Board {
    fn boot(&mut self) {
        let mut slot = self.seen.boot.default;
        if let Some(trial) = &mut self.seen.boot.trial {
            match trial.phase {
                Phase::Armed => {
                    trial.phase = Phase::Trying;
                    slot = trial.slot;
                }
                Phase::Trying => trial.phase = Phase::Lost,
                Phase::Failed | Phase::Lost => (),
            }
        }
        self.seen.booted = slot;
        self.seen.running = release(self.slots[usize::from(slot == Slot::B)]).version;
        self.seen.tests = Tests::NotRun;
        self.seen.judged = false;
        self.seen.offer = Offer::Due;
    }

    fn act(&mut self, step: Step) {
        let s = &mut self.seen;
        match step {
            Step::Wait(_) => (),
            Step::Ask => {
                s.offer = Offer::Release {
                    release: release(self.offered),
                    hold: None,
                }
            }
            Step::SelfTest => {
                let good = self.good[usize::from(s.booted == Slot::B)];
                s.tests = Tests::Done(if good {
                    Verdict::Good
                } else {
                    Verdict::Bad(vec!["x".into()])
                });
            }
            Step::Install { into, release } => {
                assert_ne!(into, s.booted, "the running slot is never written");
                assert_ne!(into, s.boot.default, "the default slot is never written");
                self.slots[usize::from(into == Slot::B)] =
                    u8::try_from(release.version.major).unwrap();
                s.record.set_content(into, Some(release));
            }
            Step::Arm { slot, release } => {
                s.record.pending = Some(Pending {
                    release,
                    slot,
                    baseline: Vec::new(),
                    lost: 0,
                    ignored: 0,
                });
                s.boot.arm(slot, "t").unwrap();
            }
            Step::Retry(slot) => {
                s.record.pending.as_mut().unwrap().lost += 1;
                s.boot.arm(slot, "t").unwrap();
            }
            Step::RebootToTry => {
                s.record.pending.as_mut().unwrap().ignored += 1;
                self.boot();
            }
            Step::RebootBack => self.boot(),
            Step::Commit(slot) => {
                s.boot.commit(slot);
            }
            Step::Fail(reasons) => {
                s.report = Some(("t".into(), reasons));
                s.boot.fail().unwrap();
                s.judged = true;
                self.boot();
            }
            Step::Settle(outcome, reasons) => {
                let Some(p) = s.record.pending.clone() else {
                    s.boot.cancel();
                    return;
                };
                s.record.settle(Attempt {
                    release: p.release,
                    slot: p.slot,
                    outcome,
                    reasons,
                    at: Timestamp(0),
                });
                s.boot.cancel();
                s.report = None;
            }
            Step::Adopt(slot) => {
                s.record.pending = None;
                s.boot.commit(slot);
            }
        }
    }
}

proptest! {
    /// Whatever is offered and whenever the power goes: the default slot is one that held or holds a good release,
    /// and a release that is bad is tried at most twice.
    #[test]
    fn no_sequence_of_power_cuts_commits_a_bad_slot(bad in any::<bool>(), cuts in proptest::collection::vec(0usize..12, 0..6)) {
        let mut board = Board { seen: calm(), good: [true, !bad], slots: [1, 0], offered: 2 };
        board.boot();
        let mut tries = 0;
        let mut rounds = cuts.into_iter().chain([60]);
        while let Some(steps) = rounds.next() {
            for _ in 0..steps {
                let step = decide(&board.seen, &POLICY);
                if matches!(step, Step::Wait(_)) { break; }
                tries += usize::from(matches!(step, Step::RebootToTry));
                board.act(step);
                let default_is_b = board.seen.boot.default == Slot::B;
                prop_assert!(board.good[usize::from(default_is_b)], "a bad slot became the default");
            }
            if rounds.size_hint().1 != Some(0) { board.boot(); }
        }
        let last = decide(&board.seen, &POLICY);
        prop_assert!(matches!(last, Step::Wait(_)), "does not come to rest: {last:?}");
        if bad { prop_assert!(tries <= 3); prop_assert_eq!(board.seen.boot.default, Slot::A); }
    }
}
