//! `hypriot-imagegen refresh`: the next release out of Debian's own updates, from looking to publishing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hypriot_keys::repo::Repository;
use hypriot_updater::rollout::Rollout;
use semver::Version;
use serde_json::{Value, json};

use super::image::{now, row, say, signers};
use super::packages::MirrorArgs;
use crate::exec;
use crate::fetch::store::Store;
use crate::files;
use crate::inputs::board::{self, Board};
use crate::inputs::recipe;
use crate::lock::{self, Lock};
use crate::pipeline::root_tree::{self, Options};
use crate::progress::Progress;
use crate::refresh::news::News;
use crate::refresh::{Hands, carry_out, last_version, look, next_version};
use crate::release::publish::{self, Listed};

/// Nothing to do: the archive has what the last release has.
const UNCHANGED: u8 = 3;
/// One board's image, its tree from nothing and emulated.
const BUILD: Duration = Duration::from_hours(3);

/// Make, play and publish the next release when Debian has updates; exit code 3 when it has none
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of a command line"
)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen refresh --boards rpi64,rock64 --locks locks --repo repo --dry-run\n  \
    hypriot-imagegen refresh --boards rpi64 --locks locks --repo repo --to public --key release.key --rollout careful.json \\\n      \
    --play ./play.sh -- --trust-root trust/1.root.json --update-url https://boards.example/\n\n\
    LOCKS holds <board>.lock.toml, the lock of the last release; it is replaced when the next one is published.\n\
    What stands after -- is given to `image` as it is. The play is run by the shell once for each board, before anything is\n\
    published, with HYPRIOT_BOARD, HYPRIOT_VERSION, HYPRIOT_LAST_VERSION, HYPRIOT_INDEX (the new release's index) and\n\
    HYPRIOT_IMAGE (the card image, if one was made); another exit code than 0 means that nothing is published.\n\n\
    Exit codes: 0 published, or with --dry-run: there is something to publish; 3 nothing changed; 1 it failed, nothing is\n\
    published; 2 the command line is wrong.")]
pub(super) struct RefreshArgs {
    /// The boards, as `hypriot-imagegen boards` names them.
    #[arg(long, required = true, value_delimiter = ',')]
    boards: Vec<String>,
    /// Folder of the locks of the last release.
    #[arg(long)]
    locks: PathBuf,
    /// Working folder of the repository whose newest release is followed.
    #[arg(long)]
    repo: PathBuf,
    /// Say what is new and why, and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// What plays the new release: updates a virtual or a real board from the last one, and lets it go back.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unplayed")]
    play: Option<String>,
    /// Minutes the play of one board may take.
    #[arg(long, default_value_t = 120)]
    play_minutes: u64,
    /// Publish what nobody has played.
    #[arg(long)]
    unplayed: bool,
    /// A private key file; may be given again.
    #[arg(long)]
    key: Vec<PathBuf>,
    /// Sign nothing: leave what is to be signed in the repository's `staged`, for holders elsewhere.
    #[arg(long, conflicts_with = "key")]
    stage: bool,
    /// A file with the passphrase of the keys; without it, it is asked for.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// How the release reaches the boards: a JSON file of a curve, as for `hypriot-keys add-target`.
    #[arg(long)]
    rollout: Option<PathBuf>,
    /// Take earlier releases of the same boards off the list.
    #[arg(long)]
    replace: bool,
    /// The folder that receives the files to serve.
    #[arg(long, required_unless_present = "dry_run")]
    to: Option<PathBuf>,
    /// The folder that receives images and releases.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Recipe file; without it, the embedded default.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Take packages of another suite than the board's or the recipe's.
    #[arg(long)]
    suite: Option<String>,
    /// Keys the archive must be signed with; without it, the Debian archive keyring of this machine.
    #[arg(long)]
    keyring: Option<PathBuf>,
    #[command(flatten)]
    from: MirrorArgs,
    /// Further options of `image`.
    #[arg(last = true)]
    image: Vec<String>,
}

/// What was found for one board.
struct Next {
    board: Board,
    lock: Lock,
    news: News,
    last: Version,
}

/// What was made for one board.
struct Made {
    board: String,
    index: PathBuf,
    image: Option<String>,
    last: Version,
}

/// `refresh`
pub(super) fn refresh(args: &RefreshArgs) -> Result<ExitCode> {
    let (defaults, progress) = args.from.read()?;
    ensure!(
        args.dry_run || args.unplayed || args.play.is_some(),
        "a release that nobody has played is not published: name what plays it with --play COMMAND, or say --unplayed"
    );
    ensure!(
        args.dry_run || args.stage || !args.key.is_empty(),
        "who signs? name a key with --key FILE, or leave it to holders elsewhere with --stage"
    );
    let rollout = args.rollout.as_deref().map(rollout).transpose()?;
    let found = find(args, &defaults, progress)?;
    let version = found.iter().map(|n| &n.last).max().map(next_version);
    let version = version.context("no board was named")?;
    let news: Vec<&Next> = found.iter().filter(|n| !n.news.is_empty()).collect();
    if news.is_empty() {
        tell(args, &found, None, &[])?;
        return Ok(ExitCode::from(UNCHANGED));
    }
    if args.dry_run {
        tell(args, &found, Some(&version), &[])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut work = Work {
        args,
        news,
        version: &version,
        opts: &defaults,
        progress,
        rollout,
    };
    let made = carry_out(work.news.len(), &mut work)?;
    tell(args, &found, Some(&version), &made)?;
    Ok(ExitCode::SUCCESS)
}

/// The hands that do it for real.
struct Work<'a> {
    args: &'a RefreshArgs,
    news: Vec<&'a Next>,
    version: &'a Version,
    opts: &'a Options,
    progress: Progress,
    rollout: Option<Value>,
}

impl Hands for Work<'_> {
    type Made = Made;

    fn make(&mut self, n: usize) -> Result<Made> {
        build(
            self.args,
            self.news[n],
            self.version,
            self.opts,
            self.progress,
        )
    }

    fn play(&mut self, made: &Made) -> Result<()> {
        play(self.args, made, self.version, self.progress)
    }

    fn publish(&mut self, made: &[Made]) -> Result<()> {
        publish_all(self.args, made, self.rollout.as_ref())
    }

    fn remember(&mut self, n: usize) -> Result<()> {
        let next = self.news[n];
        let path = lock_path(self.args, &next.board.name);
        Ok(files::replace(&path, next.lock.to_text()?.as_bytes())?)
    }
}

