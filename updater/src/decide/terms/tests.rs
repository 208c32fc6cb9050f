//! Each term as a row, and what no mixture of them may bring about.

use alloc::format;
use alloc::vec;

use super::super::tests::{POLICY, calm, pending, release, trial};
use super::super::*;
use super::*;
use crate::boot::Phase;
use crate::record::{After, Attempt, Hold, Outcome, Pin};
use crate::slot::{Digest, Slot};

const NOW: Timestamp = Timestamp(1_000);

type Change = fn(&mut Seen);

fn ready() -> Seen {
    let mut seen = calm();
    seen.record.set_content(Slot::B, Some(release(2)));
    seen.terms.now = NOW;
    seen.terms.lock.steady = true;
    seen
}

fn armed() -> Seen {
    let mut seen = ready();
    trial(Phase::Armed)(&mut seen);
    seen
}

fn lock(boot: &str, digest: Digest, granted: bool) -> Held {
    Held {
        url: "http://lock/".into(),
        group: "default".into(),
        release: digest.to_string(),
        granted,
        boot: boot.into(),
        at: NOW,
    }
}

/// 2.0.0 was tried and is not kept; its lock is still there.
fn rolled_back(outcome: Outcome) -> Seen {
    let mut seen = calm();
    seen.record.settle(Attempt {
        release: release(2),
        slot: Slot::B,
        outcome,
        reasons: vec![],
        at: NOW,
        seconds: None,
    });
    seen.record.lock = Some(lock("before", release(2).digest, true));
    seen.terms.lock.set = true;
    seen
}

