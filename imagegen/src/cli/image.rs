//! `hypriot-imagegen image` and `publish`: card images, releases, and their signed repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use hypriot_keys::keyfile;
use hypriot_keys::repo::Repository;
use hypriot_keys::secret::SecretKey;
use hypriot_keys::time::Timestamp;

use super::agent;
use super::packages::BuildArgs;
use crate::arch::Processor;
use crate::configure::Mode;
use crate::image::output;
use crate::inputs::board::{Board, Method};
use crate::inputs::project::Project;
use crate::inputs::recipe;
use crate::inputs::userdata::{Image, Locked};
use crate::lock::plan;
use crate::pipeline::artifacts::{self, Forms, Made, Request};
use crate::pipeline::root_tree;
use crate::release;
use crate::release::After;
use crate::release::publish;
use crate::release::publish::Listed;

/// Build a card image and the update release that belongs to it
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of a command line"
)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen image --board qemu-arm64\n  \
    hypriot-imagegen image --board qemu-arm64 --version 1.1.0 --trust-root repo/root.json --update-url http://10.0.2.2:8000/ --out out\n  \
    hypriot-imagegen image --board odroid-xu4 --blob bl1.bin.hardkernel=~/bl1.bin.hardkernel\n\n\
    Makes the card image, its block map, release index and payload, SBOM and manifest. What is made passes the tests\n\
    of `inspect` before anything is written, unless --no-inspect.\n\
    Exit codes: 0 made; 1 it failed, nothing half-made has a final name; 2 the command line is wrong.")]
pub(super) struct ImageArgs {
    #[command(flatten)]
    build: BuildArgs,
    /// Version of the image (1.2.3); without it, the recipe's.
    #[arg(long, value_parser = crate::inputs::recipe::version)]
    version: Option<semver::Version>,
    /// The agent's program for the board, or its Debian package; without it, it is built, which needs the project's sources.
    #[arg(long)]
    agent: Option<PathBuf>,
    /// A folder to lay over the root, laid out as it is installed; may be given again.
    #[arg(long)]
    overlay: Vec<PathBuf>,
    /// `root.json` of the repository that boards take updates from; without it, the image cannot be updated.
    #[arg(long)]
    trust_root: Option<PathBuf>,
    /// URL of that repository.
    #[arg(long)]
    update_url: Option<String>,
    /// Seconds between two questions for an update.
    #[arg(long)]
    poll_seconds: Option<u64>,
    /// cloud-init user-data for the first partition, checked as cloud-init will read it; without it, one that lets nobody in
    /// until it is edited.
    #[arg(long)]
    user_data: Option<PathBuf>,
    /// Take user-data that lets nobody in: the boards are meant to be closed.
    #[arg(long, requires = "user_data")]
    closed: bool,
    /// A boot loader file that Debian must not distribute, by its name in the board file; may be given again.
    #[arg(long, value_name = "NAME=FILE")]
    blob: Vec<String>,
    /// Make what the image's tests find wrong, too: for images that mean to be different.
    #[arg(long)]
    no_inspect: bool,
    /// Make the release only, no card image.
    #[arg(long)]
    release_only: bool,
    /// Also make the `.img.zip` that `flash` takes, with its checksum.
    #[arg(long)]
    zip: bool,
    /// Also make the `.img.zst`.
    #[arg(long)]
    zst: bool,
    /// zstd level of the payload's segments.
    #[arg(long, default_value_t = release::LEVEL, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Index of a release that a delta is made from, its payload beside it; may be given again. Without it, the last three
    /// releases in --out. Of the first one the layout is kept, too: what did not change since lies where it lay.
    #[arg(long, value_name = "INDEX")]
    delta_from: Vec<PathBuf>,
    /// Make the full payload only, and lay the image out anew.
    #[arg(long, conflicts_with = "delta_from")]
    no_delta: bool,
    /// The folder that receives the files.
    #[arg(long, default_value = "out")]
    out: PathBuf,
}

