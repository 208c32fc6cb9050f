//! A rollout that goes on: the journal on disk, the boards in the network, and the loop between them and [`rollout`].
//!
//! * [`book`]: the journal, synced before anything is done
//! * [`turn`]: one turn of the loop, over ports, so that tests can end it at any line
//! * [`boards`]: the real boards, asked over HTTP and told over ssh
//! * [`preflight`]: whether a board can take part
//! * [`show`]: what people and programs are told
//!
//! [`rollout`]: crate::rollout

pub mod boards;
pub mod book;
pub mod preflight;
pub mod show;
pub mod turn;
