//! What is known of one neighbour.

use std::net::SocketAddr;

use super::super::wire::{Id, Map};
use super::AT_ONCE;

/// Seconds until a neighbour that fetches the same is asked for its map again; and one that has it all, or nothing of it.
const SOON: f64 = 1.0;
const SELDOM: f64 = 5.0;
/// In the beginning others may be about to begin.
const BEGINNING: f64 = 15.0;

/// One neighbour.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) at: SocketAddr,
    pub(super) id: Option<Id>,
    installing: bool,
    has: Vec<bool>,
    map_at: f64,
    pub(super) rests_until: f64,
    /// Questions to it that are open.
    pub(super) busy: usize,
    /// Segments that came from it.
    pub(super) gave: u64,
    /// It is not asked again.
    pub(super) dropped: bool,
}

impl Peer {
    pub(super) fn new(at: SocketAddr) -> Self {
        Self {
            at,
            id: None,
            installing: false,
            has: Vec::new(),
            map_at: 0.0,
            rests_until: 0.0,
            busy: 0,
            gave: 0,
            dropped: false,
        }
    }

    pub(super) fn holds(&self, n: usize) -> bool {
        !self.dropped && self.has.get(n).copied().unwrap_or(false)
    }

    pub(super) fn lacks(&mut self, n: usize) {
        if let Some(has) = self.has.get_mut(n) {
            *has = false;
        }
    }

    /// Whether it may be asked for something.
    pub(super) fn is_ready(&self, now: f64) -> bool {
        !self.dropped && self.busy < AT_ONCE && now >= self.rests_until
    }

    /// Whether it is fetching the same release.
    pub(super) fn installs(&self) -> bool {
        !self.dropped && self.installing
    }

    pub(super) fn is_map_due(&self, now: f64) -> bool {
        !self.dropped && now >= self.map_at && now >= self.rests_until
    }

    /// It is being asked for its map.
    pub(super) fn map_asked(&mut self, now: f64) {
        let soon = self.installing || now < BEGINNING;
        self.map_at = now + if soon { SOON } else { SELDOM };
    }

    /// What it said.
    pub(super) fn learn(&mut self, map: Option<Map>, now: f64) {
        let Some(map) = map else {
            (self.installing, self.has) = (false, Vec::new());
            return;
        };
        self.id = Some(map.id);
        self.installing = map.installing && map.has.contains(&false);
        self.has = map.has;
        self.map_asked(now);
    }
}
