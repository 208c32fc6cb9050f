//! Whole networks of boards, in time that is told: what they cost the source, and how long they take.

use super::*;

/// Seconds of one step.
const STEP: f64 = 0.02;
/// Questions of one board at a time.
const ASKERS: usize = 4;
/// What a board lends in a second, segments; and for how many seconds it makes somebody wait.
const LENDS: f64 = 6.0;
const TURN: f64 = 1.5;
/// The cost of a segment from the source.
const COST: u32 = 700_000;

/// How a board behaves to others.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// As ours do.
    Good,
    /// It was up to date before: it lends, and installs nothing.
    Whole,
    /// It says that it has everything, and never gives anything.
    Silent,
    /// It says that it has everything, and gives something else.
    Lies,
    /// It always says "later".
    Busy,
    /// It goes away at this time.
    Dies(f64),
}

struct Board {
    plan: Plan,
    manner: Manner,
    begins: f64,
    has: Vec<bool>,
    promised: f64,
    /// What the source is sending it: which, bytes that are left, since when.
    fetching: Option<(usize, f64, f64)>,
    asking: Vec<(Errand, f64, Said)>,
    over: bool,
    done: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Yes,
    Later,
    NotHere,
    Nothing,
}

struct Network {
    boards: Vec<Board>,
    now: f64,
    /// Bytes in a second, and how many were sent.
    pace: f64,
    sent: f64,
}

fn real(n: usize) -> f64 {
    f64::from(u32::try_from(n).expect("few"))
}

fn address(n: usize) -> SocketAddr {
    let n = u8::try_from(n).expect("few");
    ([10, 0, 0, n], super::super::wire::PORT).into()
}

fn id(n: usize) -> Id {
    Id(SegmentHash::of(&[u8::try_from(n).expect("few")]).0[..16]
        .try_into()
        .expect("16"))
}

impl Network {
    /// Boards of these manners that begin at these times; a source of so many Mbit/s.
    fn new(segments: usize, boards: &[(Manner, f64)], mbits: f64) -> Self {
        let wanted: Vec<Wanted> = (0..segments)
            .map(|n| Wanted {
                n,
                hash: SegmentHash::of(&n.to_le_bytes()),
                cost: COST.into(),
            })
            .collect();
        let board = |(n, (manner, begins)): (usize, &(Manner, f64))| Board {
            plan: Plan::new(id(n), wanted.clone()),
            manner: *manner,
            begins: *begins,
            has: vec![matches!(manner, Manner::Whole); segments],
            promised: 0.0,
            fetching: None,
            asking: Vec::new(),
            over: false,
            done: matches!(
                manner,
                Manner::Whole | Manner::Silent | Manner::Lies | Manner::Busy
            )
            .then_some(0.0),
        };
        Self {
            boards: boards.iter().enumerate().map(board).collect(),
            now: 0.0,
            pace: mbits * 125_000.0,
            sent: 0.0,
        }
    }

    fn is_up(&self, n: usize) -> bool {
        !matches!(self.boards[n].manner, Manner::Dies(at) if self.now >= at)
    }

    fn works(&self, n: usize) -> bool {
        let board = &self.boards[n];
        self.is_up(n) && board.done.is_none() && self.now >= board.begins
    }

    /// Until all are done: what the source sent, in releases, and when the last was done.
    fn run(mut self) -> (f64, f64) {
        let alone = real(self.boards[0].has.len()) * f64::from(COST);
        while (0..self.boards.len()).any(|n| self.is_up(n) && self.boards[n].done.is_none()) {
            assert!(self.now < 2000.0, "it does not end");
            self.step();
        }
        (self.sent / alone, self.now)
    }

    fn step(&mut self) {
        self.now += STEP;
        for n in 0..self.boards.len() {
            self.boards[n].promised = (self.boards[n].promised - STEP * LENDS).max(0.0);
            if self.works(n) {
                self.begin(n);
            }
        }
        let active =
            (0..self.boards.len()).filter(|n| self.works(*n) && self.boards[*n].fetching.is_some());
        let share = STEP * self.pace / real(active.count().max(1));
        for n in 0..self.boards.len() {
            if self.works(n) {
                self.fetch(n, share);
                self.end(n);
                let board = &mut self.boards[n];
                if !board.has.contains(&false) {
                    board.done = Some(self.now);
                }
            }
        }
    }

    /// Whoever has nothing to do asks for something.
    fn begin(&mut self, n: usize) {
        let now = self.now;
        if self.boards[n].fetching.is_none() {
            let board = &mut self.boards[n];
            let next = if board.over {
                Next::End
            } else {
                board.plan.source(now)
            };
            let i = match next {
                Next::Do(i) => Some(i),
                Next::Wait(_) => None,
                // what is left comes in the order of the file
                Next::End => {
                    board.over = true;
                    board.has.iter().position(|has| !has)
                }
            };
            board.fetching = i.map(|i| (i, f64::from(COST), now));
        }
        while self.boards[n].asking.len() < ASKERS && !self.boards[n].over {
            let Next::Do(errand) = self.boards[n].plan.errand(now) else {
                return;
            };
            let (took, said) = match errand {
                Errand::Look => (1.2, Said::Yes),
                Errand::Map(peer) => {
                    let other = self.number(n, peer);
                    (
                        0.01,
                        if self.is_up(other) {
                            Said::Yes
                        } else {
                            Said::Nothing
                        },
                    )
                }
                Errand::Segment(i, peer) => {
                    self.lend(self.number(n, peer), i, self.boards[n].plan.patience(i))
                }
            };
            self.boards[n].asking.push((errand, now + took, said));
        }
    }

