//! The owner's packages: added, removed, listed, made anew; and what cloud-init and systemd ask for.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{BUSY, NOTHING, lock_within, print};
use crate::exec::Cmd;
use crate::packages::boot::{self, Start};
use crate::packages::build::{self, Limit, Order, Source, Tell};
use crate::packages::layer::Layer;
use crate::packages::stage::{self, Site};
use crate::packages::standing::{self, Standing};
use crate::packages::wanted::{self, Name, Wanted};
use crate::packages::{DIRECTORY, release, store::Store};
use crate::paths::{DATA_LOST, PACKAGES_FAILED, RELEASE};
use crate::probe::Root;
use crate::system::{self, NoSlots, System};
use crate::update::board::Place;
use crate::update::machine;
use crate::update::ports::{Machine as _, Restart};

const EXAMPLES: &str = "\
Examples:
  hypriot-agent packages add nginx htop      make a layer with them; they are there after the next restart
  hypriot-agent packages add nginx --restart and restart now
  hypriot-agent packages add nginx --dry-run what would be installed, and whether it may be
  hypriot-agent packages remove htop         all but htop
  hypriot-agent packages list                what is wanted, and whether it is there

Exit codes: 0 done, 1 failed or something is missing, 2 wrong usage, 3 nothing to do, 4 this system has no slots";

