//! Makes an image again out of the lock and the record inside it, and compares the two byte for byte.
//!
//! Packages come by their hashes. What is not a package comes from whoever asks, or out of the image where it lies there
//! whole; then it is compared with itself, and said to be. Inputs that are not those on record are named before anything
//! is built. The new image is never written: it is a plan that is read beside the old one. All that is written lies in one
//! folder of the cache and is gone at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;
use hypriot_updater::layout::{self, BLANK, BLANK_MARK};
use hypriot_updater::slot::Slot;

use crate::bake::record::{self, Builder, Hash, Named, Other, Record};
use crate::bake::{AGENT, TRUST_ROOT};
use crate::configure::Mode;
use crate::files;
use crate::formats::erofs::Layout;
use crate::formats::erofs::read::Erofs;
use crate::formats::fat::read::Fat;
use crate::formats::{Blocks, HostFile, Window, pass};
use crate::inputs::board::{self, Board};
use crate::inputs::recipe::Recipe;
use crate::lock::{self, Lock};
use crate::pipeline::artifacts::{self, Forms, Request};
use crate::pipeline::root_tree;
use crate::progress::Progress;
use crate::questions::diff::{self, Diff};
use crate::release::After;
use crate::sha256::Sha256;

#[cfg(test)]
mod tests;

/// What to verify, and with what.
#[derive(Debug)]
pub struct Question {
    /// The image or card.
    pub image: PathBuf,
    /// The slot that is looked into.
    pub slot: Slot,
    /// The agent's program, if not the image's own.
    pub agent: Option<PathBuf>,
    /// The folders laid over the root, in their order.
    pub overlays: Vec<PathBuf>,
    /// `root.json`, if not the image's own.
    pub trust_root: Option<PathBuf>,
    /// `user-data`, if not the image's own.
    pub user_data: Option<PathBuf>,
    /// Blobs, those that are not taken out of the image.
    pub blobs: BTreeMap<String, PathBuf>,
    /// The recipe, which is needed if it lays a folder over the tree.
    pub recipe: Option<Recipe>,
    /// Whether trees that the cache holds already may be used: faster, and proves less.
    pub cached_trees: bool,
}

/// Where an input came from.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Taken {
    /// Which input.
    pub input: String,
    /// From where.
    pub from: String,
}

/// What came out.
#[derive(Debug)]
pub struct Answer {
    /// The record in the image.
    pub record: Record,
    /// Where the inputs came from.
    pub taken: Vec<Taken>,
    /// Inputs that are not those on record: nothing was built then.
    pub others: Vec<Other>,
    /// What differs: the first one is the image.
    pub diff: Diff,
    /// Whether only a slot was compared, because the card was started or the slot is not the first.
    pub slot_only: bool,
}

impl Answer {
    /// Whether image and record belong together.
    pub fn is_verified(&self) -> bool {
        self.others.is_empty() && self.diff.differences.is_empty()
    }
}

/// Files that image and record name, where they lie now.
#[derive(Debug, Default)]
struct Inputs {
    agent: PathBuf,
    trust_root: Option<PathBuf>,
    user_data: Option<PathBuf>,
    blobs: BTreeMap<String, PathBuf>,
    after: Option<After>,
    taken: Vec<Taken>,
}

/// What a root tree is to be made of.
#[derive(Debug)]
pub struct Job<'a> {
    /// The packages.
    pub lock: &'a Lock,
    /// What was asked for.
    pub recipe: &'a Recipe,
    /// The board.
    pub board: &'a Board,
    /// The other inputs.
    pub record: &'a Record,
    /// A folder that is gone at the end.
    pub scratch: &'a Path,
}

/// Makes the image again and compares. `opts` tells where packages are found; its lock and way of running scripts are the
/// image's.
pub fn verify(
    question: &Question,
    opts: &root_tree::Options,
    progress: Progress,
) -> Result<Answer> {
    verify_with(question, &opts.cache, progress, |job| {
        tree(job, opts, question.cached_trees, progress)
    })
}

