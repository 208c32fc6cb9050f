//! `hypriot-imagegen agent`: builds the static agent for the boards' processors.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::progress;
use crate::arch::Processor;
use crate::host::cross::{self, Built, Profile, Request};
use crate::inputs::project::Project;

/// Build the static agent that runs on the boards.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen agent --target aarch64-unknown-linux-musl --out out\n  \
    hypriot-imagegen agent --target arm64 --target armhf --target armel --out out\n  \
    hypriot-imagegen agent --target armv6 --out out --json")]
pub(super) struct AgentArgs {
    /// A Rust target or Debian architecture; aarch64-, armv7-, arm- and x86_64-unknown-linux-musl(eabihf) are known. May be
    /// repeated: together they are built faster than one after the other.
    #[arg(long = "target", required = true)]
    targets: Vec<String>,
    /// The folder that receives `hypriot-agent-<target>`.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Without the optimisation of the whole program: built sooner, a quarter larger. For trying things out.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object for each target, a line each.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AgentArgs) -> anyhow::Result<()> {
    let mut targets = Vec::new();
    for name in &args.targets {
        let target = Processor::parse(name).with_context(|| {
            let known = Processor::ALL.map(Processor::triple).join(", ");
            format!("unknown target {name:?}; known are: {known}")
        })?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let profile = if args.quick {
        Profile::Quick
    } else {
        Profile::Release
    };
    for built in build(&Project::find()?, targets, &args.out, profile)? {
        show(&built, args.json);
    }
    Ok(())
}

fn build(
    project: &Project,
    targets: Vec<Processor>,
    out: &Path,
    profile: Profile,
) -> anyhow::Result<Vec<Built>> {
    let request = Request {
        root: project.root.clone(),
        cache: project.cache.clone(),
        targets,
        out: out.to_owned(),
        profile,
    };
    Ok(cross::build(&request, &mut progress())?)
}

/// For commands that need the agent of one board: builds it and says where it is.
pub(super) fn build_one(
    project: &Project,
    target: Processor,
    out: &Path,
) -> anyhow::Result<PathBuf> {
    let built = build(project, vec![target], out, Profile::Release)?.pop();
    Ok(built.context("no agent was built")?.path)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn show(built: &Built, json: bool) {
    if json {
        let (path, target) = (&built.path, built.target.triple());
        println!(
            "{}",
            serde_json::json!({ "path": path, "size": built.size, "blake3": built.blake3, "target": target })
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
}