/// Add a release to a signed repository and publish that as flat files
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hypriot-imagegen publish --repo keys/repo --key keys/release.key --to site out/hypriotos-qemu-arm64-1.1.0.json\n\n\
    The folder given with --to can be served by any web server, or become the assets of a GitHub release.")]
pub(super) struct PublishArgs {
    /// Index of a release, its payload beside it; may be given again for several boards.
    #[arg(required = true)]
    index: Vec<PathBuf>,
    /// Working folder of the repository (`hypriot-keys init` makes one).
    #[arg(long)]
    repo: PathBuf,
    /// A private key file; may be given again.
    #[arg(long, required_unless_present = "stage")]
    key: Vec<PathBuf>,
    /// Sign nothing: leave what is to be signed in the repository's `staged`, for holders elsewhere.
    #[arg(long, conflicts_with = "key")]
    stage: bool,
    /// Take earlier releases of the same boards off the list: --to holds this release alone, as a GitHub release does.
    #[arg(long)]
    replace: bool,
    /// A file with the passphrase of the keys; without it, it is asked for.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// The folder that receives the files to serve.
    #[arg(long)]
    to: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn say(line: &str) {
    println!("{line}");
}

pub(super) fn row(value: &serde_json::Value) -> Result<()> {
    say(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// `image`
pub(super) fn image(args: &ImageArgs) -> Result<()> {
    let (recipe, board, opts, shown) = args.build.read()?;
    let mut version = match &args.version {
        Some(version) => version.clone(),
        None => recipe::version(&recipe.version).map_err(anyhow::Error::msg)?,
    };
    if opts.configure == Mode::Quick {
        // it stands in every file's name, and a board says it in `/health`
        version.build = semver::BuildMetadata::new(Mode::Quick.name())?;
    }
    let blobs = named_files(&args.blob)?;
    // Told now, not after minutes of building.
    if let Some(words) = board.missing(|name| blobs.contains_key(name)) {
        bail!(words);
    }
    let project = Project::find();
    artifacts::folders(&recipe, &args.overlay, 0)?;
    let owners = |image: Option<&dyn Image>| {
        let locked = if args.closed {
            Locked::Meant
        } else {
            Locked::Refused
        };
        let path = args.user_data.as_deref();
        // The second time, with the image at hand, more is known: then it is said.
        let note = |word: &str| {
            if image.is_some() {
                shown.note(&format!("note: {word}"));
            }
        };
        path.map(|p| artifacts::user_data(p, image, locked, note))
            .transpose()
    };
    owners(None)?;
    let lock = root_tree::lock(&recipe, &board, &opts, shown)?;
    if !args.no_inspect {
        plan::suffices(&lock, &board)?;
    }
    let opts = root_tree::Options {
        update: false,
        ..opts
    };
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => build_agent(
            &project.context("the agent can only be built from the project's sources; or give it with --agent FILE")?,
            &board.agent_target,
            &args.out,
        )?,
    };
    let tree = root_tree::build(&recipe, &board, &opts, shown)?;
    let user_data = owners(Some(&tree.root))?;
    let android = board.boot.method == Method::AndroidBootimg;
    if args.trust_root.is_none() && !android {
        shown.note("note: without --trust-root the boards of this image cannot be updated");
    }
    let (bases, after) = earlier(args, &board.name, &version)?;
    let made = artifacts::make(
        &Request {
            board: &board,
            version,
            recipe: &recipe,
            configure: opts.configure.name(),
            tree: &tree,
            agent,
            overlays: args.overlay.clone(),
            trust_root: args.trust_root.clone(),
            update_url: args.update_url.clone(),
            poll_seconds: args.poll_seconds,
            user_data,
            blobs,
            out: args.out.clone(),
            image: !args.release_only,
            level: args.level,
            bases,
            after,
            inspect: !args.no_inspect,
            forms: Forms {
                zip: args.zip,
                zst: args.zst,
            },
        },
        shown,
    )?;
    told(args, &board, &made)
}

/// The releases that deltas are made from, and the one whose layout the root keeps.
fn earlier(
    args: &ImageArgs,
    board: &str,
    version: &semver::Version,
) -> Result<(Vec<PathBuf>, Option<After>)> {
    let bases = if args.no_delta || !args.delta_from.is_empty() {
        args.delta_from.clone()
    } else {
        release::earlier_of(&args.out, board, version, release::DELTAS)
    };
    let after = match bases.first() {
        Some(index) => After::of(index)?,
        None => None,
    };
    Ok((bases, after))
}

/// Says what was made.
fn told(args: &ImageArgs, board: &Board, made: &Made) -> Result<()> {
    let release = &made.release;
    let index = args.out.join(&release.index_name);
    if args.build.json() {
        return row(&serde_json::json!({
            "image": made.image, "files": made.files, "index": index, "payload": release.payload, "payload-bytes": release.index.payloads[0].size,
            "payloads": release.index.payloads,
            "root-bytes": made.root_bytes, "boot-bytes": made.boot_bytes, "segments": release.segments, "reused": release.reused,
            "version": release.index.version.to_string(), "board": board.name, "seconds": made.took.as_secs_f64(),
        }));
    }
    if board.boot.method == Method::AndroidBootimg {
        let stem = release::stem(&board.name, &release.index.version);
        say(&output::bootimg::instructions(&stem));
        return Ok(());
    }
    if let Some(image) = &made.image {
        say(&format!("{}: flash it to a card", image.display()));
    }
    say(&format!(
        "{}: sign and publish it with hypriot-imagegen publish",
        index.display()
    ));
    Ok(())
}

/// What `--blob` was given.
pub(super) fn named_files(all: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let one = |b: &String| {
        let (name, path) = b
            .split_once('=')
            .with_context(|| format!("--blob {b}: it must be NAME=FILE"))?;
        Ok((name.to_owned(), PathBuf::from(path)))
    };
    all.iter().map(one).collect()
}

pub(super) fn build_agent(project: &Project, target: &str, out: &Path) -> Result<PathBuf> {
    let target = Processor::parse(target)
        .with_context(|| format!("the board file's agent-target `{target}` is unknown"))?;
    agent::build_one(project, target, out)
}

/// The private keys in these files.
pub(super) fn signers(files: &[PathBuf], passphrase_file: Option<&Path>) -> Result<Vec<SecretKey>> {
    let one = |path: &PathBuf| {
        let prompt = format!("Passphrase of {}: ", path.display());
        let passphrase = keyfile::passphrase(passphrase_file, &prompt)?;
        Ok(keyfile::load(path, &passphrase)?)
    };
    files.iter().map(one).collect()
}

/// `publish`
pub(super) fn publish(args: &PublishArgs) -> Result<()> {
    let keys = signers(&args.key, args.passphrase_file.as_deref())?;
    let mut repo = Repository::open(&args.repo, now()?)?;
    let listed = if args.replace {
        Listed::Replaced
    } else {
        Listed::Kept
    };
    if args.stage {
        publish::stage(&mut repo, &args.index, listed, &args.to)?;
        return staged(args, &repo);
    }
    let signers: Vec<_> = keys.iter().collect();
    let done = publish::publish(&mut repo, &args.index, listed, &signers, &args.to)?;
    if args.json {
        return row(
            &serde_json::json!({ "to": args.to, "files": done.files, "versions": done.versions, "checked": done.targets_checked }),
        );
    }
    say(&format!(
        "{}: {} files, checked with the client that boards use",
        args.to.display(),
        done.files.len()
    ));
    Ok(())
}

/// What waits for its holders.
fn staged(args: &PublishArgs, repo: &Repository) -> Result<()> {
    let roles = repo.staged()?;
    if args.json {
        return row(&serde_json::json!({ "to": args.to, "staged": roles }));
    }
    let dir = args.repo.join("staged");
    say(&format!(
        "{}: to be signed: {}; then hypriot-keys publish {} {}",
        dir.display(),
        roles.join(", "),
        args.repo.display(),
        args.to.display()
    ));
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outermost place: everything below takes the time as an argument"
)]
pub(super) fn now() -> Result<Timestamp> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("this machine's clock is before 1970")?;
    Ok(Timestamp(since.as_secs()))
}
