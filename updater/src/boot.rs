//! The boot loader's memory: which slot is the default, and how the trial of the other one stands.
//!
//! * [`env`]: the U-Boot environment block that carries it
//! * [`state`]: its meaning, and the verbs an update uses
//! * [`script`]: the U-Boot script that reads, writes and obeys it

pub mod env;
pub mod script;
pub mod state;

pub use state::{BootState, Copies, Phase, Trial};
