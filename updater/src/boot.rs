//! The boot loader's memory: which slot is the default, and how the trial of the other one stands.
//!
//! * [`env`]: the U-Boot environment block that carries it
//! * [`state`]: its meaning, and the verbs an update uses
//! * [`start`]: what a start does that finds it: the definition
//! * [`script`]: the U-Boot script that reads, writes and obeys it

pub mod env;
pub mod script;
pub mod start;
pub mod state;

pub use start::{Start, start};
pub use state::{BootState, Copies, Phase, Spoilt, Trial};