/// Like [`verify`], with another way to the root tree.
pub fn verify_with(
    question: &Question,
    cache: &Path,
    progress: Progress,
    build: impl FnOnce(&Job<'_>) -> Result<root_tree::RootTree>,
) -> Result<Answer> {
    let disk = HostFile::open(&question.image)?;
    let shown = question.image.display();
    let (record, lock) = papers(&disk, question.slot).with_context(|| format!("{shown}"))?;
    let board = board_in(&disk, question.slot, &record.board)?.without(&record.recipe.exclude);
    let version: semver::Version = record.version.parse().context("the record's version")?;
    let scratch = tempfile::Builder::new()
        .prefix("verify-")
        .tempdir_in(cache)
        .with_context(|| format!("no folder can be made in {}", cache.display()))?;
    let inputs = inputs(question, &disk, &record, &board, scratch.path())?;
    let recipe = record.recipe.attach(question.recipe.as_ref());
    let recipe = recipe.map_err(anyhow::Error::msg)?;
    let others = record::others(
        &record,
        &at_hand(question, &inputs, &record, &board, &recipe)?,
    );
    let slot_only = question.slot != Slot::A || was_started(&disk)?;
    let mut answer = Answer {
        record,
        taken: inputs.taken.clone(),
        others,
        diff: Diff::default(),
        slot_only,
    };
    if !answer.others.is_empty() {
        return Ok(answer);
    }
    let record = &answer.record;
    ensure!(
        u64::try_from(lock.source_date()) == Ok(record.epoch),
        "{shown}: its lock is of another day than its record: one of them was changed"
    );
    let tree = build(&Job {
        lock: &lock,
        recipe: &recipe,
        board: &board,
        record,
        scratch: scratch.path(),
    })?;
    let request = Request {
        board: &board,
        version,
        recipe: &recipe,
        configure: mode(record)?.name(),
        tree: &tree,
        agent: inputs.agent,
        overlays: question.overlays.clone(),
        trust_root: inputs.trust_root,
        update_url: record.update_url.clone(),
        poll_seconds: record.poll_seconds,
        user_data: inputs
            .user_data
            .as_deref()
            .map(artifacts::small)
            .transpose()?,
        blobs: inputs.blobs,
        out: scratch.path().to_owned(),
        image: true,
        level: crate::release::LEVEL,
        bases: Vec::new(),
        after: inputs.after,
        inspect: false,
        forms: Forms::default(),
    };
    answer.diff = compare(&request, &disk, question.slot, slot_only, progress)?;
    Ok(answer)
}

/// The board that an image says it is for.
pub fn board_of(image: &Path, slot: Slot) -> Result<String> {
    let (record, _) =
        papers(&HostFile::open(image)?, slot).with_context(|| format!("{}", image.display()))?;
    Ok(record.board)
}

/// The board of an image: the file in it, if it is an owner's.
fn board_in(disk: &HostFile, slot: Slot, name: &str) -> Result<Board> {
    let root = window(disk, layout::root(slot));
    let own = Erofs::open(&root)?.read(record::BOARD).ok();
    Ok(match own {
        Some(bytes) => board::own(record::BOARD, &String::from_utf8(bytes)?)?,
        None => board::find(name)?,
    })
}

/// Bakes, and reads what was baked beside the image.
fn compare(
    request: &Request<'_>,
    disk: &HostFile,
    slot: Slot,
    slot_only: bool,
    progress: Progress,
) -> Result<Diff> {
    let stage = progress.steps("compare", 1);
    let baked = artifacts::contents(request)?;
    let volumes = artifacts::planned(request, &baked)?;
    let threads = pass::cores();
    let diff = if slot_only {
        let parts = [
            (layout::boot(slot), &volumes.boot),
            (layout::root(slot), &volumes.root),
        ];
        diff::parts(disk, &parts, threads)?
    } else {
        let card = artifacts::card(request, &baked, &volumes)?;
        diff::images(disk, &card, threads)?
    };
    stage.done(&format!("{} differences", diff.differences.len()));
    Ok(diff)
}

/// A card that a board has started is no longer the image: it has an identity and data of its own.
fn was_started(disk: &HostFile) -> Result<bool> {
    Ok(disk.bytes(BLANK, BLANK_MARK.len())? != BLANK_MARK)
}

fn window(disk: &HostFile, part: layout::Partition) -> Window<'_, HostFile> {
    Window {
        of: disk,
        start: part.start,
        len: part.size,
    }
}

