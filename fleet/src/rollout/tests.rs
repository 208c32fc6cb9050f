//! The core against simulated boards: what must hold whatever the boards do.

use std::collections::BTreeSet;

use super::journal::{Event, Journal, Outcome, State, What};
use super::plan::{Canary, Plan, Share};
use super::sim::{Fault, NEW, Phase, Sim};
use super::{Answer, BoardSeen, Order, decide};

mod hooks;
mod property;

/// A hand that does what it is told.
struct Hand {
    sim: Sim,
    plan: Plan,
    journal: Journal,
    /// Orders to boards, in their order.
    told: Vec<String>,
    wait: String,
}

impl Hand {
    fn new(faults: &[Fault], change: impl FnOnce(&mut Plan)) -> Self {
        let sim = Sim::new(faults);
        let mut plan = sim.plan();
        change(&mut plan);
        plan.check().expect("a plan");
        let mut hand = Self {
            sim,
            journal: Journal::default(),
            told: Vec::new(),
            wait: String::new(),
            plan: plan.clone(),
        };
        hand.note(What::Begun {
            run: "r".into(),
            operator: "me@here".into(),
            plan,
        });
        hand
    }

    fn note(&mut self, what: What) {
        self.journal.add(&Event {
            at: self.sim.now,
            what,
        });
    }

    /// Decides until nothing is to be done at this moment; checks what must hold at each order.
    fn tick(&mut self) {
        for _ in 0..20 {
            let orders = decide(&self.plan, &self.sim.seen(), &self.journal, self.sim.now);
            self.no_more_than_allowed(&orders);
            let waits = orders.iter().all(|o| matches!(o, Order::Wait(_)));
            for order in orders {
                self.carry_out(order);
            }
            if waits {
                break;
            }
        }
        self.sim.step();
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Look(board) => {
                if let Some(what) = self.sim.look(&board) {
                    self.note(what);
                }
            }
            Order::Note(what) => self.note(what),
            Order::Act {
                board,
                action,
                version,
                from,
            } => {
                self.note(What::Ordered {
                    board: board.clone(),
                    action,
                    version,
                    from,
                });
                self.sim.tell(&board, action);
                self.told.push(board);
            }
            Order::Wait(why) => {
                assert!(!why.is_empty());
                self.wait = why;
            }
        }
    }

    /// Told independently of the core, by what the boards really are.
    fn no_more_than_allowed(&self, orders: &[Order]) {
        let state = |name: &str| {
            self.journal
                .track(name)
                .map_or(State::New, |t| t.state.clone())
        };
        let mut out: BTreeSet<&str> = BTreeSet::new();
        for board in &self.sim.boards {
            let working = matches!(state(&board.name), State::Out(_))
                && (board.phase != Phase::Settled || board.down());
            let unfit = matches!(state(&board.name), State::Unfit(_));
            if working || (board.down() && !unfit) {
                out.insert(&board.name);
            }
        }
        let members = |name: &str| {
            self.plan
                .boards
                .iter()
                .find(|m| m.name == name)
                .expect("known")
        };
        for order in orders {
            let Order::Act { board, .. } = order else {
                continue;
            };
            if matches!(state(board), State::Out(_)) {
                continue;
            }
            let one = members(board);
            for other in out
                .iter()
                .filter(|o| **o != board.as_str())
                .map(|o| members(o))
            {
                assert!(
                    one.spread.is_none() || one.spread != other.spread,
                    "{board} beside {}",
                    other.name
                );
                assert!(
                    !(one.manager && other.manager),
                    "{board} beside {}",
                    other.name
                );
            }
            out.insert(board);
            assert!(
                out.len() <= self.plan.allowed(),
                "{out:?} are out, {} allowed",
                self.plan.allowed()
            );
        }
    }

    fn run(&mut self) -> Outcome {
        for _ in 0..20_000 {
            if let Some(outcome) = self.journal.ended {
                self.nobody_is_forgotten(outcome);
                return outcome;
            }
            self.tick();
        }
        panic!("does not end: {} {:?}", self.wait, self.journal);
    }

    fn nobody_is_forgotten(&self, outcome: Outcome) {
        for member in &self.plan.boards {
            let state = self.journal.track(&member.name).map(|t| &t.state);
            let ended = match state {
                None | Some(State::New | State::Ready) => {
                    !matches!(outcome, Outcome::Done | Outcome::Partly | Outcome::Nothing)
                }
                Some(State::Out(_)) => false,
                Some(_) => true,
            };
            assert!(ended, "{} is {state:?} after {outcome:?}", member.name);
        }
    }

    fn state(&self, n: usize) -> State {
        self.journal
            .track(&format!("n{n}"))
            .map_or(State::New, |t| t.state.clone())
    }

    fn updated(&self) -> usize {
        self.sim.boards.iter().filter(|b| b.version == NEW).count()
    }
}

fn all_good(n: usize) -> Vec<Fault> {
    vec![Fault::None; n]
}

