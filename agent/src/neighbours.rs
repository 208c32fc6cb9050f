//! Boards of one network lend each other what they hold of a release, so that a cluster downloads it once.
//!
//! A neighbour is believed nothing: a segment is asked for by its BLAKE3 hash, and what comes is compared with the verified index
//! before it is written, as what comes from anywhere. So the worst that a neighbour can do is to take time, and there is one
//! account of patience for an installation ([`plan`]).
//!
//! * `wire`: what is said, by both sides
//! * `links`: the networks that this board is on
//! * `find`: who else is there, by multicast DNS
//! * `ask`: one question to one of them, bounded in bytes and time
//! * `plan`: who is asked for what, and what is left to the source; a decision of values alone
//! * `shelf`: what this board holds, as files that whoever lends can read
//! * `lend`: the server

pub(crate) mod ask;
pub(crate) mod find;
pub mod lend;
mod links;
pub(crate) mod plan;
pub mod shelf;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use hypriot_updater::index::Index;
use hypriot_updater::record::Record;
use hypriot_updater::slot::{Release, Slot};

use crate::card::disk::Card;

/// Looks for neighbours; ends early when its argument becomes true.
pub type Find = fn(&AtomicBool) -> Vec<SocketAddr>;

/// Where an installation finds its neighbours, and says what it holds itself.
#[derive(Clone)]
pub struct Nearby {
    /// Looks for them; none where nobody is asked: what this board holds it lends all the same.
    pub find: Option<Find>,
    /// The folder of the shelf.
    pub shelf: PathBuf,
    /// The slot that is written.
    pub slot: Slot,
}

impl std::fmt::Debug for Nearby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nearby")
            .field("shelf", &self.shelf)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// Who lends on the networks of this board.
pub fn found() -> Vec<SocketAddr> {
    find::neighbours(&AtomicBool::new(false))
}

/// Where this board says what it holds, and where it keeps what it needs for that. What goes wrong here costs others a download,
/// and this board nothing: it is said, and no more.
#[derive(Debug, Clone)]
pub struct Shelves {
    run: PathBuf,
    kept: PathBuf,
    card: Card,
}

impl Shelves {
    /// Of a board with this card.
    pub fn of(card: &Card) -> Self {
        Self {
            run: shelf::DIRECTORY.into(),
            kept: shelf::KEPT.into(),
            card: card.clone(),
        }
    }

    /// For an installation into `slot` from `source`. A stick and a directory are nearer than any neighbour: then nobody is asked.
    pub fn nearby(&self, slot: Slot, source: Option<&str>) -> Nearby {
        let far = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        Nearby {
            find: source.is_some_and(far).then_some(find::neighbours as Find),
            shelf: self.run.clone(),
            slot,
        }
    }

    /// At the start of the agent: says what lies in both slots.
    pub fn lay_out(&self, record: &Record) {
        if let Err(error) = shelf::lay_out(&self.run, &self.kept, record, &self.card) {
            tracing::warn!("neighbours are not told what is here: {error}");
        }
    }

    /// `release` lies in a slot from now on, and will after a restart.
    pub fn keep(&self, release: &Release, index: &Index, record: &Record) {
        if let Err(error) = shelf::keep(&self.kept, release, index, record) {
            tracing::warn!("neighbours will not be told after a restart what is here: {error}");
        }
    }
}
