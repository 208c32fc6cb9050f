//! What an update costs: deltas of real pairs of images out of Debian's archive, beside what the tools of others make of the
//! same two images, and the memory that the agent takes to apply ours.
//!
//! Every number is bytes that a board downloads. Where a tool gives a file for exactly this step (zstd, xdelta3), its length
//! counts; of chunk stores, the index and the chunks that the old image does not have. Two methods have no tool that runs
//! without a device, and are counted by their format, to their favour:
//!
//! * `blocks4k`: the blocks of 4 KiB that the old image has nowhere, each once, as one frame of zstd
//! * `rauc_adaptive`: RAUC's `block-hash-index` (32 bytes a block of 4 KiB) and the blocks of its squashfs, 128 KiB, that hold a
//!   block which the old slot has nowhere, as one frame of zstd

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::inputs::{board, recipe};
use hypriot_imagegen::lock::repo::archive::Sources;
use hypriot_imagegen::lock::repo::keyring;
use hypriot_imagegen::lock::{self, Lock};
use hypriot_imagegen::pipeline::root_tree;
use hypriot_imagegen::progress::Progress;
use hypriot_imagegen::release;

use super::blocks::{BLOCK, missing};
use super::made::{Made, Releases};
use super::mirror;
use crate::loop_board::{self, LoopBoard};
use crate::narrate::Narrator;
use crate::peers::{self, Whole};
use crate::serve::Server;
use crate::{exec, papers};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_mins(40);
/// `mksquashfs -b`, its default.
const SQUASHFS_BLOCK: usize = 128 << 10;
/// Bytes of a SHA-256.
const HASH: u64 = 32;

/// A configuration file of a cluster's owner, before and after a change.
const CONFIG: (&str, [&str; 2]) = (
    "etc/ssh/sshd_config.d/cluster.conf",
    [
        "# How these boards are reached.\nPermitRootLogin no\nX11Forwarding no\n",
        "# How these boards are reached.\nPermitRootLogin no\nX11Forwarding no\nMaxAuthTries 3\nAllowTcpForwarding no\n",
    ],
);

/// What changed from one release to the next.
struct Pair {
    name: &'static str,
    /// Version of the new release.
    version: &'static str,
    lock: Lock,
    config: usize,
}

/// Bytes to download, by method.
#[derive(Debug, Default)]
struct Row {
    full: u64,
    ours: u64,
    peers: BTreeMap<&'static str, u64>,
    /// MiB.
    rss: f64,
}

/// The methods of others, in the order of the table.
const PEERS: [&str; 6] = [
    "patch_from",
    "xdelta3",
    "zchunk",
    "casync",
    "blocks4k",
    "rauc_adaptive",
];

/// Measures all pairs, or only some, and prints `bench-delta: …` as the last line: of the first pair.
pub fn run(only: &[String]) -> Result<()> {
    let mut n = Narrator::new(6);
    let cache = papers::root().join(".cache");
    let dir = mirror::fresh(cache.join("bench-delta"))?;
    let tools = n.step("the programs of others", |_| Tools::get())?;
    let (old, pairs) = n.step("packages, without and with security updates", |n| {
        pairs(&cache, n)
    })?;
    let releases = Releases::new(&dir)?;
    let base = n.step("the old release, and what chunkers make of it", |_| {
        let base = releases.make("1.0.0", &old, &config(&dir, 0)?, None)?;
        Side::of(base, &dir, &tools)
    })?;
    let mut rows = Vec::new();
    let asked = |pair: &&Pair| only.is_empty() || only.iter().any(|name| name == pair.name);
    for pair in pairs.iter().filter(asked) {
        let words = format!("{}: release, delta, and what others make of it", pair.name);
        let row = n.step(&words, |n| measure(pair, &base, &releases, &tools, &dir, n))?;
        n.say(&line(&format!("pair={}", pair.name), &row));
        rows.push((pair.name, row));
    }
    n.say(
        "point release: not measured; an archive holds one state of each suite, and this machine's is that of the newest point \
         release alone",
    );
    n.say(&table(&rows));
    let (_, first) = rows.first().context("no pair of this name")?;
    n.say(&last_line(first));
    mirror::fresh(dir).map(drop)
}

