//! `make test-boards`: builds the image of every board and inspects it; where QEMU has the machine and it is asked to, the board
//! lives through updates, a broken release and power cuts. One line a board, a table at the end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_imagegen::inputs::board::{self, Board, RawBlob};
use serde::Deserialize;
use tempfile::TempDir;

use crate::board::{Hardware, VirtualBoard};
use crate::exec;
use crate::factory::Factory;
use crate::narrate::Narrator;
use crate::scratch;
use crate::stage::{Seen, Stage};
use crate::steps::{Measure, Scenario};

/// What every board that QEMU has a machine for is played through.
const STEPS: &str = include_str!("../steps/board.toml");
/// Random moments are the same in every run, so that boards can be compared.
const SEED: u64 = 1;
/// What a made-up blob consists of: no board starts from it, but it lies where a real one would.
const MADE_UP: u8 = 0xb1;

/// What is asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Only these boards.
    boards: Vec<String>,
    /// Start the images.
    boot: bool,
    /// Arguments for `hypriot-imagegen image`.
    image: Vec<String>,
}

/// Reads `[--boot] [BOARD ...] [-- ARGUMENTS OF hypriot-imagegen image]`.
fn parse(args: impl Iterator<Item = String>) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--boot" => asked.boot = true,
            "--" => asked.image.extend(args.by_ref()),
            option if option.starts_with('-') => bail!(
                "unknown option {option}; known: [--boot] [BOARD ...] [-- ARGUMENTS OF hypriot-imagegen image]"
            ),
            _ => asked.boards.push(arg),
        }
    }
    Ok(asked)
}

