//! The laptop dies: at each line of the journal, before it, within it, and after it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use super::*;
use crate::rollout::journal::State;
use crate::rollout::plan::{Plan, Share};
use crate::rollout::sim::{Fault, NEW, OLD, Sim};
use crate::run::book;

/// A disk that survives the laptop, and a laptop that dies at a line of it.
#[derive(Clone)]
struct Disk {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// Lines until it dies, and how much of that line reaches the disk.
    left: Rc<Cell<usize>>,
    torn: Torn,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Torn {
    Nothing,
    Half,
    /// The line is there, but nothing that follows from it was done.
    All,
}

impl Log for Disk {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let left = self.left.get();
        if left == 0 {
            let part = match self.torn {
                Torn::Nothing => 0,
                Torn::Half => line.len() / 2,
                Torn::All => line.len(),
            };
            self.bytes.borrow_mut().extend_from_slice(&line[..part]);
            return Err(io::Error::other("the laptop is dead"));
        }
        self.left.set(left - 1);
        self.bytes.borrow_mut().extend_from_slice(line);
        Ok(())
    }
}

/// Simulated boards behind the port of the real ones.
struct Hands<'a> {
    sim: &'a mut Sim,
    news: VecDeque<What>,
}

impl Boards for Hands<'_> {
    fn seen(&mut self) -> Vec<BoardSeen> {
        self.sim.seen()
    }

    fn look(&mut self, board: &str) {
        self.news.extend(self.sim.look(board));
    }

    fn tell(&mut self, board: &str, action: Action, _: &str) {
        self.sim.tell(board, action);
    }

    fn news(&mut self) -> Vec<What> {
        self.news.drain(..).collect()
    }
}

fn nowhere() -> PathBuf {
    PathBuf::from("/nonexistent/words")
}

/// Runs until it ends or the laptop dies.
fn run(book: &mut Book<Disk>, sim: &mut Sim) -> Result<Outcome> {
    let mut hands = Hands {
        sim,
        news: VecDeque::new(),
    };
    for _ in 0..5_000 {
        let now = hands.sim.now;
        if let Turn::Ended(outcome) = turn(book, &mut hands, now, &mut |_| ())? {
            return Ok(outcome);
        }
        let out = hands.sim.boards.iter().filter(|b| b.down()).count();
        assert!(out <= book.plan.allowed(), "{out} boards are down");
        hands.sim.step();
    }
    panic!("does not end");
}

/// The journal with the laptop dying at line `at`; taken up by another one after `away` seconds.
fn with_a_death(
    faults: &[Fault],
    plan: &Plan,
    at: usize,
    torn: Torn,
    away: u64,
) -> (Outcome, Sim, bool) {
    let mut sim = Sim::new(faults);
    let disk = Disk {
        bytes: Rc::default(),
        left: Rc::new(Cell::new(at)),
        torn,
    };
    let begun = Book::begin(
        disk.clone(),
        nowhere(),
        "r",
        "me@here",
        plan.clone(),
        sim.now,
    );
    let first = begun.and_then(|mut book| run(&mut book, &mut sim));
    if let Ok(outcome) = first {
        return (outcome, sim, false);
    }
    for _ in 0..away / crate::rollout::sim::STEP {
        sim.step();
    }
    disk.left.set(usize::MAX);
    sim.watched = sim.now;
    let (events, whole) = book::parse(&disk.bytes.borrow()).expect("readable after a death");
    disk.bytes
        .borrow_mut()
        .truncate(usize::try_from(whole).expect("small"));
    let mut book = match Book::resume(disk.clone(), nowhere(), events) {
        Ok(book) => book,
        // died before the first line: nothing was done, and one begins again
        Err(_) => {
            Book::begin(disk, nowhere(), "r", "me@here", plan.clone(), sim.now).expect("begun")
        }
    };
    let outcome = run(&mut book, &mut sim).expect("the second laptop lives");
    let forgotten = book.plan.boards.iter().any(|m| {
        matches!(
            book.journal.track(&m.name).map(|t| &t.state),
            None | Some(State::New | State::Out(_))
        )
    });
    assert!(
        !forgotten,
        "a board is forgotten after a death at line {at}"
    );
    (outcome, sim, true)
}

#[test]
fn laptop_dies_at_every_line_of_the_journal_and_another_one_goes_on() {
    let faults = [Fault::None; 6];
    let mut plan = Sim::new(&faults).plan();
    plan.max_unavailable = Share::Boards(2);
    let mut deaths = 0;
    for torn in [Torn::Nothing, Torn::Half, Torn::All] {
        for away in [0, 60, 7200] {
            for at in 0.. {
                let (outcome, sim, died) = with_a_death(&faults, &plan, at, torn, away);
                assert_eq!(outcome, Outcome::Done, "line {at}, {torn:?}, away {away} s");
                for board in &sim.boards {
                    assert_eq!(
                        board.version, NEW,
                        "line {at}, {torn:?}, away {away} s: {}",
                        board.name
                    );
                }
                if !died {
                    break;
                }
                deaths += 1;
            }
        }
    }
    // begun, and fit, ordered, reached for each of six boards, ended: 20 lines, each of them in nine ways
    assert_eq!(deaths, 9 * 20);
}

#[test]
fn laptop_dies_at_every_line_of_a_rollout_that_fails_and_nobody_else_is_touched() {
    let mut faults = [Fault::None; 4];
    faults[0] = Fault::RollsBack;
    let plan = Sim::new(&faults).plan();
    for at in 0.. {
        let (outcome, sim, died) = with_a_death(&faults, &plan, at, Torn::All, 60);
        assert_eq!(outcome, Outcome::Stopped, "line {at}");
        assert!(sim.boards.iter().all(|b| b.version == OLD), "line {at}");
        if !died {
            break;
        }
    }
}

#[test]
fn a_journal_that_cannot_be_written_tells_nobody_anything_more() {
    let mut sim = Sim::new(&[Fault::None; 3]);
    let plan = sim.plan();
    // begun, three times fit, and then the disk is full
    let disk = Disk {
        bytes: Rc::default(),
        left: Rc::new(Cell::new(4)),
        torn: Torn::Nothing,
    };
    let mut book = Book::begin(disk, nowhere(), "r", "me", plan, sim.now).expect("begun");
    let error = format!("{:#}", run(&mut book, &mut sim).expect_err("full"));
    assert!(error.contains("make room and resume"), "{error}");
    assert!(sim.boards.iter().all(|b| b.told == 0));
}

#[test]
fn a_broken_line_in_the_middle_is_named_and_not_passed_over() {
    let error = format!(
        "{:#}",
        book::parse(b"{\"at\":1,\"event\":\"resumed\",\"by\":\"x\"}\nhm\n{}\n")
            .expect_err("broken")
    );
    assert!(error.contains("line 2"), "{error}");
}
