//! `hypriot-imagegen deb`: the agent as a Debian package, for boards that run another system.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::agent;
use crate::agent_deb::{self, Spec};
use crate::arch::{Arch, Processor};
use crate::inputs::project::Project;
use crate::sha256::Sha256;
use crate::{elf, files};

/// Build the agent's Debian package: health and self-tests for a plain Debian or Raspberry Pi OS board.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen deb --target arm64\n  \
    hypriot-imagegen deb --target armhf --agent out/hypriot-agent-arm-unknown-linux-musleabihf --json\n\n\
    Two builds of one agent give the same bytes: everything in the package bears the date of its changelog.\n\
    armhf packages hold the ARMv6 agent, because Raspberry Pi OS calls its ARMv6 port armhf too.")]
pub(super) struct DebArgs {
    /// A Debian architecture (arm64, armhf, armel, amd64), or the Rust target that belongs to it.
    #[arg(long)]
    target: String,
    /// The agent's program; without it, it is built.
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Whom to ask about the package, as `Name <address>`; without it, who signed its changelog.
    #[arg(long)]
    maintainer: Option<String>,
    /// Seconds since 1970 that everything in the package is dated; without it, the date of its changelog.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    date: Option<u64>,
    /// The folder that receives `hypriot-agent_<version>_<arch>.deb`.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DebArgs) -> anyhow::Result<()> {
    let arch = Arch::packaged(&args.target).with_context(|| {
        let known = Arch::PACKAGED.map(Arch::name).join(", ");
        format!("unknown architecture {:?}; known are: {known}", args.target)
    })?;
    let processor =
        Processor::of_package(arch).with_context(|| format!("the agent is not made for {arch}"))?;
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => build_agent(processor, args)?,
    };
    let bytes =
        std::fs::read(&agent).with_context(|| format!("cannot read {}", agent.display()))?;
    elf::check(&bytes, processor)
        .with_context(|| format!("{} is no agent for {}", agent.display(), arch.name()))?;
    let spec = Spec {
        arch,
        version: &env!("CARGO_PKG_VERSION").parse()?,
        agent: bytes,
        maintainer: args.maintainer.as_deref(),
        date: args.date,
    };
    let deb = agent_deb::package(&spec)?.encode()?;
    let path = args.out.join(agent_deb::file_name(&spec));
    files::replace(&path, &deb)?;
    let hash = Sha256::of(&deb);
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "path": path, "size": deb.len(), "sha256": hash, "arch": arch.name() })
        );
    } else {
        println!(
            "{}: SHA-256 {hash}; install it with apt-get install ./{}",
            path.display(),
            agent_deb::file_name(&spec)
        );
    }
    Ok(())
}

fn build_agent(processor: Processor, args: &DebArgs) -> anyhow::Result<PathBuf> {
    agent::build_one(&Project::find()?, processor, &args.out)
}
