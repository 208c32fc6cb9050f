//! Boards that say themselves that what they went for failed on them, truly or not.

use proptest::prelude::*;

use super::*;
use crate::rollout::journal::Outcome;
use crate::rollout::plan::{Canary, Plan};

fn went() -> Report {
    Report {
        boot: "b1".into(),
        last: Some(attempt("1", "confirmed", "t1")),
        ..report("1", "2")
    }
}

fn attempt(version: &str, outcome: &str, at: &str) -> Attempt {
    Attempt {
        version: version.into(),
        outcome: outcome.into(),
        at: at.into(),
    }
}

fn back(last: Attempt) -> Report {
    Report {
        boot: "b2".into(),
        progress: "failed".into(),
        reason: "docker: not running".into(),
        last: Some(last),
        ..report("1", "2")
    }
}

const WHY: &str = "came back without 2, which ended as failed: docker: not running";

#[test]
fn a_board_whose_trial_failed_pauses_its_group_at_once_and_keeps_its_lock_until_an_operator_clears_it()
 {
    let mut s = Service::new(slots(2));
    s.lock("a", went());
    let says = back(attempt("2", "failed", "t2"));
    assert_eq!(kind(&s.failed("a", says.clone())), "yes");
    assert_eq!(
        s.group().paused.as_ref().map(|p| p.reason.as_str()),
        Some("a ".to_owned() + WHY).as_deref()
    );
    assert_eq!(s.group().locks["a"].failed.as_deref(), Some(WHY));
    assert_eq!(
        kind(&s.lock("b", report("1", "2"))),
        "failed_lock_group_paused"
    );
    // said again, by an agent that was restarted: nothing new
    assert_eq!(kind(&s.failed("a", says.clone())), "yes");
    assert_eq!(s.group().failures.len(), 1);
    // the operator goes on, and the slot stays taken
    s.say(Word::Resume);
    assert_eq!(kind(&s.failed("a", says.clone())), "yes");
    assert!(
        s.group().paused.is_none(),
        "what was forgiven is not laid on it again"
    );
    assert_eq!(kind(&s.lock("b", report("1", "2"))), "yes");
    assert_eq!(
        kind(&s.lock("c", report("1", "2"))),
        "failed_lock_semaphore_full"
    );
    s.say(Word::Clear("a".into()));
    assert_eq!(kind(&s.lock("c", report("1", "2"))), "yes");
    // and nobody waits for it any more, whatever it says
    assert_eq!(kind(&s.failed("a", says)), "yes");
    assert!(s.group().paused.is_none() && s.group().failures.is_empty());
}

#[test]
fn a_board_that_is_late_and_then_says_why_is_shown_with_its_own_words_and_counted_once() {
    let mut s = Service::new(Settings {
        max_failures: 1,
        ..slots(1)
    });
    s.lock("a", went());
    s.pass(1800);
    assert_eq!(s.group().failures.len(), 1);
    s.failed("a", back(attempt("2", "failed", "t2")));
    let reasons: Vec<&str> = s
        .group()
        .failures
        .iter()
        .map(|f| f.reason.as_str())
        .collect();
    assert_eq!(reasons, [WHY]);
    assert!(s.group().paused.is_none(), "one failure is allowed");
}

#[test]
fn words_that_are_late_repeated_or_untrue_fail_nobody() {
    for (danger, says, answer) in [
        (
            "it failed before it went, and that is said late",
            back(attempt("1", "confirmed", "t1")),
            "not_failed",
        ),
        (
            "of another version",
            back(attempt("1.5", "failed", "t2")),
            "not_failed",
        ),
        (
            "it has not restarted",
            Report {
                boot: "b1".into(),
                ..back(attempt("2", "failed", "t2"))
            },
            "not_failed",
        ),
        (
            "it was never started",
            back(attempt("2", "never-tried", "t2")),
            "yes",
        ),
        (
            "it is there",
            Report {
                version: "2".into(),
                ..back(attempt("2", "confirmed", "t2"))
            },
            "not_failed",
        ),
        (
            "says nothing of it, and runs it",
            Report {
                boot: "b2".into(),
                ..report("2", "")
            },
            "not_failed",
        ),
        ("nothing at all", Report::default(), "not_failed"),
        (
            "its record is lost",
            Report {
                boot: "b2".into(),
                ..report("1", "")
            },
            "yes",
        ),
        (
            "nobody saw how it ended",
            back(attempt("2", "unknown", "t2")),
            "yes",
        ),
    ] {
        let mut s = Service::new(slots(1));
        // a stranger's words, and those of a board that is not out, are heard and no more
        let before = Report {
            boot: "b0".into(),
            ..says.clone()
        };
        assert_eq!(kind(&s.failed("a", before)), "yes", "{danger}");
        assert!(s.group().paused.is_none(), "{danger}");
        s.lock("a", went());
        assert_eq!(kind(&s.failed("a", says)), answer, "{danger}");
        assert_eq!(s.group().locks.len(), 1, "{danger}: the lock stays");
        assert_eq!(s.group().paused.is_some(), answer == "yes", "{danger}");
    }
    let mut s = Service::new(slots(1));
    let who = Who {
        group: "other".into(),
        board: "a".into(),
        report: Report::default(),
    };
    assert_eq!(kind(&s.one(Ask::Failed(who)).0), "unknown_group");
    assert!(s.books.group("other").is_none());
}

