//! Who is asked for which segment: the source, or which of the neighbours. A decision of values alone; time is told, in seconds since
//! the installation began.
//!
//! Twelve boards that begin at the same moment shall cost the source little more than one:
//!
//! * Each segment belongs to one board of those that are known to install the same release, the one whose number together with
//!   the segment's gives the largest (highest random weight), so that boards that know the same neighbours agree without a word,
//!   and one that comes or goes moves only its own. A board asks the source for what is its own, and takes the rest from whoever
//!   has it by then.
//! * Each does that in an order of its own, so that boards that do not know of each other yet do not ask for the same.
//! * A neighbour that has lent enough for now keeps what it has: it is asked again after its rest. Only who says that a segment is not
//!   there loses it from its map.
//!
//! And no neighbour is worth a wait. While the source is held back because neighbours have the rest, or are fetching it, the time
//! is taken from one account ([`Account`]); what they give is paid in at what the source would have needed for it. An account that
//! is empty ends all asking of neighbours: so what they can cost, all of them together, slow, silent, lying or a thousand, is the
//! account and the question that is open then.

use std::net::SocketAddr;

use hypriot_updater::index::SegmentHash;

use super::wire::{Id, Map};

mod account;
mod peer;

use account::Account;
use peer::Peer;

/// More neighbours than this are not looked at: two for each segment that is on its way.
pub(crate) const MOST_PEERS: usize = 32;
/// So many questions to one neighbour at a time.
const AT_ONCE: usize = 2;
/// Neighbours are looked for again, since not all boards begin at the same moment; so often, and after so long.
const LOOKS: u32 = 4;
const LOOK_AGAIN: f64 = 5.0;
/// How often somebody who waits looks whether there is something to do.
const GLANCE: f64 = 0.2;
/// When nothing came for so long, or for three times what the source needs for a segment, somebody whose share is waited for may
/// be gone: one more segment is asked of the source.
const STALL: (f64, f64) = (1.5, 10.0);

/// A segment that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Number over all images.
    pub(crate) n: usize,
    /// Its hash.
    pub(crate) hash: SegmentHash,
    /// What it costs from the source.
    pub(crate) cost: u64,
}

/// How far a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody was asked for it.
    Open,
    /// It is on its way.
    Asked,
    /// It is here.
    Here,
}

/// What somebody who asks shall do now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next<T> {
    /// This.
    Do(T),
    /// Look again after so many seconds, or when something happened.
    Wait(f64),
    /// Nothing any more.
    End,
}

/// What a neighbour, or the network, is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Who is there.
    Look,
    /// What it holds: this neighbour.
    Map(usize),
    /// This segment, by its place in the list of wanted ones, of this neighbour.
    Segment(usize, usize),
}

/// What is known, and what follows from it.
#[derive(Debug)]
pub(crate) struct Plan {
    own: Id,
    wanted: Vec<Wanted>,
    states: Vec<State>,
    /// In which order this board goes through them.
    order: Vec<usize>,
    /// Those that it asks the source for.
    mine: Vec<bool>,
    peers: Vec<Peer>,
    looks: u32,
    look_at: f64,
    account: Account,
    /// When something came last.
    came: f64,
    /// Since when the source is held back.
    held: Option<f64>,
    source_is_gone: bool,
    /// Somebody looked, and there was nobody.
    alone: bool,
}

impl Plan {
    pub(crate) fn new(own: Id, wanted: Vec<Wanted>) -> Self {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        // anything that differs from board to board
        order.sort_by_key(|i| mixed(own.number().rotate_left(17), &wanted[*i].hash));
        Self {
            own,
            states: vec![State::Open; wanted.len()],
            mine: vec![true; wanted.len()],
            order,
            peers: Vec::new(),
            looks: 0,
            look_at: 0.0,
            account: Account::new(wanted.iter().map(|w| w.cost).sum()),
            came: 0.0,
            held: None,
            source_is_gone: false,
            alone: false,
            wanted,
        }
    }

