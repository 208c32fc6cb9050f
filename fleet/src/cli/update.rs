//! `hypriot-fleet update` and the words about a run: parses and prints.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::boards::Boards;
use super::{now, write_out};
use crate::ask::runtime;
use crate::hosts::{self, Host};
use crate::rollout::journal::{Event, Journal, Outcome, State, What};
use crate::rollout::plan::{Canary, Member, Plan, Share};
use crate::rollout::{Order, decide};
use crate::run::boards::Live;
use crate::run::book::{AtWork, Book, Shelf};
use crate::run::show;
use crate::run::turn::{Boards as _, Turn, turn};
use crate::ssh::Ssh;
use screen::Screen;

mod screen;

pub(super) const EXAMPLES: &str = "\
Examples:
  hypriot-fleet update --hosts n1.local,n2.local --dry-run    # preflight and waves, nothing is changed
  hypriot-fleet update --inventory hosts.ini --group cluster --max-unavailable 10%
  hypriot-fleet update --hosts-file boards.txt --download-only  # reboots later: the same without --download-only
  hypriot-fleet resume 20261127-0101-3fa2

A file of hosts has a board a line: pirate@n1.local spread=shelf-a manager=yes ssh_port=22 address=10.0.0.7
Orders go over your own ssh (its settings, agent and known hosts) as `sudo -n hypriot-agent ...`.

Exit codes: 0 all boards have it, 1 some failed but no more than allowed, 2 wrong usage or an error, 3 nothing to do,
4 refused by the preflight, 5 stopped by itself, 6 aborted, 7 rolled back, 8 rolled back but not all boards,
75 somebody works on the run, 130 left with Ctrl-C (the boards go on; `resume` takes it up)";

/// Somebody else works on it (sysexits.h, EX_TEMPFAIL).
const BUSY: u8 = 75;
/// As a shell says it of SIGINT.
const LEFT: u8 = 130;
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub(super) struct Arguments {
    #[command(flatten)]
    boards: Boards,
    /// The version; what each board is offered if not given
    #[arg(long = "to")]
    version: Option<semver::Version>,
    /// Repository instead of the one that is set on the boards
    #[arg(long)]
    source: Option<String>,
    /// Boards that go first, instead of one of each model; `none` for nobody
    #[arg(long, value_delimiter = ',')]
    canary: Vec<String>,
    /// Sizes of the waves after the canaries, in boards or percent; the rest follows
    #[arg(long, value_delimiter = ',', default_value = "25%")]
    waves: Vec<Share>,
    /// Boards that may be out at a time: a number or percent
    #[arg(long, default_value = "1")]
    max_unavailable: Share,
    /// Stop when more boards than this failed; a failed canary always stops
    #[arg(long, default_value_t = 0)]
    max_failures: usize,
    /// Seconds that a canary must be good
    #[arg(long, default_value_t = 900)]
    soak: u64,
    /// Seconds that any other board must be good
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Seconds from an order until the board must be done
    #[arg(long, default_value_t = 3600)]
    deadline: u64,
    /// A board that is out and says nothing for so many seconds has failed
    #[arg(long, default_value_t = 900)]
    silence: u64,
    /// Seconds for the preflight of all boards
    #[arg(long, default_value_t = 120)]
    preflight: u64,
    /// Only show the preflight and the waves
    #[arg(long)]
    dry_run: bool,
    /// Only write the release to the idle slots; the next restart of a board tries it
    #[arg(long)]
    download_only: bool,
    /// When it stops by itself, take the boards that have the release back
    #[arg(long)]
    rollback_updated: bool,
    /// Leave out boards that are not fit instead of refusing
    #[arg(long)]
    skip_unfit: bool,
    /// `warn` is not good enough
    #[arg(long)]
    strict: bool,
    /// Option for ssh, as after its -o (repeatable)
    #[arg(long = "ssh-option", value_name = "OPTION")]
    ssh: Vec<String>,
    /// Call the agent as it is, without sudo
    #[arg(long)]
    no_sudo: bool,
    /// Folder of all runs, $XDG_STATE_HOME/hypriot-fleet/runs if not given
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Events as JSON, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The run's id, or its journal
    #[arg(value_name = "RUN")]
    id: String,
    /// Folder of all runs, $XDG_STATE_HOME/hypriot-fleet/runs if not given
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Events as JSON, one a line
    #[arg(long)]
    json: bool,
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let member = |host: &Host| Member {
        name: host.to_string(),
        line: host.line(),
        spread: host.spread.clone(),
        manager: host.manager,
    };
    let canary = match arguments.canary.as_slice() {
        [] => Canary::PerModel,
        [none] if none == "none" => Canary::None,
        names => Canary::Named(names.to_vec()),
    };
    let plan = Plan {
        boards: arguments.boards.find()?.iter().map(member).collect(),
        version: arguments.version.as_ref().map(ToString::to_string),
        source: arguments.source.clone(),
        canary,
        waves: arguments.waves.clone(),
        max_unavailable: arguments.max_unavailable,
        max_failures: arguments.max_failures,
        soak: arguments.soak,
        settle: arguments.settle,
        preflight: arguments.preflight,
        patience: arguments.deadline,
        silence: arguments.silence,
        download_only: arguments.download_only,
        rollback_updated: arguments.rollback_updated,
        skip_unfit: arguments.skip_unfit,
        strict: arguments.strict,
        ssh: arguments.ssh.clone(),
        no_sudo: arguments.no_sudo,
        ..Plan::new(Vec::new())
    };
    plan.check().map_err(|e| anyhow!(e))?;
    Ok(plan)
}