#[test]
fn a_good_release_reaches_all_canary_first() {
    let mut hand = Hand::new(&all_good(12), |p| p.max_unavailable = Share::Boards(3));
    assert_eq!(hand.run(), Outcome::Done);
    assert_eq!(hand.updated(), 12);
    assert_eq!(hand.told.len(), 12, "each once");
    assert_eq!(
        hand.plan
            .waves(&hand.journal)
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [1, 3, 8]
    );
}

#[test]
fn a_release_that_fails_on_the_canary_touches_nobody_else() {
    for fault in [
        Fault::RollsBack,
        Fault::Lies,
        Fault::SickAfter,
        Fault::DiesIn(Phase::Downloading),
        Fault::DiesIn(Phase::Armed),
        Fault::DiesIn(Phase::Rebooting),
        Fault::DiesIn(Phase::OnTrial),
        Fault::DiesIn(Phase::RebootingBack),
    ] {
        let mut faults = all_good(6);
        faults[0] = fault;
        let mut hand = Hand::new(&faults, |p| p.max_failures = 5);
        assert_eq!(hand.run(), Outcome::Stopped, "{fault:?}");
        assert!(
            hand.told.iter().all(|b| b == "n0"),
            "{fault:?}: {:?}",
            hand.told
        );
        assert!(matches!(hand.state(0), State::Failed(_)), "{fault:?}");
    }
}

#[test]
fn canary_passes_and_wave_two_fails() {
    let mut faults = all_good(8);
    faults[3] = Fault::RollsBack;
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Stopped);
    assert_eq!(hand.updated(), 3, "n0, n1, n2; nobody after n3");
    let mut hand = Hand::new(&faults, |p| p.rollback_updated = true);
    assert_eq!(hand.run(), Outcome::RolledBack);
    assert_eq!(hand.updated(), 0, "asked for, all are back");
    let mut hand = Hand::new(&faults, |p| p.max_failures = 1);
    assert_eq!(hand.run(), Outcome::Partly);
    assert_eq!(hand.updated(), 7);
}

#[test]
fn threshold_zero_stops_at_the_first_failure_and_never_means_without_limit() {
    let mut faults = all_good(5);
    faults[1] = Fault::RollsBack;
    let mut hand = Hand::new(&faults, |p| (p.max_failures, p.canary) = (0, Canary::None));
    assert_eq!(hand.run(), Outcome::Stopped);
    assert_eq!(hand.told, ["n0", "n1"]);
    for zero in ["0", "0%", "", "-1", "101%", "1.5"] {
        assert!(zero.parse::<Share>().is_err(), "{zero}");
    }
}

#[test]
fn a_board_that_dies_in_any_phase_has_failed_and_the_next_one_stays() {
    for phase in [
        Phase::Downloading,
        Phase::Armed,
        Phase::Rebooting,
        Phase::OnTrial,
        Phase::RebootingBack,
        Phase::Settled,
    ] {
        let mut faults = all_good(6);
        faults[3] = Fault::DiesIn(phase);
        let mut hand = Hand::new(&faults, |_| ());
        assert_eq!(hand.run(), Outcome::Stopped, "{phase:?}");
        let State::Failed(why) = hand.state(3) else {
            panic!("{phase:?}: {:?}", hand.state(3))
        };
        assert!(why.contains("said nothing for"), "{phase:?}: {why}");
        assert_eq!(hand.told, ["n0", "n1", "n2", "n3"], "{phase:?}");
    }
}

#[test]
fn a_board_that_lies_about_its_version_has_failed() {
    let mut faults = all_good(4);
    faults[2] = Fault::Lies;
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Stopped);
    let State::Failed(why) = hand.state(2) else {
        panic!("{:?}", hand.state(2))
    };
    assert!(why.contains("does not agree with its slots"), "{why}");
    assert_eq!(hand.told, ["n0", "n1", "n2"]);
}

#[test]
fn empty_group_is_an_error_and_not_a_success() {
    assert!(
        Plan::new(Vec::new())
            .check()
            .expect_err("empty")
            .contains("no boards")
    );
}

#[test]
fn silence_is_failure_after_the_deadline() {
    let mut faults = all_good(4);
    faults[2] = Fault::DiesIn(Phase::Rebooting);
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Stopped);
    let State::Failed(why) = hand.state(2) else {
        panic!("{:?}", hand.state(2))
    };
    assert!(why.contains("said nothing for"), "{why}");
}

#[test]
fn a_board_that_is_not_fit_refuses_the_run_before_anything_changes() {
    let mut faults = all_good(3);
    faults[1] = Fault::Absent;
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Refused);
    assert!(hand.told.is_empty());
    let State::Unfit(why) = hand.state(1) else {
        panic!("unfit")
    };
    assert!(why.contains("answers nothing over HTTP"), "{why}");
    let mut hand = Hand::new(&faults, |p| p.skip_unfit = true);
    assert_eq!(hand.run(), Outcome::Partly);
    assert_eq!(hand.updated(), 2);
}

