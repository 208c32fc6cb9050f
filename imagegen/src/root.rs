//! Owns the way from recipe and board to a finished root tree: lock, fetch, unpack, configure, normalise; each stage kept in the
//! cache under a hash of what it depends on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::board::Board;
use crate::configure::{self, ConfigureError, Mode, normalise};
use crate::fetch::{Client, FetchError};
use crate::files;
use crate::lock::{self, Lock, LockError, LockedPackage};
use crate::mirror::{self, Asked, Mirror, MirrorError};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::repo::archive::Sources;
use crate::repo::{RepoError, keyring};
use crate::store::Store;
use crate::unpack::{self, UnpackError};

/// Changes when the same lock would give another tree: part of every key.
const BUILDER: u32 = 2;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// No mirror.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// No lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No packages.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Not unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Not configured.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// The tree lacks something an image needs.
    #[error("the tree has no kernel modules: no package of board {board} brings a kernel")]
    NoKernel {
        /// The board.
        board: String,
    },
    /// Not allowed.
    #[error(
        "a tree with files of several owners can only be made by root; run it as root or with sudo"
    )]
    NotRoot,
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where downloads and stages are kept.
    pub cache: PathBuf,
    /// Mirrors asked for.
    pub mirror: Asked,
    /// Keyring, if not the host's.
    pub keyring: Option<PathBuf>,
    /// Lock file; if none is named, one is kept in the cache.
    pub lock: Option<PathBuf>,
    /// Look for newer packages even if there is a lock.
    pub update: bool,
    /// The mirror is a frozen copy of the archive, which may be past its `Valid-Until`.
    pub frozen: bool,
    /// How scripts are run.
    pub configure: Mode,
    /// This program, which is started again inside the sandbox.
    pub helper: PathBuf,
    /// The time.
    pub now: SystemTime,
}

/// A finished tree. It belongs to the cache: read it, do not write into it.
#[derive(Debug, Clone)]
pub struct RootTree {
    /// The tree.
    pub dir: PathBuf,
    /// The files of the board's boot packages (`usr/lib/u-boot/…`).
    pub boot_dir: PathBuf,
    /// Changes when anything in the trees may have changed.
    pub key: String,
    /// What it is made of.
    pub packages: Vec<LockedPackage>,
    /// Release of its kernel: the name below `usr/lib/modules`.
    pub kernel_version: String,
    /// Newest date of what it is made from, seconds since 1970: no file is younger.
    pub source_date: i64,
    /// The whole lock.
    pub lock: Lock,
}

/// Builds the tree, or takes it from the cache.
pub fn build(
    recipe: &Recipe,
    board: &Board,
    opts: &Options,
    progress: Progress,
) -> Result<RootTree, RootError> {
    let store = Store::open(&opts.cache)?;
    let lock = fetch(recipe, board, opts, progress)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(RootError::NotRoot);
    }
    let trees = store.root().join("trees");
    let boot_dir = stage(
        &store,
        &trees,
        &key("boot", &lock.boot_packages, &lock, &[]),
        |dir| {
            let stage = progress.bytes("boot files", size(&lock.boot_packages));
            unpack::files_only(dir, &store, &lock.boot_packages, &stage)?;
            normalise::run_times(dir, lock.source_date())?;
            Ok(())
        },
    )?;
    let extra = overlay_key(recipe)?;
    let root_key = key(
        "root",
        &lock.packages,
        &lock,
        &[opts.configure.name(), &extra],
    );
    let dir = stage(&store, &trees, &root_key, |dir| {
        make_root(dir, &store, &lock, recipe, opts, progress)
    })?;
    let kernel_version = kernel_version(&dir).ok_or_else(|| RootError::NoKernel {
        board: board.name.clone(),
    })?;
    let both = files::content_key([
        ("root", root_key.as_bytes()),
        ("boot", boot_dir.to_string_lossy().as_bytes()),
    ]);
    Ok(RootTree {
        dir,
        boot_dir,
        key: both,
        packages: lock.packages.clone(),
        kernel_version,
        source_date: lock.source_date(),
        lock,
    })
}