#[test]
fn a_board_that_asks_for_the_next_release_before_it_told_of_the_last_is_not_let_go() {
    let mut s = Service::new(slots(1));
    s.lock("a", went());
    // a power cut in the trial: tried once more, which is no failure
    assert_eq!(
        kind(&s.lock(
            "a",
            Report {
                boot: "b2".into(),
                ..went()
            }
        )),
        "yes"
    );
    let next = Report {
        progress: "restart".into(),
        reason: "to try 3".into(),
        target: "3".into(),
        ..back(attempt("2", "failed", "t2"))
    };
    assert_eq!(kind(&s.lock("a", next)), "failed_lock_group_paused");
    let why = s.group().paused.as_ref().map(|p| p.reason.clone());
    assert_eq!(
        why.as_deref(),
        Some("a came back without 2, which ended as failed")
    );
}

#[test]
fn a_plan_stops_at_the_word_of_its_canary() {
    let mut s = Service::new(slots(2));
    for board in ["a", "b"] {
        s.steady(
            board,
            Report {
                target: String::new(),
                ..went()
            },
        );
    }
    let plan = Plan {
        canary: Canary::Named(vec!["a".into()]),
        version: Some("2".into()),
        ..Plan::new(Vec::new())
    };
    assert_eq!(
        s.say(Word::Plan("r1".into(), Box::new(plan), None)),
        Answer::Done
    );
    assert_eq!(kind(&s.lock("a", went())), "yes");
    assert_eq!(
        kind(&s.failed("a", back(attempt("2", "failed", "t2")))),
        "yes"
    );
    let journal = &s.rollout().journal;
    assert_eq!(journal.ended, Some(Outcome::Stopped), "{journal:?}");
    assert!(
        journal
            .stopped
            .as_deref()
            .is_some_and(|w| w.contains("docker")),
        "{journal:?}"
    );
    assert_eq!(kind(&s.lock("b", went())), "failed_lock_group_paused");
    assert_eq!(s.group().locks.len(), 1, "the canary keeps its lock");
}

#[derive(Debug, Clone)]
enum Say {
    Lock,
    Steady,
    /// What it says that failed: versions, and the time of it.
    Failed(&'static str, u8),
    Clear,
    Resume,
    Wait(u64),
}

fn say() -> impl Strategy<Value = (usize, Say)> {
    let word = prop_oneof![
        4 => Just(Say::Lock),
        2 => Just(Say::Steady),
        4 => (prop::sample::select(vec!["1", "2", "3"]), 0..3_u8).prop_map(|(v, t)| Say::Failed(v, t)),
        1 => Just(Say::Clear),
        1 => Just(Say::Resume),
        1 => (1..2000_u64).prop_map(Say::Wait),
    ];
    (0..5_usize, word)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever boards say in whatever order: a word of failure gives no lock back and takes none, and pauses only for one that is out.
    #[test]
    fn no_word_of_failure_frees_a_slot_or_pauses_for_a_board_that_is_not_out(
        slots in 1..4_usize,
        words in prop::collection::vec(say(), 1..60),
    ) {
        let mut s = Service::new(super::slots(slots));
        let mut starts = [0; 5];
        for (n, word) in words {
            let board = format!("n{n}");
            if matches!(word, Say::Steady | Say::Failed(..)) {
                starts[n] += 1;
            }
            let boot = format!("b{}", starts[n]);
            let before = s.group().clone();
            let out: Vec<String> = before.locks.keys().cloned().collect();
            match word {
                Say::Lock => {
                    let yes = s.lock(&board, Report { boot, ..went() }) == Answer::Done;
                    prop_assert!(!yes || before.paused.is_none() || before.locks.contains_key(&board));
                    let failed = before.locks.get(&board).is_some_and(|l| l.failed.is_some());
                    prop_assert!(!(yes && failed), "let go with a failed lock");
                }
                Say::Steady => { s.steady(&board, Report { boot, ..report("2", "") }); }
                Say::Failed(version, at) => {
                    let told = back(attempt(version, "failed", &format!("t{at}")));
                    s.failed(&board, Report { boot, ..told });
                    let now: Vec<String> = s.group().locks.keys().cloned().collect();
                    prop_assert_eq!(&now, &out, "who is out is who was out");
                    let failed = s.group().locks.get(&board).is_some_and(|l| l.failed.is_some());
                    let newly = s.group().paused.is_some() && before.paused.is_none();
                    prop_assert!(!newly || failed, "paused for a board that is not out");
                    if version == "2" && out.contains(&board) {
                        prop_assert!(failed, "it said so");
                        // forgiven or on show
                        let known = before.locks[&board].failed.is_some();
                        prop_assert!(known || s.group().paused.is_some());
                    }
                }
                Say::Clear => { s.say(Word::Clear(board)); }
                Say::Resume => { s.say(Word::Resume); }
                Say::Wait(seconds) => s.pass(seconds),
            }
            prop_assert!(s.group().locks.len() <= slots, "more out than allowed");
        }
    }
}
