//! What a cluster costs the source: twelve boards of one bridge install a release at the same moment, over one line of 50 Mbit/s.
//!
//! Each has a network namespace, a card in a file, its own avahi, Debian's, and the real agent, which lends and installs. Nobody tells
//! them of each other. What the source sends is counted where it is sent, and compared with what one board alone is sent.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_agent::update::machine::clock;
use hypriot_imagegen::formats::{erofs, fat};
use hypriot_imagegen::image::card::{Card, Volumes};
use hypriot_imagegen::release;
use hypriot_imagegen::tree::Tree;
use hypriot_keys::repo::{Options, Repository};
use hypriot_keys::secret::SecretKey;
use hypriot_updater::index::Index;
use hypriot_updater::slot::Slot;

use super::mirror;
use crate::loop_board::{LoopBoard, Running};
use crate::narrate::Narrator;
use crate::network::Network;
use crate::serve::Server;
use crate::{exec, papers, scratch};

/// Boards of the cluster.
const BOARDS: usize = 12;
const BOARD: &str = "qemu-arm64";
/// Files of the release: half of each is random, half is text, as of programs.
const FILES: u32 = 96;
const SIZE: usize = 1 << 20;
/// Longer nobody takes.
const LIMIT: Duration = Duration::from_mins(10);
/// What happens on each board.
const LIFE: &str = include_str!("neighbours/board.sh");
/// How boards of ours are announced.
const SERVICE: &str = include_str!("../../../systemd/etc/avahi/services/hypriot-update.service");

/// Measures, and prints `bench-neighbours: …` as the last line.
pub fn run() -> Result<()> {
    let mut n = Narrator::new(4);
    let agent = std::env::var_os("HYPRIOT_AGENT").map_or_else(
        || papers::root().join("target/release/hypriot-agent"),
        PathBuf::from,
    );
    let dir = mirror::fresh(papers::root().join(".cache/bench-neighbours"))?;
    let made = n.step("a release and its cards", |n| {
        let made = Made::new(&dir)?;
        let payload = made.index.full().context("every release has one")?.size;
        let images: u64 = made.index.images.iter().map(|i| i.size).sum();
        let (payload, images) = (payload / 1_000_000, images / 1_000_000);
        n.say(&format!("      {images} MB, {payload} MB as payload"));
        anyhow::Ok(made)
    })?;
    let alone = n.step("one board alone", |n| {
        let cost = made.install(&agent, 1, n)?;
        anyhow::Ok(cost)
    })?;
    let all = n.step("twelve at the same moment", |n| {
        made.install(&agent, BOARDS, n)
    })?;
    n.say(&format!(
        "      alone: {} bytes in {:.1} s; twelve: {} bytes in {:.1} s",
        alone.sent, alone.seconds, all.sent, all.seconds
    ));
    n.say(&last_line(&alone, &all));
    mirror::fresh(dir).map(drop)
}

/// The line that scripts read.
fn last_line(alone: &Cost, all: &Cost) -> String {
    format!(
        "bench-neighbours: boards={BOARDS} origin_ratio={:.2} seconds={:.1}",
        ratio(all.sent, alone.sent),
        all.seconds
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a release are far below 2^52"
)]
fn ratio(all: u64, one: u64) -> f64 {
    all as f64 / one.max(1) as f64
}

/// What an installation cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Bytes that the source sent.
    sent: u64,
    /// From the first that began to the last that was done.
    seconds: f64,
}

/// A release, signed, and what its cards are made of.
struct Made {
    dir: PathBuf,
    site: PathBuf,
    index: Index,
    volumes: Volumes,
}