/// Who we are, for the next one to read.
pub(super) fn operator() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// `20261127-0101-3fa2`: sorts by time, and two that begin at once differ.
pub(super) fn fresh_id() -> Result<String> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|e| anyhow!("no random numbers: {e}"))?;
    let time: String = now()
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let (day, hour) = (time.get(..8).unwrap_or("0"), time.get(8..12).unwrap_or("0"));
    Ok(format!("{day}-{hour}-{}", hex::encode(random)))
}

fn unix() -> u64 {
    now().0
}

pub(super) fn update(arguments: &Arguments) -> Result<u8> {
    let plan = plan(arguments)?;
    let run = fresh_id()?;
    if arguments.dry_run {
        let folder = tempfile::tempdir().context("making a folder for the dry run")?;
        let book = Shelf(folder.path().to_owned()).create(&run, &operator(), plan, unix())?;
        return runtime()?.block_on(preflight(book));
    }
    let shelf = Shelf::find(arguments.runs.as_deref())?;
    let book = shelf.create(&run, &operator(), plan, unix())?;
    drive(book, arguments.json)
}

pub(super) fn resume(of: &Run) -> Result<u8> {
    let shelf = Shelf::find(of.runs.as_deref())?;
    let by = operator();
    let mut book = match shelf.open(&of.id) {
        Ok(book) => book,
        Err(error) if error.is::<AtWork>() => {
            shelf.say(&of.id, What::Resumed { by }, unix())?;
            write_out(&format!("{error}; it was told to go on\n"))?;
            return Ok(BUSY);
        }
        Err(error) => return Err(error),
    };
    match book.journal.ended {
        Some(Outcome::Refused) => {
            return Err(anyhow!(
                "nothing was begun in this run; begin a new one with `hypriot-fleet update`"
            ));
        }
        Some(
            outcome @ (Outcome::Done | Outcome::Nothing | Outcome::Partly | Outcome::RolledBack),
        ) => {
            write_out(&show::report(&book.plan, &book.journal))?;
            return Ok(show::code(outcome, &book.journal));
        }
        _ => {}
    }
    if book.journal.paused.is_some() || book.journal.stopped.is_some() {
        book.add(What::Resumed { by }, unix())?;
    }
    drive(book, of.json)
}

pub(super) fn pause(of: &Run) -> Result<u8> {
    say(
        of,
        What::Paused { by: operator() },
        "it takes no more boards",
    )
}

pub(super) fn abort(of: &Run) -> Result<u8> {
    say(
        of,
        What::Aborted { by: operator() },
        "it ends; boards keep what they have",
    )
}

fn say(of: &Run, what: What, words: &str) -> Result<u8> {
    let at_work = Shelf::find(of.runs.as_deref())?.say(&of.id, what, unix())?;
    let who = if at_work {
        "whoever works on it was told"
    } else {
        "nobody works on it; it is written down"
    };
    write_out(&format!("{}: {words}: {who}\n", of.id))?;
    Ok(0)
}

pub(super) fn roll_back(of: &Run) -> Result<u8> {
    let shelf = Shelf::find(of.runs.as_deref())?;
    let what = What::RollbackAsked { by: operator() };
    if shelf.say(&of.id, what, unix())? {
        write_out(&format!("{}: whoever works on it was told\n", of.id))?;
        return Ok(0);
    }
    drive(shelf.open(&of.id)?, of.json)
}

