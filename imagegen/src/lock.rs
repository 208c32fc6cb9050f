//! Owns the lock file: every package of an image with its exact version and hash, so that a build is a function of it.

pub mod local;
mod make;
pub mod plan;
pub mod repo;
mod request;
pub mod resolve;
mod tools;

pub use make::make;
pub use request::request;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::fetch::Wanted;
use crate::fetch::store::Store;
use crate::inputs::board::Board;
use crate::inputs::mirror::Mirror;
use crate::inputs::recipe::Recipe;
use crate::lock::local::LOCAL;
use crate::lock::repo::RepoError;
use crate::lock::repo::archive::{MAIN, SECURITY};
use crate::lock::repo::index::Candidate;
use crate::lock::resolve::ResolveError;
use crate::sha256::Sha256;

/// Version of the format of the file.
const FORMAT: u32 = 1;

/// Everything an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Version of this format.
    pub format: u32,
    /// Board it was made for.
    pub board: String,
    /// Architecture.
    pub arch: Arch,
    /// Suite.
    pub suite: String,
    /// What was asked for: changes when recipe or board ask for other packages.
    pub request: String,
    /// The signed tables of contents it was made from.
    #[serde(rename = "release")]
    pub releases: Vec<LockedRelease>,
    /// Where the archives are that the recipe names.
    #[serde(rename = "repository", default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<LockedRepository>,
    /// The packages of the root tree.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
    /// Packages that are only unpacked beside it: boot loaders, firmware.
    #[serde(rename = "boot-package", default)]
    pub boot_packages: Vec<LockedPackage>,
    /// Programs of the building machine's architecture that run the packages' scripts. They leave no trace in the tree.
    #[serde(rename = "tool", default)]
    pub tools: Vec<LockedPackage>,
}

/// One table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedRelease {
    /// Which archive of the mirror.
    pub archive: String,
    /// Suite.
    pub suite: String,
    /// Its date.
    pub date: String,
    /// Its date in seconds since 1970.
    pub seconds: i64,
}

/// An archive that is not Debian's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedRepository {
    /// Its name, as packages say it.
    pub name: String,
    /// Where it is.
    pub uri: String,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, `all` for those that fit every one.
    pub arch: String,
    /// Source package.
    pub source: String,
    /// Which archive of the mirror holds it.
    pub archive: String,
    /// Path below the archive's base.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// KiB it takes when installed, as the package says.
    pub installed_kib: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The archive.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The packages.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The lock file.
    #[error("lock file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It was made for something else.
    #[error(
        "lock file {path} was made for {was}, not for {now}; make a new one with `hypriot-imagegen lock`"
    )]
    Stale {
        /// The file.
        path: String,
        /// What it is for.
        was: String,
        /// What is asked for.
        now: String,
    },
    /// A package file of the recipe cannot be used.
    #[error("the recipe's package file {}: {reason}", path.display())]
    Deb {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A package of the recipe's own is not at hand.
    #[error(
        "package {package} is the recipe's own file {file}, which is not in the cache; give the recipe it stands in with --recipe"
    )]
    NoDeb {
        /// The package.
        package: String,
        /// Its file.
        file: String,
    },
    /// It names an archive that no mirror is known for.
    #[error(
        "package {package} is in the {archive} archive, and no mirror of it is known; name one with --security-mirror or HYPRIOT_SECURITY_MIRROR"
    )]
    NoMirror {
        /// The package.
        package: String,
        /// The archive.
        archive: String,
    },
}

impl LockedPackage {
    /// What to fetch, and from where.
    pub fn wanted(&self, mirror: &Mirror, own: &[LockedRepository]) -> Result<Wanted, LockError> {
        let base = match self.archive.as_str() {
            MAIN => Some(&mirror.main),
            SECURITY => mirror.security.as_ref(),
            other => own.iter().find(|r| r.name == other).map(|r| &r.uri),
        };
        let base = base.ok_or_else(|| LockError::NoMirror {
            package: self.name.clone(),
            archive: self.archive.clone(),
        })?;
        // A version's `+` and `:` may stand in a path as they are or escaped; archives serve both.
        Ok(Wanted {
            url: format!("{base}/{}", self.filename),
            sha256: self.sha256,
            size: self.size,
        })
    }
}

