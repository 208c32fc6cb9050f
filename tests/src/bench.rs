//! Benches: each measures ours and the others' in one run on one machine, and ends with one line of numbers.
//!
//! * `curve`: a rollout of signed files alone, over a million boards
//! * `delta`: what an update costs, beside the deltas of others; `made` makes the releases, `blocks` counts
//! * `fleet`: locks and a rollout over 1,000 simulated boards, by `hypriot-fleet serve`
//! * `health`: answers and self-tests, beside goss and the node exporter
//! * `image`: the root tree of a board, by `hypriot-imagegen` and by mmdebstrap
//! * `install`: a full image into a slot, beside RAUC and SWUpdate
//! * `neighbours`: twelve boards of one network, which lend each other what they hold
//! * `mirror`: an archive in a directory, made of packages that are already here

mod blocks;
pub mod curve;
pub mod delta;
pub mod fleet;
pub mod health;
pub mod image;
pub mod install;
mod made;
pub mod mirror;
pub mod neighbours;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure what the project promises, beside the best that others offer.
#[derive(Debug, Parser)]
#[command(
    name = "hypriot-bench",
    max_term_width = 110,
    after_help = "Example:\n  hypriot-bench image\n\n\
        The last line of the output holds the numbers. Exit codes: 0 measured, 1 something failed, 2 the command line is wrong."
)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The arm64 root tree of the default recipe from packages in the cache: hypriot-imagegen, mmdebstrap under emulation, and
    /// mmdebstrap for amd64 as the limit (a quarter of an hour; needs root and an amd64 machine)
    Image,
    /// Bytes to download for an update: ours, and what zstd, xdelta3, zchunk, casync and RAUC make of the same pairs of images
    /// (half an hour; needs root, and a release build of the agent)
    Delta {
        /// Only these pairs (security, config, kernel, security-without-kernel); may be given again.
        #[arg(long)]
        pair: Vec<String>,
    },
    /// Seconds and memory of a full image into a slot: our agent, RAUC, SWUpdate, and `zstd -d` as the limit (ten minutes; needs
    /// root, and a release build of the agent)
    Install,
    /// Twelve boards on one bridge, each with its own avahi, install a release at the same moment over a line of 50 Mbit/s: what the
    /// source sends, in releases (three minutes; needs root, and a release build of the agent)
    Neighbours,
    /// A rollout over 1,000 simulated boards by `hypriot-fleet serve`, then locks a second with the embedded store, with three servers
    /// on three members of etcd, and by the plainest server on etcd (three minutes)
    Fleet,
    /// /health and /metrics beside goss serve and prometheus-node-exporter, and a suite of 3,150 rows beside goss (two minutes;
    /// needs root, and a release build of the agent)
    Health,
}

/// Runs the bench that was asked for.
pub fn main() -> ExitCode {
    let done = match Cli::parse().bench {
        Bench::Image => image::run(),
        Bench::Delta { pair } => delta::run(&pair),
        Bench::Install => install::run(),
        Bench::Neighbours => neighbours::run(),
        Bench::Fleet => curve::run(&crate::papers::root()).and_then(|()| fleet::run()),
        Bench::Health => health::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hypriot-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the result.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
