//! `make test-old-agent`: the program of an older revision and today's over the same `/data` and the same boot state. Each installs
//! what the other then judges, keeps or fails, and each comes back from the other.
//!
//! The old program is built from the history of this repository, so it knows nothing of what came later. Formats of older
//! versions are also read in `make test`, from files that are kept (`agent/testdata/versions`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::exec;
use crate::narrate::Narrator;
use crate::native::{Agents, Yard};

/// Whose agent a release brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Old,
    New,
}

/// What is offered, one after the other; a bad one fails its self-tests.
const LIFE: [(&str, Agent, bool); 6] = [
    ("1.0.0", Agent::Old, true),
    ("1.1.0", Agent::New, true),
    ("1.2.0", Agent::Old, false),
    ("1.3.0", Agent::Old, true),
    ("1.4.0", Agent::New, false),
    ("1.5.0", Agent::New, true),
];
/// The self-test of a bad one, which the other slot tells of.
const WHY: &str = "/nowhere/of/this/release";
/// A board asks for updates so often, and restarts by itself.
const SETTINGS: &str = "[update]\npoll_seconds = 5\n";
/// For an update, there or there and back, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);
/// An agent that would try a release once more has done it by then.
const REST: Duration = Duration::from_secs(20);

/// The command line: a revision, or the path of a program.
pub fn main() -> ExitCode {
    let Some(old) = std::env::args().nth(1) else {
        eprintln!("usage: hypriot-old-agent REVISION|PROGRAM");
        return ExitCode::from(2);
    };
    match played(&old) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hypriot-old-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn played(old: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let program = if Path::new(old).is_file() {
        std::fs::canonicalize(old)?
    } else {
        built(old, scratch.path())?
    };
    let new = exec::workspace_program("hypriot-agent")?;
    let agents: Agents = Arc::new(move |version| {
        let release = LIFE.iter().find(|(name, _, _)| *name == version);
        let (_, agent, _) = release.with_context(|| format!("no release {version}"))?;
        Ok(match agent {
            Agent::Old => program.clone(),
            Agent::New => new.clone(),
        })
    });
    let mut narrator = Narrator::new(LIFE.len());
    let mut yard = Yard::with_agents(1, SETTINGS, &agents)?;
    let mut kept = LIFE[0].0;
    let mut starts = 1;
    for (version, agent, good) in LIFE {
        let words = format!(
            "{version}, {} agent, {}",
            if agent == Agent::Old {
                "the old"
            } else {
                "today's"
            },
            if good {
                "is kept"
            } else {
                "fails, and the other one tells why"
            }
        );
        if version != kept {
            starts += if good { 1 } else { 2 };
        }
        let before = kept;
        if good {
            kept = version;
        }
        narrator.step(&words, |_| {
            if version != before {
                yard.releases.offer(version, good)?;
                ended(&yard, version, kept, good)?;
            }
            rests(&yard, starts)
        })?;
    }
    let status = yard.agent(0, &["status"])?;
    for (version, _, good) in LIFE {
        ensure!(
            good || refused(&yard, version)?,
            "what failed, {version}, is forgotten:\n{status}"
        );
    }
    narrator.say(&format!(
        "test-old-agent: old={old} releases={} starts={starts} refusals=2",
        LIFE.len()
    ));
    Ok(())
}

/// Waits until the update to `version` has ended as it must, in `kept`.
fn ended(yard: &Yard, version: &str, kept: &str, good: bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let outcome = if good { "confirmed" } else { "failed" };
    loop {
        let health = yard.health(0);
        let last = health
            .as_ref()
            .ok()
            .and_then(|h| h.update.last_attempt.as_ref());
        let over = last.is_some_and(|l| l.version == version && l.outcome == outcome);
        if over && health.as_ref().is_ok_and(|h| h.version == kept) {
            break;
        }
        ensure!(
            Instant::now() < end,
            "{version} is not {outcome}, with {kept} running: {health:?}\n{}",
            yard.log(0)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    if !good {
        let status = yard.agent(0, &["status"])?;
        ensure!(
            status.contains(WHY),
            "{kept} does not say why {version} failed:\n{status}"
        );
    }
    Ok(())
}

/// Nothing is tried again.
fn rests(yard: &Yard, starts: usize) -> Result<()> {
    std::thread::sleep(REST);
    let found = yard.starts(0);
    ensure!(
        found == starts,
        "{found} starts, not {starts}:\n{}",
        yard.log(0)
    );
    Ok(())
}

/// The record on `/data` refuses it.
fn refused(yard: &Yard, version: &str) -> Result<bool> {
    let record: serde_json::Value =
        serde_json::from_str(&yard.read(0, "data/hypriot/record.json")?)?;
    let list = record["refused"].as_array().context("no refusals")?;
    Ok(list.iter().any(|r| r["release"]["version"] == version))
}

/// Builds the agent of a revision, in a work tree of its own and with the dependencies that are built already.
fn built(revision: &str, dir: &Path) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests crate lies in the workspace")?;
    let tree = dir.join("tree");
    let mut clone = exec::command("git");
    clone
        .args(["clone", "--quiet", "--no-checkout", "--shared"])
        .arg(root)
        .arg(&tree);
    exec::run(clone, Duration::from_mins(2))?;
    let mut checkout = exec::command("git");
    checkout
        .arg("-C")
        .arg(&tree)
        .args(["checkout", "--quiet", revision]);
    exec::run(checkout, Duration::from_mins(2)).with_context(|| {
        format!(
            "{revision} is not in the history here; a shallow clone has none: git fetch --unshallow"
        )
    })?;
    let mut cargo = exec::cargo();
    let target = root.join("target/old-agent");
    cargo
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--locked", "--bin", "hypriot-agent"]);
    exec::run_shown(cargo, Duration::from_mins(40))?;
    Ok(target.join("debug/hypriot-agent"))
}