/// Runs it. Exit code 0 only if every board passed.
pub fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("test-boards: failed: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let asked = parse(args)?;
    let mut boards = board::names()
        .iter()
        .map(|name| board::find(name))
        .collect::<Result<Vec<_>, _>>()?;
    for name in &asked.boards {
        ensure!(
            boards.iter().any(|b| b.name == *name),
            "no board {name}; the boards: {}",
            boards
                .iter()
                .map(|b| b.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    boards.retain(|b| asked.boards.is_empty() || asked.boards.contains(&b.name));
    Factory::new()?.tools()?;
    let narrator = Narrator::new(0);
    let mut rows = Vec::new();
    for board in boards {
        let row = test(board, &asked);
        match &row.outcome {
            Ok(words) => narrator.say(&format!("{:<14} ok      {words}", row.name)),
            Err(e) => narrator.say(&format!("{:<14} FAILED  {e:#}", row.name)),
        }
        rows.push(row);
    }
    narrator.say(&table(&rows));
    let bad: Vec<&str> = rows
        .iter()
        .filter(|row| row.outcome.is_err())
        .map(|row| row.name.as_str())
        .collect();
    ensure!(bad.is_empty(), "{}", bad.join(", "));
    Ok(())
}

/// What became of one board.
struct Row {
    name: String,
    /// How long the image took the first time.
    built: Option<Duration>,
    /// What was seen while it was played.
    seen: Seen,
    /// In words, or what failed.
    outcome: Result<String>,
}

/// The boards beside each other, and the line that scripts read.
fn table(rows: &[Row]) -> String {
    let head = [
        "board",
        "build s",
        "boot s",
        "update s",
        "rollback s",
        "cuts",
    ]
    .map(str::to_owned);
    let column = |time: Option<&Duration>| {
        time.map_or_else(|| "-".to_owned(), |time| time.as_secs().to_string())
    };
    let count = |measure| {
        rows.iter()
            .filter(|row| row.seen.times.contains_key(&measure))
            .count()
    };
    let body = rows.iter().map(|row| {
        let time = |measure| column(row.seen.times.get(&measure));
        [
            row.name.clone(),
            column(row.built.as_ref()),
            time(Measure::Boot),
            time(Measure::Update),
            time(Measure::Rollback),
            row.seen.cuts.to_string(),
        ]
    });
    let line = |[name, build, boot, update, rollback, cuts]: [String; 6]| {
        format!("{name:<20} {build:>8} {boot:>8} {update:>8} {rollback:>10} {cuts:>5}")
    };
    let lines: Vec<String> = std::iter::once(head).chain(body).map(line).collect();
    format!(
        "\n{}\n\ntest-boards: boards={} built={} booted={} updated={} rolled_back={}",
        lines.join("\n"),
        rows.len(),
        rows.iter().filter(|row| row.built.is_some()).count(),
        count(Measure::Boot),
        count(Measure::Update),
        count(Measure::Rollback)
    )
}

/// What `hypriot-imagegen image --json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Made {
    image: PathBuf,
    payload_bytes: u64,
}

/// What `hypriot-imagegen root --json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tree {
    boot: PathBuf,
    packages: usize,
}

/// What `hypriot-imagegen inspect --json` says.
#[derive(Debug, Deserialize)]
struct Inspected {
    checks: Vec<serde_json::Value>,
}

/// Builds, inspects and perhaps plays one board's image.
fn test(board: Board, asked: &Asked) -> Row {
    let mut row = Row {
        name: board.name.clone(),
        built: None,
        seen: Seen::default(),
        outcome: Ok(String::new()),
    };
    row.outcome = try_test(board, asked, &mut row);
    row
}

fn try_test(board: Board, asked: &Asked, row: &mut Row) -> Result<String> {
    let factory = Factory::of(board, asked.image.clone())?;
    let board = &factory.board;
    let agent = factory.own_agent()?;
    let dir = tempfile::Builder::new()
        .prefix("boards-")
        .tempdir_in(&factory.dir)?;
    let out = dir.path().display().to_string();
    let mut common = vec![
        "--json".to_owned(),
        "--board".to_owned(),
        board.name.clone(),
    ];
    common.extend(asked.image.iter().cloned());
    let mut args = vec!["image".to_owned()];
    args.extend(common.iter().cloned());
    args.extend(["--agent".to_owned(), agent.display().to_string()]);
    args.extend(["--out".to_owned(), out]);
    args.extend(blobs(board, dir.path())?);

    let build = || -> Result<(Made, Duration)> {
        let began = Instant::now();
        let made = ask(&factory, &args)?;
        Ok((made, began.elapsed()))
    };
    let (_, took) = build()?;
    // Now every stage is in the cache: what a small change costs.
    let (made, again) = build()?;
    let inspected: Inspected = ask(
        &factory,
        &["inspect", "--json", &made.image.display().to_string()],
    )?;
    let mut root = vec!["root".to_owned()];
    root.extend(common);
    let tree: Tree = ask(&factory, &root)?;
    let (size, on_disk) = size(&made.image)?;
    row.built = Some(took);
    let mut words = format!(
        "image {} MiB ({} on disk), payload {} MiB, {} packages, {:.1} s and again {:.1} s, {} assertions",
        size >> 20,
        on_disk >> 20,
        made.payload_bytes >> 20,
        tree.packages,
        took.as_secs_f64(),
        again.as_secs_f64(),
        inspected.checks.len(),
    );
    if asked.boot && board.qemu.is_some() {
        words.extend([", ", &play(&factory, &tree, dir, &mut row.seen)?]);
    }
    Ok(words)
}

/// Asks `hypriot-imagegen` for something in JSON.
fn ask<T: serde::de::DeserializeOwned>(factory: &Factory, args: &[impl AsRef<str>]) -> Result<T> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let said = factory.imagegen(&args)?;
    serde_json::from_str(&said).with_context(|| format!("reading what {args:?} said: {said}"))
}

/// Makes up the blobs that owners must bring, as long as there is room for, and gives the arguments that name them.
fn blobs(board: &Board, dir: &Path) -> Result<Vec<String>> {
    let mut sizes = std::collections::BTreeMap::new();
    for blob in board.boot.raw.iter().filter(|b| b.from_user.is_some()) {
        let size = sizes.entry(blob.file.as_str()).or_insert(0);
        *size = made_up_size(blob).max(*size);
    }
    let mut args = Vec::new();
    for (name, size) in sizes {
        let path = dir.join(name);
        scratch::put(&path, vec![MADE_UP; usize::try_from(size)?])?;
        args.extend(["--blob".to_owned(), format!("{name}={}", path.display())]);
    }
    Ok(args)
}