/// The record and the lock inside an image.
fn papers(disk: &HostFile, slot: Slot) -> Result<(Record, Lock)> {
    let root = window(disk, layout::root(slot));
    let root = Erofs::open(&root).with_context(|| {
        format!(
            "{} holds no root file system of ours; if this is a .zip or .zst, unpack it first",
            layout::root(slot).name
        )
    })?;
    let read = |path: &str| {
        root.read(path).context(
            "it has no build record: it was made by a hypriot-imagegen that wrote none, and cannot be verified",
        )
    };
    let record = record::parse(&read(record::BUILD)?)
        .with_context(|| format!("its build record /{}", record::BUILD))?;
    let text = String::from_utf8(read(record::LOCK)?).context("its lock is not text")?;
    let lock = lock::parse(&format!("/{} in the image", record::LOCK), &text)?;
    Ok((record, lock))
}

/// Brings together every input that is no package, from the question or out of the image.
fn inputs(
    question: &Question,
    disk: &HostFile,
    record: &Record,
    board: &Board,
    scratch: &Path,
) -> Result<Inputs> {
    let mut inputs = Inputs::default();
    let root = window(disk, layout::root(question.slot));
    let root = Erofs::open(&root)?;
    let mut choose = |input: &str, given: Option<&PathBuf>, own: &dyn Fn() -> Result<Vec<u8>>| {
        let (path, from) = if let Some(path) = given {
            (path.clone(), path.display().to_string())
        } else {
            let path = scratch.join(input.replace('/', "-"));
            let bytes =
                own().with_context(|| format!("{input} cannot be taken out of the image"))?;
            files::replace(&path, &bytes)?;
            (path, "the image itself, not made again".to_owned())
        };
        inputs.taken.push(Taken {
            input: input.to_owned(),
            from,
        });
        Ok::<_, anyhow::Error>(path)
    };
    inputs.agent = choose("agent", question.agent.as_ref(), &|| root.read(AGENT))?;
    if record.trust_root.is_some() || question.trust_root.is_some() {
        let own = || root.read(TRUST_ROOT);
        inputs.trust_root = Some(choose("trust root", question.trust_root.as_ref(), &own)?);
    }
    if record.user_data.is_some() || question.user_data.is_some() {
        let own = || Fat::open(&window(disk, layout::CONFIG))?.read("user-data");
        inputs.user_data = Some(choose("user-data", question.user_data.as_ref(), &own)?);
    }
    let mut names: Vec<&String> = question.blobs.keys().collect();
    names.extend(record.blobs.iter().map(|b| &b.name));
    names.sort_unstable();
    names.dedup();
    let mut blobs = BTreeMap::new();
    for name in names {
        let own = || match record.blobs.iter().find(|b| b.name == *name) {
            Some(blob) => whole_blob(board, blob, disk),
            None => bail!("it is not on record"),
        };
        let path = choose(&format!("blob {name}"), question.blobs.get(name), &own)?;
        blobs.insert(name.clone(), path);
    }
    inputs.blobs = blobs;
    if let Some(laid) = &record.layout {
        let (laid, layout) = (laid.clone(), Layout::of(&root));
        inputs.taken.push(Taken {
            input: format!("layout, after {}", laid.version),
            from: "the image itself, not decided again".to_owned(),
        });
        inputs.after = Some(After { laid, layout });
    }
    for (dir, n) in question.overlays.iter().zip(1..) {
        inputs.taken.push(Taken {
            input: format!("overlay {n}"),
            from: dir.display().to_string(),
        });
    }
    Ok(inputs)
}

