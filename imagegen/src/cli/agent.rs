//! `hypriot-imagegen agent`: builds the static agent for a board's processor.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::progress;
use crate::cross::{self, Request, Target};
use crate::project::Project;

/// Build the static agent that runs on the boards.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen agent --target aarch64-unknown-linux-musl --out out\n  \
    hypriot-imagegen agent --target armv6 --out out --json")]
pub(super) struct AgentArgs {
    /// A Rust target or Debian architecture; aarch64-, armv7-, arm- and x86_64-unknown-linux-musl(eabihf) are known.
    #[arg(long)]
    target: String,
    /// The folder that receives `hypriot-agent-<target>`.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AgentArgs) -> anyhow::Result<()> {
    let target = Target::parse(&args.target).with_context(|| {
        let known = Target::ALL.map(Target::triple).join(", ");
        format!("unknown target {:?}; known are: {known}", args.target)
    })?;
    let project = Project::find()?;
    let request = Request {
        root: project.root,
        cache: project.cache,
        target,
        out: args.out.clone(),
    };
    let built = cross::build(&request, &mut progress())?;
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    if args.json {
        let path = &built.path;
        println!(
            "{}",
            serde_json::json!({ "path": path, "size": built.size, "blake3": built.blake3, "target": target.triple() })
        );
    } else {
        #[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
        let mb = built.size as f64 / 1e6;
        println!(
            "{}: {mb:.2} MB, {}, statically linked",
            built.path.display(),
            built.facts.processor
        );
    }
    Ok(())
}
