//! The root tree of a board from packages that are already here: `hypriot-imagegen root`, mmdebstrap under QEMU user emulation,
//! and mmdebstrap for this machine's own architecture as the limit. The trees must hold the same packages, or nothing is told.
//!
//! A second recipe brings servers whose scripts do more than the default's; it is measured beside the limit alone, since under
//! emulation it takes half an hour and nobody doubts the answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::configure::{Mode, emulator};
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::inputs::board::{self, Board};
use hypriot_imagegen::inputs::recipe::{self, Recipe};
use hypriot_imagegen::lock::Lock;
use hypriot_imagegen::pipeline::root_tree::{self, Options};
use hypriot_imagegen::progress::Progress;
use hypriot_imagegen::sandbox::{self, Foreign, Guest, Plan, Step, Sync};
use hypriot_imagegen::tree::Tree;

use super::mirror;
use crate::narrate::Narrator;
use crate::{exec, papers, peers};

/// The board that is measured, and the architecture of its twin.
const BOARD: &str = "qemu-arm64";
const NATIVE: Arch = Arch::Amd64;
/// The second recipe.
const SERVERS: &str = "tests/bench/servers.toml";
/// Nobody waits longer than this for one tree.
const LIMIT: Duration = Duration::from_hours(2);

/// What is measured: a recipe, and its packages for the board and for the board's twin.
struct Job {
    /// The recipe's file, where it is not the default.
    path: Option<PathBuf>,
    recipe: Recipe,
    lock: Lock,
    twin_lock: Lock,
}

/// Measures, and prints `bench-image: …` as the last line.
pub fn run() -> Result<()> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the limit is a native {NATIVE} tree: run it on an {NATIVE} machine"
    );
    let mut n = Narrator::new(6);
    let place = Place::new()?;
    let board = board::find(BOARD)?;
    let (default, servers) = n.step(
        "Deciding on the packages and fetching them; no clock runs yet",
        |n| {
            let servers = papers::root().join(SERVERS);
            Ok::<_, anyhow::Error>((
                place.job(n, None, &board)?,
                place.job(n, Some(servers), &board)?,
            ))
        },
    )?;
    let ours = n.step("hypriot-imagegen root, from nothing", |_| {
        place.ours(&default, &board)
    })?;
    let native = n.step(&format!("mmdebstrap for {NATIVE}, the limit"), |n| {
        place.mmdebstrap(n, &default.twin_lock)
    })?;
    let ours2 = n.step("hypriot-imagegen root, the recipe with servers", |_| {
        place.ours(&servers, &board)
    })?;
    let words = format!("mmdebstrap for {NATIVE}, the recipe with servers");
    let native2 = n.step(&words, |n| place.mmdebstrap(n, &servers.twin_lock))?;
    let words = format!("mmdebstrap for {} under QEMU", default.lock.arch);
    let emulated = n.step(&words, |n| place.mmdebstrap(n, &default.lock))?;
    let seconds = |d: Duration| format!("{:.1}", d.as_secs_f64());
    n.say(&format!(
        "bench-image: ours={} mmdebstrap={} native={} ratio={:.1} ours2={} native2={}",
        seconds(ours),
        seconds(emulated),
        seconds(native),
        emulated.as_secs_f64() / ours.as_secs_f64(),
        seconds(ours2),
        seconds(native2),
    ));
    Ok(())
}

/// The same system for this machine's own architecture: it only has to hold the same packages, nobody boots it.
fn twin(board: &Board) -> Board {
    let mut twin = board.clone();
    twin.name = format!("{}-as-{NATIVE}", board.name);
    twin.arch = NATIVE;
    for package in &mut twin.packages {
        if let Some(stem) = package.strip_suffix(board.arch.name()) {
            *package = format!("{stem}{NATIVE}");
        }
    }
    twin.boot_packages.clear();
    twin
}

