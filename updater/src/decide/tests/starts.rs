//! A default that did not come up, what runs in its place, and the count of starts.

use super::*;
use crate::boot::Spoilt;

#[test]
fn what_runs_instead_of_the_default_is_kept_only_if_it_may_be() {
    type Change = Box<dyn Fn(&mut Seen)>;
    let calm_but = |more: fn(&mut Seen)| -> Change { Box::new(more) };
    let rows: Vec<(&str, Change, Step)> = vec![
        (
            "a refused release stands in, and nothing better is offered",
            calm_but(|s| {
                (s.booted, s.running) = (Slot::B, release(2).version);
                s.boot.spoilt = Some(Spoilt::Unproven);
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Wait(Why::UpToDate),
        ),
        (
            "a refused release stands in, and the default is to be overwritten",
            calm_but(|s| {
                s.booted = Slot::B;
                s.boot.spoilt = Some(Spoilt::Unproven);
                s.tests = Tests::Done(Verdict::Bad(vec!["docker".into()]));
            }),
            Step::Adopt(Slot::B),
        ),
        (
            "the boot loader left the other slot, and the record takes it for good",
            calm_but(|s| {
                s.boot.spoilt = Some(Spoilt::Left);
                s.record.set_content(Slot::B, Some(release(2)));
            }),
            Step::Adopt(Slot::A),
        ),
        (
            "starts are counted, and this one is young",
            calm_but(|s| (s.boot.starts, s.offer) = (3, Offer::UpToDate)),
            Step::Wait(Why::UpToDate),
        ),
        (
            "nobody told the boot loader that the board came up",
            calm_but(|s| {
                (s.boot.starts, s.uptime) = (1, UP_AT_LAST + 1);
                s.offer = Offer::UpToDate;
            }),
            Step::CameUp,
        ),
        (
            "nobody told it, and it cannot be told",
            calm_but(|s| {
                (s.boot.starts, s.uptime) = (1, UP_AT_LAST + 1);
                s.trouble = Some(Trouble::Card("write-protected".into()));
            }),
            Step::Wait(Why::Trouble(Trouble::Card("write-protected".into()))),
        ),
    ];
    for (danger, change, expected) in rows {
        let mut seen = calm();
        change(&mut seen);
        assert_eq!(decide(&seen, &POLICY), expected, "{danger}");
    }
}

#[test]
fn a_slot_that_the_script_fell_back_to_is_trusted_only_where_nothing_speaks_against_it() {
    type Change<'a> = &'a dyn Fn(&mut Seen);
    let bad = || Tests::Done(Verdict::Bad(["docker".to_string()].into()));
    let doubted = |change: &dyn Fn(&mut Seen)| {
        let mut seen = calm();
        seen.tried = true;
        seen.boot.seq = 1;
        seen.boot.starts = 1;
        assert!(seen.boot.doubt());
        change(&mut seen);
        decide(&seen, &POLICY)
    };
    let here = || Pending {
        slot: Slot::A,
        ..pending(0, 0)
    };
    let keep = Step::Commit(Slot::A);
    let back = Step::Fail(["docker".to_string()].into());
    let rows: [(&str, Step, Change<'_>); 6] = [
        ("nothing is known", keep.clone(), &|_| ()),
        (
            "its tests fail, as they may in the other slot",
            keep.clone(),
            &|s| s.tests = bad(),
        ),
        ("it was on trial, and is bad", back.clone(), &|s| {
            s.record.pending = Some(here());
            s.tests = bad();
        }),
        ("it was on trial, and is good", keep.clone(), &|s| {
            s.record.pending = Some(here());
        }),
        ("it failed before", back, &|s| {
            s.record.set_content(Slot::A, Some(release(2)));
            s.record.refuse(release(2), Vec::new(), Timestamp(0));
            s.tests = bad();
        }),
        ("the other one was on trial", keep, &|s| {
            s.record.pending = Some(pending(0, 0));
            s.tests = bad();
        }),
    ];
    for (danger, step, change) in rows {
        assert_eq!(doubted(change), step, "{danger}");
    }
}
