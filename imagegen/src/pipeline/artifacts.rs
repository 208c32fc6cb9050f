//! From a root tree and options to the finished files in the output folder: card image, release, and what goes with them.
//! The only place that reads the inputs from disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bake::record::{self, Builder, Hash, Record};
use crate::bake::{self, Baked, Input, Steps};
use crate::elf;
use crate::formats::{Blocks, pass};
use crate::image::card::{self, Card, Volumes};
use crate::image::output;
use crate::imagecheck::{self, UserData};
use crate::inputs::board::{Board, Method};
use crate::inputs::overlay;
use crate::inputs::recipe::Recipe;
use crate::pipeline::root_tree::{BUILDER, RootTree, steps};
use crate::progress::Progress;
use crate::release::{self, After, Release};
use crate::tree::Tree;

mod beside;
mod given;

use beside::beside;
use given::file;
pub use given::{agent, small, user_data};

/// Deflate level: more gains a hundredth and takes twice as long.
const ZIP_LEVEL: u32 = 6;

/// What to make.
#[derive(Debug)]
pub struct Request<'a> {
    /// The board.
    pub board: &'a Board,
    /// Version of the image.
    pub version: semver::Version,
    /// What was asked for.
    pub recipe: &'a Recipe,
    /// How packages' scripts were run, for the record.
    pub configure: &'static str,
    /// The configured tree and its boot files.
    pub tree: &'a RootTree,
    /// The static agent.
    pub agent: PathBuf,
    /// Folders laid over the root, laid out as they are installed.
    pub overlays: Vec<PathBuf>,
    /// `root.json` of the update repository.
    pub trust_root: Option<PathBuf>,
    /// Where boards ask for updates.
    pub update_url: Option<String>,
    /// How often.
    pub poll_seconds: Option<u64>,
    /// `user-data` for the first partition.
    pub user_data: Option<Vec<u8>>,
    /// Blobs of the user, by the name in the board file.
    pub blobs: BTreeMap<String, PathBuf>,
    /// Where the files go.
    pub out: PathBuf,
    /// Whether a card image is wanted, not only the release.
    pub image: bool,
    /// Compression level of the payload.
    pub level: i32,
    /// Indexes of the releases that deltas are made from.
    pub bases: Vec<PathBuf>,
    /// The release whose layout the root keeps: the first of them.
    pub after: Option<After>,
    /// Whether what the image's tests find wrong is not made.
    pub inspect: bool,
    /// Which compressed forms of the card image are wanted besides it.
    pub forms: Forms,
}

/// Compressed forms of a card image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forms {
    /// `.img.zip` and its `.sha256`: what `flash` takes.
    pub zip: bool,
    /// `.img.zst`.
    pub zst: bool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The card image.
    pub image: Option<PathBuf>,
    /// Every file that was made.
    pub files: Vec<PathBuf>,
    /// The release.
    pub release: Release,
    /// Bytes of the root file system.
    pub root_bytes: u64,
    /// Bytes of the boot file system.
    pub boot_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Makes everything.
pub fn make(request: &Request<'_>, progress: Progress) -> Result<Made> {
    let begun = Instant::now();
    std::fs::create_dir_all(&request.out)
        .with_context(|| format!("cannot make the folder {}", request.out.display()))?;
    let (board, version) = (request.board, &request.version);
    let epoch = epoch(request)?;

    let stage = progress.steps("bake", 1);
    let baked = contents(request)?;
    let checked = elf::gate::check(&baked.root, board)?;
    let volumes = planned(request, &baked)?;
    stage.done(&format!(
        "{} entries, {} programs for the board's processor, root {} MiB, boot {} MiB",
        baked.root.len(),
        checked.files,
        volumes.root.size() >> 20,
        volumes.boot.size() >> 20
    ));

    let card = card(request, &baked, &volumes)?;
    if request.inspect {
        inspect(&card, request, progress)?;
    }

    let stage = progress.bytes("image", volumes.root.size() + volumes.boot.size());
    let threads = pass::cores();
    let spec = release::Spec {
        board: &board.name,
        version,
        state_version: request.recipe.state_version.unwrap_or_default(),
        created: epoch,
        level: request.level,
        threads,
        bases: &request.bases,
    };
    let stem = release::stem(&board.name, version);
    let mut made = Vec::new();
    if board.boot.method == Method::AndroidBootimg {
        ensure!(
            request.trust_root.is_none() && request.update_url.is_none(),
            "board {} cannot take updates: its own boot loader knows no slots; leave --trust-root and --update-url out",
            board.name
        );
        made = output::bootimg::write(board, &baked.boot, &stem, &request.out)?;
    }
    let (image, release) = if request.image {
        let to = request.out.join(format!("{stem}.img"));
        let release = card.write_with(&to, threads, |file| {
            release::make(&volumes, &spec, &request.out, |target, at, bytes| {
                stage.add(bytes.len() as u64);
                card::put(file, target, at, bytes)
            })
        })?;
        made.push(to.clone());
        made.extend(forms(
            &card, &release, request, &stem, epoch, threads, progress,
        )?);
        (Some(to), release)
    } else {
        let release = release::make(&volumes, &spec, &request.out, |_, _, bytes| {
            stage.add(bytes.len() as u64);
            Ok(())
        })?;
        (None, release)
    };
    made.extend(beside(request, &baked, &release, &stem, epoch, &made)?);
    stage.done(&format!(
        "{stem}: payload {} MiB, {} of {} segments from earlier releases{}",
        release.index.payloads[0].size >> 20,
        release.reused,
        release.segments,
        deltas(&release)
    ));
    Ok(Made {
        image,
        files: made,
        release,
        root_bytes: volumes.root.size(),
        boot_bytes: volumes.boot.size(),
        took: begun.elapsed(),
    })
}

