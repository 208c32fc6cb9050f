//! `hypriot-imagegen diff` and `verify`: what differs between two images, and between an image and what it says of itself.
//!
//! Exit codes of both: 0 equal; 1 different; 2 the question is wrong, or could not be answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use hypriot_updater::slot::Slot;
use serde_json::json;

use super::image::{build_agent, named_files, row, say};
use super::packages::MirrorArgs;
use crate::formats::{HostFile, pass};
use crate::inputs::board;
use crate::inputs::project::Project;
use crate::inputs::recipe;
use crate::questions::diff::{self, Diff, Difference};
use crate::questions::verify::{self, Answer, Question};
use crate::tree::Tree;

/// Differences that are printed unless all are asked for.
const SHOWN: usize = 20;
/// The exit code of what is different.
const DIFFERENT: u8 = 1;
/// The exit code of what could not be answered.
const TROUBLE: u8 = 2;

/// Say what differs between two images or two root trees
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen diff old/hypriotos-qemu-arm64-1.0.0.img new/hypriotos-qemu-arm64-1.0.0.img\n  \
    hypriot-imagegen diff --all --json a.img b.img\n  \
    hypriot-imagegen diff .cache/trees/root-3-….tar tree/\n\n\
    Exit code 0: equal. 1: different. 2: one of them cannot be read.")]
pub(super) struct DiffArgs {
    /// An image; or a root tree, as a folder or packed as the cache holds it.
    a: PathBuf,
    /// What it is compared with.
    b: PathBuf,
    /// Print every difference, not only the first ones.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Make an image again out of the lock and the record inside it, and compare byte for byte
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen verify out/hypriotos-qemu-arm64-1.0.0.img\n  \
    hypriot-imagegen verify out/hypriotos-qemu-arm64-1.0.0.img --rebuild-agent --overlay my-overlay\n  \
    hypriot-imagegen verify card.img --slot b --json\n\n\
    Packages come from the cache or the mirror, by the hashes of the lock. Agent, root of trust, user-data and blobs are taken\n\
    out of the image unless they are given: then nothing is said about how they were made. Of a card that a board has\n\
    started only the slot is compared.\n\n\
    Exit code 0: verified. 1: something differs. 2: it could not be done.")]
pub(super) struct VerifyArgs {
    /// The image.
    image: PathBuf,
    /// The slot that is looked into.
    #[arg(long, value_enum, default_value_t = SlotName::A)]
    slot: SlotName,
    /// The agent's program.
    #[arg(long, conflicts_with = "rebuild_agent")]
    agent: Option<PathBuf>,
    /// Build the agent of this project, instead of taking the image's.
    #[arg(long)]
    rebuild_agent: bool,
    /// A folder laid over the root, as it was given to `image`; may be given again.
    #[arg(long)]
    overlay: Vec<PathBuf>,
    /// `root.json` of the update repository.
    #[arg(long)]
    trust_root: Option<PathBuf>,
    /// cloud-init user-data of the first partition.
    #[arg(long)]
    user_data: Option<PathBuf>,
    /// A boot loader file, as it was given to `image`; may be given again.
    #[arg(long, value_name = "NAME=FILE")]
    blob: Vec<String>,
    /// The recipe's file; needed only if it lays a folder over the tree.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Use trees that the cache holds already: seconds instead of a minute, and they may be those the image was made from.
    #[arg(long)]
    cached_trees: bool,
    #[command(flatten)]
    from: MirrorArgs,
    /// Print every difference, not only the first ones.
    #[arg(long)]
    all: bool,
}

/// A slot on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SlotName {
    /// The first one, which an image fills.
    A,
    /// The other one, which an update may have filled.
    B,
}

/// `diff`
pub(super) fn diff(args: &DiffArgs) -> ExitCode {
    exit(compare(args))
}

/// `verify`
pub(super) fn verify(args: &VerifyArgs) -> ExitCode {
    exit(ask(args))
}

