//! Groups with a plan: a rack of boards that ask.

use super::super::books::What;
use super::*;
use crate::rollout::journal::{self, Outcome};
use crate::rollout::plan::{Canary, Member, Plan, Share};

/// Boards that do what boards do: ask, restart, come back; or not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Good,
    FallsBack,
    NeverBack,
    Absent,
}

struct Rack {
    service: Service,
    ways: Vec<Way>,
    version: Vec<&'static str>,
    back_at: Vec<Option<u64>>,
    order: Vec<usize>,
    most: usize,
}

impl Rack {
    fn new(ways: &[Way], plan: impl FnOnce(&mut Plan)) -> Self {
        let mut service = Service::new(slots(10));
        for (n, _) in ways.iter().enumerate().filter(|(_, w)| **w != Way::Absent) {
            service.steady(&format!("n{n}"), report("1.0.0", ""));
        }
        let mut wanted = Plan {
            soak: 300,
            settle: 30,
            skip_unfit: true,
            quiet: 86_400 * 365,
            version: Some("1.1.0".into()),
            ..Plan::new(Vec::new())
        };
        if ways.contains(&Way::Absent) {
            wanted.boards = (0..ways.len())
                .map(|n| Member {
                    name: format!("n{n}"),
                    ..Default::default()
                })
                .collect();
        }
        plan(&mut wanted);
        assert_eq!(
            service.say(Word::Plan("r1".into(), Box::new(wanted), None)),
            Answer::Done
        );
        Self {
            service,
            ways: ways.to_vec(),
            version: vec!["1.0.0"; ways.len()],
            back_at: vec![None; ways.len()],
            order: Vec::new(),
            most: 0,
        }
    }

    fn step(&mut self) {
        self.service.pass(10);
        let at = self.service.at;
        for n in 0..self.ways.len() {
            let id = format!("n{n}");
            match self.back_at[n] {
                Some(back) if at >= back && self.ways[n] != Way::NeverBack => {
                    if self.ways[n] == Way::Good {
                        self.version[n] = "1.1.0";
                    }
                    self.back_at[n] = None;
                    self.service.steady(&id, report(self.version[n], ""));
                }
                None if self.version[n] == "1.0.0"
                    && self.ways[n] != Way::Absent
                    && self.service.lock(&id, report("1.0.0", "1.1.0")) == Answer::Done =>
                {
                    self.back_at[n] = Some(at + 100);
                    self.order.push(n);
                }
                _ => {}
            }
        }
        self.most = self.most.max(self.back_at.iter().flatten().count());
    }

    fn run(&mut self) -> Outcome {
        for _ in 0..5_000 {
            self.step();
            if let Some(outcome) = self.service.rollout().journal.ended {
                return outcome;
            }
        }
        panic!("it does not end: {:?}", self.service.rollout().journal);
    }
}

#[test]
fn a_plan_lets_the_canary_go_first_then_waves_never_more_than_allowed() {
    let mut rack = Rack::new(&[Way::Good; 12], |p| p.max_unavailable = Share::Boards(3));
    while rack.order.is_empty() {
        rack.step();
    }
    let began = rack.service.at;
    while rack.order.len() < 2 {
        rack.step();
    }
    assert!(
        rack.service.at - began >= 400,
        "100 s out and 300 s watched: {}",
        rack.service.at - began
    );
    assert_eq!(rack.run(), Outcome::Done);
    assert_eq!(rack.version, ["1.1.0"; 12]);
    assert_eq!(rack.most, 3);
    // the plan has ended: whoever comes later goes as always
    assert_eq!(
        kind(&rack.service.lock("late", report("1.0.0", "1.1.0"))),
        "yes"
    );
}

#[test]
fn a_release_that_fails_on_the_canary_touches_nobody_else() {
    for way in [Way::FallsBack, Way::NeverBack] {
        let mut rack = Rack::new(&[way, Way::Good, Way::Good], |_| {});
        assert_eq!(rack.run(), Outcome::Stopped, "{way:?}");
        assert_eq!(rack.order, [0], "{way:?}");
        for _ in 0..100 {
            rack.step();
        }
        assert_eq!(rack.order, [0], "{way:?}: nor after it has stopped");
        let answer = rack.service.lock("n1", report("1.0.0", "1.1.0"));
        assert_eq!(kind(&answer), "failed_lock_group_paused", "{way:?}");
    }
}

#[test]
fn an_aborted_plan_ends_with_the_word_and_waits_for_nobody_but_boards_that_are_out() {
    let mut rack = Rack::new(&[Way::Good; 3], |_| {});
    assert_eq!(rack.service.say(Word::Abort), Answer::Done);
    let ended = |rack: &Rack| rack.service.rollout().journal.ended;
    assert_eq!(ended(&rack), Some(Outcome::Aborted));

    let mut rack = Rack::new(&[Way::Good; 3], |_| {});
    while rack.order.is_empty() {
        rack.step();
    }
    assert_eq!(rack.service.say(Word::Abort), Answer::Done);
    assert_eq!(ended(&rack), None, "one is out");
    assert_eq!(rack.run(), Outcome::Aborted);
    assert_eq!(rack.order, [0]);
}

