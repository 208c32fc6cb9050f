//! Owns the command line: what can be asked, how answers are printed, and the exit codes. It decides nothing.
//!
//! Exit codes: 0 done; 1 it failed, the message says why; 2 the command line is wrong. `diff` and `verify` answer 1 when
//! something differs, and 2 for all that kept them from an answer.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod agent;
mod clean;
mod deb;
mod diff;
mod doctor;
mod flash;
mod image;
mod inspect;
mod packages;
mod progress;
mod recipe;
mod refresh;

use crate::pipeline::clean::Request;
use crate::pipeline::root_tree::make::Job;
use crate::sandbox::errand;

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
    Deb(deb::DebArgs),
    Doctor(doctor::DoctorArgs),
    Boards(packages::BoardsArgs),
    /// Decide on every package and write the lock file.
    Lock(packages::BuildArgs),
    /// Bring every package of the lock into the cache.
    Fetch(packages::BuildArgs),
    /// Show what a build would download and install.
    Plan(packages::BuildArgs),
    Root(packages::RootArgs),
    Image(Box<image::ImageArgs>),
    Flash(Box<flash::FlashArgs>),
    Publish(image::PublishArgs),
    Refresh(Box<refresh::RefreshArgs>),
    Inspect(inspect::InspectArgs),
    Explain(inspect::ExplainArgs),
    New(recipe::NewArgs),
    Diff(diff::DiffArgs),
    Verify(Box<diff::VerifyArgs>),
    Clean(clean::CleanArgs),
    /// The program starts itself as root of a user namespace.
    #[command(hide = true)]
    InsideErrand,
    /// The sandbox starts itself: first process.
    #[command(hide = true)]
    Inside,
    /// The sandbox starts itself: maps ids.
    #[command(hide = true)]
    InsideMap(packages::MapArgs),
    /// The sandbox starts itself: process 1.
    #[command(hide = true)]
    InsideFirst,
}

/// Parses the arguments, runs the command, prints the error if there is one.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("hypriot-imagegen: {e:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = match cli.command {
        Cmd::Diff(args) => return Ok(diff::diff(&args)),
        Cmd::Verify(args) => return Ok(diff::verify(&args)),
        Cmd::Refresh(args) => return refresh::refresh(&args),
        Cmd::InsideErrand => {
            return Ok(errand::inside(&[
                errand::known::<Job>(),
                errand::known::<crate::pipeline::root_tree::steps::Job>(),
                errand::known::<Request>(),
            ]));
        }
        Cmd::Inside => return Ok(crate::sandbox::inside()),
        Cmd::InsideFirst => return Ok(crate::sandbox::first()),
        Cmd::Agent(args) => agent::run(&args),
        Cmd::Deb(args) => deb::run(&args),
        Cmd::Doctor(args) => doctor::run(&args),
        Cmd::Boards(args) => packages::boards(&args),
        Cmd::Lock(args) => packages::lock(&args),
        Cmd::Fetch(args) => packages::fetch(&args),
        Cmd::Plan(args) => packages::plan(&args),
        Cmd::Root(args) => packages::root(&args),
        Cmd::Image(args) => image::image(&args),
        Cmd::Flash(args) => flash::flash(&args),
        Cmd::Publish(args) => image::publish(&args),
        Cmd::Inspect(args) => inspect::inspect(&args),
        Cmd::New(args) => recipe::new(&args),
        Cmd::Explain(args) => inspect::explain(&args),
        Cmd::Clean(args) => clean::run(&args),
        Cmd::InsideMap(args) => packages::inside_map(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
