//! Owns what is believed about a Debian archive: only what a trusted key signed, and only if it is not older than what was seen.

pub mod archive;
pub mod index;
pub mod keyring;
pub mod release;
pub mod version;

use std::path::PathBuf;

/// Why an archive cannot be used. Every danger has a name of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// The keyring cannot be read or holds no keys.
    #[error(
        "no usable keys in {path}: {reason}; install debian-archive-keyring or name a keyring with --keyring"
    )]
    Keyring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no signature at all.
    #[error(
        "{url} is not signed ({reason}): this is not a Debian archive, or somebody changed it on the way"
    )]
    Unsigned {
        /// The release file.
        url: String,
        /// What was found instead.
        reason: String,
    },
    /// It is signed, but by no key we trust, or the text was changed.
    #[error(
        "{url}: no signature by a trusted key fits (signed by {signers}; keyring {keyring}): the text was changed, or the keyring is too old for this suite"
    )]
    WrongKey {
        /// The release file.
        url: String,
        /// Key ids of the signatures found.
        signers: String,
        /// The keyring.
        keyring: PathBuf,
    },
    /// The signature fits, but the key has expired or was revoked.
    #[error("{url}: signed by key {key}, which {reason}; update debian-archive-keyring")]
    DeadKey {
        /// The release file.
        url: String,
        /// Key id.
        key: String,
        /// Expired or revoked.
        reason: String,
    },
    /// The signature uses a broken hash.
    #[error("{url}: the signature uses {hash}, which can be forged")]
    WeakHash {
        /// The release file.
        url: String,
        /// The algorithm.
        hash: String,
    },
    /// `Valid-Until` has passed.
    #[error(
        "{url} expired on {until}: the mirror no longer follows Debian (or this machine's clock is wrong); use another with --mirror"
    )]
    Expired {
        /// The release file.
        url: String,
        /// The date.
        until: String,
    },
    /// It is dated in the future.
    #[error("{url} is dated {date}, which is still to come: set this machine's clock")]
    NotYet {
        /// The release file.
        url: String,
        /// The date.
        date: String,
    },
    /// It is older than the one seen before.
    #[error(
        "{url} of {date} is older than the one seen before ({seen}): the mirror went back in time, or somebody serves old packages; use another with --mirror"
    )]
    Rollback {
        /// The release file.
        url: String,
        /// Its date.
        date: String,
        /// The newest date seen.
        seen: String,
    },
    /// It is for another suite than asked for.
    #[error("{url} is for suite {got}, not {wanted}")]
    OtherSuite {
        /// The release file.
        url: String,
        /// What it says.
        got: String,
        /// What was asked for.
        wanted: String,
    },
    /// The mirror's lists are not those its table of contents speaks of.
    #[error(
        "the mirror does not have the lists of {suite} for {arch} that its own table of contents names ({reason}); it is in the middle of an update, or out of order: try later, or use another with --mirror"
    )]
    MidSync {
        /// Suite.
        suite: String,
        /// Architecture.
        arch: String,
        /// What happened last.
        reason: String,
    },
    /// It does not list the index we need.
    #[error("{url} lists no packages of architecture {arch} in component {component}")]
    NoIndex {
        /// The release file.
        url: String,
        /// Architecture.
        arch: String,
        /// Component.
        component: String,
    },
    /// Something signed cannot be read.
    #[error("{what}: {reason}")]
    Malformed {
        /// The file.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The transfer failed.
    #[error(transparent)]
    Fetch(#[from] crate::fetch::FetchError),
    /// A file of ours cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
