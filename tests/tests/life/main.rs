//! The slow tests of the workspace, side by side: an emulated board keeps one processor busy, and compilers the other.

mod board;
mod cluster;
mod cross;
mod samples;

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use hypriot_tests::factory::Factory;

/// Builds the programs of this machine and the agent of the virtual board: first, whichever test begins. What else is compiled
/// must not keep the board waiting, since cargo builds one thing at a time in a folder.
fn beginnings(factory: &Factory) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    factory.programs()?;
    factory.own_agent().map(drop)
}