pub(super) fn show(run: Option<&str>, runs: Option<&Path>, json: bool) -> Result<u8> {
    let shelf = Shelf::find(runs)?;
    let Some(run) = run else {
        let runs: String = shelf.runs()?.iter().flat_map(|r| [r, "\n"]).collect();
        write_out(&runs)?;
        return Ok(0);
    };
    let events = shelf.show(run)?;
    let Some(What::Begun { plan, operator, .. }) = events.first().map(|e| &e.what) else {
        return Err(anyhow!("the journal has no beginning"));
    };
    if json {
        write_out(
            &events
                .iter()
                .map(|e| show::json(e) + "\n")
                .collect::<String>(),
        )?;
        return Ok(0);
    }
    let mut journal = Journal::default();
    for event in &events {
        journal.add(event);
    }
    let table = show::table(plan, &journal, unix(), &|_| String::new()).join("\n");
    let report = show::report(plan, &journal);
    write_out(&format!(
        "begun by {}\n{table}\n{report}",
        crate::answer::clean(operator)
    ))?;
    Ok(0)
}

fn live(book: &Book) -> Result<Live> {
    let lines: String = book
        .plan
        .boards
        .iter()
        .map(|m| m.line.clone() + "\n")
        .collect();
    let ssh = Ssh::new(book.plan.ssh.clone(), !book.plan.no_sudo)?;
    let run = (book.journal.run.as_str(), book.operator.as_str());
    Live::start(hosts::parse(&lines)?, ssh, &book.plan, run, unix)
}

/// Looks at all boards, and shows the waves that would be.
async fn preflight(mut book: Book) -> Result<u8> {
    let mut live = live(&book)?;
    loop {
        for what in live.news() {
            book.add(what, unix())?;
        }
        let open = |book: &Book| {
            let state = |m: &Member| book.journal.track(&m.name).map(|t| t.state.clone());
            book.plan
                .boards
                .iter()
                .any(|m| state(m).is_none_or(|s| s == State::New))
        };
        if !open(&book) {
            break;
        }
        for order in decide(&book.plan, &live.seen(), &book.journal, unix()) {
            match order {
                Order::Look(board) => live.look(&board),
                Order::Note(what @ What::Unfit { .. }) => {
                    book.add(what, unix())?;
                }
                _ => {}
            }
        }
        tokio::time::sleep(TICK).await;
    }
    live.release().await;
    write_out(&show::waves(&book.plan, &book.journal))?;
    let unfit = book
        .journal
        .boards
        .values()
        .any(|t| matches!(t.state, State::Unfit(_)));
    Ok(if unfit && !book.plan.skip_unfit { 4 } else { 0 })
}

/// Works on a run until it ends, or the operator leaves.
fn drive(book: Book, json: bool) -> Result<u8> {
    runtime()?.block_on(driven(book, json))
}

async fn driven(mut book: Book, json: bool) -> Result<u8> {
    let mut live = live(&book)?;
    let terminal = !json && std::io::stdout().is_terminal();
    let mut screen = Screen {
        json,
        drawn: 0,
        waits: String::new(),
    };
    let first: Vec<Event> = book.events.last().cloned().into_iter().collect();
    screen.events(&first)?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut last = 3;
    loop {
        let mut told = Vec::new();
        let done = turn(&mut book, &mut live, unix(), &mut |event| {
            told.push(event.clone());
        })?;
        screen.events(&told)?;
        for event in &told {
            if let What::Failed { board, .. } = &event.what {
                live.ask_why(board);
            }
        }
        match done {
            Turn::Ended(_)
                if last == 0 || book.journal.failed().all(|(b, _)| says_why(&book, b)) =>
            {
                break;
            }
            // a moment for failed boards to say why
            Turn::Ended(_) => last -= 1,
            Turn::Wait(why) if terminal => screen.draw(&book, &live, &why)?,
            Turn::Wait(why) => screen.wait(&why)?,
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = &mut interrupted => {
                let run = &book.journal.run;
                eprintln!("\nleft; boards that were told go on by themselves: hypriot-fleet resume {run}");
                return Ok(LEFT);
            }
        }
    }
    live.release().await;
    screen.clear()?;
    if !json {
        write_out(&show::report(&book.plan, &book.journal))?;
    }
    Ok(book
        .journal
        .ended
        .map_or(2, |outcome| show::code(outcome, &book.journal)))
}

fn says_why(book: &Book, board: &str) -> bool {
    book.journal.track(board).is_some_and(|t| !t.why.is_empty())
}