fn rollout(path: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = serde_json::from_str(&text).map_err(anyhow::Error::from);
    let curve = value.and_then(|value| Ok(Rollout::parse_new(&value)?));
    let curve = curve.with_context(|| format!("{} is no rollout", path.display()))?;
    Ok(serde_json::to_value(curve)?)
}

fn lock_path(args: &RefreshArgs, board: &str) -> PathBuf {
    args.locks.join(format!("{board}.lock.toml"))
}

/// Looks for every board what the archive has that its last release has not.
fn find(args: &RefreshArgs, defaults: &Options, progress: Progress) -> Result<Vec<Next>> {
    let targets = Repository::open(&args.repo, now()?)?.targets()?;
    let mut recipe = recipe::load(args.recipe.as_deref())?;
    recipe.suite = args.suite.clone().or(recipe.suite);
    let store = Store::open(&defaults.cache)?;
    let client = root_tree::client();
    let mut found = Vec::new();
    for name in &args.boards {
        let board = board::find(name)?.without(&recipe.exclude);
        let path = lock_path(args, &board.name);
        ensure!(
            path.exists(),
            "{} is not there: the lock that the last release of {name} was made with belongs there (`lock --lock` writes one)",
            path.display()
        );
        let old = lock::load(&path)?;
        let last = last_version(&targets, &board.name).with_context(|| {
            format!(
                "{} lists no release of {name}; publish the first one with `hypriot-imagegen publish`",
                args.repo.display()
            )
        })?;
        let opts = Options {
            keyring: args.keyring.clone(),
            lock: Some(fresh_path(defaults, &board.name)),
            update: true,
            ..defaults.clone()
        };
        let lock = root_tree::lock(&recipe, &board, &opts, progress)?;
        let mirror = root_tree::mirror(&opts, &client)?;
        let news = look(&old, &lock, &mirror, &store, &client, progress)
            .with_context(|| format!("board {name}"))?;
        found.push(Next {
            board,
            lock,
            news,
            last,
        });
    }
    Ok(found)
}

/// Where the new lock lies until its release is published.
fn fresh_path(opts: &Options, board: &str) -> PathBuf {
    opts.cache
        .join("locks")
        .join(format!("refresh-{board}.lock.toml"))
}

/// Builds one board's release by the command that an owner would give: what stands after `--` means there what it means here.
fn build(
    args: &RefreshArgs,
    next: &Next,
    version: &Version,
    opts: &Options,
    progress: Progress,
) -> Result<Made> {
    let name = &next.board.name;
    progress.note(&format!("{name}: making {version}"));
    let mut cmd = exec::tool(&opts.helper)
        .args([
            "image",
            "--json",
            "--board",
            name,
            "--version",
            &version.to_string(),
        ])
        .arg("--lock")
        .arg(fresh_path(opts, name))
        .arg("--out")
        .arg(&args.out)
        .args(args.from.again());
    for (option, value) in [
        ("--recipe", args.recipe.clone()),
        ("--suite", args.suite.as_ref().map(PathBuf::from)),
        ("--keyring", args.keyring.clone()),
    ] {
        if let Some(value) = value {
            cmd = cmd.arg(option).arg(value);
        }
    }
    let done = cmd
        .args(&args.image)
        .timeout(BUILD)
        .show_stderr()
        .run()
        .with_context(|| format!("board {name}: {version} was not made"))?;
    let answer: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| format!("board {name}: the answer of `image`"))?;
    let index = answer["index"].as_str().context("`image` names no index")?;
    Ok(Made {
        board: name.clone(),
        index: PathBuf::from(index),
        image: answer["image"].as_str().map(str::to_owned),
        last: next.last.clone(),
    })
}