/// The deltas of a release, for people.
fn deltas(release: &Release) -> String {
    let one = |p: &hypriot_updater::index::PayloadFile| {
        let base = p.base.as_ref()?;
        Some(format!(
            "; from {} {} KiB",
            base.version,
            p.size.div_ceil(1024)
        ))
    };
    release.index.payloads.iter().filter_map(one).collect()
}

fn epoch(request: &Request<'_>) -> Result<u64> {
    u64::try_from(request.tree.source_date).context("the packages are from before 1970")
}

/// The file systems of what was baked, planned.
pub fn planned(request: &Request<'_>, baked: &Baked) -> Result<Volumes> {
    let (board, version) = (&request.board.name, request.version.to_string());
    let before = request.after.as_ref().map(|after| &after.layout);
    card::volumes(baked, board, &version, before)
}

/// The card of what was baked, planned.
pub fn card<'a>(request: &Request<'_>, baked: &Baked, volumes: &'a Volumes) -> Result<Card<'a>> {
    let (board, version) = (&request.board.name, &request.version);
    let signature = card::signature(board, &version.to_string());
    Card::plan(volumes, &baked.raw, signature)
}

/// Runs the image's tests on what is planned: what fails them is never written.
fn inspect(card: &Card<'_>, request: &Request<'_>, progress: Progress) -> Result<()> {
    let stage = progress.steps("inspect", 1);
    let user_data = match request.user_data {
        Some(_) => UserData::Owners,
        None => UserData::Shipped,
    };
    let found = imagecheck::check(card, user_data);
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|f| Some(format!("{}: {}", f.what, f.wrong.as_ref()?)))
        .collect();
    ensure!(
        wrong.is_empty(),
        "{} of {} assertions about the image do not hold, so nothing was written:\n  {}\nCorrect the recipe, the overlay or the \
         board file; if the image means to be different: --no-inspect",
        wrong.len(),
        found.len(),
        wrong.join("\n  ")
    );
    stage.done(&format!("{} assertions hold", found.len()));
    Ok(())
}