#[test]
fn a_board_that_is_left_in_its_lock_after_the_stop_keeps_its_slot() {
    let mut rack = Rack::new(&[Way::NeverBack, Way::Good, Way::Good], |_| {});
    rack.run();
    rack.service.say(Word::Resume);
    for _ in 0..50 {
        rack.step();
    }
    assert_eq!(rack.order, [0], "one may be out, and one is");
    rack.service.say(Word::Clear("n0".into()));
    assert_eq!(rack.run(), Outcome::Partly);
    assert_eq!(rack.version, ["1.0.0", "1.1.0", "1.1.0"]);
}

#[test]
fn boards_that_are_switched_off_do_not_keep_the_others_from_it() {
    let mut rack = Rack::new(&[Way::Absent, Way::Good, Way::Good], |_| {});
    assert_eq!(rack.run(), Outcome::Partly);
    assert_eq!(rack.version[1..], ["1.1.0"; 2]);
}

#[test]
fn a_board_that_comes_while_a_plan_runs_waits_and_another_version_is_not_let_through() {
    let mut rack = Rack::new(&[Way::Good; 3], |_| {});
    let Answer::Refused { value, .. } = rack.service.lock("late", report("1.0.0", "1.1.0")) else {
        panic!("not its turn")
    };
    assert!(value.contains("before this board was known"), "{value}");
    assert_eq!(
        kind(&rack.service.lock("n0", report("1.0.0", "9.9.9"))),
        "failed_lock_not_your_turn"
    );
}

#[test]
fn latest_is_the_newest_that_a_board_knows_and_a_plan_of_nobody_is_refused() {
    let mut s = Service::new(slots(1));
    let plan = || Word::Plan("r".into(), Box::new(Plan::new(Vec::new())), None);
    assert_eq!(kind(&s.say(plan())), "bad_request", "nobody is known");
    s.steady("a", report("1.9.0", ""));
    s.steady("b", report("1.9.0", "1.10.0"));
    assert_eq!(kind(&s.say(plan())), "yes");
    assert_eq!(s.rollout().plan.version.as_deref(), Some("1.10.0"));
    assert_eq!(kind(&s.say(plan())), "plan_runs");
    s.say(Word::Abort);
    s.pass(1);
    let mut named = Plan::new(Vec::new());
    named.canary = Canary::Named(vec!["nobody".into()]);
    named.version = Some("2.0.0".into());
    assert_eq!(
        kind(&s.say(Word::Plan("r2".into(), Box::new(named), None))),
        "bad_request"
    );
}

#[test]
fn a_plan_needs_versions_and_says_so_to_plain_clients() {
    let mut s = Service::new(slots(3));
    s.lock("plain", Report::default());
    s.steady("plain", Report::default());
    s.steady("a", report("1.0.0", "1.1.0"));
    s.say(Word::Plan(
        "r".into(),
        Box::new(Plan {
            skip_unfit: true,
            ..Plan::new(Vec::new())
        }),
        None,
    ));
    let Answer::Refused { value, .. } = s.lock("plain", Report::default()) else {
        panic!("refused")
    };
    assert!(value.contains("plain FleetLock"), "{value}");
}

#[test]
fn settings_of_a_plan_let_nobody_go_before_the_plan() {
    let mut s = Service::new(slots(1));
    for board in ["a", "b", "c"] {
        s.steady(board, report("1.0.0", "1.1.0"));
    }
    let wanted = |max: usize| Plan {
        version: Some("1.1.0".into()),
        canary: Canary::Named(vec!["c".into()]),
        max_unavailable: Share::Boards(max),
        ..Plan::new(Vec::new())
    };
    let nothing = Settings {
        slots: 0,
        ..slots(1)
    };
    let plan = |max, settings| Word::Plan("r".into(), Box::new(wanted(max)), Some(settings));
    assert_eq!(kind(&s.say(plan(1, nothing))), "bad_request");
    assert_eq!(s.group().settings.slots, 1);
    assert!(
        s.group().rollout.is_none(),
        "neither the settings nor the plan"
    );
    let (_, events) = s.one(Ask::Operator {
        group: GROUP.into(),
        by: "me".into(),
        word: plan(3, slots(3)),
    });
    let first: Vec<&What> = events.iter().take(2).map(|e| &e.what).collect();
    assert!(
        matches!(first[..], [What::Set { .. }, What::Rollout { .. }]),
        "one entry of the log has both: {events:?}"
    );
    assert_eq!(
        kind(&s.lock("a", report("1.0.0", "1.1.0"))),
        "failed_lock_not_your_turn"
    );
    assert_eq!(kind(&s.lock("c", report("1.0.0", "1.1.0"))), "yes");
    // a second plan is refused, and brings no settings
    assert_eq!(kind(&s.say(plan(2, slots(2)))), "plan_runs");
    assert_eq!(s.group().settings.slots, 3);
}

#[test]
fn events_survive_their_journey_through_the_store() {
    let mut rack = Rack::new(&[Way::Good, Way::FallsBack, Way::Good], |p| {
        p.max_failures = 1;
    });
    rack.run();
    let text = serde_json::to_vec(&rack.service.books).expect("written");
    assert_eq!(
        serde_json::from_slice::<Books>(&text).expect("read"),
        rack.service.books
    );
    let event = Event {
        at: 1,
        group: GROUP.into(),
        what: What::Rollout {
            what: Box::new(journal::What::Ended {
                outcome: Outcome::Done,
            }),
        },
    };
    let text = serde_json::to_string(&event).expect("written");
    assert_eq!(serde_json::from_str::<Event>(&text).expect("read"), event);
}