impl Made {
    fn new(dir: &Path) -> Result<Self> {
        let volumes = volumes()?;
        let out = mirror::fresh(dir.join("out"))?;
        let version = "1.0.0".parse()?;
        let spec = release::Spec {
            board: BOARD,
            version: &version,
            created: 1_790_000_000,
            level: 3,
            threads: thread::available_parallelism().map_or(1, usize::from),
            bases: &[],
            state_version: 0,
        };
        let made = release::make(&volumes, &spec, &out, |_, _, _| Ok(()))?;
        let path = out.join(&made.index_name);
        let site = mirror::fresh(dir.join("site"))?;
        let (key, now) = (SecretKey::from_seed(&[7; 32]), clock());
        let mut repo = Repository::init(&dir.join("repo"), &Options::single(key.public()), now)?;
        let listed = release::publish::Listed::Kept;
        release::publish::publish(&mut repo, &[path], listed, &[&key], &site)?;
        scratch::put(&dir.join("root.json"), repo.first_root()?)?;
        Ok(Self {
            dir: dir.to_owned(),
            site,
            index: made.index,
            volumes,
        })
    }

    /// So many boards install it at the same moment; then each slot is compared.
    fn install(&self, agent: &Path, boards: usize, n: &Narrator) -> Result<Cost> {
        let _network = Network::new(boards)?;
        let server = Server::start_on(Network::source(), &self.site, 0)?;
        let cards: Vec<LoopBoard> = (0..boards)
            .map(|board| self.board(agent, board))
            .collect::<Result<_>>()?;
        let mut lives = Vec::new();
        for (board, card) in cards.iter().enumerate() {
            lives.push(Life::begin(board, card, &server.url())?);
        }
        for life in &mut lives {
            life.hear("ready")?;
        }
        let begun = Instant::now();
        for life in &mut lives {
            life.say("go")?;
        }
        for (board, life) in lives.iter_mut().enumerate() {
            let said = life.hear("done")?;
            let at = begun.elapsed().as_secs_f64();
            n.say(&format!(
                "      board {board}: {}, {at:.1} s",
                whence(&said)
            ));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let sent = server.sent();
        drop(lives);
        for (board, card) in cards.iter().enumerate() {
            self.compare(card)
                .with_context(|| format!("what board {board} installed"))?;
        }
        Ok(Cost { sent, seconds })
    }

    fn board(&self, agent: &Path, number: usize) -> Result<LoopBoard> {
        let dir = mirror::fresh(self.dir.join(format!("board-{number}")))?;
        let image = dir.join("card.img");
        let card = Card::plan(&self.volumes, &[], 0x6879_7072)?;
        card.write(&image, 1)?;
        let running = Running {
            agent,
            board: BOARD,
            // older than what is installed
            version: "0.9.0",
            trust_root: &self.dir.join("root.json"),
        };
        LoopBoard::new(&image, &dir, running)
    }

    /// Whether slot B holds the release.
    fn compare(&self, card: &LoopBoard) -> Result<()> {
        let devices = card.devices(Slot::B).map(File::open);
        for (image, segment, len, hash) in self.index.segments() {
            let device = devices[image]
                .as_ref()
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            let mut bytes = vec![0; len];
            device.read_exact_at(&mut bytes, segment as u64 * hypriot_updater::index::SEGMENT)?;
            ensure!(
                hypriot_updater::index::SegmentHash::of(&bytes) == hash,
                "segment {segment} of image {image} is not the release's"
            );
        }
        Ok(())
    }
}

/// The images: half random, half text.
fn volumes() -> Result<Volumes> {
    let mut root = Tree::new(1_790_000_000);
    root.insert_dir("srv", 0o755)?;
    let mut random = File::open("/dev/urandom")?;
    for n in 0..FILES {
        let mut bytes = vec![0; SIZE];
        std::io::Read::read_exact(&mut random, &mut bytes[..SIZE / 2])?;
        let words = format!("file {n} of the release: the same words again and again\n");
        for (byte, word) in bytes[SIZE / 2..].iter_mut().zip(words.bytes().cycle()) {
            *byte = word;
        }
        root.insert_bytes(&format!("srv/{n:03}"), 0o644, &bytes)?;
    }
    let mut boot = Tree::new(1_790_000_000);
    let mut kernel = vec![0; 8 * SIZE];
    std::io::Read::read_exact(&mut random, &mut kernel)?;
    boot.insert_bytes("vmlinuz", 0o644, &kernel)?;
    let config = Tree::new(1_790_000_000);
    let fat = |tree: &Tree, label: &'static str, size| {
        fat::plan(
            tree,
            fat::Options {
                label,
                volume_id: 7,
                size,
                last: &[],
            },
        )
    };
    Ok(Volumes {
        config: fat(&config, "HypriotOS", hypriot_updater::layout::CONFIG.size)?,
        boot: fat(&boot, "boot", fat::fitting_size(&boot, 40 << 20))?,
        root: erofs::plan(
            &root,
            erofs::Options {
                label: "root",
                seed: "bench",
                last: &[],
                before: None,
            },
        )?,
    })
}