/// The user's file that lies in pieces before the first partition, if all of it does.
fn whole_blob(board: &Board, blob: &Named, disk: &HostFile) -> Result<Vec<u8>> {
    ensure!(
        blob.size <= layout::RAW_END,
        "it has {} bytes, more than there is room for",
        blob.size
    );
    let mut bytes = vec![0; usize::try_from(blob.size)?];
    for raw in board.boot.raw.iter().filter(|r| r.file == blob.name) {
        let rest = blob.size.saturating_sub(raw.skip);
        let len = usize::try_from(raw.reserved().map_or(rest, |l| l.min(rest)))?;
        let skip = usize::try_from(raw.skip)?;
        if let Some(room) = bytes.get_mut(skip..skip + len) {
            disk.read_at(raw.offset, room)?;
        }
    }
    ensure!(
        Sha256::of(&bytes) == blob.sha256,
        "not all of it lies on the card unchanged; give the file with --blob {}=FILE",
        blob.name
    );
    Ok(bytes)
}

/// The record of what is at hand: it must be the image's.
fn at_hand(
    question: &Question,
    inputs: &Inputs,
    record: &Record,
    board: &Board,
    recipe: &Recipe,
) -> Result<Record> {
    let hash = |path: &PathBuf| -> Result<Hash> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Hash::of(&bytes))
    };
    let overlays = question
        .overlays
        .iter()
        .map(|dir| artifacts::of_overlay(dir));
    let blobs = inputs
        .blobs
        .iter()
        .map(|(name, path)| Ok(hash(path)?.named(name)));
    Ok(Record {
        builder: Builder::this(board, mode(record)?.name(), root_tree::BUILDER)?,
        recipe_files: artifacts::of_folders(recipe)?,
        agent: record::of_content(&artifacts::agent(&inputs.agent)?)?,
        trust_root: inputs.trust_root.as_ref().map(hash).transpose()?,
        user_data: inputs.user_data.as_ref().map(hash).transpose()?,
        overlays: overlays.collect::<Result<_>>()?,
        blobs: blobs.collect::<Result<_>>()?,
        ..record.clone()
    })
}

fn mode(record: &Record) -> Result<Mode> {
    let name = record.builder.configure.as_str();
    ensure!(
        name != Mode::Quick.name(),
        "it was made with --quick, out of a tree that lay in somebody's cache: nobody can make it again. Build it without"
    );
    let mut known = Mode::value_variants().iter().copied();
    let found = known.find(|m| m.name() == name);
    found.with_context(|| {
        format!("the record says that scripts were run `{name}`, which is no way known here")
    })
}

/// The root tree of the lock, from nothing but its packages unless more is allowed.
fn tree(
    job: &Job<'_>,
    opts: &root_tree::Options,
    cached_trees: bool,
    progress: Progress,
) -> Result<root_tree::RootTree> {
    let lock_file = job.scratch.join("lock.toml");
    files::replace(&lock_file, job.lock.to_text()?.as_bytes())?;
    let mut opts = root_tree::Options {
        lock: Some(lock_file),
        update: false,
        configure: mode(job.record)?,
        ..opts.clone()
    };
    root_tree::fetch(job.recipe, job.board, &opts, progress)?;
    if !cached_trees {
        // Downloads are checked by their hashes wherever they lie; trees must not be those the image was made from.
        let own = job.scratch.join("cache");
        std::fs::create_dir(&own).with_context(|| format!("{}", own.display()))?;
        std::os::unix::fs::symlink(opts.cache.join("sha256"), own.join("sha256"))?;
        opts.cache = own;
    }
    Ok(root_tree::build(job.recipe, job.board, &opts, progress)?)
}