/// Reads the inputs and bakes them.
pub fn contents(request: &Request<'_>) -> Result<Baked> {
    let (board, version) = (request.board, &request.version);
    let epoch = epoch(request)?;
    let record = record(request, epoch)?.to_text()?;
    let lock = request.tree.lock.to_text()?;
    let trust_root = request.trust_root.as_deref().map(small).transpose()?;
    let blobs = request
        .blobs
        .iter()
        .map(|(name, path)| Ok((name.clone(), file(path)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    for name in blobs.keys() {
        let known = board
            .boot
            .raw
            .iter()
            .map(|r| r.file.as_str())
            .collect::<Vec<_>>();
        ensure!(
            known.contains(&name.as_str()),
            "board {} has no blob `{name}`; it has: {}",
            board.name,
            known.join(", ")
        );
    }
    let mut overlays = folders(request.recipe, &[], epoch)?;
    let own = bake::custom::folder(&request.tree.root, request.recipe, board, version)?;
    overlays.push((format!("the recipe {}", request.recipe.name), own));
    overlays.extend(folders(&Recipe::default(), &request.overlays, epoch)?);
    let runs = &request.recipe.runs;
    let run = |tree: Tree| {
        let date = request.tree.source_date;
        steps::run(&tree, runs, board.arch, date, &request.tree.workshop)
    };
    bake::bake(Input {
        recipe: request.recipe,
        steps: if runs.is_empty() {
            Steps::None
        } else {
            Steps::Run(&run)
        },
        board,
        version,
        root: request.tree.root.clone(),
        boot_files: &request.tree.boot,
        kernel_release: &request.tree.kernel_version,
        agent: agent(&request.agent)?,
        overlays,
        trust_root: trust_root.as_deref(),
        update_url: request.update_url.as_deref(),
        poll_seconds: request.poll_seconds,
        user_data: request.user_data.as_deref(),
        blobs: &blobs,
        lock: &lock,
        record: &record,
    })
}

/// The record of every input that is no package.
fn record(request: &Request<'_>, epoch: u64) -> Result<Record> {
    let hash = |path: &Path| record::of_content(&file(path)?);
    let overlays = request.overlays.iter().map(|dir| of_overlay(dir));
    let blobs = request
        .blobs
        .iter()
        .map(|(name, path)| Ok(hash(path)?.named(name)));
    Ok(Record {
        format: Record::format(),
        board: request.board.name.clone(),
        version: request.version.to_string(),
        suite: request.tree.lock.suite.clone(),
        epoch,
        kernel: request.tree.kernel_version.clone(),
        update_url: request.update_url.clone(),
        poll_seconds: request.poll_seconds,
        layout: request.after.as_ref().map(|after| after.laid.clone()),
        builder: Builder::this(request.board, request.configure, BUILDER)?,
        recipe: request.recipe.clone(),
        recipe_files: of_folders(request.recipe)?,
        agent: record::of_content(&agent(&request.agent)?)?,
        trust_root: request.trust_root.as_deref().map(hash).transpose()?,
        user_data: request.user_data.as_deref().map(Hash::of),
        overlays: overlays.collect::<Result<_>>()?,
        blobs: blobs.collect::<Result<_>>()?,
    })
}

/// The last part of a folder's path: the rest is this machine's.
fn name_of(dir: &Path) -> Result<String> {
    let whole = dir
        .canonicalize()
        .with_context(|| format!("cannot look at {}", dir.display()))?;
    let name = whole.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// The folders to lay over the tree, read, in their order: the recipe's, then those that were named beside it. What cannot be
/// in an image is refused here, so this is asked before anything is built, too.
pub fn folders(recipe: &Recipe, overlays: &[PathBuf], epoch: u64) -> Result<Vec<(String, Tree)>> {
    let named = |what: &str, dir: &Path| -> Result<(String, Tree)> {
        let name = format!("{what} {}", dir.display());
        Ok((name, overlay::read(dir, epoch)?))
    };
    let own = recipe
        .folders()
        .map(|dir| named("the recipe's folder", dir));
    let more = overlays.iter().map(|dir| named("the overlay", dir));
    own.chain(more).collect()
}

/// The hash of the folders of a recipe and its bases, one on the other.
pub(crate) fn of_folders(recipe: &Recipe) -> Result<Option<Hash>> {
    let mut whole: Option<Tree> = None;
    for dir in recipe.folders() {
        let upper = overlay::read(dir, 0)?;
        match &mut whole {
            None => whole = Some(upper),
            Some(lower) => lower.overlay(&upper)?,
        }
    }
    whole.map(|tree| Hash::of_tree(&tree)).transpose()
}

/// The hash of a folder that is laid over the tree, with the modes it gets there.
pub(crate) fn of_folder(dir: &Path) -> Result<Hash> {
    Hash::of_tree(&overlay::read(dir, 0)?)
}

/// The same, with its name.
pub(crate) fn of_overlay(dir: &Path) -> Result<record::Named> {
    Ok(of_folder(dir)?.named(&name_of(dir)?))
}

/// The compressed forms of a card that are wanted, and its block map.
fn forms(
    card: &Card<'_>,
    release: &Release,
    request: &Request<'_>,
    stem: &str,
    epoch: u64,
    threads: usize,
    progress: Progress,
) -> Result<Vec<PathBuf>> {
    let name = format!("{stem}.img");
    let file = |more: &str| request.out.join(format!("{name}{more}"));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len() >> 20);
    let bmap = request.out.join(format!("{stem}.bmap"));
    output::bmap::write(card, &card.mapped(), threads, &bmap)?;
    let mut made = vec![bmap];
    if request.forms.zip {
        let stage = progress.steps("zip", 1);
        let to = file(".zip");
        output::zip::write(card, &name, epoch, ZIP_LEVEL, threads, &to)?;
        output::zip::checksum(&to)?;
        stage.done(&format!("{} MiB", size(&to)));
        made.extend([to, file(".zip.sha256")]);
    }
    if request.forms.zst {
        let stage = progress.steps("zst", 1);
        let to = file(".zst");
        output::zst::write(card, release.frames(), request.level, threads, &to)?;
        stage.done(&format!("{} MiB", size(&to)));
        made.push(to);
    }
    Ok(made)
}
