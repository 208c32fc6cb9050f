//! The commands about packages and trees: boards, lock, fetch, plan, root; and those the program gives itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use crate::bake::slim;
use crate::configure::Mode;
use crate::inputs::board;
use crate::inputs::mirror::Asked;
use crate::inputs::overlay;
use crate::inputs::recipe;
use crate::inputs::recipe::Recipe;
use crate::lock::Lock;
use crate::pipeline::artifacts;
use crate::pipeline::root_tree::{self, Options};
use crate::progress::Progress;
use crate::tree::Owners;

/// List the boards an image can be built for, and what has been proven on each
#[derive(Debug, Args)]
pub(super) struct BoardsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What every command that builds something must know.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hypriot-imagegen root --board qemu-arm64\n  hypriot-imagegen lock --board qemu-arm64 --lock my.lock.toml --update"
)]
pub(super) struct BuildArgs {
    /// Board to build for (`hypriot-imagegen boards` lists them), or a board file of your own (`./myboard.toml`).
    #[arg(long, short, env = "BOARD")]
    board: Option<String>,
    /// Recipe file; without it, the embedded default.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Lock file to use, or to write; without it, one is kept in the cache.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Look for newer packages although there is a lock.
    #[arg(long)]
    update: bool,
    /// Take packages of another suite than the board's or the recipe's.
    #[arg(long)]
    suite: Option<String>,
    /// The mirror is a frozen copy of the archive: accept it although its dates have expired.
    #[arg(long)]
    frozen: bool,
    /// Keys the archive must be signed with; without it, the Debian archive keyring of this machine.
    #[arg(long)]
    keyring: Option<PathBuf>,
    /// How the packages' scripts are run.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    configure: Mode,
    /// To try things out: install what is new into the nearest tree of the cache. The image says so, and cannot be verified or published.
    #[arg(long, conflicts_with = "configure")]
    quick: bool,
    #[command(flatten)]
    from: MirrorArgs,
}

/// Build the root tree alone and print where it lies, packed: `tar tvf` shows it
#[derive(Debug, Args)]
pub(super) struct RootArgs {
    #[command(flatten)]
    build: BuildArgs,
    /// Also unpack it into this new directory, to look at it or change root to it; owners are kept where we are root.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Where packages and trees come from, and how much is told: what commands without a board or a recipe need too.
#[derive(Debug, Args)]
pub(super) struct MirrorArgs {
    /// Where downloads and finished stages are kept.
    #[arg(long, env = "HYPRIOT_CACHE", default_value = ".cache")]
    cache: PathBuf,
    /// Base URL of the Debian archive; without it, the one this machine's apt uses.
    #[arg(long, env = "HYPRIOT_MIRROR")]
    mirror: Option<String>,
    /// Base URL of the archive of security updates.
    #[arg(long, env = "HYPRIOT_SECURITY_MIRROR")]
    security_mirror: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing but the result.
    #[arg(long, short)]
    quiet: bool,
}

impl MirrorArgs {
    /// Whether the answer shall be JSON.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// The same arguments, for this program started again.
    pub(super) fn again(&self) -> Vec<OsString> {
        let mut out: Vec<OsString> = vec!["--cache".into(), self.cache.clone().into()];
        for (option, value) in [
            ("--mirror", &self.mirror),
            ("--security-mirror", &self.security_mirror),
        ] {
            if let Some(value) = value {
                out.extend([OsString::from(option), value.into()]);
            }
        }
        if self.quiet {
            out.push("--quiet".into());
        }
        out
    }

    /// The options these arguments mean.
    pub(super) fn read(&self) -> anyhow::Result<(Options, Progress)> {
        std::fs::create_dir_all(&self.cache).map_err(|e| crate::files::named(&self.cache, &e))?;
        let opts = Options {
            mirror: Asked {
                main: self.mirror.clone(),
                security: self.security_mirror.clone(),
            },
            ..Options::new(self.cache.canonicalize()?, std::env::current_exe()?, now())
        };
        let progress = if self.quiet {
            Progress::Quiet
        } else {
            Progress::auto()
        };
        Ok((opts, progress))
    }
}

impl BuildArgs {
    /// Whether the answer shall be JSON.
    pub(super) fn json(&self) -> bool {
        self.from.json()
    }