fn play(args: &RefreshArgs, made: &Made, version: &Version, progress: Progress) -> Result<()> {
    let Some(command) = &args.play else {
        return Ok(());
    };
    progress.note(&format!("{}: playing {version}", made.board));
    let cmd = exec::tool("sh")
        .args(["-c", command])
        .env("HYPRIOT_BOARD", &made.board)
        .env("HYPRIOT_VERSION", version.to_string())
        .env("HYPRIOT_LAST_VERSION", made.last.to_string())
        .env("HYPRIOT_INDEX", &made.index)
        .env("HYPRIOT_IMAGE", made.image.as_deref().unwrap_or_default())
        .timeout(Duration::from_secs(args.play_minutes * 60));
    if let Err(e) = cmd.run_telling(|line| progress.note(line)) {
        bail!(
            "board {}: {version} failed where it was played, so no board gets it: {e}",
            made.board
        );
    }
    Ok(())
}

fn publish_all(args: &RefreshArgs, made: &[Made], rollout: Option<&Value>) -> Result<()> {
    let to = args.to.as_deref().context("--to is missing")?;
    let keys = signers(&args.key, args.passphrase_file.as_deref())?;
    let mut repo = Repository::open(&args.repo, now()?)?;
    // What is listed, how it is rolled out and what is signed belong together.
    let _held = repo.hold()?;
    let listed = if args.replace {
        Listed::Replaced
    } else {
        Listed::Kept
    };
    let indexes: Vec<PathBuf> = made.iter().map(|m| m.index.clone()).collect();
    publish::stage(&mut repo, &indexes, listed, to)?;
    if let Some(rollout) = rollout {
        for (name, mut custom) in repo.targets()? {
            if indexes.iter().any(|i| i.ends_with(&name)) {
                custom["rollout"] = rollout.clone();
                repo.set_custom("targets", &name, custom)?;
            }
        }
    }
    if !args.stage {
        repo.publish(to, &keys.iter().collect::<Vec<_>>())?;
    }
    Ok(())
}

/// What is new, and what became of it.
fn tell(
    args: &RefreshArgs,
    found: &[Next],
    version: Option<&Version>,
    made: &[Made],
) -> Result<()> {
    if args.from.json() {
        let boards: Vec<Value> = found
            .iter()
            .map(|n| {
                let index = made
                    .iter()
                    .find(|m| m.board == n.board.name)
                    .map(|m| &m.index);
                json!({ "board": n.board.name, "last": n.last, "news": n.news, "index": index })
            })
            .collect();
        return row(
            &json!({ "version": version, "boards": boards, "staged": args.stage && !made.is_empty() }),
        );
    }
    for next in found {
        for line in lines(next) {
            say(&line);
        }
    }
    match (version, made.is_empty()) {
        (None, _) => say("nothing changed"),
        (Some(version), true) => say(&format!("would become {version}")),
        (Some(version), false) if args.stage => say(&format!(
            "{version}: waits in {} for its signatures",
            args.repo.join("staged").display()
        )),
        (Some(version), false) => say(&format!("{version}: published")),
    }
    Ok(())
}

/// One board's news for people: what matters first.
fn lines(next: &Next) -> Vec<String> {
    let news = &next.news;
    let mut out = vec![format!(
        "{} {}: {} source packages changed, {} vulnerabilities closed, {} packages new, {} gone",
        next.board.name,
        next.last,
        news.changed.len(),
        news.cves().len(),
        news.added.len(),
        news.removed.len()
    )];
    for c in &news.changed {
        let archive = if c.is_security() {
            "security"
        } else {
            "point release or stable updates"
        };
        let urgency = c.urgency.as_ref().map(|u| format!(", urgency {u}"));
        out.push(format!(
            "  {} {} -> {} ({archive}{})",
            c.source,
            c.from,
            c.to,
            urgency.unwrap_or_default()
        ));
        if let Some(first) = &c.first {
            out.push(format!("      {first}"));
        }
        if !c.cves.is_empty() {
            out.push(format!("      {}", c.cves.join(" ")));
        }
    }
    for (word, names) in [("new", &news.added), ("gone", &news.removed)] {
        if !names.is_empty() {
            out.push(format!("  {word}: {}", names.join(" ")));
        }
    }
    out
}