    /// Where a neighbour is.
    pub(crate) fn address(&self, peer: usize) -> SocketAddr {
        self.peers[peer].at
    }

    /// How many gave something.
    pub(crate) fn givers(&self) -> usize {
        self.peers.iter().filter(|p| p.gave > 0).count()
    }

    /// Whether neighbours are asked for anything yet or still.
    pub(crate) fn is_over(&self) -> bool {
        let all_here = || self.states.iter().all(|s| *s == State::Here);
        self.alone || self.account.is_empty() || all_here()
    }

    /// How long a neighbour may take for a segment.
    pub(crate) fn patience(&self, i: usize) -> f64 {
        (2.0 * self.account.price(self.wanted[i].cost)).clamp(3.0, 10.0)
    }

    /// What the source is asked for next.
    pub(crate) fn source(&mut self, now: f64) -> Next<usize> {
        if self.is_over() {
            return Next::End;
        }
        let own = self
            .order
            .iter()
            .copied()
            .find(|i| self.states[*i] == State::Open && self.mine[*i] && !self.is_near(*i));
        let next = match own {
            Some(i) if !self.source_is_gone => Some(i),
            _ => self.stalled(now),
        };
        if let Some(i) = next {
            self.hold(now);
            self.held = None;
            self.states[i] = State::Asked;
            return Next::Do(i);
        }
        self.hold(now);
        if self.is_over() {
            return Next::End;
        }
        self.held = Some(now);
        Next::Wait(GLANCE)
    }

    /// Takes the time since the source was last seen to be held back from the account.
    fn hold(&mut self, now: f64) {
        if let Some(since) = self.held.replace(now) {
            self.account.spend(now - since);
        }
    }

    /// One more segment for the source, when nothing came for long.
    fn stalled(&mut self, now: f64) -> Option<usize> {
        let mean =
            self.wanted.iter().map(|w| w.cost).sum::<u64>() / (self.wanted.len() as u64).max(1);
        let most = (3.0 * self.account.price(mean)).clamp(STALL.0, STALL.1);
        if self.source_is_gone || now - self.came < most {
            return None;
        }
        let open = |i: &usize| self.states[*i] == State::Open;
        let far = self
            .order
            .iter()
            .copied()
            .find(|i| open(i) && !self.is_near(*i));
        let next = far.or_else(|| self.order.iter().copied().find(open))?;
        self.came = now;
        Some(next)
    }

    /// Whether a neighbour has it.
    fn is_near(&self, i: usize) -> bool {
        let n = self.wanted[i].n;
        self.peers.iter().any(|p| p.holds(n))
    }

    /// What neighbours are asked next.
    pub(crate) fn errand(&mut self, now: f64) -> Next<Errand> {
        if self.is_over() {
            return Next::End;
        }
        if self.looks < LOOKS && now >= self.look_at {
            (self.looks, self.look_at) = (self.looks + 1, now + LOOK_AGAIN);
            return Next::Do(Errand::Look);
        }
        if let Some(peer) = self.peers.iter().position(|p| p.is_map_due(now)) {
            self.peers[peer].map_asked(now);
            return Next::Do(Errand::Map(peer));
        }
        match self.choose(now) {
            Some((i, peer)) => {
                self.states[i] = State::Asked;
                self.peers[peer].busy += 1;
                Next::Do(Errand::Segment(i, peer))
            }
            None => Next::Wait(GLANCE),
        }
    }

