//! The boot loader's memory: which slot is the default, and how the trial of the other one stands.
//!
//! * [`env`]: the U-Boot environment block that carries it
//! * [`state`]: its meaning, and the verbs an update uses
//! * [`start`]: what a start does that finds it: the definition
//! * [`script`]: the U-Boot script that reads, writes and obeys it
//! * [`tryboot`]: the same memory on a board whose own firmware has A/B
//! * [`owner`]: the file on the first partition with which an owner adds to a start

pub mod env;
pub mod owner;
pub mod script;
pub mod start;
pub mod state;
pub mod tryboot;

pub use start::{Start, start};
pub use state::{BootState, Copies, Phase, Spoilt, Trial};