/// The folder that everything is made in, on one file system.
struct Place {
    cache: PathBuf,
    dir: PathBuf,
    helper: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let cache = std::env::var_os("HYPRIOT_CACHE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"),
            PathBuf::from,
        );
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let cache = cache.canonicalize()?;
        // The sandbox has empty ones of its own.
        for hidden in ["/tmp", "/run", "/dev", "/proc"] {
            ensure!(
                !cache.starts_with(hidden),
                "the cache {} lies below {hidden}, where mmdebstrap's sandbox cannot see it: name another with HYPRIOT_CACHE",
                cache.display()
            );
        }
        Ok(Self {
            dir: mirror::fresh(cache.join("bench"))?,
            cache,
            helper: exec::workspace_program("hypriot-imagegen")?,
        })
    }

    /// Decides on a recipe's packages, and lays them into archives that mmdebstrap can read.
    fn job(&self, n: &Narrator, path: Option<PathBuf>, board: &Board) -> Result<Job> {
        let recipe = recipe::load(path.as_deref())?;
        let packages = |board: &Board| -> Result<Lock> {
            let lock = root_tree::fetch(&recipe, board, &self.options(), Progress::auto())?;
            let dir = self.archive(&lock);
            mirror::make(&lock, &Store::open(&self.cache)?, &dir)?;
            Ok(lock)
        };
        let (lock, twin_lock) = (packages(board)?, packages(&twin(board))?);
        n.say(&format!(
            "      {}: {} packages for {}, {} for {}",
            recipe.name,
            lock.packages.len(),
            lock.arch,
            twin_lock.packages.len(),
            twin_lock.arch
        ));
        Ok(Job {
            path,
            recipe,
            lock,
            twin_lock,
        })
    }

    fn options(&self) -> Options {
        Options {
            configure: Mode::Native,
            helper: self.helper.clone(),
            ..peers::options(&self.cache)
        }
    }

    fn archive(&self, lock: &Lock) -> PathBuf {
        // two recipes, two requests
        let request = &lock.request[..8];
        self.dir.join(format!("archive-{request}-{}", lock.arch))
    }

    /// Our tree, from a cache that holds the downloads and nothing else.
    fn ours(&self, job: &Job, board: &Board) -> Result<Duration> {
        let cache = self.dir.join("ours");
        fs::create_dir_all(&cache)?;
        std::os::unix::fs::symlink(self.cache.join("sha256"), cache.join("sha256"))?;
        let mut imagegen = exec::command(&self.helper);
        imagegen
            .args(["root", "--configure", "native", "--board", BOARD, "--lock"])
            .arg(root_tree::lock_path(&job.recipe, board, &self.options()))
            .arg("--cache")
            .arg(&cache);
        if let Some(path) = &job.path {
            imagegen.arg("--recipe").arg(path);
        }
        let begun = Instant::now();
        let answer = exec::run_shown(imagegen, LIMIT)?;
        let took = begun.elapsed();
        let records = cache.join("records");
        let tree = Tree::packed(Path::new(answer.trim()), u64::MAX)?;
        files::replace(&records.join("status"), &tree.read("var/lib/dpkg/status")?)?;
        same_packages(&records, &job.lock)?;
        mirror::fresh(cache)?;
        Ok(took)
    }

    /// A sandbox that shows this machine's programs and settings, to read, and the cache, to write; all else is empty or its own.
    fn world(&self, foreign: Option<Foreign>, steps: Vec<Step>) -> Result<Plan> {
        let root = mirror::fresh(self.dir.join("world"))?;
        for dir in ["proc", "dev", "run", "tmp", "root"] {
            fs::create_dir_all(root.join(dir))?;
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link))?;
        }
        let seen = |dir: &Path| -> Result<(PathBuf, PathBuf)> {
            fs::create_dir_all(root.join(dir))?;
            Ok((Path::new("/").join(dir), dir.to_owned()))
        };
        let covers = ["usr", "etc", "var", "sys"].map(|dir| seen(Path::new(dir)));
        Ok(Plan {
            covers: covers.into_iter().collect::<Result<_>>()?,
            guest: Guest::Builder {
                shared: vec![seen(self.cache.strip_prefix("/")?)?],
            },
            root,
            foreign,
            sync: Sync::Kept,
            steps,
        })
    }

    /// mmdebstrap's tree, from the archive in a directory. It runs as root of a sandbox with a table of foreign executables of its
    /// own, so that this machine's need not know the architecture, and with no network.
    fn mmdebstrap(&self, n: &Narrator, lock: &Lock) -> Result<Duration> {
        let to = mirror::fresh(self.dir.join(format!("mmdebstrap-{}", lock.arch)))?;
        let names: Vec<&str> = lock.packages.iter().map(|p| p.name.as_str()).collect();
        let foreign = (lock.arch != NATIVE).then(|| emulator(lock.arch));
        let argv = [
            "mmdebstrap".to_owned(),
            "--mode=root".to_owned(),
            "--variant=apt".to_owned(),
            format!("--architectures={}", lock.arch),
            format!("--include={}", names.join(",")),
            lock.suite.clone(),
            to.display().to_string(),
            mirror::source(&self.archive(lock)),
        ];
        let step = Step {
            what: "mmdebstrap".to_owned(),
            argv: argv.to_vec(),
            env: Vec::new(),
            seconds: LIMIT.as_secs(),
        };
        let plan = self.world(foreign.transpose()?, vec![step])?;
        let mut last = Vec::new();
        let begun = Instant::now();
        let ran = sandbox::run(&self.helper, &plan, LIMIT, |line| {
            n.now(line);
            last.push(line.to_owned());
            if last.len() > 200 {
                last.drain(..150);
            }
        });
        let took = begun.elapsed();
        if let Err(e) = ran {
            bail!("mmdebstrap: {e}\n{}", last.join("\n"));
        }
        same_packages(&to.join("var/lib/dpkg"), lock)?;
        mirror::fresh(to)?;
        Ok(took)
    }
}

/// A race over different distances proves nothing.
fn same_packages(records: &Path, lock: &Lock) -> Result<()> {
    let (is, shall) = (mirror::installed(records)?, mirror::wanted(lock));
    let only = |a: &[String], b: &[String]| {
        let rest: Vec<_> = a.iter().filter(|p| !b.contains(p)).cloned().collect();
        rest.join(", ")
    };
    ensure!(
        is == shall,
        "{} speaks of other packages than the lock: only there: {}; only in the lock: {}",
        records.display(),
        only(&is, &shall),
        only(&shall, &is)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twin_asks_for_the_same_system_with_its_own_kernel() {
        let board = board::find(BOARD).expect("the board is known");
        let twin = twin(&board);
        assert_eq!(
            (board.packages, twin.packages),
            (
                vec!["linux-image-arm64".to_owned()],
                vec!["linux-image-amd64".to_owned()]
            )
        );
        assert_eq!(twin.arch, NATIVE);
    }
}