fn make_root(
    dir: &Path,
    store: &Store,
    lock: &Lock,
    recipe: &Recipe,
    opts: &Options,
    progress: Progress,
) -> Result<(), RootError> {
    let tools = match opts.configure {
        Mode::Native if !lock.tools.is_empty() => {
            let trees = store.root().join("trees");
            Some(stage(
                store,
                &trees,
                &key("tools", &lock.tools, lock, &[]),
                |dir| {
                    let stage = progress.bytes("tools", size(&lock.tools));
                    unpack::files_only(dir, store, &lock.tools, &stage)?;
                    stage.done(&format!("{} packages unpacked", lock.tools.len()));
                    Ok(())
                },
            )?)
        }
        _ => None,
    };
    let stage = progress.bytes("unpack", size(&lock.packages));
    let unpacked = unpack::root_tree(dir, store, &lock.packages, &stage)?;
    stage.done(&format!("{} packages", unpacked.len()));

    let stage = progress.steps("configure", unpacked.len() as u64);
    let job = configure::Job {
        root: dir,
        arch: &lock.arch,
        packages: &lock.packages,
        unpacked: &unpacked,
        tools: tools.as_deref(),
        helper: &opts.helper,
        source_date: lock.source_date(),
    };
    configure::run(&job, &stage)?;
    stage.done(&format!(
        "{} packages, {}",
        unpacked.len(),
        opts.configure.name()
    ));

    let stage = progress.steps("normalise", 1);
    if let Some(files) = &recipe.files {
        crate::overlay::copy(files, dir)?;
    }
    let report = normalise::run(dir, lock.source_date())?;
    stage.done(&format!(
        "{} files removed, {} set, {} times",
        report.removed.len(),
        report.changed.len(),
        report.clamped
    ));
    Ok(())
}

/// Makes the lock, or reads it; then brings every package into the store.
pub fn fetch(
    recipe: &Recipe,
    board: &Board,
    opts: &Options,
    progress: Progress,
) -> Result<Lock, RootError> {
    let store = Store::open(&opts.cache)?;
    let client = Client::default();
    let mirror = mirror::find(&opts.mirror, Path::new("/etc/apt"));
    let lock = lock(recipe, board, opts, progress)?;
    let missing: Vec<&LockedPackage> = lock
        .all()
        .filter(|p| store.get(&p.sha256, p.size).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(lock);
    }
    match download(&lock, &mirror?, &store, &client, progress) {
        // The archive has newer versions and dropped those of a lock that nobody asked to keep: look again, once.
        Err(RootError::Fetch(FetchError::NotFound { url, .. }))
            if opts.lock.is_none() && !opts.update =>
        {
            progress.note(&format!("note: {url} is gone, looking for newer packages"));
            let opts = Options {
                update: true,
                ..opts.clone()
            };
            fetch(recipe, board, &opts, progress)
        }
        Err(e) => Err(e),
        Ok(()) => Ok(lock),
    }
}

fn download(
    lock: &Lock,
    mirror: &Mirror,
    store: &Store,
    client: &Client,
    progress: Progress,
) -> Result<(), RootError> {
    let mut wanted = lock.wanted(mirror)?;
    wanted.retain(|w| store.get(&w.sha256, w.size).is_none());
    let bytes: u64 = wanted.iter().map(|w| w.size).sum();
    let stage = progress.bytes("fetch", bytes);
    client.fetch_all(store, &wanted, &stage)?;
    stage.done(&format!(
        "{} packages, {} MB",
        wanted.len(),
        bytes / 1_000_000
    ));
    Ok(())
}