/// A board that lives, until it is dropped.
struct Life {
    told: ChildStdin,
    lines: Receiver<String>,
    board: usize,
    _child: exec::Held,
}

impl Life {
    fn begin(board: usize, card: &LoopBoard, url: &str) -> Result<Self> {
        let script = format!("cat > /run/neighbours.service <<'END'\n{SERVICE}END\n{LIFE}");
        let mut command = card.life(Network::on(board), &script);
        command
            .arg(format!("board-{board}"))
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a board")?;
        let told = child.stdin.take().context("it has an input")?;
        let lines = lines(child.stdout.take().context("it has an output")?);
        Ok(Self {
            told,
            lines,
            board,
            _child: exec::Held(child),
        })
    }

    fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.told, "{word}").with_context(|| format!("telling board {}", self.board))
    }

    /// Waits for this word; gives all lines before it.
    fn hear(&mut self, word: &str) -> Result<String> {
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line == word => return Ok(said),
                Ok(line) => said += &(line + "\n"),
                Err(_) => bail!(
                    "board {} does not say {word:?}; it said: {said}",
                    self.board
                ),
            }
        }
    }
}

/// The lines of a pipe, as they come.
fn lines(from: ChildStdout) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// What a board says of its own cost.
fn whence(said: &str) -> String {
    let events = said
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let mut installed = events.filter(|e| e["event"] == "installed");
    installed.next().map_or_else(
        || "it did not say what it cost".into(),
        |e| {
            let mb = |key: &str| e[key].as_u64().unwrap_or_default() / 1_000_000;
            let (fetched, lent) = (mb("fetched"), mb("lent"));
            format!(
                "{fetched} MB from the source, {lent} MB from {} neighbours",
                e["neighbours"]
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_scripts_read() {
        let cost = |sent, seconds| Cost { sent, seconds };
        assert_eq!(
            last_line(&cost(100, 9.0), &cost(125, 20.04)),
            "bench-neighbours: boards=12 origin_ratio=1.25 seconds=20.0"
        );
    }

    #[test]
    fn what_a_board_says_of_itself_is_understood() {
        let said = "{\"event\":\"installing\"}\n{\"event\":\"installed\",\"fetched\":7000000,\"lent\":93000000,\"neighbours\":11}\n";
        assert_eq!(
            whence(said),
            "7 MB from the source, 93 MB from 11 neighbours"
        );
        assert!(whence("").starts_with("it did not"));
    }

    #[test]
    fn boards_are_announced_at_the_port_where_they_lend() {
        let port = format!("<port>{}</port>", hypriot_agent::neighbours::wire::PORT);
        assert!(SERVICE.contains(&port), "{SERVICE}");
        let service = hypriot_agent::neighbours::wire::SERVICE;
        let kind = service.trim_end_matches(".local");
        assert!(
            SERVICE.contains(&format!("<type>{kind}</type>")),
            "{SERVICE}"
        );
    }
}