fn mb(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "to be read, in MB")]
    let mb = bytes as f64 / 1e6;
    format!("{mb:.3}")
}

fn line(head: &str, row: &Row) -> String {
    let mut out = format!("{head} full={} ours={}", mb(row.full), mb(row.ours));
    for peer in PEERS {
        write!(out, " {peer}={}", mb(row.peers[peer])).expect("a string takes all");
    }
    format!("{out} rss={:.1}", row.rss)
}

/// The line that scripts read: of the first pair, in their order of columns.
fn last_line(row: &Row) -> String {
    let mut out = format!("bench-delta: full={} ours={}", mb(row.full), mb(row.ours));
    for peer in ["patch_from", "blocks4k", "casync", "rauc_adaptive"] {
        write!(out, " {peer}={}", mb(row.peers[peer])).expect("a string takes all");
    }
    format!("{out} rss={:.1}", row.rss)
}

/// For people, and for the book.
fn table(rows: &[(&str, Row)]) -> String {
    let mut out = format!(
        "\n| MB to download | full | ours | {} | memory, MiB |\n",
        PEERS.join(" | ")
    );
    out.extend(["|---|", &"---:|".repeat(PEERS.len() + 3), "\n"]);
    for (name, row) in rows {
        let peers: Vec<_> = PEERS.iter().map(|p| mb(row.peers[p])).collect();
        writeln!(
            out,
            "| {name} | {} | {} | {} | {:.1} |",
            mb(row.full),
            mb(row.ours),
            peers.join(" | "),
            row.rss
        )
        .expect("a string takes all");
    }
    out
}

/// Locks of the same recipe: what a board has that knows no security updates, and what comes next.
fn pairs(cache: &Path, n: &Narrator) -> Result<(Lock, Vec<Pair>)> {
    let options = peers::options(cache);
    let (board, recipe) = (board::find(super::made::BOARD)?, recipe::load(None)?);
    let client = root_tree::client();
    let store = Store::open(cache)?;
    let all = root_tree::mirror(&options, &client)?;
    let locked = |security: bool| -> Result<Lock> {
        let mut mirror = all.clone();
        mirror.security = mirror.security.filter(|_| security);
        let sources = Sources {
            mirror: &mirror,
            keyring: &keyring::load(&keyring::default_path())?,
            store: &store,
            client: &client,
            frozen: false,
            now: options.now,
            progress: Progress::Quiet,
        };
        Ok(lock::make(&board, &recipe, &sources)?)
    };
    let (old, new) = (locked(false)?, locked(true)?);
    let is_kernel = |source: &str| source == "linux" || source.starts_with("linux-signed");
    let mixed = |kernel: &Lock, rest: &Lock| {
        let mut lock = rest.clone();
        lock.packages.retain(|p| !is_kernel(&p.source));
        let new = kernel.packages.iter().filter(|p| is_kernel(&p.source));
        lock.packages.extend(new.cloned());
        lock.packages.sort_by(|a, b| a.name.cmp(&b.name));
        lock
    };
    let kernel = mixed(&new, &old);
    n.say(&format!("      security: {}", changes(&old, &new)));
    n.say(&format!("      kernel: {}", changes(&old, &kernel)));
    ensure!(
        old.packages != new.packages,
        "the security archive has nothing for this recipe today: there is no pair to measure"
    );
    let mut pairs = Vec::new();
    let mut add = |name, version, lock: &Lock, config| {
        let lock = lock.clone();
        pairs.push(Pair {
            name,
            version,
            lock,
            config,
        });
    };
    add("security", "1.1.0", &new, 0);
    add("config", "1.0.1", &old, 1);
    if kernel.packages == old.packages {
        n.say("      kernel update: not measured; this machine's archive has one version");
    } else {
        add("kernel", "1.0.2", &kernel, 0);
        let userland = mixed(&old, &new);
        if userland.packages != old.packages {
            add("security-without-kernel", "1.0.3", &userland, 0);
        }
    }
    Ok((old, pairs))
}

/// Which packages of the second lock the first has not.
fn changes(old: &Lock, new: &Lock) -> String {
    let fresh = new.packages.iter().filter(|p| !old.packages.contains(p));
    let names: Vec<_> = fresh.map(|p| format!("{} {}", p.name, p.version)).collect();
    format!("{} packages: {}", names.len(), names.join(", "))
}

