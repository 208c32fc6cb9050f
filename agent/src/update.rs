//! The update of this board: what it sees, what it does, what it remembers. What is to be done, [`hypriot_updater::decide`] says.

pub mod act;
pub mod board;
pub mod daemon;
pub mod drill;
pub mod heartbeat;
pub mod hooks;
pub mod inhibit;
pub mod install;
pub mod last;
pub mod lock;
pub mod machine;
#[cfg(test)]
mod matrix;
pub mod offer;
pub mod ports;
#[cfg(test)]
mod power_cuts;
pub mod retry;
#[cfg(test)]
pub(crate) mod signed;
pub mod spool;
pub mod standing;
pub mod store;
mod terms;
pub mod trial;
pub mod up;
pub mod why;
