//! Owns the way from recipe and board to a finished root tree: lock, fetch, unpack, configure, normalise; each stage kept in the
//! cache under a hash of what it depends on.

pub(crate) mod make;
mod quick;
pub(crate) mod stage;
pub mod steps;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::configure::{ConfigureError, Mode};
use crate::fetch::store::Store;
use crate::fetch::{Client, FetchError};
use crate::files;
use crate::inputs::board::Board;
use crate::inputs::mirror::{self, Apt, Asked, Mirror, MirrorError};
use crate::inputs::recipe::Recipe;
use crate::lock::local;
use crate::lock::plan::{self, TooBig};
use crate::lock::repo::RepoError;
use crate::lock::repo::archive::Sources;
use crate::lock::repo::keyring::{self, Keyring};
use crate::lock::{self, Lock, LockError, LockedPackage};
use crate::progress::Progress;
use crate::sandbox::errand::{self, ErrandError};
use crate::sandbox::ids;
use crate::tree::{Owners, Tree};
use crate::unpack::UnpackError;

use make::{Job, What};
pub use steps::Workshop;

/// Changes when the same lock would give another tree: part of every key.
pub(crate) const BUILDER: u32 = 7;

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
    /// They will not fit.
    #[error(transparent)]
    TooBig(#[from] TooBig),
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
    /// Nobody said which of them starts.
    #[error(
        "the tree has {} kernels: {}. Leave out the packages of all but one: exclude = [\"linux-image-…\"] leaves out the board's own, too",
        .0.len(), .0.join(", ")
    )]
    Kernels(Vec<String>),
    /// A packed tree cannot be read, or a directory not be packed.
    #[error("{0:#}")]
    Tree(anyhow::Error),
    /// It shall be unpacked where something is.
    #[error("{0} is there already; name a new directory")]
    Exists(PathBuf),
    /// It could not be made as root of a user namespace.
    #[error(transparent)]
    Errand(#[from] ErrandError),
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

impl Options {
    /// What a command means that says nothing: this machine's mirror, Debian's keys, the kept lock, scripts run as they can be.
    pub fn new(cache: PathBuf, helper: PathBuf, now: SystemTime) -> Self {
        Self {
            cache,
            mirror: Asked::default(),
            keyring: None,
            lock: None,
            update: false,
            frozen: false,
            configure: Mode::Auto,
            helper,
            now,
        }
    }
}

/// A finished tree and what goes with it.
#[derive(Debug, Clone)]
pub struct RootTree {
    /// The tree.
    pub root: Tree,
    /// The files of the board's boot packages (`usr/lib/u-boot/…`).
    pub boot: Tree,
    /// The file of the cache that holds the tree.
    pub file: PathBuf,
    /// The one that holds the boot files.
    pub boot_file: PathBuf,
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
    /// Where it was made, for the steps of a recipe.
    pub workshop: Workshop,
}

impl RootTree {
    /// Unpacks the tree into a new directory: all of it is there, or the directory is not.
    pub fn unpack(&self, to: &Path, owners: Owners) -> Result<(), RootError> {
        if std::fs::symlink_metadata(to).is_ok() {
            return Err(RootError::Exists(to.to_owned()));
        }
        let parent = to.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let half = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempdir_in(parent)
            .map_err(|e| files::named(parent, &e))?;
        self.root
            .spread(half.path(), owners)
            .map_err(RootError::Tree)?;
        Ok(files::rename(&half.keep(), to)?)
    }
}

/// Builds the tree, or takes it from the cache.
pub fn build(
    recipe: &Recipe,
    board: &Board,
    opts: &Options,
    progress: Progress,
) -> Result<RootTree, RootError> {
    let job = |what, lock: &Lock| Job {
        what,
        cache: opts.cache.clone(),
        lock: lock.clone(),
        configure: opts.configure,
        helper: opts.helper.clone(),
        progress,
    };
    let planned = lock(recipe, board, opts, progress)?;
    for what in [What::Boot, What::Root] {
        // Whoever cannot make trees may use those that are there, and learns it before he downloads anything.
        if !job(what, &planned).path().exists() {
            ids::check().map_err(ErrandError::from)?;
        }
    }
    let decided = Options {
        update: false,
        ..opts.clone()
    };
    let lock = fetch(recipe, board, &decided, progress)?;
    let boot_file = tree(&job(What::Boot, &lock))?;
    let file = tree(&job(What::Root, &lock))?;
    let epoch = u64::try_from(lock.source_date()).unwrap_or(0);
    let root = Tree::packed(&file, epoch).map_err(RootError::Tree)?;
    let boot = Tree::packed(&boot_file, epoch).map_err(RootError::Tree)?;
    let kernel_version = kernel_version(&root, board)?;
    let names = [&file, &boot_file].map(|f| f.file_name().unwrap_or_default().as_encoded_bytes());
    let key = files::content_key([("root", names[0]), ("boot", names[1])]);
    Ok(RootTree {
        root,
        boot,
        key,
        file,
        boot_file,
        packages: lock.packages.clone(),
        kernel_version,
        source_date: lock.source_date(),
        lock,
        workshop: Workshop {
            cache: opts.cache.clone(),
            helper: opts.helper.clone(),
            progress,
        },
    })
}

/// The packed tree of a job, made as root of a user namespace where we are not root.
fn tree(job: &Job) -> Result<PathBuf, RootError> {
    let path = job.path();
    if path.exists() {
        return Ok(path);
    }
    if nix::unistd::geteuid().is_root() {
        job.run()?;
    } else {
        errand::run(&job.helper, job)?;
    }
    Ok(path)
}

/// Makes the lock, or reads it; then brings every package into the store.
pub fn fetch(
    recipe: &Recipe,
    board: &Board,
    opts: &Options,
    progress: Progress,
) -> Result<Lock, RootError> {
    let store = Store::open(&opts.cache)?;
    let client = client();
    let lock = lock(recipe, board, opts, progress)?;
    lock.has_own(&store)?;
    plan::of(&lock, board, &store).fits()?;
    let missing: Vec<&LockedPackage> = lock
        .all()
        .filter(|p| store.get(p.sha256, p.size).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(lock);
    }
    match download(&lock, &mirror(opts, &client)?, &store, &client, progress) {
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
    wanted.retain(|w| store.get(w.sha256, w.size).is_none());
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
    local::keep(recipe, &Store::open(&opts.cache)?)?;
    if !opts.update && path.exists() {
        let lock = lock::load(&path)?;
        match (lock.fits(&path, board, recipe), &opts.lock) {
            (Ok(()), _) => return Ok(lock),
            (Err(e), Some(_)) => return Err(e.into()),
            (Err(_), None) => {}
        }
    }
    let store = Store::open(&opts.cache)?;
    let client = client();
    let mirror = mirror(opts, &client)?;
    let keyring = keys(opts)?;
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

/// The network as this machine reaches it.
pub fn client() -> Client {
    match Apt::default().proxy() {
        Some((proxy, whose)) => Client::default().through(&proxy, whose),
        None => Client::default(),
    }
}

/// Whom to believe: the keyring that was named, else Debian's, and nobody whom the machine's apt sources name.
fn keys(opts: &Options) -> Result<Keyring, RootError> {
    let path = opts.keyring.clone().unwrap_or_else(keyring::default_path);
    Ok(keyring::load(&path).map_err(LockError::from)?)
}

/// Where packages come from: what was asked for, else the archive of this machine's apt that [`keys`] signed.
pub fn mirror(opts: &Options, client: &Client) -> Result<Mirror, RootError> {
    let is_debian = |base: &str, suite: &str| -> Result<(), String> {
        let url = format!("{}/dists/{suite}/InRelease", base.trim_end_matches('/'));
        let text = client
            .text(&url)
            .map_err(|e| format!("cannot be looked at: {e}"))?;
        let keyring = keys(opts).map_err(|e| e.to_string())?;
        let signed = keyring.verify(&url, &text, opts.now);
        signed
            .map(drop)
            .map_err(|e| format!("is not signed by Debian: {e}"))
    };
    Ok(mirror::find(&opts.mirror, &Apt::default(), &is_debian)?)
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

/// Release of the one kernel of a tree. Of two none is taken: an owner who brings one means that one, and its name says nothing.
fn kernel_version(root: &Tree, board: &Board) -> Result<String, RootError> {
    let modules = root.below(b"usr/lib/modules");
    let names = modules.filter_map(|(path, _)| {
        let name = path.strip_prefix(b"usr/lib/modules/")?;
        (!name.contains(&b'/')).then(|| String::from_utf8_lossy(name).into_owned())
    });
    let mut names: Vec<String> = names.collect();
    match names.pop() {
        Some(one) if names.is_empty() => Ok(one),
        Some(last) => {
            names.push(last);
            Err(RootError::Kernels(names))
        }
        None => Err(RootError::NoKernel {
            board: board.name.clone(),
        }),
    }
}

impl From<RepoError> for RootError {
    fn from(e: RepoError) -> Self {
        Self::Lock(e.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::board;

    #[test]
    fn of_two_kernels_none_is_guessed() {
        let board = board::find("qemu-arm64").unwrap();
        let with = |kernels: &[&str]| {
            let mut tree = Tree::new(0);
            tree.insert_dir("usr/lib/modules", 0o755).unwrap();
            for kernel in kernels {
                let path = format!("usr/lib/modules/{kernel}");
                tree.insert_dir(&path, 0o755).unwrap();
            }
            kernel_version(&tree, &board).map_err(|e| e.to_string())
        };
        assert_eq!(with(&["6.12.9-arm64"]).as_deref(), Ok("6.12.9-arm64"));
        assert!(with(&[]).unwrap_err().contains("no kernel"));
        // As text the older one is the greater.
        let e = with(&["6.12.10-arm64", "6.12.9-arm64"]).unwrap_err();
        assert!(
            e.contains("6.12.10-arm64, 6.12.9-arm64") && e.contains("exclude = "),
            "{e}"
        );
    }
}