/// The folder laid over the root: the owner's configuration.
fn config(dir: &Path, state: usize) -> Result<PathBuf> {
    let overlay = dir.join(format!("overlay-{state}"));
    files::replace(&overlay.join(CONFIG.0), CONFIG.1[state].as_bytes())?;
    Ok(overlay)
}

/// The programs of others.
struct Tools {
    zstd: Whole,
    xdelta3: Whole,
    zchunk: Whole,
    casync: Whole,
}

impl Tools {
    fn get() -> Result<Self> {
        Ok(Self {
            zstd: peers::ZSTD.whole()?,
            xdelta3: peers::XDELTA3.whole()?,
            zchunk: peers::ZCHUNK.whole()?,
            casync: peers::CASYNC.whole()?,
        })
    }
}

/// An image, and what the chunkers made of it.
struct Side {
    made: Made,
    image: PathBuf,
    zck: PathBuf,
    store: PathBuf,
    caibx: PathBuf,
}

impl Side {
    fn of(made: Made, dir: &Path, tools: &Tools) -> Result<Self> {
        let place = |what: &str| dir.join(format!("{}.{what}", made.version));
        let side = Self {
            image: place("slot"),
            zck: place("zck"),
            store: place("castr"),
            caibx: place("caibx"),
            made,
        };
        release::unpack(&side.made.index, &File::create(&side.image)?)?;
        let mut zck = tools.zchunk.command("usr/bin/zck")?;
        zck.arg("-o").args([&side.zck, &side.image]);
        exec::run(zck, LIMIT)?;
        let mut casync = tools.casync.command("usr/bin/casync")?;
        casync
            .arg("make")
            .arg(format!("--store={}", side.store.display()));
        casync.args([&side.caibx, &side.image]);
        exec::run(casync, LIMIT)?;
        Ok(side)
    }

    fn remove(&self) -> Result<()> {
        for file in [&self.image, &self.zck, &self.caibx] {
            fs::remove_file(file)?;
        }
        fs::remove_dir_all(&self.store)?;
        self.made.remove()
    }
}

fn measure(
    pair: &Pair,
    base: &Side,
    releases: &Releases,
    tools: &Tools,
    dir: &Path,
    n: &Narrator,
) -> Result<Row> {
    let overlay = config(dir, pair.config)?;
    let made = releases.make(pair.version, &pair.lock, &overlay, Some(&base.made))?;
    let (full, ours) = made.sizes()?;
    let rss = applied(&made, base, releases, dir)?;
    n.say(&format!(
        "      {}: full {}, ours {} MB, {rss:.1} MiB",
        pair.name,
        mb(full),
        mb(ours)
    ));
    let new = Side::of(made, dir, tools)?;
    let timed =
        |name: &'static str, what: &dyn Fn() -> Result<u64>| -> Result<(&'static str, u64)> {
            let begun = Instant::now();
            let bytes = what().context(name)?;
            n.say(&format!(
                "      {name}: {} MB in {:.0} s",
                mb(bytes),
                begun.elapsed().as_secs_f64()
            ));
            Ok((name, bytes))
        };
    let out = dir.join("patch");
    let peers = BTreeMap::from([
        timed("patch_from", &|| {
            let mut zstd = tools.zstd.command("usr/bin/zstd")?;
            zstd.args(["-19", "--long=31", "-q", "-f"]);
            zstd.arg(format!("--patch-from={}", base.image.display()));
            zstd.arg(&new.image).arg("-o").arg(&out);
            length_of(zstd, &out)
        })?,
        timed("xdelta3", &|| {
            let mut xdelta = tools.xdelta3.command("usr/bin/xdelta3")?;
            let window = fs::metadata(&base.image)?.len().next_power_of_two();
            xdelta.args([
                "-e",
                "-9",
                "-S",
                "lzma",
                "-f",
                "-B",
                &window.to_string(),
                "-s",
            ]);
            xdelta.args([&base.image, &new.image, &out]);
            length_of(xdelta, &out)
        })?,
        timed("zchunk", &|| zchunk(tools, base, &new))?,
        timed("casync", &|| {
            let new_chunks = chunks(&new.store)?;
            let old = chunks(&base.store)?;
            let fresh = new_chunks
                .iter()
                .filter(|(name, _)| !old.contains_key(*name));
            Ok(fs::metadata(&new.caibx)?.len() + fresh.map(|(_, len)| len).sum::<u64>())
        })?,
        timed("blocks4k", &|| {
            let (blocks, _) = missing(&base.image, &new.image, BLOCK, &dir.join("missing"))?;
            ensure!(blocks > 0, "nothing is missing");
            packed(tools, &dir.join("missing"), &out)
        })?,
        timed("rauc_adaptive", &|| {
            let (_, all) = missing(
                &base.image,
                &new.image,
                SQUASHFS_BLOCK,
                &dir.join("missing"),
            )?;
            Ok(all * HASH + packed(tools, &dir.join("missing"), &out)?)
        })?,
    ]);
    new.remove()?;
    Ok(Row {
        full,
        ours,
        peers,
        rss,
    })
}