fn made_up_size(blob: &RawBlob) -> u64 {
    blob.skip + blob.length.or(blob.room).unwrap_or(4096)
}

/// Length of an image, and what it takes on disk.
fn size(image: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(image)?;
    // stat(2): st_blocks counts 512 bytes whatever the file system's blocks are.
    Ok((meta.len(), meta.blocks() * 512))
}

/// Plays the board through updates, a broken release and power cuts, as `steps/board.toml` tells it.
fn play(factory: &Factory, tree: &Tree, dir: TempDir, seen: &mut Seen) -> Result<String> {
    let scenario = Scenario::parse(STEPS)?;
    factory.keys()?;
    factory.clear_repository()?;
    factory.releases(&scenario)?;
    let boot = dir.path().join("boot-files");
    unpack(&tree.boot, "usr/lib/u-boot", &boot)?;
    let hardware = Hardware::of(&factory.board, boot)?;
    let machine = VirtualBoard::new(hardware, &factory.image(), &dir.path().join("board"))?;
    let mut narrator = Narrator::new(scenario.step.len());
    narrator.say(&format!("\n{}", factory.board.name));
    let mut stage = Stage::new(factory, machine, SEED)?;
    let played = stage.play(&scenario, &mut narrator);
    *seen = std::mem::take(&mut stage.seen);
    let health = played.and_then(|()| stage.health());
    drop(stage);
    Ok(format!("played: {}", scratch::kept(dir, health)?.words()))
}

/// Unpacks what lies below `what` of a packed tree.
fn unpack(tree: &Path, what: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut tar = exec::command("tar");
    tar.args(["--no-same-owner", "-x", "-C"])
        .arg(to)
        .arg("-f")
        .arg(tree)
        // Names in it begin so, as dpkg-deb writes them.
        .arg(format!("./{what}"));
    exec::run(tar, Duration::from_mins(5)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_and_misspelt_options_are_refused() {
        let read = |line: &str| parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(
            read("rpi --boot rpi64 -- --suite stable --boot").unwrap(),
            Asked {
                boards: vec!["rpi".to_owned(), "rpi64".to_owned()],
                boot: true,
                image: ["--suite", "stable", "--boot"].map(str::to_owned).to_vec(),
            }
        );
        assert!(read("--bot rpi").unwrap_err().to_string().contains("--bot"));
    }

    #[test]
    fn a_board_that_stopped_half_way_counts_as_far_as_it_came() {
        let row = |name: &str, measures: &[Measure], outcome| Row {
            name: name.to_owned(),
            built: Some(Duration::from_secs(61)),
            seen: Seen {
                times: measures
                    .iter()
                    .map(|m| (*m, Duration::from_secs(99)))
                    .collect(),
                cuts: 0,
            },
            outcome,
        };
        let rows = [
            row("rpi", &[], Ok(String::new())),
            row(
                "half",
                &[Measure::Boot, Measure::Update],
                Err(anyhow::anyhow!("lost")),
            ),
        ];
        let text = table(&rows);
        assert!(
            text.contains("half                       61       99       99          -     0"),
            "{text}"
        );
        assert_eq!(
            text.lines().last(),
            Some("test-boards: boards=2 built=2 booted=1 updated=1 rolled_back=0")
        );
    }

    #[test]
    fn made_up_blobs_fill_the_room_of_every_place_they_go_to() {
        let dir = tempfile::tempdir().unwrap();
        let board = board::find("odroid-c2").unwrap();
        let args = blobs(&board, dir.path()).unwrap();
        assert_eq!(args.len(), 4, "{args:?}");
        let len = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert_eq!(len("bl1.bin.hardkernel"), 512 + 49_152);
        assert_eq!(len("u-boot.gxbb"), 2 << 20);
    }
}