/// What a list says of a package, checked.
pub fn locked(c: &Candidate) -> Result<LockedPackage, RepoError> {
    let malformed = |reason: &str| RepoError::Malformed {
        what: format!("package {}", c.name),
        reason: reason.to_owned(),
    };
    let sha256 =
        Sha256::parse(c.required("SHA256")?.trim()).map_err(|e| malformed(&e.to_string()))?;
    let filename = c.required("Filename")?.trim().trim_start_matches("./");
    if filename.starts_with('/') || filename.split('/').any(|p| p == "..") {
        return Err(malformed("its Filename leads out of the archive"));
    }
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_e| malformed("a size is no number"))
    };
    let source = c
        .field("Source")
        .and_then(|s| s.split_whitespace().next())
        .unwrap_or(&c.name);
    Ok(LockedPackage {
        name: c.name.clone(),
        version: c.version.to_string(),
        arch: c.required("Architecture")?.trim().to_owned(),
        source: source.to_owned(),
        archive: c.archive.clone(),
        filename: filename.to_owned(),
        size: number(c.required("Size")?)?,
        installed_kib: c.field("Installed-Size").map_or(Ok(0), number)?,
        sha256,
    })
}

impl Lock {
    /// Its text, the same bytes for the same content.
    pub fn to_text(&self) -> Result<String, LockError> {
        let body = toml::to_string(self).map_err(|e| LockError::File {
            path: "(new)".to_owned(),
            reason: e.to_string(),
        })?;
        Ok(format!(
            "# Made by `hypriot-imagegen lock`. Commit it: a build is a function of it.\n{body}"
        ))
    }

    /// The newest date of what it was made from: no file of the image is younger.
    pub fn source_date(&self) -> i64 {
        self.releases.iter().map(|r| r.seconds).max().unwrap_or(0)
    }

    /// All packages there are to fetch.
    pub fn all(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages
            .iter()
            .chain(&self.boot_packages)
            .chain(&self.tools)
    }

    /// Those that leave something in an image.
    pub fn in_image(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().chain(&self.boot_packages)
    }

    /// What to fetch, and from where.
    pub fn wanted(&self, mirror: &Mirror) -> Result<Vec<Wanted>, LockError> {
        let fetched = self.all().filter(|p| p.archive != LOCAL);
        fetched
            .map(|p| p.wanted(mirror, &self.repositories))
            .collect()
    }

    /// Refuses a lock of which a package is a file that is not at hand.
    pub fn has_own(&self, store: &Store) -> Result<(), LockError> {
        let mut own = self.all().filter(|p| p.archive == LOCAL);
        match own.find(|p| store.get(p.sha256, p.size).is_none()) {
            None => Ok(()),
            Some(p) => Err(LockError::NoDeb {
                package: p.name.clone(),
                file: p.filename.clone(),
            }),
        }
    }

    /// Refuses a lock that was made for something else.
    pub fn fits(&self, path: &Path, board: &Board, recipe: &Recipe) -> Result<(), LockError> {
        if self.board == board.name && self.request == request(board, recipe) {
            return Ok(());
        }
        let was = if self.board == board.name {
            "another list of packages".to_owned()
        } else {
            format!("board {}", self.board)
        };
        Err(LockError::Stale {
            path: path.display().to_string(),
            was,
            now: format!("board {} with recipe {}", board.name, recipe.name),
        })
    }
}

/// Reads the text of a lock file.
pub fn parse(origin: &str, text: &str) -> Result<Lock, LockError> {
    let bad = |reason: String| LockError::File {
        path: origin.to_owned(),
        reason,
    };
    let lock: Lock = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
    if lock.format != FORMAT {
        return Err(bad(format!(
            "format {} is not the one this program writes ({FORMAT})",
            lock.format
        )));
    }
    if let Some(p) = lock
        .all()
        .find(|p| p.name.contains('/') || p.filename.split('/').any(|part| part == ".."))
    {
        return Err(bad(format!(
            "package {} has a name or path that leads elsewhere",
            p.name
        )));
    }
    Ok(lock)
}

/// Reads a lock file.
pub fn load(path: &Path) -> Result<Lock, LockError> {
    let text = std::fs::read_to_string(path).map_err(|e| LockError::File {
        path: path.display().to_string(),
        reason: e.to_string(),
    })?;
    parse(&path.display().to_string(), &text)
}

#[cfg(test)]
mod tests;
