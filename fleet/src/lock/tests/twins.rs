//! Two boards with one identity: a lock that both hold would let both out on one slot.

use super::super::Report;
use super::{Service, kind, report, slots};

#[test]
fn two_boards_with_one_identity_do_not_share_a_lock() {
    let mut s = Service::new(slots(1));
    let named = |name: &str| Report {
        name: name.into(),
        ..report("1", "2")
    };
    assert_eq!(kind(&s.lock("a", named("n1"))), "yes");
    assert_eq!(kind(&s.lock("a", named("n2"))), "identity_in_use");
    assert_eq!(kind(&s.lock("a", named("n1"))), "yes");
}

fn from(boot: &str, version: &str, target: &str) -> Report {
    Report {
        name: "n1".into(),
        boot: boot.into(),
        ..report(version, target)
    }
}

/// Each says at its start that it is well: whichever started first is known by that when it speaks again.
#[test]
fn two_boards_with_one_identity_and_one_name_are_told_by_their_starts() {
    for (danger, first, second) in [
        ("who started last asks first", "late", "early"),
        ("who started first asks first", "early", "late"),
    ] {
        let mut s = Service::new(slots(1));
        s.steady("a", from("early", "1", ""));
        s.steady("a", from("late", "1", ""));
        let answers = [first, second].map(|boot| kind(&s.lock("a", from(boot, "1", "2"))));
        let granted = answers.iter().filter(|a| **a == "yes").count();
        assert_eq!(granted, 1, "{danger}: {answers:?}");
        assert!(
            answers.contains(&"identity_in_use"),
            "{danger}: {answers:?}"
        );
    }
}

#[test]
fn a_second_board_does_not_give_back_the_lock_of_the_one_that_is_out() {
    let mut s = Service::new(slots(1));
    s.steady("a", from("twin", "1", ""));
    assert_eq!(kind(&s.lock("a", from("b1", "1", "2"))), "yes");
    assert_eq!(
        kind(&s.steady("a", from("twin", "1", ""))),
        "identity_in_use"
    );
    assert_eq!(
        kind(&s.failed("a", from("twin", "1", "2"))),
        "identity_in_use"
    );
    assert_eq!(
        kind(&s.lock("b", report("1", "2"))),
        "failed_lock_semaphore_full"
    );
    // the one that is out comes back from a start that nobody has heard of
    assert_eq!(kind(&s.steady("a", from("b2", "2", ""))), "yes");
    assert_eq!(kind(&s.lock("b", report("1", "2"))), "yes");
}

#[test]
fn starts_that_are_remembered_are_bounded_and_a_board_that_does_not_tell_its_start_is_no_twin() {
    let mut s = Service::new(slots(1));
    for n in 0..1000 {
        assert_eq!(kind(&s.steady("a", from(&format!("b{n}"), "1", ""))), "yes");
    }
    assert!(s.group().boards["a"].over.len() < 10);
    for _ in 0..3 {
        assert_eq!(kind(&s.steady("a", from("", "1", ""))), "yes");
        assert_eq!(kind(&s.steady("a", from("b999", "1", ""))), "yes");
    }
}
