//! The lock core, danger by danger.

use super::*;

mod failed;
mod plans;
mod twins;

const GROUP: &str = "default";
const START: u64 = 1_000_000;

struct Service {
    books: Books,
    at: u64,
    listening: u64,
}

fn report(version: &str, target: &str) -> Report {
    Report {
        version: version.into(),
        target: target.into(),
        ..Report::default()
    }
}

impl Service {
    fn new(settings: Settings) -> Self {
        let mut own = Self {
            books: Books::default(),
            at: START,
            listening: 0,
        };
        assert_eq!(own.say(Word::Set(settings)), Answer::Done);
        own
    }

    fn one(&mut self, ask: Ask) -> (Answer, Vec<Event>) {
        let now = Now {
            at: self.at,
            listening: self.listening,
            wall: self.at,
        };
        let (events, mut answers) = judge(&mut self.books, &[ask], now);
        (answers.remove(0), events)
    }

    fn say(&mut self, word: Word) -> Answer {
        self.one(Ask::Operator {
            group: GROUP.into(),
            by: "me".into(),
            word,
        })
        .0
    }

    fn lock(&mut self, board: &str, report: Report) -> Answer {
        self.one(Ask::Lock(Who {
            group: GROUP.into(),
            board: board.into(),
            report,
        }))
        .0
    }

    fn steady(&mut self, board: &str, report: Report) -> Answer {
        self.one(Ask::Steady(Who {
            group: GROUP.into(),
            board: board.into(),
            report,
        }))
        .0
    }

    fn failed(&mut self, board: &str, report: Report) -> Answer {
        self.one(Ask::Failed(Who {
            group: GROUP.into(),
            board: board.into(),
            report,
        }))
        .0
    }

    fn pass(&mut self, seconds: u64) {
        self.at += seconds;
        self.one(Ask::Tick);
    }

    fn group(&self) -> &Group {
        self.books.group(GROUP).expect("the group")
    }

    fn rollout(&self) -> &books::Rollout {
        self.group().rollout.as_ref().expect("a rollout")
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done => "yes",
        Answer::Refused { kind, .. } => kind,
    }
}

fn slots(slots: usize) -> Settings {
    Settings {
        slots,
        ..Settings::default()
    }
}

#[test]
fn a_lock_is_recursive_and_given_back_once() {
    let mut s = Service::new(slots(1));
    assert_eq!(kind(&s.lock("a", report("1", "2"))), "yes");
    assert_eq!(
        kind(&s.lock("a", report("1", "2"))),
        "yes",
        "the answer may have been lost"
    );
    assert_eq!(
        kind(&s.lock("b", report("1", "2"))),
        "failed_lock_semaphore_full"
    );
    assert_eq!(
        kind(&s.steady("b", report("1", ""))),
        "yes",
        "UnlockIfHeld: nothing held is fine"
    );
    assert_eq!(kind(&s.steady("a", report("2", ""))), "yes");
    assert_eq!(kind(&s.lock("b", report("1", "2"))), "yes");
    assert_eq!(
        kind(&s.lock("c", Report::default())),
        "failed_lock_semaphore_full"
    );
}

#[test]
fn a_board_that_does_not_come_back_pauses_its_group_at_the_deadline_with_a_reason() {
    let mut s = Service::new(slots(2));
    s.lock(
        "a",
        Report {
            name: "n1".into(),
            ..report("1", "2")
        },
    );
    s.pass(1799);
    assert!(s.group().paused.is_none());
    s.pass(1);
    let pause = s.group().paused.clone().expect("paused");
    assert_eq!(pause.reason, "n1 is not back 1800 s after it was let go");
    assert_eq!(
        kind(&s.lock("b", report("1", "2"))),
        "failed_lock_group_paused"
    );
    // it is still out: resuming does not make its slot free
    s.say(Word::Resume);
    assert_eq!(kind(&s.lock("b", report("1", "2"))), "yes");
    assert_eq!(
        kind(&s.lock("c", report("1", "2"))),
        "failed_lock_semaphore_full"
    );
    s.say(Word::Clear("a".into()));
    assert_eq!(kind(&s.lock("c", report("1", "2"))), "yes");
}

