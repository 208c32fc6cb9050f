//! Why an edit or a publication did not happen.

use std::path::{Path, PathBuf};
use std::string::String;

/// Why the repository's working directory could not be changed or published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// A file is not what TUF allows, or is not signed by enough holders.
    #[error(transparent)]
    Tuf(#[from] crate::Error),
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a repository already.
    #[error("{} exists already: this is a repository, open it instead", path.display())]
    Exists {
        /// Its settings.
        path: PathBuf,
    },
    /// There is no repository.
    #[error("{} is not a repository (no repository.json in it); make one with: hypriot-keys init", path.display())]
    NoRepository {
        /// The directory.
        path: PathBuf,
    },
    /// The settings cannot be read.
    #[error("{}: {why}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file that belongs to no role.
    #[error("{} belongs to no role; remove it or give it its role's name", path.display())]
    Stray {
        /// The file.
        path: PathBuf,
    },
    /// A role that nobody delegates to.
    #[error("there is no role \"{role}\"")]
    NoRole {
        /// Its name.
        role: String,
    },
    /// Nothing has been published yet.
    #[error("nothing is published yet; run: hypriot-keys publish")]
    NotPublished,
    /// A role that nobody could sign for.
    #[error(
        "role \"{role}\" would need {threshold} signatures of {keys} keys: it needs at least 1, and no more than it has keys"
    )]
    Threshold {
        /// The role.
        role: String,
        /// Signatures.
        threshold: u64,
        /// Keys.
        keys: usize,
    },
    /// A target's or role's name that cannot be a flat file name.
    #[error(
        "{name:?} cannot be published: the name of a target or role is letters, digits and ._+~- and does not begin with a dot, because releases are served as flat files"
    )]
    TargetName {
        /// The name.
        name: String,
    },
    /// No target of that name.
    #[error("role \"{role}\" has no target {name:?}")]
    NoTarget {
        /// The role.
        role: String,
        /// The name.
        name: String,
    },
    /// A target's bytes are gone from `targets/`.
    #[error("the bytes of target {name:?} are not in {}; add the target again", path.display())]
    NoBytes {
        /// The name.
        name: String,
        /// Where they should be.
        path: PathBuf,
    },
    /// A key that has no place in the file.
    #[error("key {keyid} may not sign {file}: it is in none of its roles")]
    NotAHolder {
        /// The key.
        keyid: String,
        /// The file.
        file: String,
    },
    /// Another program is writing.
    #[error(
        "another program has been changing this repository for minutes ({} is locked); wait for it, or end it if it hangs",
        path.display()
    )]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// What is served is newer than what would be published.
    #[error(
        "{} is version {there}, and this working folder would publish version {here}: it is an older copy of the repository;          clients would refuse what it signs. Publish from the folder that signed version {there}",
        path.display()
    )]
    Behind {
        /// The timestamp that is served.
        path: PathBuf,
        /// Its version.
        there: u64,
        /// Ours.
        here: u64,
    },
    /// A value could not be written as JSON.
    #[error("writing JSON: {0}")]
    Write(String),
}

impl RepoError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            doing,
            path: path.into(),
            source,
        }
    }
}
