//! The command line: parses and prints, decides nothing.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to do, 4 this system has no slots.

mod diagnose;
mod fleet;
mod measure;
mod owner;
mod packages;
mod selftest;
mod slots;
pub mod status;
mod stick;
mod why;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::lock::Lock;
use crate::neighbours::{self, lend, shelf};
use crate::probe::Root;
use crate::system::{self, NoSlots, System};
use crate::update::board::{Board, Session};
use crate::update::{daemon, last, machine, up};
use crate::{config, identity, init, report, serve};

const NOTHING: u8 = 3;
const NO_SLOTS: u8 = 4;
const BUSY: &str = "an update is going on; `hypriot-agent status` and `systemctl status hypriot-agent` show how far it is";
const EXAMPLES: &str = "\
Examples:
  hypriot-agent status                       both slots, the last update and why it ended so
  hypriot-agent why                          why it is not updating, and what to do
  hypriot-agent check                        ask the update source; exit code 3 when nothing is new
  hypriot-agent install                      install what is offered, now
  hypriot-agent install https://host/repo/   from another repository (signed by the same keys)
  hypriot-agent install /media/stick         from a directory
  tar c -C site . | ssh board sudo hypriot-agent install -   over ssh, without any server
  hypriot-agent hold --for 3d --reason moving   no updates for three days
  hypriot-agent pin                          stay on the version that runs
  hypriot-agent inhibit backup --for 2h      no restart for an update while a backup runs
  hypriot-agent drill                        prove that this board comes back from a bad release
  hypriot-agent rollback                     go back to the other slot
  hypriot-agent selftest                     run the self-tests; goss's commands, too
  hypriot-agent packages add nginx           packages of your own, which outlast updates
  hypriot-agent diagnose                     all that a maintainer asks for, in one file

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to do, 4 this system has no slots (it is not HypriotOS):
health and self-tests only";

