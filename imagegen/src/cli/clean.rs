//! `hypriot-imagegen clean`: removes from the cache what can be made or fetched again.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::pipeline::clean::{self, Request, Scope};

/// Remove from the cache what killed builds and other versions of this program left; more on request
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen clean\n  \
    hypriot-imagegen clean --all --dry-run\n\n\
    What a running build uses stays. The tools of the cross build and what the demo made are not touched.\n\n\
    Exit codes: 0 done, 1 something could not be removed")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of a command line"
)]
pub(super) struct CleanArgs {
    /// The cache.
    #[arg(long, env = "HYPRIOT_CACHE", default_value = ".cache")]
    cache: PathBuf,
    /// Finished trees too: a minute each to make again.
    #[arg(long)]
    trees: bool,
    /// Everything: trees, downloads, locks that were not named.
    #[arg(long)]
    all: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn say(line: &str) {
    println!("{line}");
}

pub(super) fn run(args: &CleanArgs) -> Result<()> {
    let cache = args
        .cache
        .canonicalize()
        .with_context(|| format!("the cache {}", args.cache.display()))?;
    let scope = match (args.all, args.trees) {
        (true, _) => Scope::All,
        (false, true) => Scope::Trees,
        (false, false) => Scope::Leftovers,
    };
    let request = Request {
        cache,
        scope,
        dry: args.dry_run,
    };
    let report = clean::clean(&request, &std::env::current_exe()?)?;
    if args.json {
        let mut row = serde_json::to_value(&report)?;
        row["bytes"] = report.bytes().into();
        row["dry-run"] = args.dry_run.into();
        say(&serde_json::to_string_pretty(&row)?);
        return Ok(());
    }
    let line = |item: &clean::Item, done: &str| {
        let megabytes = item.bytes.div_ceil(1_000_000);
        let path = item.path.display();
        say(&format!(
            "{done:<13} {megabytes:>6} MB  {path}: {}",
            item.why.words()
        ));
    };
    let done = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    report.removed.iter().for_each(|item| line(item, done));
    report
        .in_use
        .iter()
        .for_each(|item| line(item, "in use, kept"));
    say(&format!(
        "{done:<13} {:>6} MB",
        report.bytes().div_ceil(1_000_000)
    ));
    Ok(())
}
