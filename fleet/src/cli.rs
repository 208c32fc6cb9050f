//! Command line of `hypriot-fleet`: parses and prints.

mod boards;
mod group;
mod serve;
mod update;
mod validate;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use hypriot_keys::time::Timestamp;

use crate::answer::{self, Row, State};
use crate::{ask, table};

const EXAMPLES: &str = "\
Examples:
  hypriot-fleet status --hosts black-pearl.local,192.168.1.7
  hypriot-fleet status --discover                         # boards that announce themselves in this network
  hypriot-fleet status --hosts-file boards.txt --json | jq -r '.[] | select(.state != \"pass\") | .host'

Exit codes: 0 all boards pass or warn, 1 a board fails, 2 wrong usage, 4 no board fails but one is silent, stale or foreign";

/// Largest file of hosts.
const LIMIT: u64 = 1024 * 1024;

#[derive(Debug, Parser)]
#[command(name = "hypriot-fleet", version, about = "Many HypriotOS boards at once", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask boards how they are
    #[command(after_help = EXAMPLES)]
    Status {
        #[command(flatten)]
        boards: boards::Boards,
        /// Seconds that one board may take
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
        timeout: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring a release to boards: canaries first, then in waves, and stop by itself when it does not work
    #[command(after_help = update::EXAMPLES)]
    Update(Box<update::Arguments>),
    /// Go on with a run: after this or another machine died, after a pause, or after it stopped by itself
    Resume(update::Run),
    /// Show how far a run is; without RUN, list all runs
    Show {
        /// The run's id, or its journal
        run: Option<String>,
        /// Folder of all runs, $XDG_STATE_HOME/hypriot-fleet/runs if not given
        #[arg(long)]
        runs: Option<PathBuf>,
        /// Its events, one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Tell no more boards for now; what was begun comes to its end
    Pause(update::Run),
    /// End a run; boards keep what they have
    Abort(update::Run),
    /// Take the boards that have the release back to what they had
    Rollback(update::Run),
    /// Print the line for a board's authorized_keys that lets a key do what `update` needs, and nothing else
    Authorize {
        /// The public key, ~/.ssh/id_ed25519.pub for example
        key: PathBuf,
    },
    /// Serve locks (FleetLock) to boards that update themselves, with a page of the cluster
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<serve::Arguments>),
    /// Groups of `hypriot-fleet serve`: slots, windows, pause, resume, clear
    #[command(subcommand, after_help = group::EXAMPLES)]
    Group(group::Group),
    /// Rollout plans of `hypriot-fleet serve`
    #[command(subcommand, after_help = group::EXAMPLES)]
    Plan(group::Plans),
    /// Wait until freshly flashed boards have tested themselves, and print the result
    #[command(after_help = validate::EXAMPLES)]
    Validate(Box<validate::Arguments>),
    /// Reports of `validate`: who signed them, and what differs
    #[command(subcommand, after_help = validate::EXAMPLES)]
    Report(validate::Report),
}

/// Parses, runs, prints.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Status {
            boards,
            timeout,
            json,
        } => status(&boards, Duration::from_secs(timeout)).and_then(|rows| {
            let human = |rows: &[Row]| table::render(rows, now());
            print(&rows, json, human).map(|()| code(&rows))
        }),
        Command::Update(arguments) => update::update(&arguments),
        Command::Resume(run) => update::resume(&run),
        Command::Show { run, runs, json } => update::show(run.as_deref(), runs.as_deref(), json),
        Command::Pause(run) => update::pause(&run),
        Command::Abort(run) => update::abort(&run),
        Command::Rollback(run) => update::roll_back(&run),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Group(words) => group::group(&words),
        Command::Plan(words) => group::plan(&words),
        Command::Authorize { key } => read(&key)
            .with_context(|| format!("reading {}", key.display()))
            .and_then(|text| crate::ssh::authorize(&text))
            .and_then(|line| write_out(&(line + "\n")).map(|()| 0)),
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Report(command) => validate::report(&command),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("hypriot-fleet: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn print<T: serde::Serialize>(
    rows: &[T],
    json: bool,
    human: impl Fn(&[T]) -> String,
) -> Result<()> {
    let text = if json {
        serde_json::to_string_pretty(rows)? + "\n"
    } else {
        human(rows)
    };
    write_out(&text)
}

fn write_out(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("printing")
}

fn status(boards: &boards::Boards, patience: Duration) -> Result<Vec<Row>> {
    let hosts = boards.find()?;
    let replies = ask::all(&hosts, "/health", patience)?;
    Ok(hosts
        .iter()
        .zip(&replies)
        .map(|(host, reply)| answer::read(&host.to_string(), reply))
        .collect())
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?
            .take(LIMIT)
            .read_to_string(&mut text)?;
    }
    Ok(text)
}

fn code(rows: &[Row]) -> u8 {
    let any = |state: fn(State) -> bool| rows.iter().any(|row| state(row.state));
    if any(|state| state == State::Fail) {
        1
    } else if any(|state| state > State::Fail) {
        4
    } else {
        0
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the outermost loop of this program"
)]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn usage_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn failing_boards_outweigh_silent_ones_in_the_exit_code() {
        let row = |body: &str| {
            answer::read(
                "h",
                &Ok(ask::Reply {
                    status: 200,
                    body: body.into(),
                }),
            )
        };
        let pass = || row("{\"status\":\"pass\"}");
        let fail = || row("{\"status\":\"fail\",\"time\":\"2026-11-23T14:00:00Z\"}");
        let silent = || answer::read("h", &Err(anyhow!("gone")));
        assert_eq!(code(&[pass()]), 0);
        assert_eq!(code(&[pass(), silent()]), 4);
        assert_eq!(code(&[silent(), fail(), pass()]), 1);
    }
}