#[derive(Debug, Parser)]
#[command(name = "hypriot-agent", version, about = "Health, self-tests and A/B updates of a HypriotOS board; health and self-tests of any other Debian", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show slots, trial and the last update
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say why the board is, or is not, updating; exit code 0 it is or need not be, 3 it waits
    Why {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the update source what it offers
    Check {
        /// Repository (URL or directory) instead of the configured one
        source: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Install the newest release into the idle slot, and restart to try it
    Install {
        /// Repository (URL or directory) instead of the configured one; - for a tar of one on standard input
        source: Option<String>,
        /// Do not restart; the next restart tries the slot
        #[arg(long)]
        no_reboot: bool,
        /// Only this version: when another is offered meanwhile, nothing is installed, exit code 3
        #[arg(long)]
        only: Option<semver::Version>,
        /// One JSON object a line: progress, and how it ended
        #[arg(long)]
        json: bool,
    },
    /// Remember, until the board restarts, which rollout works on it; exit code 75 when another one does
    Claim {
        /// The run's id
        run: String,
        /// Who
        #[arg(long, default_value = "")]
        by: String,
        /// Seconds until it is forgotten
        #[arg(long = "for", default_value_t = 3600)]
        seconds: u64,
        /// Forget it now
        #[arg(long)]
        release: bool,
    },
    /// Do what a key of `hypriot-fleet authorize` may ask for over ssh, and nothing else (started by sshd)
    #[command(hide = true)]
    Remote,
    /// Make the slot on trial the default, without waiting for the self-tests
    Commit,
    /// End a trial as failed, or go back to what lies in the other slot; restarts the board
    Rollback {
        /// Also to a release that does not read the data which lies here (`hypriot-agent state`)
        #[arg(long)]
        newer_state: bool,
    },
    /// Prove the way back: try a copy of what runs, made to fail; restarts the board twice
    Drill {
        /// Give up what lies in the other slot
        #[arg(long)]
        replace: bool,
        /// One JSON object a line: progress, and how it went on
        #[arg(long)]
        json: bool,
    },
    /// Allow a release again that failed here
    Forgive {
        /// Its digest, or the first digits of it, as `status` shows it
        digest: String,
    },
    /// Which shape the data of services has here, and which the slots read
    State(owner::State),
    /// Update nothing for now; also nothing is fetched
    Hold(owner::Hold),
    /// Stay on, or go to, one version and no other
    Pin(owner::Pin),
    /// Put the restart of an update off; without a name, list who does
    Inhibit(owner::Inhibit),
    /// Give the lock of the lock service back, also after an update that failed
    Unlock,
    Packages(packages::PackagesArgs),
    Selftest(Box<selftest::SelftestArgs>),
    Measure(measure::MeasureArgs),
    Diagnose(diagnose::Diagnose),
    /// Answer /health over HTTP (the unprivileged half; started by systemd)
    Serve {
        /// Where to listen; without it, where the settings say (`[health] listen`), or [::]:8080
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// The report that the other half writes
        #[arg(long, default_value = report::PATH)]
        report: PathBuf,
        /// Further names by which the board may be asked for, besides those of the settings
        #[arg(long = "host")]
        hosts: Vec<String>,
        /// Also say what only the owner should read: names of units and containers
        #[arg(long)]
        detail: bool,
    },
    /// List the boards of this network that lend; exit code 3 when there is none
    Neighbours,
    /// Lend neighbours what this board holds of a release (started by systemd)
    #[command(hide = true)]
    Lend {
        /// Where to listen
        #[arg(long, default_value_t = lend::LISTEN)]
        listen: SocketAddr,
        /// What the other half says that there is
        #[arg(long, default_value = shelf::DIRECTORY)]
        shelf: PathBuf,
    },
    /// Look, decide and act, for ever (the privileged half; started by systemd)
    Run,
    /// During an orderly shutdown: let a trial be tried again (started by systemd)
    #[command(hide = true)]
    Rearm,
    /// Wait beside a trial, and end it when nobody judges it in time (started by systemd in a boot on trial)
    #[command(hide = true)]
    Expire,
    /// Take updates from a stick, and say with the LED how it went until it is pulled (started by udev)
    #[command(hide = true)]
    Stick {
        /// Its block device
        #[arg(required_unless_present = "gone")]
        device: Option<PathBuf>,
        /// It was pulled
        #[arg(long)]
        gone: bool,
    },
    /// Make this board's SSH host keys, unless they are there and whole (started by systemd)
    #[command(hide = true)]
    HostKeys,
    /// Tell the boot loader that this start went well (started by systemd)
    #[command(hide = true)]
    CameUp,
    /// Run a program in another root (used by the initramfs)
    #[command(hide = true)]
    InRoot {
        /// The new root
        root: PathBuf,
        /// Program and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
}

/// Parses, runs, prints.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !matches!(arguments.command, Command::Serve { .. }) {
        start_log();
    }
    match command(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hypriot-agent: {error:#}");
            if error.is::<NoSlots>() {
                ExitCode::from(NO_SLOTS)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Lines on stderr, with the level as a prefix that the journal understands when it listens (sd-daemon(3)).
fn start_log() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .init();
}

/// The board with its slots; [`NoSlots`] where there are none.
fn open() -> anyhow::Result<Board> {
    if let System::Plain(_) = system::look(&Root::default()) {
        return Err(NoSlots.into());
    }
    Board::open(config::load(
        Path::new(config::IMAGE),
        Path::new(config::OWNER),
    )?)
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status { json } => show_status(json),
        Command::Why { json } => why::why(json),
        Command::Check { source, json } => slots::check(source, json),
        Command::Install {
            source,
            no_reboot,
            only,
            json,
        } => slots::install(source, no_reboot, only.as_ref(), json),
        Command::Claim {
            run,
            by,
            seconds,
            release,
        } => fleet::claim(&run, &by, seconds, release),
        Command::Remote => fleet::remote(),
        Command::Measure(arguments) => measure::measure(&arguments),
        Command::Commit => slots::commit(),
        Command::Rollback { newer_state } => slots::roll_back(newer_state),
        Command::Drill { replace, json } => slots::drill(replace, json),
        Command::Forgive { digest } => slots::forgive(&digest),
        Command::State(wish) => owner::state(&wish),
        Command::Hold(wish) => owner::hold(&wish),
        Command::Pin(wish) => owner::pin(&wish),
        Command::Inhibit(wish) => owner::inhibit(&wish),
        Command::Unlock => owner::unlock(),
        Command::Packages(args) => packages::run(args),
        Command::Selftest(args) => selftest::run(*args),
        Command::Diagnose(asked) => diagnose::diagnose(&asked),
        Command::Serve {
            listen,
            report,
            hosts,
            detail,
        } => serve(listen, report, hosts, detail),
        Command::Neighbours => Ok(list_neighbours()),
        Command::Lend { listen, shelf } => lend(listen, shelf),
        Command::Run => daemon(),
        Command::Rearm => last::rearm().map(|()| ExitCode::SUCCESS),
        Command::Expire => last::expire(&daemon::alive).map(|()| ExitCode::SUCCESS),
        Command::Stick {
            device: Some(device),
            gone: false,
        } => match stick::take(&device)? {},
        Command::Stick { .. } => stick::gone(),
        Command::HostKeys => host_keys(),
        Command::CameUp => came_up(),
        Command::InRoot { root, program } => match program.split_first() {
            Some((name, rest)) => Err(init::become_in_root(&root, name, rest)),
            None => bail!("no program"),
        },
    }
}

/// What the command line does not say, the settings do.
fn serve(
    listen: Option<SocketAddr>,
    report: PathBuf,
    mut hosts: Vec<String>,
    detail: bool,
) -> anyhow::Result<ExitCode> {
    let settings = config::health(Path::new(config::IMAGE), Path::new(config::OWNER))?;
    hosts.extend(settings.hosts);
    let depth = if detail || settings.detail {
        serve::Depth::Detailed
    } else {
        serve::Depth::Open
    };
    serve::run(&serve::Options {
        listen: listen.unwrap_or(settings.listen),
        report,
        hosts,
        depth,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn list_neighbours() -> ExitCode {
    let found = neighbours::found();
    if found.is_empty() {
        print("no neighbour answers\n");
        return ExitCode::from(NOTHING);
    }
    for at in found {
        print(&format!("{at}\n"));
    }
    ExitCode::SUCCESS
}

/// Where the owner lets it; else there is nothing to do, and systemd need not try again.
fn lend(listen: SocketAddr, shelf: PathBuf) -> anyhow::Result<ExitCode> {
    let (image, owner) = (Path::new(config::IMAGE), Path::new(config::OWNER));
    let closed = config::health(image, owner)?.listen.ip().is_loopback();
    if closed || !config::load(image, owner)?.neighbours {
        tracing::info!("neighbours are switched off: nothing is lent");
        return Ok(ExitCode::SUCCESS);
    }
    lend::run(&lend::Options { listen, shelf })?;
    Ok(ExitCode::SUCCESS)
}

fn came_up() -> anyhow::Result<ExitCode> {
    Ok(if up::came_up()? {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOTHING)
    })
}

fn host_keys() -> anyhow::Result<ExitCode> {
    let made = identity::host_keys(Path::new(identity::KEYS), Path::new("/run/hypriot/keys"))?;
    if made.is_empty() {
        return Ok(ExitCode::from(NOTHING));
    }
    tracing::info!("made host keys: {}", made.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn daemon() -> anyhow::Result<ExitCode> {
    match system::look(&Root::default()) {
        System::Slots => daemon::run(open()?)?,
        System::Plain(plain) => {
            if config::updates_are_set(Path::new(config::OWNER))? {
                tracing::warn!("{NoSlots}; [update] in {} has no effect", config::OWNER);
            }
            daemon::plain(&plain, machine::program_date()?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(text: &str) {
    print!("{text}");
}

/// Waits for the daemon or another command to finish its step.
fn locked() -> anyhow::Result<Lock> {
    lock_within(30)?.context(BUSY)
}

/// The lock, if it can be had within so many seconds.
fn lock_within(seconds: u64) -> anyhow::Result<Option<Lock>> {
    let patience = Duration::from_secs(seconds);
    Ok(Lock::take_within(Path::new(daemon::LOCK), patience)?)
}

fn show_status(json: bool) -> anyhow::Result<ExitCode> {
    let status = match system::look(&Root::default()) {
        System::Plain(plain) => status::plain(&plain),
        System::Slots => {
            let board = open()?;
            let seen = board.see(&Session::default());
            let boot = crate::owner::look(&Root::default());
            let failure = board.store.last_failure();
            status::status(&seen, &board.settings, failure, boot)
        }
    };
    print(&if json {
        format!("{}\n", serde_json::to_string_pretty(&status)?)
    } else {
        status::human(&status)
    });
    Ok(ExitCode::SUCCESS)
}
