//! The program `hypriot-keys`: reads the clock once, runs one command, turns its outcome into an exit code.

mod cli;
mod run;
mod show;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use hypriot_keys::time::Timestamp;

fn main() -> ExitCode {
    match run::run(cli::Cli::parse(), now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hypriot-keys: {e:#}");
            ExitCode::from(run::exit_code(&e))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock is read here, once, and passed on as a value"
)]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_secs()))
}