    /// The recipe, the board and the options these arguments mean.
    pub(super) fn read(&self) -> anyhow::Result<(Recipe, board::Board, Options, Progress)> {
        let mut recipe = recipe::load(self.recipe.as_deref())?;
        recipe.suite = self.suite.clone().or(recipe.suite);
        let name = self
            .board
            .as_ref()
            .or(recipe.board.as_ref())
            .ok_or_else(|| {
                anyhow::anyhow!(
                    "which board? name one with --board: {}",
                    board::names().join(", ")
                )
            })?;
        let board = board::named(name)?.without(&recipe.exclude);
        let (defaults, progress) = self.from.read()?;
        let opts = Options {
            keyring: self.keyring.clone(),
            lock: self.lock.clone(),
            update: self.update,
            frozen: self.frozen,
            configure: if self.quick {
                Mode::Quick
            } else {
                self.configure
            },
            ..defaults
        };
        Ok((recipe, board, opts, progress))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outermost place: everything below takes the time as an argument"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn say(line: &str) {
    println!("{line}");
}

/// `boards`
pub(super) fn boards(args: &BoardsArgs) -> anyhow::Result<()> {
    let boards = board::names()
        .iter()
        .map(|n| board::find(n))
        .collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let rows: Vec<_> = boards
            .iter()
            .map(|b| {
                serde_json::json!({
                    "name": b.name, "description": b.description, "arch": b.arch, "suite": b.suite, "proven": b.proven,
                    "needs": b.needs(), "agent-target": b.agent_target, "qemu": b.qemu.as_ref().map(|q| &q.machine),
                })
            })
            .collect();
        say(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for b in &boards {
        say(&format!("{:<14} {:<6} {}", b.name, b.arch, b.description));
        say(&format!("{:<21} proven: {}", "", b.proven));
        for need in b.needs() {
            let at: Vec<String> = need.offsets.iter().map(u64::to_string).collect();
            say(&format!(
                "{:<21} needs from you: {} (to byte {} of the card): {}",
                "",
                need.file,
                at.join(" and "),
                need.from
            ));
        }
    }
    Ok(())
}

/// `lock`
pub(super) fn lock(args: &BuildArgs) -> anyhow::Result<()> {
    let (recipe, board, opts, progress) = args.read()?;
    let lock = root_tree::lock(&recipe, &board, &opts, progress)?;
    summary(args, &lock, &root_tree::lock_path(&recipe, &board, &opts))
}

/// `fetch`
pub(super) fn fetch(args: &BuildArgs) -> anyhow::Result<()> {
    let (recipe, board, opts, progress) = args.read()?;
    let lock = root_tree::fetch(&recipe, &board, &opts, progress)?;
    summary(args, &lock, &root_tree::lock_path(&recipe, &board, &opts))
}

fn summary(args: &BuildArgs, lock: &Lock, path: &std::path::Path) -> anyhow::Result<()> {
    let bytes: u64 = lock.all().map(|p| p.size).sum();
    if args.json() {
        let row = serde_json::json!({"lock": path, "packages": lock.packages.len(), "tools": lock.tools.len(), "bytes": bytes});
        say(&serde_json::to_string_pretty(&row)?);
    } else {
        say(&format!(
            "{}: {} packages, {} tools, {} MB",
            path.display(),
            lock.packages.len(),
            lock.tools.len(),
            bytes / 1_000_000
        ));
    }
    Ok(())
}

/// `plan`
pub(super) fn plan(args: &BuildArgs) -> anyhow::Result<()> {
    let (recipe, board, opts, progress) = args.read()?;
    let lock = root_tree::lock(&recipe, &board, &opts, progress)?;
    let store = crate::fetch::store::Store::open(&opts.cache)?;
    let mut plan = crate::lock::plan::of(&lock, &board, &store);
    if let Some(rules) = slim::Rules::of(&recipe)? {
        match rules.measure(&lock, &store)? {
            Some(left) => plan.leave_out(left),
            None => progress.note("note: what path-exclude saves is told once the packages are here: hypriot-imagegen fetch"),
        }
    }
    if args.json() {
        say(&serde_json::to_string_pretty(&plan)?);
    } else {
        plan.lines().iter().for_each(|l| say(l));
    }
    plan.fits()?;
    Ok(crate::lock::plan::suffices(&lock, &board)?)
}

/// `root`
pub(super) fn root(args: &RootArgs) -> anyhow::Result<()> {
    let (recipe, board, opts, progress) = args.build.read()?;
    let folders = artifacts::folders(&recipe, &[], 0)?;
    let mut tree = root_tree::build(&recipe, &board, &opts, progress)?;
    if let Some(to) = &args.to {
        for (name, folder) in &folders {
            overlay::lay(&mut tree.root, folder, name)?;
        }
        let owners = if nix::unistd::geteuid().is_root() {
            Owners::Kept
        } else {
            progress
                .note("note: only root can keep the owners of files: all of them will be yours");
            Owners::Caller
        };
        tree.unpack(to, owners)?;
    }
    if args.build.json() {
        let row = serde_json::json!({
            "tree": tree.file, "boot": tree.boot_file, "key": tree.key, "kernel": tree.kernel_version, "packages": tree.packages.len(),
            "to": args.to,
        });
        say(&serde_json::to_string_pretty(&row)?);
    } else {
        say(&tree.file.display().to_string());
    }
    Ok(())
}

/// `inside-map PID`
#[derive(Debug, Args)]
pub(super) struct MapArgs {
    /// The process whose ids are mapped.
    pid: u32,
}

/// Maps the ids of a sandbox.
pub(super) fn inside_map(args: &MapArgs) -> anyhow::Result<()> {
    crate::sandbox::map_ids(args.pid)
}
