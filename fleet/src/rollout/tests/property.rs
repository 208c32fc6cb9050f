//! What must hold whatever the boards, the network and the operator do.

use proptest::prelude::*;

use super::super::journal::{Action, State, What};
use super::super::plan::{Member, Share};
use super::super::sim::{Fault, NEW, OLD, Phase};
use super::Hand;

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::RollsBack),
        1 => Just(Fault::DiesIn(Phase::Downloading)),
        1 => Just(Fault::DiesIn(Phase::Armed)),
        1 => Just(Fault::DiesIn(Phase::Rebooting)),
        1 => Just(Fault::DiesIn(Phase::OnTrial)),
        1 => Just(Fault::DiesIn(Phase::RebootingBack)),
        1 => Just(Fault::DiesIn(Phase::Settled)),
        1 => Just(Fault::Lies),
        1 => Just(Fault::SickAfter),
        1 => Just(Fault::Warns),
        1 => Just(Fault::Slow),
        1 => Just(Fault::Absent),
        1 => Just(Fault::LosesFirst),
        1 => Just(Fault::WrongClock),
        1 => Just(Fault::HooksTakeLong),
        1 => Just(Fault::HooksFail),
    ]
}

/// What the operator does at some step.
#[derive(Debug, Clone, Copy)]
enum Word {
    Pause,
    Resume,
    Abort,
    Rollback,
    Split(bool),
    NewLaptop,
}

fn word() -> impl Strategy<Value = (usize, Word)> {
    let words = prop_oneof![
        Just(Word::Pause),
        Just(Word::Resume),
        Just(Word::Abort),
        Just(Word::Rollback),
        any::<bool>().prop_map(Word::Split),
        Just(Word::NewLaptop),
    ];
    (0..400_usize, words)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn never_more_out_than_allowed_never_forgets_always_ends_or_says_why(
        faults in proptest::collection::vec(fault(), 1..14),
        allowed in 1..5_usize,
        failures in 0..6_usize,
        labels in proptest::collection::vec((0..4_usize, any::<bool>()), 14),
        flags in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        mut words in proptest::collection::vec(word(), 0..6),
    ) {
        words.sort_by_key(|(at, _)| *at);
        let mut hand = Hand::new(&faults, |p| {
            p.max_unavailable = Share::Boards(allowed);
            p.max_failures = failures;
            for (m, (spread, manager)) in p.boards.iter_mut().zip(&labels) {
                let spread = (*spread > 0).then(|| format!("shelf{spread}"));
                *m = Member { spread, manager: *manager && flags.3, ..m.clone() };
            }
            (p.skip_unfit, p.rollback_updated, p.download_only) = (flags.0, flags.1, flags.2);
        });
        for step in 0..400 {
            while words.first().is_some_and(|(at, _)| *at <= step) {
                let by = "me".to_owned();
                match words.remove(0).1 {
                    Word::Pause => hand.note(What::Paused { by }),
                    Word::Resume => hand.note(What::Resumed { by }),
                    Word::Abort => hand.note(What::Aborted { by }),
                    Word::Rollback => hand.note(What::RollbackAsked { by }),
                    Word::Split(split) => hand.sim.split = split,
                    Word::NewLaptop => hand.sim.watched = hand.sim.now,
                }
            }
            hand.tick();
        }
        hand.sim.split = false;
        if hand.journal.paused.is_some() {
            hand.note(What::Resumed { by: "me".into() });
        }
        hand.run();
        // a board that could not be taken is as it was
        for (n, board) in hand.sim.boards.iter().enumerate() {
            if hand.state(n) == State::Ready && board.told == 0 {
                prop_assert_eq!(board.version, OLD);
            }
            if hand.state(n) == State::Reached(Action::Update) {
                prop_assert_eq!(board.version, NEW);
            }
        }
    }
}
