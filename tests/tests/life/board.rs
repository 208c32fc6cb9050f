//! A whole board, from packages to updates and power cuts, as `steps/life.toml` tells it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use hypriot_tests::access::{self, Access};
use hypriot_tests::archive;
use hypriot_tests::board::{Hardware, VirtualBoard};
use hypriot_tests::factory::Factory;
use hypriot_tests::narrate::Narrator;
use hypriot_tests::owner::Owner;
use hypriot_tests::scratch;
use hypriot_tests::stage::Stage;
use hypriot_tests::steps::Scenario;

use super::beginnings;

#[test]
fn a_board_lives_through_updates_bad_releases_and_power_cuts() -> Result<()> {
    let mut factory = Factory::new()?;
    beginnings(&factory)?;
    factory.keys()?;
    factory.clear_repository()?;
    match std::env::var("HYPRIOT_SCENARIO").as_deref() {
        Ok("user-data") => {
            factory.release("v1")?;
            return super::samples::play(&factory);
        }
        Ok("cluster") => return super::cluster::play(&factory),
        _ => {}
    }
    let scenario = scenario()?;
    let owner = (scenario.name == "owner").then(|| Owner::new(&factory));
    let owner = owner.transpose()?;
    if let Some(owner) = &owner {
        factory = Factory::of(factory.board, owner.image_args())?;
    }
    factory.releases(&scenario)?;
    let _archive = (scenario.name == "packages")
        .then(|| archive::serve(&factory.dir.join("archive")))
        .transpose()?;

    let dir = tempfile::Builder::new()
        .prefix("life-")
        .tempdir_in(&factory.dir)?;
    let hardware = Hardware::virtual_board()?;
    let hardware = if scenario.has_stick() {
        hardware.with_usb()
    } else {
        hardware
    };
    let (board, access) = if let Some(owner) = &owner {
        let (image, key) = owner.flash(&factory, dir.path())?;
        let board = VirtualBoard::new(hardware, &image, dir.path())?;
        (board, Access { key, clock: None })
    } else {
        let board = VirtualBoard::new(hardware, &factory.image(), dir.path())?;
        let access = access::grant(&board.card(), dir.path())?;
        (board, access)
    };
    let seed = seed()?;
    let mut narrator = Narrator::new(scenario.step.len() + scenario.cell.len());
    narrator.say(&format!(
        "random moments of this run: HYPRIOT_TEST_SEED={seed}"
    ));
    let mut stage = Stage::new(&factory, board, seed)?;
    stage.access = Some(access);
    let played = stage
        .play(&scenario, &mut narrator)
        .and_then(|()| cells(&mut stage, &scenario, &mut narrator));
    drop(stage);
    narrator.summary();
    scratch::kept(dir, played).with_context(|| format!("seed {seed}"))
}

/// The cells of the scenario, if it has some; `HYPRIOT_CELLS` names a part of those that are wanted.
fn cells(stage: &mut Stage<'_>, scenario: &Scenario, narrator: &mut Narrator) -> Result<()> {
    if scenario.cell.is_empty() {
        return Ok(());
    }
    let only = std::env::var("HYPRIOT_CELLS").ok();
    let only = only.filter(|part| !part.is_empty());
    let sum = stage.cells(scenario, only.as_deref(), narrator);
    narrator.say(&sum.to_string());
    anyhow::ensure!(sum.breaches.is_empty(), "{}", sum.breaches.join("\n"));
    Ok(())
}

/// What is played: `HYPRIOT_SCENARIO=power-cuts` for the long one.
fn scenario() -> Result<Scenario> {
    let name = std::env::var("HYPRIOT_SCENARIO").unwrap_or_else(|_| "life".to_owned());
    match name.as_str() {
        "life" => Scenario::parse(include_str!("../../steps/life.toml")),
        "power-cuts" => Scenario::parse(include_str!("../../steps/power-cuts.toml")),
        "stick" => Scenario::parse(include_str!("../../steps/stick.toml")),
        "owner" => Scenario::parse(include_str!("../../steps/owner.toml")),
        "packages" => Scenario::parse(include_str!("../../steps/packages.toml")),
        "suite" => Scenario::parse(include_str!("../../steps/suite.toml")),
        "faults" => Scenario::parse(include_str!("../../steps/faults.toml")),
        _ => anyhow::bail!(
            "HYPRIOT_SCENARIO={name}: life, power-cuts, stick, faults, owner, packages, suite, user-data or cluster"
        ),
    }
}

/// From the environment, to play a failure again; else from the clock.
fn seed() -> Result<u64> {
    if let Ok(text) = std::env::var("HYPRIOT_TEST_SEED") {
        return text
            .parse()
            .with_context(|| format!("HYPRIOT_TEST_SEED={text} is not a number"));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "any number will do; it is printed"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(now.as_secs().max(1))
}
