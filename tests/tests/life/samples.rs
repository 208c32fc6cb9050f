//! Samples of user-data, each flashed as an owner does it, started, and looked at: `tests/user-data/samples.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hypriot_imagegen::files;
use hypriot_tests::access;
use hypriot_tests::board::{Hardware, VirtualBoard};
use hypriot_tests::factory::Factory;
use hypriot_tests::narrate::Narrator;
use hypriot_tests::stage::Stage;
use hypriot_tests::steps::{Action, Expect, Scenario, Script, Step};
use serde::Deserialize;

const SAMPLES: &str = include_str!("../../user-data/samples.toml");
/// Seconds; a first start on a busy machine.
const BOOT: u64 = 1800;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Samples {
    sample: Vec<Sample>,
}

/// What an owner writes, and what must be so on the board after it has started.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sample {
    name: String,
    user_data: String,
    network_config: Option<String>,
    /// Commands of which none may fail.
    script: String,
}

/// Plays all of them; all failures are told.
pub(super) fn play(factory: &Factory) -> Result<()> {
    let samples: Samples = toml::from_str(SAMPLES)?;
    let mut narrator = Narrator::new(samples.sample.len() * 3);
    let failed: Vec<String> = samples
        .sample
        .iter()
        .filter_map(|sample| {
            let played = one(factory, sample, &mut narrator).err()?;
            narrator.say(&format!("{}: FAILED: {played:#}", sample.name));
            Some(sample.name.clone())
        })
        .collect();
    narrator.say(&format!(
        "test-user-data: samples={} worked={}",
        samples.sample.len(),
        samples.sample.len() - failed.len()
    ));
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

fn one(factory: &Factory, sample: &Sample, narrator: &mut Narrator) -> Result<()> {
    let dir = tempfile::Builder::new()
        .prefix("sample-")
        .tempdir_in(&factory.dir)?;
    let (key, public) = access::key(dir.path())?;
    let card = flash(factory, sample, &public, dir.path())?;
    let board = VirtualBoard::new(Hardware::virtual_board()?, &card, dir.path())?;
    let mut stage = Stage::new(factory, board, 1)?;
    stage.access = Some(access::Access { key, clock: None });
    let step = |say: String, action| Step {
        say,
        action,
        measures: None,
    };
    let script = Script {
        script: format!(
            "cloud-init status --wait >/dev/null || true\nsystemctl is-system-running --wait >/dev/null || true\nset -x\n{}\necho \
             as it says",
            sample.script
        ),
        expect: "as it says".to_owned(),
        within: BOOT,
        show: true,
    };
    let well = Expect {
        within: BOOT,
        slot: Some("a".to_owned()),
        status: vec!["pass".to_owned(), "warn".to_owned()],
        ..Expect::default()
    };
    let scenario = Scenario {
        name: sample.name.clone(),
        step: vec![
            step(format!("{}: power on", sample.name), Action::PowerOn),
            step("the board is well".to_owned(), Action::Wait(well)),
            step("it did what it says".to_owned(), Action::Run(script)),
        ],
        cell: Vec::new(),
    };
    stage.play(&scenario, narrator)
}

/// The image with this user-data, in a file.
fn flash(factory: &Factory, sample: &Sample, public: &str, dir: &Path) -> Result<PathBuf> {
    let tester = access::user(public);
    let user_data = sample.user_data.replace("@TESTER@\n", &tester);
    let user_data = user_data.replace("@TESTER@", &tester.replace('\n', "\r\n"));
    let network = dir.join("network.yaml");
    let shown = network.display().to_string();
    let mut more = Vec::new();
    if let Some(text) = &sample.network_config {
        files::replace(&network, text.as_bytes())?;
        more.extend(["--network-config", &*shown]);
    }
    factory.flash(dir, &user_data, &more)
}