/// Reads the lock, or makes it if there is none or a new one is wanted.
pub fn lock(
    recipe: &Recipe,
    board: &Board,
    opts: &Options,
    progress: Progress,
) -> Result<Lock, RootError> {
    let path = lock_path(recipe, board, opts);
    if !opts.update && path.exists() {
        let lock = lock::load(&path)?;
        match (lock.fits(&path, board, recipe), &opts.lock) {
            (Ok(()), _) => return Ok(lock),
            (Err(e), Some(_)) => return Err(e.into()),
            (Err(_), None) => {}
        }
    }
    let store = Store::open(&opts.cache)?;
    let mirror = mirror::find(&opts.mirror, Path::new("/etc/apt"))?;
    let keyring_path = opts
        .keyring
        .clone()
        .or_else(|| mirror.keyring.clone())
        .unwrap_or_else(keyring::default_path);
    let keyring = keyring::load(&keyring_path).map_err(LockError::from)?;
    let client = Client::default();
    let sources = Sources {
        mirror: &mirror,
        keyring: &keyring,
        store: &store,
        client: &client,
        frozen: opts.frozen,
        now: opts.now,
        progress,
    };
    let stage = progress.steps("lock", 1);
    let lock = lock::make(board, recipe, &sources)?;
    files::replace(&path, lock.to_text()?.as_bytes())?;
    stage.done(&format!(
        "{} packages, {}",
        lock.packages.len(),
        path.display()
    ));
    Ok(lock)
}

/// Where the lock is.
pub fn lock_path(recipe: &Recipe, board: &Board, opts: &Options) -> PathBuf {
    let kept = || {
        opts.cache.join("locks").join(format!(
            "{}-{}-{}.toml",
            board.name,
            recipe.name,
            &lock::request(board, recipe)[..8]
        ))
    };
    opts.lock.clone().unwrap_or_else(kept)
}

fn size(packages: &[LockedPackage]) -> u64 {
    packages.iter().map(|p| p.size).sum()
}

fn key(what: &str, packages: &[LockedPackage], lock: &Lock, more: &[&str]) -> String {
    let list: Vec<&str> = packages
        .iter()
        .flat_map(|p| [p.name.as_str(), p.sha256.as_str()])
        .collect();
    let list = list.join("\n");
    let context = format!(
        "{BUILDER} {} {} {}",
        lock.arch,
        lock.source_date(),
        more.join(" ")
    );
    format!(
        "{what}-{}",
        files::content_key([
            ("packages", list.as_bytes()),
            ("context", context.as_bytes())
        ])
    )
}

fn overlay_key(recipe: &Recipe) -> Result<String, RootError> {
    recipe
        .files
        .as_deref()
        .map_or(Ok(String::new()), |dir| Ok(crate::overlay::key(dir)?))
}

/// A directory of the cache that is made once: complete under its name, or not there.
fn stage(
    store: &Store,
    trees: &Path,
    key: &str,
    make: impl FnOnce(&Path) -> Result<(), RootError>,
) -> Result<PathBuf, RootError> {
    let done = trees.join(key);
    if done.exists() {
        return Ok(done);
    }
    fs::create_dir_all(trees).map_err(|e| files::named(trees, &e))?;
    let _lock = store.lock(key)?;
    // Another process may have made it while we waited.
    if done.exists() {
        return Ok(done);
    }
    let half = trees.join(format!("half-{key}"));
    remove(&half)?;
    fs::create_dir(&half).map_err(|e| files::named(&half, &e))?;
    match make(&half)
        .and_then(|()| Ok(nix::unistd::syncfs(fs::File::open(&half)?).map_err(io::Error::from)?))
    {
        Ok(()) => files::rename(&half, &done)?,
        Err(e) => {
            remove(&half)?;
            return Err(e);
        }
    }
    Ok(done)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(files::named(dir, &e)),
        _ => Ok(()),
    }
}

fn kernel_version(root: &Path) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(root.join("usr/lib/modules"))
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.pop()
}

impl From<RepoError> for RootError {
    fn from(e: RepoError) -> Self {
        Self::Lock(e.into())
    }
}
