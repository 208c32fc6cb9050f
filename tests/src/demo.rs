//! The demo: builds everything, then plays `steps/demo.toml` for whoever watches.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::access;
use crate::board::{Cache, Hardware, VirtualBoard};
use crate::factory::Factory;
use crate::narrate::Narrator;
use crate::stage::Stage;
use crate::steps::Scenario;

const STEPS: &str = include_str!("../steps/demo.toml");

/// Runs the demo. Exit code 0 and the last line `demo: ok …` only if all of it happened.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("\ndemo: failed: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let scenario = Scenario::parse(STEPS)?;
    let factory = Factory::new()?;
    let mut narrator = Narrator::new(6 + scenario.step.len());
    narrator.say(
        "HypriotOS demo. A board is made, started and updated on this machine; the board is virtual, everything else\n\
         is as on a real one. Nothing outside this folder is changed, except for Debian packages that are missing.\n\
         The first run downloads about 300 MB and takes a while; the next one uses what is there.",
    );
    narrator.step(
        "Building the host tools, installing what this machine lacks",
        |_| factory.tools(),
    )?;
    narrator.step(
        "Building the agent for the board's processor",
        |n| -> Result<()> {
            let agent = factory.own_agent()?;
            let size = std::fs::metadata(&agent)?.len();
            n.say(&format!("      {}: {size} bytes", agent.display()));
            Ok(())
        },
    )?;
    narrator.step("Making the keys that releases are signed with", |_| {
        factory.keys().and_then(|()| factory.clear_repository())
    })?;
    narrator.step(
        "Building the image out of Debian packages (release 1.0.0)",
        |_| factory.release("v1"),
    )?;
    narrator.step(
        "Building release 1.1.0: its message of the day is new",
        |_| factory.release("v2"),
    )?;
    narrator.step(
        "Building release 1.2.0: broken on purpose, a required self-test fails",
        |_| factory.release("v3"),
    )?;

    // One folder for every run: a card that stayed from an interrupted demo must not be met again.
    let dir = tempfile::Builder::new()
        .prefix("board-")
        .tempdir_in(&factory.dir)?;
    let hardware = Hardware {
        cache: Cache::Unsafe,
        ..Hardware::virtual_board()?
    };
    let board = VirtualBoard::new(hardware, &factory.image(), dir.path())?;
    let access = access::grant(&board.card(), dir.path())?;
    let mut stage = Stage::new(&factory, board, 1)?;
    stage.access = Some(access);
    let played = stage.play(&scenario, &mut narrator);
    if played.is_err() {
        let kept = dir.keep();
        narrator.say(&format!(
            "      the board's card and console log are kept in {}",
            kept.display()
        ));
    }
    played?;

    let health = stage
        .health()
        .context("asking the board for the last time")?;
    drop(stage);
    narrator.summary();
    let refused = health
        .update
        .last_attempt
        .context("the board does not know of the refused release any more")?;
    narrator.say(&format!(
        "demo: ok booted={} version={} rolled-back-from={}",
        health.slot, health.version, refused.version
    ));
    Ok(())
}
