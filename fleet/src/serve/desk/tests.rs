//! Several servers, one log, a network that loses things, operators who say anything: what must hold whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::lock::{Report, Settings, Who, Word};
use crate::store::memory::{Fault, Memory};

const GROUP: &str = "default";
const SERVERS: usize = 3;

fn block<T>(future: impl Future<Output = T>) -> T {
    crate::ask::runtime().expect("a runtime").block_on(future)
}

fn now(at: u64) -> Now {
    Now {
        at,
        listening: 0,
        wall: at,
    }
}

fn who(board: usize, target: &str) -> Who {
    let report = Report {
        version: if target == "back" {
            "2".into()
        } else {
            "1".into()
        },
        target: if target == "back" {
            String::new()
        } else {
            target.into()
        },
        ..Report::default()
    };
    Who {
        group: GROUP.into(),
        board: format!("b{board}"),
        report,
    }
}

fn operator(word: Word) -> Ask {
    Ask::Operator {
        group: GROUP.into(),
        by: "me".into(),
        word,
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A board asks a server; whether the answer reaches it.
    Ask(usize, usize, bool),
    /// A board that is out comes back and says so, to a server; or its words get lost.
    Back(usize, usize, bool),
    /// Two boards ask two servers at once, which both decide before either writes.
    Race(usize, usize),
    Tick(usize, u64),
    Restart(usize),
    Say(usize, Word),
    /// The next call of a server to the store goes wrong.
    Fault(usize, Fault),
}

fn step() -> impl Strategy<Value = Step> {
    let board = 0..6_usize;
    let server = 0..SERVERS;
    let word = prop_oneof![
        1 => Just(Word::Pause("x".into())),
        3 => Just(Word::Resume),
        1 => board.clone().prop_map(|b| Word::Clear(format!("b{b}"))),
        1 => (1..4_usize).prop_map(|slots| Word::Set(Settings { slots, ..Settings::default() })),
    ];
    prop_oneof![
        8 => (board.clone(), server.clone(), prop::bool::weighted(0.8)).prop_map(|(b, s, r)| Step::Ask(b, s, r)),
        6 => (board.clone(), server.clone(), prop::bool::weighted(0.9)).prop_map(|(b, s, r)| Step::Back(b, s, r)),
        3 => (board.clone(), board).prop_map(|(a, b)| Step::Race(a, b)),
        2 => (server.clone(), 0..2_000_u64).prop_map(|(s, t)| Step::Tick(s, t)),
        1 => server.clone().prop_map(Step::Restart),
        2 => (server.clone(), word).prop_map(|(s, w)| Step::Say(s, w)),
        3 => (server, prop_oneof![Just(Fault::Lost), Just(Fault::AnswerLost)]).prop_map(|(s, f)| Step::Fault(s, f)),
    ]
}

struct World {
    store: Memory,
    servers: Vec<Desk<Memory>>,
    out: BTreeSet<usize>,
    at: u64,
}

impl World {
    fn new() -> Self {
        let store = Memory::default();
        let open = |n| block(Desk::open(store.clone(), n == 0)).expect("opened");
        let servers = (0..SERVERS).map(open).collect();
        let mut world = Self {
            store,
            servers,
            out: BTreeSet::new(),
            at: 1_000_000,
        };
        world.ask(
            0,
            operator(Word::Set(Settings {
                slots: 2,
                ..Settings::default()
            })),
        );
        world
    }

    fn ask(&mut self, server: usize, ask: Ask) -> Answer {
        self.at += 1;
        let at = now(self.at);
        block(self.servers[server].answer(&[ask], at)).remove(0)
    }

    /// As each server does by itself, once a second.
    fn catch_up(&mut self, server: usize) {
        self.servers[server].in_step = false;
        self.ask(server, Ask::Tick);
    }

    fn lock(&mut self, board: usize, server: usize, arrives: bool) {
        let answer = self.ask(server, Ask::Lock(who(board, "2")));
        if answer == Answer::Done && arrives {
            self.out.insert(board);
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Ask(board, server, arrives) => self.lock(*board, *server, *arrives),
            Step::Back(board, server, told) => {
                if self.out.remove(board) && *told {
                    self.ask(*server, Ask::Steady(who(*board, "back")));
                }
            }
            Step::Race(a, b) => {
                // both servers are in step with the log, and neither knows of the other's decision
                for server in [0, 1] {
                    self.catch_up(server);
                }
                self.lock(*a, 0, true);
                self.lock(*b, 1, true);
            }
            Step::Tick(server, seconds) => {
                self.at += seconds;
                self.ask(*server, Ask::Tick);
            }
            Step::Restart(server) => {
                self.servers[*server] =
                    block(Desk::open(self.store.clone(), false)).expect("opened");
            }
            Step::Say(server, word) => {
                let done = self.ask(*server, operator(word.clone())) == Answer::Done;
                if let (Word::Clear(board), true) = (word, done) {
                    // the operator says that it does not come back
                    self.out.retain(|b| format!("b{b}") != *board);
                }
            }
            Step::Fault(server, fault) => self.servers[*server].store.fault = Some(*fault),
        }
    }

    /// What the log says, read by nobody who wrote it.
    fn history(&self) -> Books {
        let kept = block(self.store.clone().load()).expect("read");
        let mut books = Books::default();
        for (_, entry) in kept.entries {
            let events: Vec<Event> = serde_json::from_slice(&entry).expect("events");
            for event in events {
                books.add(&event);
                let group = books.group(GROUP).expect("the group");
                if matches!(event.what, What::Granted { .. }) {
                    let (out, slots) = (group.locks.len(), group.settings.slots);
                    assert!(out <= slots, "{out} out, {slots} allowed: {event:?}");
                }
            }
        }
        books
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn never_more_out_than_allowed_whatever_servers_boards_network_and_operators_do(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
            let books = world.history();
            let locks = &books.group(GROUP).expect("the group").locks;
            for board in &world.out {
                // whoever clears a board whose "no" got lost has cleared it all the same
                let held = locks.contains_key(&format!("b{board}"));
                let cleared = matches!(step, Step::Say(_, Word::Clear(b)) if *b == format!("b{board}"));
                prop_assert!(held || cleared, "b{} is out without a lock after {:?}", board, step);
            }
            if let Step::Say(_, Word::Clear(b)) = step {
                world.out.retain(|o| locks.contains_key(&format!("b{o}")) || format!("b{o}") != *b);
            }
        }
        // nobody is locked out for good: all come home, the operator looks, and everybody gets a turn
        for server in &mut world.servers {
            server.store.fault = None;
        }
        for board in 0..6 {
            world.ask(0, Ask::Steady(who(board, "back")));
        }
        world.ask(0, operator(Word::Resume));
        world.out.clear();
        for board in 0..6 {
            world.lock(board, board % SERVERS, true);
            prop_assert!(world.out.remove(&board), "b{} gets no lock", board);
            world.ask(2, Ask::Steady(who(board, "back")));
        }
        // and all servers come to the same books
        let books = world.history();
        for server in 0..SERVERS {
            world.catch_up(server);
            prop_assert_eq!(world.servers[server].books(), &books);
        }
    }
}

#[test]
fn an_empty_store_is_not_taken_for_a_new_one() {
    let error = block(Desk::open(Memory::default(), false)).expect_err("it may have been lost");
    assert!(format!("{error:#}").contains("--new"), "{error:#}");
}

#[test]
fn a_yes_of_a_server_that_is_behind_is_not_given() {
    let mut world = World::new();
    world.lock(0, 0, true);
    world.catch_up(1);
    // server 1 knows the lock; b0 comes home and tells server 0
    world.ask(0, Ask::Steady(who(0, "back")));
    world.ask(0, operator(Word::Pause("x".into())));
    // by what server 1 knows b0 holds its lock and may go
    let answer = world.ask(1, Ask::Lock(who(0, "2")));
    assert!(
        matches!(
            answer,
            Answer::Refused {
                kind: "failed_lock_group_paused",
                ..
            }
        ),
        "{answer:?}"
    );
}

#[test]
fn the_log_is_summed_up_and_read_again_as_it_was() {
    let mut world = World::new();
    for n in 0..2_200 {
        world.lock(n % 6, 0, true);
        world.ask(0, Ask::Steady(who(n % 6, "back")));
    }
    let kept = block(world.store.clone().load()).expect("read");
    assert!(kept.summary.is_some_and(|(at, _)| at >= SUM));
    assert!(kept.entries.len() < 3_100, "{}", kept.entries.len());
    let again = block(Desk::open(world.store.clone(), false)).expect("opened");
    assert_eq!(again.books(), world.servers[0].books());
    // one that slept through it all
    world.catch_up(1);
    assert_eq!(world.servers[1].books(), world.servers[0].books());
}

#[test]
fn thousands_of_boards_that_say_as_much_as_they_can_at_once_are_all_answered() {
    let mut world = World::new();
    let text = "\u{1f40b}".repeat(200);
    let ask = |n: usize| {
        let mut who = who(n, "2");
        let report = &mut who.report;
        for word in [
            &mut report.name,
            &mut report.model,
            &mut report.slot,
            &mut report.boot,
            &mut report.reason,
            &mut report.progress,
            &mut report.address,
            &mut report.spread,
        ] {
            word.clone_from(&text);
        }
        who.report = std::mem::take(report).cleaned();
        Ask::Steady(who)
    };
    let asks: Vec<Ask> = (0..2_000).map(ask).collect();
    let answers = block(world.servers[0].answer(&asks, now(world.at)));
    assert!(answers.iter().all(|a| *a == Answer::Done));
    assert_eq!(answers.len(), asks.len());
    assert_eq!(world.servers[0].trouble, None);
    let books = world.history();
    assert_eq!(books.group(GROUP).map(|g| g.boards.len()), Some(2_000));
}
