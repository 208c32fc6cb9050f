//! `make test-boards`: builds the image of every board and inspects it; starts it where QEMU has the machine and it is
//! asked to. One line a board.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_imagegen::inputs::board::{self, Board, RawBlob};
use serde::Deserialize;

use crate::board::{Cache, Hardware, VirtualBoard};
use crate::exec;
use crate::factory::Factory;
use crate::health::Health;
use crate::narrate::Narrator;

/// Emulated boards share a busy machine; the slowest needs a quarter of an hour.
const BOOT_WITHIN: Duration = Duration::from_mins(40);
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
    let factory = Factory::new()?;
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
    factory.tools()?;
    let narrator = Narrator::new(0);
    let mut bad = Vec::new();
    for board in &boards {
        match test(&factory, board, &asked) {
            Ok(words) => narrator.say(&format!("{:<14} ok      {words}", board.name)),
            Err(e) => {
                narrator.say(&format!("{:<14} FAILED  {e:#}", board.name));
                bad.push(board.name.as_str());
            }
        }
    }
    ensure!(bad.is_empty(), "{}", bad.join(", "));
    Ok(())
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

/// Builds, inspects and perhaps starts one board's image; the result in words.
fn test(factory: &Factory, board: &Board, asked: &Asked) -> Result<String> {
    let agent = factory.agent(&board.agent_target)?;
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

    let build = || -> Result<(Made, f64)> {
        let began = Instant::now();
        let made = ask(factory, &args)?;
        Ok((made, began.elapsed().as_secs_f64()))
    };
    let (_, took) = build()?;
    // Now every stage is in the cache: what a small change costs.
    let (made, again) = build()?;
    let inspected: Inspected = ask(
        factory,
        &["inspect", "--json", &made.image.display().to_string()],
    )?;
    let mut root = vec!["root".to_owned()];
    root.extend(common);
    let tree: Tree = ask(factory, &root)?;
    let (size, on_disk) = size(&made.image)?;
    let mut words = format!(
        "image {} MiB ({} on disk), payload {} MiB, {} packages, {took:.1} s and again {again:.1} s, {} assertions",
        size >> 20,
        on_disk >> 20,
        made.payload_bytes >> 20,
        tree.packages,
        inspected.checks.len(),
    );
    if asked.boot && board.qemu.is_some() {
        words.extend([", ", &boot(board, &tree, &made.image, dir.path())?]);
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
        #[expect(
            clippy::disallowed_methods,
            reason = "a scratch file that nobody reads after a power cut"
        )]
        std::fs::write(&path, vec![MADE_UP; usize::try_from(size)?])?;
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

/// Starts the image and waits until the board says that it is well.
fn boot(board: &Board, tree: &Tree, image: &Path, dir: &Path) -> Result<String> {
    let boot = dir.join("boot-files");
    unpack(&tree.boot, "usr/lib/u-boot", &boot)?;
    let hardware = Hardware {
        cache: Cache::Unsafe,
        ..Hardware::of(board, boot)?
    };
    let began = Instant::now();
    let mut machine = VirtualBoard::new(hardware, image, &dir.join("board"))?;
    machine.power_on()?;
    let health = machine.wait("the board's health", BOOT_WITHIN, |b| {
        let health = Health::parse(&b.get("/health").ok()?.body).ok()?;
        ["pass", "warn"]
            .contains(&health.status.as_str())
            .then_some(health)
    })?;
    Ok(format!(
        "booted: {} after {} s",
        health.words(),
        began.elapsed().as_secs()
    ))
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