fn exit(equal: Result<bool>) -> ExitCode {
    match equal {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERENT),
        Err(e) => {
            eprintln!("hypriot-imagegen: {e:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn compare(args: &DiffArgs) -> Result<bool> {
    let (a, b) = (&args.a, &args.b);
    let diff = match (tree(a)?, tree(b)?) {
        (Some(a), Some(b)) => diff::trees(&a, &b)?,
        (None, None) => diff::images(&HostFile::open(a)?, &HostFile::open(b)?, pass::cores())?,
        _ => bail!(
            "{} and {}: compare two images or two trees, not one with the other",
            a.display(),
            b.display()
        ),
    };
    if args.json {
        row(&json!({
            "equal": diff.differences.is_empty(), "total": diff.differences.len(),
            "differences": shown(&diff.differences, args.all), "packages": diff.packages,
        }))?;
    } else if diff.differences.is_empty() {
        say("equal");
    } else {
        tell(&diff, args.all);
    }
    Ok(diff.differences.is_empty())
}

/// The root tree that a folder or a packed tree holds; an image is none.
fn tree(path: &Path) -> Result<Option<Tree>> {
    if path.is_dir() {
        return Tree::scan(path, u64::MAX).map(Some);
    }
    let packed = path.extension().is_some_and(|e| e == "tar");
    packed.then(|| Tree::packed(path, u64::MAX)).transpose()
}

fn shown(all: &[Difference], every: bool) -> &[Difference] {
    let end = if every {
        all.len()
    } else {
        all.len().min(SHOWN)
    };
    &all[..end]
}

/// The first difference, then all of them or as many as are read.
fn tell(diff: &Diff, every: bool) {
    let all = &diff.differences;
    let Some(first) = all.first() else { return };
    say(&format!("first difference: {first}"));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for difference in all {
        *counts.entry(&difference.place).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(place, n)| {
            if place.is_empty() {
                n.to_string()
            } else {
                format!("{n} in {place}")
            }
        })
        .collect();
    say(&format!("differences: {}", counts.join(", ")));
    let list = shown(all, every);
    for difference in list {
        say(&format!("  {difference}"));
    }
    if list.len() < all.len() {
        say(&format!("  and {} more (--all)", all.len() - list.len()));
    }
    if !diff.packages.is_empty() {
        say("packages:");
    }
    let none = || "none".to_owned();
    for p in &diff.packages {
        let (a, b) = (
            p.a.clone().unwrap_or_else(none),
            p.b.clone().unwrap_or_else(none),
        );
        say(&format!("  {} {a} -> {b}", p.name));
    }
}

fn ask(args: &VerifyArgs) -> Result<bool> {
    let (opts, progress) = args.from.read()?;
    let project = Project::find();
    let target = || -> Result<String> {
        let board = verify::board_of(&args.image, args.slot())?;
        Ok(board::find(&board)?.agent_target)
    };
    let scratch;
    let agent = if args.rebuild_agent {
        scratch = tempfile::tempdir_in(&opts.cache).context("no folder for the agent")?;
        Some(build_agent(&project?, &target()?, scratch.path())?)
    } else {
        args.agent.clone()
    };
    let question = Question {
        image: args.image.clone(),
        slot: args.slot(),
        agent,
        overlays: args.overlay.clone(),
        trust_root: args.trust_root.clone(),
        user_data: args.user_data.clone(),
        blobs: named_files(&args.blob)?,
        recipe: args
            .recipe
            .as_deref()
            .map(|p| recipe::load(Some(p)))
            .transpose()?,
        cached_trees: args.cached_trees,
    };
    let answer = verify::verify(&question, &opts, progress)?;
    if args.from.json() {
        row(&json!({
            "image": args.image, "verified": answer.is_verified(), "board": answer.record.board, "version": answer.record.version,
            "slot-only": answer.slot_only, "inputs": answer.taken, "other-inputs": answer.others,
            "total": answer.diff.differences.len(), "differences": shown(&answer.diff.differences, args.all),
            "packages": answer.diff.packages,
        }))?;
    } else {
        verdict(&args.image, &answer, args.all);
    }
    Ok(answer.is_verified())
}

fn verdict(image: &Path, answer: &Answer, every: bool) {
    for taken in &answer.taken {
        say(&format!("{}: from {}", taken.input, taken.from));
    }
    let what = if answer.slot_only {
        " (the slot alone)"
    } else {
        ""
    };
    if answer.is_verified() {
        return say(&format!("{}: verified{what}", image.display()));
    }
    for other in &answer.others {
        say(&format!("wrong input: {other}"));
    }
    if answer.others.is_empty() {
        say(&format!(
            "{}: not what its record gives{what}; image | made again:",
            image.display()
        ));
        tell(&answer.diff, every);
    } else {
        say(&format!(
            "{}: not verified, nothing was built",
            image.display()
        ));
    }
}

impl VerifyArgs {
    fn slot(&self) -> Slot {
        match self.slot {
            SlotName::A => Slot::A,
            SlotName::B => Slot::B,
        }
    }
}