    /// The segment that the fewest have, first in our order, of the one that has the least to do.
    fn choose(&self, now: f64) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for i in self
            .order
            .iter()
            .copied()
            .filter(|i| self.states[*i] == State::Open)
        {
            let n = self.wanted[i].n;
            let holders = || self.peers.iter().filter(|p| p.holds(n));
            let ready = holders().any(|p| p.is_ready(now));
            let count = holders().count();
            if ready && best.is_none_or(|(least, _)| count < least) {
                best = Some((count, i));
            }
            if best.is_some_and(|(count, _)| count == 1) {
                break;
            }
        }
        let (_, i) = best?;
        let n = self.wanted[i].n;
        let ready = self.peers.iter().enumerate();
        let ready = ready.filter(|(_, p)| p.holds(n) && p.is_ready(now));
        let (peer, _) = ready.min_by_key(|(_, p)| (p.busy, p.gave))?;
        Some((i, peer))
    }

    /// These were found.
    pub(crate) fn found(&mut self, all: Vec<SocketAddr>) {
        for at in all {
            if self.peers.len() < MOST_PEERS && !self.peers.iter().any(|p| p.at == at) {
                self.peers.push(Peer::new(at));
            }
        }
        self.alone = self.peers.is_empty();
    }

    /// What a neighbour said it holds; none when it has nothing of this release.
    pub(crate) fn mapped(&mut self, peer: usize, map: Option<Map>, now: f64) {
        let known = |id: Id| {
            let mut others = self
                .peers
                .iter()
                .enumerate()
                .filter(|(n, p)| *n != peer && !p.dropped);
            others.any(|(_, p)| p.id == Some(id))
        };
        match map {
            // ourselves, or one that has two addresses
            Some(map) if map.id == self.own || known(map.id) => self.peers[peer].dropped = true,
            map => self.peers[peer].learn(map, now),
        }
        self.share();
    }

    /// It has lent enough for now, and rests so long.
    pub(crate) fn later(&mut self, i: Option<usize>, peer: usize, rest: f64, now: f64) {
        self.back(i, peer);
        self.peers[peer].rests_until = now + rest;
    }

    /// It has not got this segment.
    pub(crate) fn not_here(&mut self, i: usize, peer: usize) {
        self.back(Some(i), peer);
        let n = self.wanted[i].n;
        self.peers[peer].lacks(n);
    }

    /// It lied, was slow, or is gone: it is not asked again in this installation.
    pub(crate) fn lost(&mut self, i: Option<usize>, peer: usize) {
        self.back(i, peer);
        self.peers[peer].dropped = true;
        self.share();
    }

    fn back(&mut self, i: Option<usize>, peer: usize) {
        if let Some(i) = i {
            self.states[i] = State::Open;
            self.peers[peer].busy -= 1;
        }
    }

    /// A neighbour gave a segment, and it was right.
    pub(crate) fn gave(&mut self, i: usize, peer: usize, now: f64) {
        self.peers[peer].busy -= 1;
        self.peers[peer].gave += 1;
        self.account.pay_in(self.wanted[i].cost);
        self.here(i, now);
    }

    /// The source gave one, in so many seconds.
    pub(crate) fn fetched(&mut self, i: usize, took: f64, now: f64) {
        self.account.learn(self.wanted[i].cost, took);
        self.here(i, now);
    }

    fn here(&mut self, i: usize, now: f64) {
        self.states[i] = State::Here;
        self.came = now;
    }

    /// The source cannot give it, nor anything else.
    pub(crate) fn source_is_gone(&mut self, i: usize) {
        self.states[i] = State::Open;
        self.source_is_gone = true;
    }

    /// Whose is which, of those that are fetching the same release as far as is known.
    fn share(&mut self) {
        let others: Vec<u64> = self
            .peers
            .iter()
            .filter(|p| p.installs())
            .filter_map(|p| p.id.map(Id::number))
            .collect();
        let own = self.own.number();
        for (mine, wanted) in self.mine.iter_mut().zip(&self.wanted) {
            let weight = mixed(own, &wanted.hash);
            *mine = others
                .iter()
                .all(|other| mixed(*other, &wanted.hash) <= weight);
        }
    }
}

/// A number of a board and a segment that looks like any other (the finaliser of SplitMix64).
fn mixed(board: u64, hash: &SegmentHash) -> u64 {
    let (front, _) = hash.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let mut x = board ^ u64::from_le_bytes(*front);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
