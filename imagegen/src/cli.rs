//! Owns the command line: what can be asked, how answers are printed, and the exit codes. It decides nothing.
//!
//! Exit codes: 0 done; 1 it failed, the message says why; 2 the command line is wrong.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod agent;
mod doctor;
mod progress;

use progress::progress;

/// Debian packages in, board images and signed releases out.
#[derive(Debug, Parser)]
#[command(name = "hypriot-imagegen", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

/// One line per command; each lives in a module of its own below `cli/`.
#[derive(Debug, Subcommand)]
enum Cmd {
    Agent(agent::AgentArgs),
    Doctor(doctor::DoctorArgs),
    /// List the boards an image can be built for.
    Boards,
}

/// Parses the arguments, runs the command, prints the error if there is one.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hypriot-imagegen: {e:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Cmd::Agent(args) => agent::run(&args),
        Cmd::Doctor(args) => doctor::run(&args),
        Cmd::Boards => Ok(()),
    }
}
