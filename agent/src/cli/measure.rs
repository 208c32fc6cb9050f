//! `hypriot-agent measure`: parses, and prints what was measured.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use hypriot_updater::index::{Index, MAX_INDEX};
use serde::Serialize;
use serde_json::json;

use super::{fleet, locked, open, print};
use crate::measure::{Measure, Measures, card, image, link, load};
use crate::probe::{Meter, Root};
use crate::report::Status;
use crate::system::{self, System};
use crate::update::board::{Board, Place};

/// Where the free room of the card is.
const DATA: &str = "/data";

const EXAMPLES: &str = "\
Examples:
  hypriot-agent measure                                   card, memory, heat, power, links
  hypriot-agent measure --index - < rpi64-1.4.0.json      and every byte of the running slot beside that image

It writes to 90 % of the free room of the card (nothing is left of it) and keeps the board busy: for boards that do no work yet.

Exit codes: 0 all of it is good enough or only worth a look, 1 something is not, or it could not be measured";

#[derive(Debug, Args)]
#[command(
    about = "Measure the hardware of a board that was just flashed; writes to free room of the card, half a minute",
    after_help = EXAMPLES
)]
pub(super) struct MeasureArgs {
    /// Seconds under load
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Release index of the image that was flashed (BOARD-VERSION.json): every byte of the running slot is read and
    /// compared; - is standard input
    #[arg(long)]
    index: Option<PathBuf>,
    /// One JSON object a line: progress, and the measures
    #[arg(long)]
    json: bool,
}

/// The last line of `--json`.
#[derive(Debug, Serialize)]
struct End<'a> {
    event: &'static str,
    result: Status,
    board: &'a str,
    version: &'a str,
    /// By this a fleet knows the board.
    id: String,
    /// The card's, by its partition table.
    disk: Option<String>,
    measures: &'a Measures,
}

pub(super) fn measure(arguments: &MeasureArgs) -> anyhow::Result<ExitCode> {
    let index = arguments.index.as_deref().map(read).transpose()?;
    let root = Root::default();
    let (lock, board) = match system::look(&root) {
        System::Plain(plain) => (None, Err(plain)),
        // no update begins meanwhile
        System::Slots => (Some(locked()?), Ok(open()?)),
    };
    let mut shown = (String::new(), u64::MAX);
    let json = arguments.json;
    let mut tell = |stage: &'static str, percent: u64| progress(json, &mut shown, stage, percent);
    let mut measures = Measures::new();
    if let Some(index) = &index {
        measures.insert(
            "image".into(),
            of_image(index, board.as_ref().ok(), &mut tell)?,
        );
    }
    measures.extend(card::card(folder(), seed()?, &mut tell));
    let lasts = Duration::from_secs(arguments.seconds);
    let free = Meter::default().read().memory_available;
    measures.extend(load::load(&root, free, lasts, &mut tell));
    measures.extend(link::links(&root));
    drop(lock);
    let (name, version) = match &board {
        Ok(board) => (
            board.settings.board.clone(),
            board.settings.version.to_string(),
        ),
        Err(plain) => (plain.name.clone(), plain.version.clone()),
    };
    let worst = measures.values().map(|m| m.status).max();
    let result = worst.unwrap_or(Status::Pass);
    let end = End {
        event: "end",
        result,
        board: &name,
        version: &version,
        id: fleet::id(),
        disk: board.is_ok().then(disk).flatten(),
        measures: &measures,
    };
    print(&if json {
        serde_json::to_string(&end)? + "\n"
    } else {
        measures.iter().map(line).collect()
    });
    Ok(ExitCode::from(u8::from(result == Status::Fail)))
}

fn of_image(
    index: &Index,
    board: Option<&Board>,
    tell: &mut dyn FnMut(&'static str, u64),
) -> anyhow::Result<Measure> {
    let board = board.context("this board has no slots: there is no image to compare with")?;
    let running = board
        .slots
        .running(board.booted)
        .context("opening the running slot")?;
    let found = image::compare(index, &*running, |percent| tell("image", percent));
    Ok(image::judge(index, found))
}

fn read(path: &Path) -> anyhow::Result<Index> {
    let mut bytes = Vec::new();
    let limit = MAX_INDEX + 1;
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        file.take(limit).read_to_end(&mut bytes)?;
    }
    ensure!(
        bytes.len() as u64 <= MAX_INDEX,
        "{} is larger than an index may be",
        path.display()
    );
    Index::parse(&bytes).with_context(|| format!("{} is no release index", path.display()))
}

/// The data partition; on another system, wherever we are.
fn folder() -> &'static Path {
    let data = Path::new(DATA);
    if data.is_dir() {
        data
    } else {
        Path::new("/var/tmp")
    }
}

fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(u64::from_le_bytes(bytes))
}

fn disk() -> Option<String> {
    let mut sector = [0; 512];
    let mut file = std::fs::File::open(Place::find().ok()?.card.device).ok()?;
    file.read_exact(&mut sector).ok()?;
    hypriot_updater::mbr::signature(&sector).map(|s| format!("{s:08x}"))
}

fn progress(json: bool, shown: &mut (String, u64), stage: &'static str, percent: u64) {
    let step = percent / 10;
    if *shown == (stage.to_owned(), step) {
        return;
    }
    if json {
        let line = json!({ "event": "measuring", "stage": stage, "percent": percent });
        print(&format!("{line}\n"));
    } else if shown.0 != stage {
        eprintln!("measuring: {stage}");
    }
    *shown = (stage.to_owned(), step);
}

fn line((name, measure): (&String, &Measure)) -> String {
    let status = match measure.status {
        Status::Pass => "pass",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    format!("{status}  {name:<14} {}\n", measure.output)
}