    fn number(&self, n: usize, peer: usize) -> usize {
        let at = self.boards[n].plan.address(peer);
        (0..self.boards.len())
            .find(|n| address(*n) == at)
            .expect("a board")
    }

    fn lend(&mut self, lender: usize, i: usize, patience: f64) -> (f64, Said) {
        if !self.is_up(lender) {
            return (1.0, Said::Nothing);
        }
        let board = &mut self.boards[lender];
        match board.manner {
            Manner::Silent => (patience, Said::Nothing),
            Manner::Lies => (0.05, Said::Nothing),
            Manner::Busy => (0.01, Said::Later),
            _ if !board.has[i] => (0.01, Said::NotHere),
            _ if board.promised / LENDS > TURN => (0.01, Said::Later),
            _ => {
                let wait = board.promised / LENDS;
                board.promised += 1.0;
                (wait + 0.05, Said::Yes)
            }
        }
    }

    /// What the source sends a board in this step.
    fn fetch(&mut self, n: usize, mut share: f64) {
        let now = self.now;
        while share > 0.0 {
            self.begin(n);
            let board = &mut self.boards[n];
            let Some((i, left, since)) = &mut board.fetching else {
                return;
            };
            let some = share.min(*left);
            (share, *left) = (share - some, *left - some);
            self.sent += some;
            if *left <= 0.0 {
                let (i, took) = (*i, now - *since);
                board.fetching = None;
                board.has[i] = true;
                if !board.over {
                    board.plan.fetched(i, took, now);
                }
            }
        }
    }

    fn end(&mut self, n: usize) {
        let now = self.now;
        let asking = std::mem::take(&mut self.boards[n].asking);
        let (ended, open): (Vec<_>, Vec<_>) = asking.into_iter().partition(|(_, at, _)| *at <= now);
        self.boards[n].asking = open;
        for (errand, _, said) in ended {
            match errand {
                Errand::Look => {
                    let others = (0..self.boards.len()).filter(|m| *m != n);
                    let found = others.map(address).collect();
                    self.boards[n].plan.found(found);
                }
                Errand::Map(peer) => {
                    let map = self.map(self.number(n, peer));
                    match said {
                        Said::Yes => self.boards[n].plan.mapped(peer, map, now),
                        _ => self.boards[n].plan.lost(None, peer),
                    }
                }
                Errand::Segment(i, peer) => {
                    let plan = &mut self.boards[n].plan;
                    match said {
                        Said::Yes => {
                            plan.gave(i, peer, now);
                            self.boards[n].has[i] = true;
                        }
                        Said::Later => plan.later(Some(i), peer, 1.0, now),
                        Said::NotHere => plan.not_here(i, peer),
                        Said::Nothing => plan.lost(Some(i), peer),
                    }
                }
            }
        }
    }

    fn map(&self, n: usize) -> Option<Map> {
        let board = &self.boards[n];
        let all = matches!(board.manner, Manner::Silent | Manner::Lies | Manner::Busy);
        (self.now >= board.begins).then(|| Map {
            id: id(n),
            installing: board.done.is_none(),
            has: board.has.iter().map(|has| *has || all).collect(),
        })
    }
}

/// Twelve that begin within a second.
fn twelve() -> Vec<(Manner, f64)> {
    (0..12_u8)
        .map(|n| (Manner::Good, f64::from(n % 5) * 0.2))
        .collect()
}

#[test]
fn twelve_boards_that_begin_at_once_cost_the_source_little_more_than_one() {
    for (segments, mbits) in [(64, 50.0), (100, 50.0), (100, 200.0), (300, 50.0)] {
        let (ratio, took) = Network::new(segments, &twelve(), mbits).run();
        let alone = real(segments) * f64::from(COST) / (mbits * 125_000.0);
        println!(
            "{segments} segments at {mbits} Mbit/s: {ratio:.2} in {took:.1} s, alone {alone:.1} s"
        );
        assert!(ratio <= 1.3, "{segments} at {mbits}: {ratio}");
        // what each lends bounds how fast all have it
        let lent = real(segments) / LENDS * 1.5;
        assert!(
            took < alone.max(lent) * 1.5 + 10.0,
            "{segments} at {mbits}: {took}, alone {alone}"
        );
    }
}