/// 2.0.0 runs and is the default; its lock is still there.
fn confirmed() -> Seen {
    let mut seen = calm();
    seen.running = release(2).version;
    seen.record.lock = Some(lock("before", release(2).digest, true));
    seen.terms.lock.set = true;
    seen
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row for each danger")]
fn a_board_restarts_when_all_agree_and_asks_the_lock_last() {
    let arm = Step::Arm {
        slot: Slot::B,
        release: release(2),
    };
    let hold = Hold {
        until: Some(Timestamp(2_000)),
        ..Hold::default()
    };
    let rows: Vec<(&str, Change, Step)> = vec![
        ("nothing is against it", |_| (), arm.clone()),
        (
            "held",
            |s| {
                s.record.hold = Some(Hold {
                    until: Some(Timestamp(2_000)),
                    ..Hold::default()
                });
            },
            Step::Wait(Why::Held(hold)),
        ),
        (
            "a hold that is over",
            |s| {
                s.record.hold = Some(Hold {
                    until: Some(NOW),
                    ..Hold::default()
                });
            },
            arm.clone(),
        ),
        (
            "outside of the window, and the lock is not asked for",
            |s| {
                s.terms.window = Window::Opens(Timestamp(9));
                s.terms.lock.set = true;
            },
            Step::Wait(Why::Window(Some(Timestamp(9)))),
        ),
        (
            "a clock that is wrong opens no window",
            |s| s.terms.window = Window::NoClock,
            Step::Wait(Why::NoClock),
        ),
        (
            "inhibited, and the lock is not asked for",
            |s| {
                s.terms.inhibitors = vec!["backup: copies".into()];
                s.terms.lock.set = true;
            },
            Step::Wait(Why::Inhibited(vec!["backup: copies".into()])),
        ),
        (
            "the lock is there to be asked for, before self-tests that would grow old",
            |s| (s.terms.lock.set, s.tests) = (true, Tests::NotRun),
            Step::Lock(release(2)),
        ),
        (
            "a hook said not now",
            |s| s.terms.prepared = Prepared::Later("10-drain: exit code 75".into()),
            Step::Wait(Why::Hook("10-drain: exit code 75".into())),
        ),
        (
            "the lock was refused a moment ago",
            |s| {
                s.terms.lock.set = true;
                s.terms.lock.later = Some("full".into());
                s.record.lock = Some(lock("this", release(2).digest, false));
            },
            Step::Wait(Why::Locked("full".into())),
        ),
        (
            "the lock was granted",
            |s| {
                s.terms.lock.set = true;
                s.record.lock = Some(lock("this", release(2).digest, true));
            },
            arm,
        ),
        (
            "the lock was granted before a power cut: whoever was away asks again",
            |s| {
                s.terms.lock.set = true;
                s.record.lock = Some(lock("before", release(2).digest, true));
            },
            Step::Lock(release(2)),
        ),
        (
            "the lock was granted for another release",
            |s| {
                s.terms.lock.set = true;
                s.record.lock = Some(lock("this", release(3).digest, true));
            },
            Step::Lock(release(2)),
        ),
    ];
    for (danger, change, expected) in rows {
        let mut seen = ready();
        change(&mut seen);
        assert_eq!(decide(&seen, &POLICY), expected, "{danger}");
        // the same after a power cut between record and boot state
        let mut again = ready();
        again.record.pending = Some(pending(0, 0));
        change(&mut again);
        assert_eq!(decide(&again, &POLICY), expected, "{danger}, pending");
    }
}

#[test]
fn an_armed_slot_is_tried_now_or_not_at_all() {
    let rows: Vec<(&str, Change, Step)> = vec![
        ("all agree", |_| (), Step::RebootToTry),
        (
            "the window closed while a hook ran: no power cut may try it now",
            |s| s.terms.window = Window::Opens(Timestamp(9)),
            Step::Disarm(Slot::B),
        ),
        (
            "held meanwhile",
            |s| s.record.hold = Some(Hold::default()),
            Step::Disarm(Slot::B),
        ),
        (
            "hooks first",
            |s| s.terms.prepared = Prepared::No,
            Step::Prepare(release(2)),
        ),
        (
            "a hook says not now: nobody holds a lock while waiting for it",
            |s| s.terms.prepared = Prepared::Later("10-drain: exit code 75".into()),
            Step::Disarm(Slot::B),
        ),
        (
            "the lock before the hooks",
            |s| (s.terms.lock.set, s.terms.prepared) = (true, Prepared::No),
            Step::Lock(release(2)),
        ),
        (
            "armed for the owner's own restart: windows are not for him",
            |s| {
                s.terms.window = Window::Never;
                if let Some(p) = &mut s.record.pending {
                    p.will = Will::AtRestart;
                }
            },
            Step::Wait(Why::OwnerReboots(Slot::B)),
        ),
        (
            "the owner's own update after a power cut: windows are not for him",
            |s| {
                s.terms.window = Window::Never;
                if let Some(p) = &mut s.record.pending {
                    p.will = Will::Now;
                }
            },
            Step::RebootToTry,
        ),
    ];
    for (danger, change, expected) in rows {
        let mut seen = armed();
        change(&mut seen);
        assert_eq!(decide(&seen, &POLICY), expected, "{danger}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row for each danger")]
fn a_lock_goes_back_when_the_board_is_well_and_stays_when_it_is_not() {
    let after = After {
        outcome: Outcome::Confirmed,
        version: release(2).version,
    };
    let rows: Vec<(&str, Seen, Change, Option<Step>)> = vec![
        ("committed", confirmed(), |_| (), Some(Step::Steady)),
        (
            "committed, its own hooks not yet run",
            confirmed(),
            |s| {
                s.record.after = Some(After {
                    outcome: Outcome::Confirmed,
                    version: release(2).version,
                });
            },
            Some(Step::After(after)),
        ),
        (
            "committed, and a hook that brings it back into service fails",
            confirmed(),
            |s| {
                s.record.after = Some(After {
                    outcome: Outcome::Confirmed,
                    version: release(2).version,
                });
                s.terms.after = Some("x".into());
            },
            None,
        ),
        (
            "the release failed: the next board must not follow, and the service knows why",
            rolled_back(Outcome::Failed),
            |_| (),
            Some(Step::KeepLock),
        ),
        (
            "said already: the lock stays all the same",
            rolled_back(Outcome::Failed),
            |s| s.terms.lock.told = true,
            None,
        ),
        (
            "it is said before hooks run, or fail",
            rolled_back(Outcome::Failed),
            |s| {
                s.record.after = Some(After {
                    outcome: Outcome::Failed,
                    version: release(2).version,
                });
            },
            Some(Step::KeepLock),
        ),
        (
            "the service did not hear it a moment ago",
            rolled_back(Outcome::Failed),
            |s| s.terms.lock.later = Some("x".into()),
            None,
        ),
        (
            "the service was taken out of the settings: it gave the lock, and is told all the same",
            rolled_back(Outcome::Failed),
            |s| s.terms.lock.set = false,
            Some(Step::KeepLock),
        ),
        (
            "nobody saw how the trial ended",
            rolled_back(Outcome::Unknown),
            |_| (),
            Some(Step::KeepLock),
        ),
        (
            "the loader never started it",
            rolled_back(Outcome::NeverTried),
            |_| (),
            Some(Step::KeepLock),
        ),
        (
            "the owner forgave it, and nothing newer is there",
            rolled_back(Outcome::Failed),
            |s| {
                assert!(s.record.forgive(&release(2).digest));
                s.offer = Offer::UpToDate;
            },
            Some(Step::Steady),
        ),
        (
            "committed, data lost meanwhile: not well",
            confirmed(),
            |s| s.trouble = Some(Trouble::DataLost),
            None,
        ),
        (
            "granted, and the window closed before the restart: others may go on",
            ready(),
            |s| {
                s.terms.lock.set = true;
                s.terms.window = Window::Opens(Timestamp(9));
                s.record.lock = Some(lock("this", release(2).digest, true));
            },
            Some(Step::Steady),
        ),
        (
            "the service is taken out of the settings: its lock goes back all the same",
            confirmed(),
            |s| s.terms.lock.set = false,
            Some(Step::Steady),
        ),
        (
            "no lock on record, first time in this boot: the record may be lost",
            confirmed(),
            |s| s.record.lock = None,
            Some(Step::Steady),
        ),
        (
            "the same, and the board is not well",
            confirmed(),
            |s| {
                s.record.lock = None;
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            },
            None,
        ),
        (
            "the same, and the record of what failed here is lost with it",
            confirmed(),
            |s| {
                s.record.lock = None;
                s.boot.failed = Some(release(3).digest.short());
            },
            Some(Step::KeepLock),
        ),
        (
            "the same, said already",
            confirmed(),
            |s| (s.record.lock, s.terms.lock.steady) = (None, true),
            None,
        ),
        (
            "the service did not answer a moment ago",
            confirmed(),
            |s| s.terms.lock.later = Some("x".into()),
            None,
        ),
    ];
    for (danger, mut seen, change, expected) in rows {
        change(&mut seen);
        let step = decide(&seen, &POLICY);
        let step = (!matches!(step, Step::Wait(_))).then_some(step);
        assert_eq!(step, expected, "{danger}");
    }
}

#[test]
fn the_owner_says_which_version_and_how_far() {
    let policy = Policy {
        download_only: true,
        ..POLICY
    };
    assert_eq!(
        decide(&ready(), &policy),
        Step::Wait(Why::Downloaded(release(2)))
    );
    let install = Step::Install {
        into: Slot::B,
        release: release(2),
    };
    assert_eq!(decide(&calm(), &policy), install, "but it is downloaded");
    let by_hand = Policy {
        will: Will::Now,
        ..policy
    };
    assert!(matches!(decide(&ready(), &by_hand), Step::Arm { .. }));
    // a window may be for the line, too
    let mut seen = calm();
    seen.terms.window = Window::Opens(Timestamp(9));
    assert_eq!(decide(&seen, &POLICY), install);
    let covers = Policy {
        window_covers_install: true,
        ..POLICY
    };
    let waits = Step::Wait(Why::Window(Some(Timestamp(9))));
    assert_eq!(decide(&seen, &covers), waits);
    // held: nothing is fetched either
    seen.record.hold = Some(Hold::default());
    assert!(matches!(decide(&seen, &POLICY), Step::Wait(Why::Held(_))));
    for (pin, expected) in [
        (1, Step::Wait(Why::Pinned(release(1).version))),
        (2, install),
        (3, Step::Wait(Why::Pinned(release(3).version))),
    ] {
        let mut seen = calm();
        seen.record.pin = Some(Pin {
            version: release(pin).version,
            reason: String::new(),
            since: NOW,
        });
        assert_eq!(decide(&seen, &POLICY), expected, "pinned to {pin}");
    }
}

/// Every mixture of terms, in every phase of an update.
#[test]
fn no_mixture_of_terms_stands_before_the_way_back_or_restarts_without_the_lock() {
    let windows = [
        Window::Open,
        Window::Opens(Timestamp(9)),
        Window::Never,
        Window::NoClock,
    ];
    let prepared = [Prepared::No, Prepared::Yes, Prepared::Later("x".into())];
    for mix in 0..2 * 2 * 2 * 2 * 3 * 4 * 3 {
        let bit = |n: u32| mix >> n & 1 == 1;
        let terms = |seen: &mut Seen| {
            seen.terms.now = NOW;
            seen.terms.lock.set = bit(0);
            seen.terms.lock.later = bit(1).then(|| "full".into());
            seen.terms.inhibitors = if bit(2) { vec!["x: y".into()] } else { vec![] };
            seen.record.hold = bit(3).then(Hold::default);
            let rest = mix >> 4;
            seen.record.lock = match rest % 3 {
                0 => None,
                1 => Some(lock("this", release(2).digest, true)),
                _ => Some(lock("this", release(2).digest, false)),
            };
            seen.terms.window = windows[rest / 3 % 4].clone();
            seen.terms.prepared = prepared[rest / 12 % 3].clone();
        };
        let with = |mut seen: Seen| {
            terms(&mut seen);
            (decide(&seen, &POLICY), seen)
        };
        // the slot on trial is judged, and the way back is gone, whatever they are
        let on_trial = |tests: Tests| {
            let mut seen = armed();
            trial(Phase::Trying)(&mut seen);
            (seen.booted, seen.running, seen.tried) = (Slot::B, release(2).version, true);
            seen.tests = tests;
            seen
        };
        let bad = || Tests::Done(Verdict::Bad(vec!["docker".into()]));
        assert_eq!(with(on_trial(bad())).0, Step::Fail(vec!["docker".into()]));
        assert_eq!(with(on_trial(Tests::NotRun)).0, Step::SelfTest);
        let (step, _) = with(on_trial(Tests::Done(Verdict::Good)));
        assert_eq!(step, Step::Commit(Slot::B));
        // and nobody restarts, or lets a power cut restart, into a trial against a term
        for seen in [ready(), armed()] {
            let (step, seen) = with(seen);
            let may = seen.terms.window == Window::Open
                && seen.terms.inhibitors.is_empty()
                && seen.record.hold.is_none()
                && !matches!(seen.terms.prepared, Prepared::Later(_))
                && (!seen.terms.lock.set || seen.record.lock.as_ref().is_some_and(|l| l.granted));
            match &step {
                Step::Arm { .. } | Step::RebootToTry | Step::Prepare(_) => assert!(may, "{seen:?}"),
                Step::Steady => assert!(!may && seen.boot.trial.is_none(), "{seen:?}"),
                Step::Lock(_) | Step::Disarm(_) => assert!(!may, "{seen:?}"),
                Step::Wait(why) => assert!(!may, "{}", format!("{why:?} {seen:?}")),
                other => panic!("{other:?}: {seen:?}"),
            }
        }
    }
}