/// Runs a program and gives the length of what it wrote.
fn length_of(command: std::process::Command, out: &Path) -> Result<u64> {
    exec::run(command, LIMIT)?;
    let length = fs::metadata(out)?.len();
    fs::remove_file(out)?;
    Ok(length)
}

/// A file as one frame.
fn packed(tools: &Tools, file: &Path, out: &Path) -> Result<u64> {
    let mut zstd = tools.zstd.command("usr/bin/zstd")?;
    zstd.args(["-12", "-q", "-f"]).arg(file).arg("-o").arg(out);
    let length = length_of(zstd, out)?;
    fs::remove_file(file)?;
    Ok(length)
}

/// `Would download 1234 of 5678 bytes`, as `zck_delta_size` has it.
fn zchunk(tools: &Tools, base: &Side, new: &Side) -> Result<u64> {
    let mut zck = tools.zchunk.command("usr/bin/zck_delta_size")?;
    zck.args([&base.zck, &new.zck]);
    let said = exec::run(zck, LIMIT)?;
    let numbers = said
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok());
    let first = numbers.into_iter().next();
    first.with_context(|| format!("zck_delta_size says {said:?}"))
}

/// The chunks of a casync store, by name.
fn chunks(store: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut out = BTreeMap::new();
    for folder in fs::read_dir(store)? {
        for file in fs::read_dir(folder?.path())? {
            let file = file?;
            out.insert(file.file_name().into(), file.metadata()?.len());
        }
    }
    Ok(out)
}

/// The agent applies the delta to a card that holds the old release; gives the memory it took.
fn applied(made: &Made, base: &Side, releases: &Releases, dir: &Path) -> Result<f64> {
    let site = releases.publish(made)?;
    let card = base
        .made
        .image
        .as_deref()
        .context("the old release has a card")?;
    let place = mirror::fresh(dir.join("board"))?;
    let board = LoopBoard::new(
        card,
        &place,
        loop_board::Running {
            agent: &papers::root().join("target/release/hypriot-agent"),
            board: super::made::BOARD,
            version: &base.made.version,
            trust_root: &releases.trust_root(),
        },
    )?;
    let server = Server::start(&site, 0)?;
    let done = board.install(&format!("{}/", server.url()))?;
    let last = done.said.lines().rev().take(5).collect::<Vec<_>>();
    let from = format!("\"delta_from\":\"{}\"", base.made.version);
    ensure!(
        done.well && last.iter().any(|line| line.contains(&from)),
        "the agent did not install the delta: {last:?}"
    );
    Ok(done.rss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_scripts_read() {
        let row = Row {
            full: 281_860_892,
            ours: 2_310_000,
            peers: PEERS.iter().map(|p| (*p, 2_580_000)).collect(),
            rss: 14.25,
        };
        assert_eq!(
            last_line(&row),
            "bench-delta: full=281.861 ours=2.310 patch_from=2.580 blocks4k=2.580 casync=2.580 rauc_adaptive=2.580 rss=14.2"
        );
        assert_eq!(
            table(&[("x", row)])
                .lines()
                .nth(3)
                .unwrap()
                .matches('|')
                .count(),
            11
        );
    }
}