#[test]
fn a_board_that_ssh_does_not_reach_is_refused_in_the_words_of_ssh() {
    let hand = Hand::new(&all_good(1), |_| ());
    let seen = BoardSeen {
        name: "n0".into(),
        answer: Some(Answer::default()),
        trouble: Some("ssh: No route to host".into()),
        ..BoardSeen::default()
    };
    let late = hand.journal.began + hand.plan.preflight + 1;
    let orders = decide(&hand.plan, &[seen], &hand.journal, late);
    let [Order::Note(What::Unfit { reason, .. })] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert!(reason.ends_with("s: ssh: No route to host"), "{reason}");
}

#[test]
fn two_boards_with_one_identity_are_told_apart_or_refused() {
    let mut hand = Hand::new(&all_good(3), |_| ());
    for n in 0..3 {
        let Some(What::Fit { board, mut facts }) = hand.sim.look(&format!("n{n}")) else {
            panic!("fit")
        };
        if n > 0 {
            facts.id = "clone".into();
        }
        hand.note(What::Fit { board, facts });
    }
    assert_eq!(hand.run(), Outcome::Refused);
    for n in [1, 2] {
        let State::Unfit(why) = hand.state(n) else {
            panic!("{:?}", hand.state(n))
        };
        assert!(
            why.contains("one board with two names, or a cloned card"),
            "{why}"
        );
    }
}

#[test]
fn a_board_that_warns_is_updated_unless_that_is_not_good_enough() {
    let faults = vec![Fault::Warns; 2];
    assert_eq!(Hand::new(&faults, |_| ()).run(), Outcome::Done);
    let mut strict = Hand::new(&faults, |p| p.strict = true);
    assert_eq!(strict.run(), Outcome::Stopped);
    assert!(strict.told.is_empty());
}

#[test]
fn a_withdrawn_release_stops_the_rollout_and_fails_nobody() {
    let mut hand = Hand::new(&all_good(4), |_| ());
    while hand.told.len() < 2 {
        hand.tick();
    }
    hand.note(What::Withdrawn {
        board: "n1".into(),
        reason: "1.1.0 is not offered any more".into(),
    });
    assert_eq!(hand.run(), Outcome::Stopped);
    assert_eq!(hand.journal.failed().count(), 0);
}

#[test]
fn pause_resume_abort_and_rollback_are_different_words() {
    let by = || "me@here".to_owned();
    let half = || {
        let mut hand = Hand::new(&all_good(6), |_| ());
        while hand.told.len() < 3 {
            hand.tick();
        }
        hand
    };
    let mut paused = half();
    paused.note(What::Paused { by: by() });
    for _ in 0..500 {
        paused.tick();
    }
    assert_eq!((paused.told.len(), paused.journal.ended), (3, None));
    assert!(paused.wait.contains("paused by me@here"), "{}", paused.wait);
    assert_eq!(paused.updated(), 3, "what was begun came to its end");
    paused.note(What::Resumed { by: by() });
    assert_eq!((paused.run(), paused.updated()), (Outcome::Done, 6));

    let mut aborted = half();
    aborted.note(What::Aborted { by: by() });
    assert_eq!((aborted.run(), aborted.updated()), (Outcome::Aborted, 3));

    let mut back = half();
    back.note(What::RollbackAsked { by: by() });
    assert_eq!((back.run(), back.updated()), (Outcome::RolledBack, 0));
}

#[test]
fn after_a_stop_the_operator_may_go_on_without_the_failed_boards() {
    let mut faults = all_good(6);
    faults[2] = Fault::RollsBack;
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Stopped);
    hand.note(What::Resumed { by: "me".into() });
    assert_eq!((hand.run(), hand.updated()), (Outcome::Partly, 5));
}

#[test]
fn downloads_come_first_and_reboots_later() {
    let mut hand = Hand::new(&all_good(4), |p| p.download_only = true);
    assert_eq!((hand.run(), hand.updated()), (Outcome::Done, 0));
    assert!(hand.sim.boards.iter().all(|b| b.phase == Phase::Armed));
}

#[test]
fn two_managers_are_never_out_and_a_lost_one_keeps_the_others_in() {
    let managers = |p: &mut Plan| {
        p.max_unavailable = Share::Boards(5);
        p.canary = Canary::None;
        p.waves.clear();
        for m in &mut p.boards[..3] {
            m.manager = true;
        }
    };
    let mut hand = Hand::new(&all_good(5), managers);
    assert_eq!(hand.run(), Outcome::Done);
    let mut faults = all_good(5);
    faults[1] = Fault::Absent;
    let mut hand = Hand::new(&faults, |p| {
        managers(p);
        p.skip_unfit = true;
    });
    assert_eq!(hand.run(), Outcome::Stopped);
    assert!(
        hand.told.iter().all(|b| b == "n3" || b == "n4"),
        "{:?}",
        hand.told
    );
}

#[test]
fn a_split_network_stops_orders_and_is_no_reason_to_hurry_afterwards() {
    let mut hand = Hand::new(&all_good(4), |p| p.silence = 10_000);
    while hand.told.len() < 2 {
        hand.tick();
    }
    let told = hand.told.len();
    hand.sim.split = true;
    for _ in 0..50 {
        hand.tick();
    }
    assert_eq!(hand.told.len(), told);
    hand.sim.split = false;
    assert_eq!((hand.run(), hand.updated()), (Outcome::Done, 4));
}