#[test]
fn one_that_has_it_all_gives_it_to_the_others() {
    for (others, most) in [(1, 0.7), (5, 0.5)] {
        let mut boards = vec![(Manner::Good, 0.0); others];
        boards.push((Manner::Whole, 0.0));
        let (ratio, took) = Network::new(200, &boards, 50.0).run();
        println!("{others} of one: {ratio:.2} in {took:.1} s");
        // one alone lends slower than this source sends, and is not worth a wait for all of it; several give it on
        assert!(ratio < most, "{ratio}");
    }
}

#[test]
fn a_board_that_goes_away_in_the_middle_leaves_its_share_to_the_others() {
    let mut boards = twelve();
    for (n, at) in [(3, 4.0), (7, 6.0), (8, 9.0)] {
        boards[n].0 = Manner::Dies(at);
    }
    let (ratio, took) = Network::new(200, &boards, 50.0).run();
    println!("three go away: {ratio:.2} in {took:.1} s");
    assert!(ratio <= 1.5, "{ratio}");
}

#[test]
fn one_that_comes_later_is_given_what_the_others_have() {
    let mut boards = twelve();
    boards[11].1 = 8.0;
    let (ratio, _) = Network::new(200, &boards, 50.0).run();
    assert!(ratio <= 1.35, "{ratio}");
}

#[test]
fn neighbours_that_only_take_time_cost_no_more_than_the_account() {
    for manner in [Manner::Silent, Manner::Lies, Manner::Busy] {
        for (many, mbits) in [(1, 50.0), (1, 1000.0), (31, 50.0), (31, 1000.0)] {
            let mut boards = vec![(Manner::Good, 0.0)];
            boards.extend(vec![(manner, 0.0); many]);
            let segments = 100;
            let (_, took) = Network::new(segments, &boards, mbits).run();
            let alone = real(segments) * f64::from(COST) / (mbits * 125_000.0);
            let most = (alone / 4.0).max(2.0);
            println!("{many} {manner:?} at {mbits} Mbit/s: {took:.1} s, alone {alone:.1} s");
            assert!(
                took <= alone + most + 1.0,
                "{many} {manner:?} at {mbits}: {took}, alone {alone}"
            );
        }
    }
}

#[test]
fn a_source_that_is_gone_ends_the_asking_in_time_and_neighbours_have_theirs_to_give() {
    let wanted = |n: usize| Wanted {
        n,
        hash: SegmentHash::of(&[7]),
        cost: COST.into(),
    };
    let mut plan = Plan::new(id(0), (0..8).map(wanted).collect());
    let Next::Do(i) = plan.source(0.0) else {
        panic!("the source is asked first");
    };
    plan.source_is_gone(i);
    assert!(matches!(plan.source(0.1), Next::Wait(_)));
    plan.found(vec![address(1)]);
    let map = |has| Map {
        id: id(1),
        installing: false,
        has,
    };
    plan.mapped(0, Some(map(vec![true; 8])), 0.2);
    plan.looks = LOOKS;
    for n in 0..8 {
        let now = 0.3 + f64::from(n) / 10.0;
        let Next::Do(Errand::Segment(i, 0)) = plan.errand(now) else {
            panic!("it has them all");
        };
        plan.gave(i, 0, now);
    }
    assert_eq!(plan.source(2.0), Next::End);
    assert_eq!(plan.errand(2.0), Next::End);
    assert_eq!(plan.givers(), 1);
}

#[test]
fn later_keeps_what_a_neighbour_has_and_not_here_does_not() {
    let wanted = |n: usize| Wanted {
        n,
        hash: SegmentHash::of(&[7]),
        cost: COST.into(),
    };
    let mut plan = Plan::new(id(0), (0..2).map(wanted).collect());
    plan.looks = LOOKS;
    plan.found(vec![address(1), address(1), address(2)]);
    assert_eq!(plan.peers.len(), 2, "one is one");
    let map = |n| Map {
        id: id(n),
        installing: false,
        has: vec![true; 2],
    };
    plan.mapped(0, Some(map(1)), 0.0);
    let Next::Do(Errand::Map(1)) = plan.errand(0.5) else {
        panic!("its map is due");
    };
    // the same board at another address, and this board itself
    plan.mapped(1, Some(map(1)), 0.5);
    assert!(plan.peers[1].dropped);
    let Next::Do(Errand::Segment(i, 0)) = plan.errand(0.5) else {
        panic!("it has them");
    };
    plan.later(Some(i), 0, 1.0, 0.5);
    assert!(matches!(plan.errand(0.6), Next::Wait(_)), "it rests");
    assert!(plan.is_near(i));
    plan.peers[0].map_asked(1.5);
    let Next::Do(Errand::Segment(i, 0)) = plan.errand(1.6) else {
        panic!("its rest is over");
    };
    plan.not_here(i, 0);
    assert!(!plan.is_near(i));
    plan.found(vec![address(3)]);
    plan.mapped(2, Some(map(0)), 1.7);
    assert!(plan.peers[2].dropped, "that is ourselves");
    plan.found((10..200).map(address).collect());
    assert_eq!(plan.peers.len(), MOST_PEERS, "however many are announced");
}