/// Add packages of Debian's, or of your own archives, that outlast updates
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PackagesArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add packages to what is wanted, and make a layer with all of it
    Add {
        /// Names, or name=version
        #[arg(required = true)]
        names: Vec<Name>,
        #[command(flatten)]
        how: How,
    },
    /// Take packages away; what their programs keep below /var stays on the data partition
    Remove {
        /// Names
        #[arg(required = true)]
        names: Vec<Name>,
        #[command(flatten)]
        how: How,
    },
    /// Make the layer anew, with the versions that the archives have now
    Rebuild {
        #[command(flatten)]
        how: How,
    },
    /// Say what is wanted, and whether it is there; exit code 1 when something is missing
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the layer of this release, if there is none, and restart (started by systemd)
    #[command(hide = true)]
    Boot,
    /// What cloud-init asks of apt-get (set as its `apt_get_wrapper`)
    #[command(hide = true)]
    CloudInit {
        /// apt-get with its options, command and names
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Restart the board when the layer is made
    #[arg(long, conflicts_with = "dry_run")]
    restart: bool,
    /// Only say what would be installed
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line: progress, and how it ended
    #[arg(long)]
    json: bool,
    /// Minutes after which it is given up
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

/// The updater's self-tests take minutes; so does a layer.
const WAIT: u64 = 600;

pub(super) fn run(args: PackagesArgs) -> anyhow::Result<ExitCode> {
    match args.what {
        What::List { json } => list(json),
        What::Add { names, how } => {
            let change = |wanted: &mut Wanted| {
                wanted.add(&names);
                Ok(())
            };
            make(&how, Source::Network, change)
        }
        What::Remove { names, how } => make(&how, Source::Kept, |wanted| {
            let not = wanted.remove(&names);
            let not: Vec<&str> = not.iter().map(Name::as_str).collect();
            ensure!(
                not.is_empty(),
                "{} was not added; what the image has stays in it",
                not.join(", ")
            );
            Ok(())
        }),
        What::Rebuild { how } => make(&how, Source::Network, |_| Ok(())),
        What::Boot => at_start(),
        What::CloudInit { words } => cloud_init(&words),
    }
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    let standing = standing::look(&Root::default());
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&standing)?));
    } else {
        let fix = match &standing {
            Standing::Missing { fix, .. } => format!("{fix}\n"),
            _ => String::new(),
        };
        print(&format!("{}\n{fix}", standing.line()));
    }
    Ok(match standing {
        Standing::Missing { .. } => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// This board, to make a layer on, with a view of the file systems of its own.
fn site() -> anyhow::Result<Site> {
    if let System::Plain(_) = system::look(&Root::default()) {
        return Err(NoSlots.into());
    }
    ensure!(
        !Path::new(DATA_LOST).exists(),
        "the data partition cannot be used in this boot, so nothing can be kept: hypriot-agent status says why"
    );
    let site = boot::here()?;
    stage::apart()?;
    site.open()?;
    Ok(site)
}

fn make(
    how: &How,
    source: Source,
    change: impl FnOnce(&mut Wanted) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let site = site()?;
    let lock = lock_within(WAIT)?.context(BUSY)?;
    refuse_on_trial()?;
    let mut wanted = wanted::load(&site.store)?;
    change(&mut wanted)?;
    let limit = Limit::of(Duration::from_secs(how.minutes * 60));
    let mut tell = teller(how.json);
    if how.dry_run {
        let plan = build::rehearse(&mut Order {
            site: &site,
            wanted: &wanted,
            source: Source::Network,
            limit,
            tell: &mut tell,
        })?;
        let end = json!({ "ended": "dry-run", "plan": plan });
        say(how.json, &end, &format!("it would bring: {plan}"));
        return Ok(ExitCode::SUCCESS);
    }
    let layer = match source {
        Source::Kept => boot::again(&site, &wanted, limit, &mut tell)?,
        Source::Network => build::build(&mut Order {
            site: &site,
            wanted: &wanted,
            source,
            limit,
            tell: &mut tell,
        })?,
    };
    keep(&site, &wanted)?;
    done(how, &layer);
    if how.restart {
        drop(lock);
        machine::Board.restart(Restart::Orderly)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes down what is wanted, now that there is a layer with it.
fn keep(site: &Site, wanted: &Wanted) -> anyhow::Result<()> {
    wanted::save(&site.store, wanted)?;
    let release = release::id(&site.pristine())?;
    standing::note(&Root::default(), RELEASE, &release);
    boot::tidy(site, &release)
}

fn done(how: &How, layer: &Layer) {
    let packages = &layer.record.packages;
    let end = json!({ "ended": "made", "layer": layer.name, "packages": packages });
    let then = if how.restart {
        "the board restarts"
    } else {
        "it is there after the next restart of the board"
    };
    let words = if layer.record.is_empty() {
        "nothing is added to the image any more: gone after the next restart of the board"
            .to_owned()
    } else {
        format!("a layer with {} packages is made: {then}", packages.len())
    };
    say(how.json, &end, &words);
}

fn teller(json: bool) -> impl FnMut(Tell<'_>) {
    move |told| match told {
        Tell::Stage(what) if json => print(&format!("{}\n", json!({ "stage": what }))),
        Tell::Stage(what) => print(&format!("{what} …\n")),
        Tell::Line(line) if !json && !line.trim().is_empty() => eprintln!("  {line}"),
        Tell::Line(_) => (),
    }
}

fn say(json: bool, end: &serde_json::Value, words: &str) {
    print(&if json {
        format!("{end}\n")
    } else {
        format!("{words}\n")
    });
}

/// What is judged must not change under the judge.
fn refuse_on_trial() -> anyhow::Result<()> {
    let place = Place::find()?;
    let state = place.boot()?.state().context("reading the boot state")?;
    ensure!(
        state.on_trial(place.booted).is_none(),
        "a release is on trial: wait until it is kept or given up (hypriot-agent status)"
    );
    Ok(())
}

fn at_start() -> anyhow::Result<ExitCode> {
    if Path::new(DATA_LOST).exists() {
        return Ok(ExitCode::from(NOTHING));
    }
    let site = match site() {
        Ok(site) => site,
        Err(error) if error.is::<NoSlots>() => return Ok(ExitCode::from(NOTHING)),
        Err(error) => {
            standing::note(&Root::default(), PACKAGES_FAILED, &format!("{error:#}"));
            return Err(error);
        }
    };
    let lock = lock_within(WAIT)?.context(BUSY)?;
    let limit = boot::patience(machine::Board.uptime())?;
    match boot::at_start(&site, limit)? {
        Start::Goes => Ok(ExitCode::SUCCESS),
        Start::Restart => {
            drop(lock);
            machine::Board.restart(Restart::Orderly)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// cloud-init has apt-get run with its own options: what a board does for each command of that.
fn cloud_init(words: &[String]) -> anyhow::Result<ExitCode> {
    let mut words = words.iter().filter(|word| !word.starts_with('-'));
    let rest: Vec<&String> = match words.next().map(String::as_str) {
        Some("apt-get" | "apt") => words.collect(),
        _ => bail!("this is for cloud-init's apt-get"),
    };
    let (command, names) = match rest.split_first() {
        Some((command, names)) => (command.as_str(), names),
        None => bail!("apt-get without a command"),
    };
    match command {
        "update" => {
            let cmd =
                Cmd::new("apt-get").args(["-qq", "-o", "Acquire::GzipIndexes=true", "update"]);
            cmd.timeout(Duration::from_mins(15)).run()?;
            Ok(ExitCode::SUCCESS)
        }
        "install" => install(names),
        other => {
            tracing::warn!(
                "apt-get {other} does nothing here: the packages of the image are updated by its next release"
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Installs, and restarts before cloud-init goes on: its commands of the first start run after that, and find the programs.
fn install(names: &[&String]) -> anyhow::Result<ExitCode> {
    let names: Vec<Name> = names
        .iter()
        .map(|name| Ok(name.parse()?))
        .collect::<anyhow::Result<_>>()?;
    let mut wanted = wanted::load(&Store::new(DIRECTORY))?;
    let before = wanted.clone();
    wanted.add(&names);
    if wanted == before && standing::look(&Root::default()).is_good() {
        tracing::info!("all of it is there");
        return Ok(ExitCode::SUCCESS);
    }
    let how = How {
        restart: true,
        dry_run: false,
        json: false,
        minutes: 60,
    };
    make(&how, Source::Network, |wanted| {
        wanted.add(&names);
        Ok(())
    })
}
