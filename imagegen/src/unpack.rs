//! Owns how packages become a tree: all of them in parallel, into one directory, as `dpkg --unpack` would leave it. No script
//! runs here, and nothing an archive says can touch a file outside the tree.

mod database;
mod extract;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::debian::deb::{self, DebError};
use crate::fetch::store::Store;
use crate::files;
use crate::lock::LockedPackage;
use crate::progress::Stage;
use crate::sha256::Sha256;
use crate::tree::Owners;

pub use database::Control;

/// Why a tree cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The package file is damaged in the store.
    #[error(
        "package {package} is damaged in the cache ({reason}); it was removed, start again to fetch it anew"
    )]
    Damaged {
        /// The package.
        package: String,
        /// Hash or size.
        reason: String,
    },
    /// The package file is not there.
    #[error("package {package} is not in the cache; run `hypriot-imagegen fetch`")]
    Missing {
        /// The package.
        package: String,
    },
    /// It is not a package.
    #[error("package {package}: {source}")]
    Deb {
        /// The package.
        package: String,
        /// What is wrong.
        source: DebError,
    },
    /// It holds something that must not be unpacked.
    #[error("package {package} holds `{path}`, {reason}: refused")]
    Refused {
        /// The package.
        package: String,
        /// The member.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two packages hold the same file.
    #[error("packages {one} and {other} both hold {path}, and neither says it replaces the other")]
    FileConflict {
        /// A package.
        one: String,
        /// Another.
        other: String,
        /// The file.
        path: String,
    },
    /// Writing failed.
    #[error("unpacking {package}: {path}: {source}{}", hint(.source))]
    Write {
        /// The package.
        package: String,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Writing dpkg's records failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull => {
            " (the disk is full: free some room or choose another place with --cache)"
        }
        io::ErrorKind::PermissionDenied => {
            " (files must be given to other owners, which some file systems, NFS among them, allow only to the machine's \
             root: choose another place with --cache)"
        }
        _ => "",
    }
}

/// What one package left in the tree.
#[derive(Debug)]
pub struct Unpacked {
    /// Its name as dpkg's records call it: with `:arch` if several architectures of it may be installed at once.
    pub info_name: String,
    /// Its control files.
    pub control: Control,
    /// The paths it holds, as in its `.list`.
    pub list: Vec<String>,
}

/// Paths and who put them there; says which package may have a path that two hold.
struct Claims {
    owners: Mutex<HashMap<OsString, usize>>,
    twice: Mutex<Vec<(OsString, usize, usize)>>,
}

/// A tree being filled.
pub(crate) struct Target<'a> {
    dir: OwnedFd,
    owners: Owners,
    packages: &'a [LockedPackage],
    claims: Claims,
    directories: Mutex<BTreeMap<OsString, Directory>>,
}

/// What a directory shall be, whichever of the packages that hold it came first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory {
    /// Whose word counts: the base layout's, else that of the first package by name.
    rank: usize,
    mode: u32,
    owner: (u32, u32),
    /// The newest of all.
    mtime: i64,
}

/// Unpacks packages into an empty directory and writes dpkg's records, so that `dpkg --configure -a` goes on from there.
pub fn root_tree(
    dir: &Path,
    store: &Store,
    packages: &[LockedPackage],
    stage: &Stage,
) -> Result<Vec<Unpacked>, UnpackError> {
    merge_usr(dir)?;
    let unpacked = run(dir, store, packages, Owners::Kept, stage)?;
    database::write(dir, packages, &unpacked)?;
    Ok(unpacked)
}

/// Unpacks the files of packages that are never installed (boot loaders, firmware); dpkg's records say which is whose.
pub fn boot_files(
    dir: &Path,
    store: &Store,
    packages: &[LockedPackage],
    stage: &Stage,
) -> Result<(), UnpackError> {
    root_tree(dir, store, packages, stage).map(drop)
}

/// Unpacks only the files of packages: tools. No records are kept. Files that are the caller's can all be deleted by him.
pub fn files_only(
    dir: &Path,
    store: &Store,
    packages: &[LockedPackage],
    owners: Owners,
    stage: &Stage,
) -> Result<(), UnpackError> {
    merge_usr(dir)?;
    run(dir, store, packages, owners, stage).map(drop)
}

/// Since bookworm every system has these links; packages of older habits rely on them being there before their files.
fn merge_usr(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(dir).map_err(|e| files::named(dir, &e))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for name in ["bin", "sbin", "lib"] {
        let inside = dir.join("usr").join(name);
        fs::create_dir_all(&inside).map_err(|e| files::named(&inside, &e))?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
        let link = dir.join(name);
        match std::os::unix::fs::symlink(format!("usr/{name}"), &link) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(files::named(&link, &e));
            }
            _ => {}
        }
    }
    fs::set_permissions(dir.join("usr"), fs::Permissions::from_mode(0o755))
}