#[test]
fn a_board_that_comes_back_broken_or_with_something_else_pauses_its_group() {
    let last = |outcome: &str| Attempt {
        version: "2".into(),
        outcome: outcome.into(),
        at: "t".into(),
    };
    for (danger, back, paused) in [
        ("it fell back", report("1", ""), true),
        (
            "it says so",
            Report {
                last: Some(last("failed")),
                reason: "docker".into(),
                ..report("1", "")
            },
            true,
        ),
        (
            "it is there",
            Report {
                last: Some(last("confirmed")),
                ..report("2", "")
            },
            false,
        ),
        ("it went elsewhere", report("3", ""), true),
        (
            "it did not go after all",
            Report {
                boot: "b1".into(),
                ..report("1", "")
            },
            false,
        ),
        (
            "it lies about its version: it has not restarted",
            Report {
                boot: "b1".into(),
                ..report("2", "")
            },
            true,
        ),
        ("a plain client", Report::default(), false),
    ] {
        let mut s = Service::new(slots(1));
        s.lock(
            "a",
            Report {
                boot: "b1".into(),
                ..report("1", "2")
            },
        );
        assert_eq!(kind(&s.steady("a", back)), "yes", "{danger}");
        assert!(
            s.group().locks.is_empty(),
            "{danger}: it is back, and misses nobody"
        );
        assert_eq!(s.group().paused.is_some(), paused, "{danger}");
    }
    let mut s = Service::new(slots(1));
    s.lock("a", report("1", "2"));
    let ill = Report {
        health: "fail".into(),
        ..report("2", "")
    };
    assert_eq!(kind(&s.steady("a", ill)), "not_steady");
    assert_eq!(s.group().locks.len(), 1, "ill is as good as out");
}

#[test]
fn failures_up_to_the_threshold_do_not_pause_and_zero_means_the_first() {
    for allowed in [0, 1, 3] {
        let mut s = Service::new(Settings {
            max_failures: allowed,
            ..slots(1)
        });
        for n in 0..=allowed {
            assert!(s.group().paused.is_none(), "{n} of {allowed}");
            let board = format!("b{n}");
            assert_eq!(kind(&s.lock(&board, report("1", "2"))), "yes");
            s.steady(&board, report("1", ""));
        }
        assert!(s.group().paused.is_some(), "{allowed} allowed");
    }
}

#[test]
fn a_server_that_was_just_started_gives_boards_time_to_be_heard() {
    let mut s = Service::new(slots(1));
    s.lock("a", report("1", "2"));
    // it was down for a day, or its clock jumped years ahead meanwhile
    s.at += 400 * 86_400;
    s.listening = s.at;
    s.pass(119);
    assert!(s.group().paused.is_none());
    s.pass(1);
    assert!(s.group().paused.is_some());
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_out_for_years() {
    let mut s = Service::new(slots(1));
    s.lock("a", report("1", "2"));
    s.at = 0;
    s.steady("a", report("2", ""));
    assert_eq!(kind(&s.lock("b", report("1", "2"))), "yes");
    let until = s.group().locks["b"].until;
    assert_eq!(until, START + 1800, "not before what has happened already");
}

#[test]
fn never_two_of_a_spread_label_nor_two_managers() {
    let mut s = Service::new(slots(5));
    let on = |shelf: &str, manager| Report {
        spread: shelf.into(),
        manager,
        ..report("1", "2")
    };
    assert_eq!(kind(&s.lock("a", on("s1", true))), "yes");
    assert_eq!(
        kind(&s.lock("b", on("s1", false))),
        "failed_lock_semaphore_full"
    );
    assert_eq!(
        kind(&s.lock("c", on("s2", true))),
        "failed_lock_semaphore_full"
    );
    assert_eq!(kind(&s.lock("d", on("s2", false))), "yes");
}

#[test]
fn windows_pauses_and_unknown_groups_refuse() {
    let mut s = Service::new(Settings {
        windows: vec!["mon 00:00/1".parse().expect("a window")],
        ..slots(1)
    });
    let answer = s.lock("a", report("1", "2"));
    assert_eq!(kind(&answer), "failed_lock_outside_window");
    s.say(Word::Set(slots(1)));
    s.say(Word::Pause("the fair is open".into()));
    let Answer::Refused { value, .. } = s.lock("a", report("1", "2")) else {
        panic!("paused")
    };
    assert!(value.contains("the fair is open"), "{value}");
    let stranger = Who {
        group: "other".into(),
        board: "a".into(),
        report: Report::default(),
    };
    assert_eq!(kind(&s.one(Ask::Lock(stranger)).0), "unknown_group");
    assert_eq!(kind(&s.say(Word::Set(slots(0)))), "bad_request");
}

#[test]
fn a_board_that_asks_all_the_time_does_not_fill_the_log() {
    let mut s = Service::new(slots(1));
    s.lock("a", report("1", "2"));
    let mut written = 0;
    for _ in 0..300 {
        s.at += 1;
        let who = Who {
            group: GROUP.into(),
            board: "b".into(),
            report: report("1", "2"),
        };
        written += s.one(Ask::Lock(who)).1.len();
    }
    assert_eq!(written, 1, "once, and again after five minutes");
}