fn run(
    dir: &Path,
    store: &Store,
    packages: &[LockedPackage],
    owners: Owners,
    stage: &Stage,
) -> Result<Vec<Unpacked>, UnpackError> {
    let target = Target {
        dir: fs::File::open(dir)?.into(),
        owners,
        packages,
        claims: Claims {
            owners: Mutex::default(),
            twice: Mutex::default(),
        },
        directories: Mutex::default(),
    };
    // The base layout first: it makes the links that others go through. Then the largest, so that no worker is left with it at the end.
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|&i| {
        (
            packages[i].name != "base-files",
            std::cmp::Reverse(packages[i].size),
        )
    });
    let has_base = order
        .first()
        .is_some_and(|&i| packages[i].name == "base-files");
    let (first, rest) = order.split_at(usize::from(has_base));

    let mut done: Vec<Option<Unpacked>> = packages.iter().map(|_| None).collect();
    for &i in first {
        done[i] = Some(one(&target, store, i, stage)?);
    }
    let results = Mutex::new(done);
    let failure = Mutex::new(None);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(16);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&i) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if locked(&failure).is_some() {
                        return;
                    }
                    match one(&target, store, i, stage) {
                        Ok(unpacked) => locked(&results)[i] = Some(unpacked),
                        Err(e) => drop(locked(&failure).get_or_insert(e)),
                    }
                }
            });
        }
    });
    if let Some(e) = failure.into_inner().ok().flatten() {
        return Err(e);
    }
    let done = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut done: Vec<Unpacked> = done.into_iter().flatten().collect();
    settle(&target, store, &mut done)?;
    extract::settle_directories(&target)?;
    Ok(done)
}

fn locked<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A worker that panicked leaves data that is at worst incomplete, and its panic is passed on by the scope.
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(
    target: &Target<'_>,
    store: &Store,
    i: usize,
    stage: &Stage,
) -> Result<Unpacked, UnpackError> {
    let package = &target.packages[i];
    let bytes = read(store, package)?;
    let parsed = deb::parse(&bytes).map_err(|source| UnpackError::Deb {
        package: package.name.clone(),
        source,
    })?;
    let control = database::read_control(package, &parsed)?;
    let list = extract::data(target, i, &parsed, &control, None)?;
    stage.add(package.size);
    stage.now(&package.name);
    Ok(Unpacked {
        info_name: control.info_name(package),
        control,
        list,
    })
}

/// Reads a package file and checks it, whatever was checked when it was stored: disks fail.
fn read(store: &Store, package: &LockedPackage) -> Result<Vec<u8>, UnpackError> {
    let missing = || UnpackError::Missing {
        package: package.name.clone(),
    };
    let path: PathBuf = store.path(package.sha256);
    let len = fs::metadata(&path).map_err(|_e| missing())?.len();
    let bytes = if len == package.size {
        fs::read(&path).map_err(|_e| missing())?
    } else {
        Vec::new()
    };
    let hash = Sha256::of(&bytes);
    if hash == package.sha256 {
        return Ok(bytes);
    }
    store.discard(package.sha256)?;
    let reason = if len == package.size {
        format!("its SHA-256 is {hash}")
    } else {
        format!("it has {len} bytes instead of {}", package.size)
    };
    Err(UnpackError::Damaged {
        package: package.name.clone(),
        reason,
    })
}

/// Where two packages hold one file, the one that says it replaces the other keeps it, whatever order they came in.
fn settle(target: &Target<'_>, store: &Store, done: &mut [Unpacked]) -> Result<(), UnpackError> {
    let mut twice = std::mem::take(&mut *locked(&target.claims.twice));
    twice.sort();
    for (path, a, b) in twice {
        let (name_a, name_b) = (&target.packages[a].name, &target.packages[b].name);
        let (winner, loser) = if done[a].control.replaces(name_b) {
            (a, b)
        } else if done[b].control.replaces(name_a) {
            (b, a)
        } else {
            return Err(UnpackError::FileConflict {
                one: name_a.clone(),
                other: name_b.clone(),
                path: path.to_string_lossy().into_owned(),
            });
        };
        let bytes = read(store, &target.packages[winner])?;
        let parsed = deb::parse(&bytes).map_err(|source| UnpackError::Deb {
            package: target.packages[winner].name.clone(),
            source,
        })?;
        extract::data(target, winner, &parsed, &done[winner].control, Some(&path))?;
        let shown = format!("/{}", path.to_string_lossy());
        done[loser].list.retain(|p| *p != shown);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
