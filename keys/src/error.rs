//! One variant for every reason to refuse: what was refused, where, why, and what an operator does about it.

use alloc::string::String;

use crate::time::Timestamp;

/// Why metadata, a target or a source was refused.
///
/// `file` is always the name under which the repository publishes the thing (`timestamp.json`, `3.root.json`, a role's
/// file). The page docs/src/explanation/attacks.md has the same list in the order of the attacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- the form of a file
    /// More bytes than this kind of file may have (endless data).
    #[error(
        "{file} is longer than {limit} bytes and was refused before it was read: the mirror is broken or hostile; use another one"
    )]
    TooLong {
        /// Which file.
        file: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Not JSON, or JSON that has no canonical form (fractions, lone surrogates, bytes after the end).
    #[error(
        "{file} is not valid JSON at byte {at}: {why}; publish the file again or use another mirror"
    )]
    Json {
        /// Which file.
        file: String,
        /// Where the parser stood.
        at: usize,
        /// What it saw.
        why: &'static str,
    },
    /// Objects or lists nested too deep.
    #[error(
        "{file} nests deeper than {limit} levels: no honest tool writes that; use another mirror"
    )]
    TooDeep {
        /// Which file.
        file: String,
        /// The bound.
        limit: usize,
    },
    /// The same name twice in one object: two readers could see two different files (also how key ids are made to collide).
    #[error(
        "{file} says \"{key}\" twice in one object, so that two readers could read two things; refuse its author"
    )]
    DuplicateJsonKey {
        /// Which file.
        file: String,
        /// The name that occurs twice.
        key: String,
    },
    /// A field is missing or of the wrong kind.
    #[error(
        "{file} is not the metadata that TUF 1.0 describes: {why}; publish it again with a conforming tool"
    )]
    Schema {
        /// Which file.
        file: String,
        /// Field and reason.
        why: String,
    },
    /// A well-signed file of another role was served.
    #[error(
        "{file} says it is of type \"{found}\": a file of one role was served in place of another; use another mirror"
    )]
    WrongType {
        /// Which file.
        file: String,
        /// The `_type` inside.
        found: String,
    },
    /// Another major version of the specification.
    #[error("{file} follows TUF \"{found}\", this program knows 1.x: update this program first")]
    SpecVersion {
        /// Which file.
        file: String,
        /// The `spec_version` inside.
        found: String,
    },
    /// A role that nobody has to sign for.
    #[error(
        "{file} gives role \"{role}\" threshold 0, anybody could sign for it; the root holders must sign a corrected file"
    )]
    ZeroThreshold {
        /// Which file.
        file: String,
        /// The role.
        role: String,
    },
    /// One key listed more than once for a role.
    #[error(
        "{file} lists key {keyid} twice for role \"{role}\", one holder would count as two; sign a corrected file"
    )]
    DuplicateKeyId {
        /// Which file.
        file: String,
        /// The role.
        role: String,
        /// The key.
        keyid: String,
    },
    /// A key stands under an id that is not its own.
    #[error(
        "{file} lists a key as {keyid}, which is not the id of that key; sign a corrected file"
    )]
    KeyIdMismatch {
        /// Which file.
        file: String,
        /// The id it claims.
        keyid: String,
    },
    /// A hash is empty, of the wrong length or not lower-case hexadecimal; it would check nothing.
    #[error("{file} gives {of} a malformed {algorithm} hash; sign a corrected file")]
    MalformedHash {
        /// Which file.
        file: String,
        /// What the hash belongs to.
        of: String,
        /// The algorithm's name.
        algorithm: String,
    },
    /// No hash at all, or only of kinds this program does not know.
    #[error(
        "{file} gives {of} no sha256 or sha512 hash, it cannot be checked; sign a corrected file"
    )]
    NoUsableHash {
        /// Which file.
        file: String,
        /// What lacks a hash.
        of: String,
    },
    /// A target's name that could leave its directory or deceive a reader.
    #[error(
        "{file} names a target {name:?}, which is not a safe relative path; remove that target"
    )]
    UnsafeName {
        /// Which file.
        file: String,
        /// The name.
        name: String,
    },
    /// A delegated role that would shadow a top-level one, an empty or over-long name, or a name given twice.
    #[error(
        "{file} delegates to a role named {name:?}, which is empty, too long, reserved or given twice; rename that role"
    )]
    BadRoleName {
        /// Which file.
        file: String,
        /// The name.
        name: String,
    },

    // ---- signatures
    /// The same key signed the file twice.
    #[error(
        "{file} carries two signatures of key {keyid}, one holder would count as two; use another mirror"
    )]
    DuplicateSignature {
        /// Which file.
        file: String,
        /// The key.
        keyid: String,
    },
    /// Fewer good signatures of distinct keys than the role's threshold.
    #[error(
        "{file} has {valid} of the {threshold} signatures that role \"{role}\" needs ({by}): it is forged, altered or not completely signed; do not install from this source"
    )]
    NotSigned {
        /// Which file.
        file: String,
        /// The role.
        role: String,
        /// Whose list of keys was asked: the trusted root, the new root, a delegating role.
        by: String,
        /// Good signatures of distinct keys.
        valid: u64,
        /// How many are needed.
        threshold: u64,
    },

    // ---- order and time
    /// A root that is not exactly N+1.
    #[error(
        "{file} contains root version {found}, expected {expected}: roots are followed one by one; publish the missing root"
    )]
    RootVersion {
        /// Which file.
        file: String,
        /// N+1.
        expected: u64,
        /// The version inside.
        found: u64,
    },
    /// Older than what this device has accepted before.
    #[error(
        "{file} offers version {offered}, this device already trusts version {trusted}: an old repository is being replayed; use another mirror, or rotate the timestamp and snapshot keys if the repository was restored from a backup"
    )]
    Rollback {
        /// Which file is older.
        file: String,
        /// What is trusted.
        trusted: u64,
        /// What was offered.
        offered: u64,
    },
    /// A file that was listed before is not listed any more.
    #[error(
        "snapshot.json no longer lists {file}: a role was made to vanish; publish a snapshot that lists it (roles are emptied, never dropped)"
    )]
    Dropped {
        /// The file that vanished.
        file: String,
    },
    /// The version inside is not the listed one (mix-and-match).
    #[error(
        "{file} is version {found} but version {listed} is listed: files of different releases were mixed; wait for the mirror to settle or use another one"
    )]
    VersionMismatch {
        /// Which file.
        file: String,
        /// The version that the listing role signed.
        listed: u64,
        /// The version inside.
        found: u64,
    },
    /// The bytes do not have the signed length.
    #[error(
        "{file} is {found} bytes long but {listed} are signed: truncated or padded on the way; try again or use another mirror"
    )]
    LengthMismatch {
        /// Which file.
        file: String,
        /// The signed length.
        listed: u64,
        /// What came.
        found: u64,
    },
    /// The bytes do not have the signed hash.
    #[error(
        "{file} does not have its signed {algorithm} hash: altered on the way or mixed from another release; try again or use another mirror"
    )]
    HashMismatch {
        /// Which file.
        file: String,
        /// Which of the hashes.
        algorithm: String,
    },
    /// Past its date: the source may be frozen.
    #[error(
        "{file} expired at {expires}, it is {now} or later: the source is frozen in the past or no longer maintained; refresh the repository or use another mirror, and check this device's clock"
    )]
    Expired {
        /// Which file.
        file: String,
        /// Its date.
        expires: Timestamp,
        /// The fixed time of this refresh.
        now: Timestamp,
    },

    // ---- targets
    /// No role that may speak for this name lists it.
    #[error("no trusted role lists a target named {name:?}: check the name, or publish it")]
    NoSuchTarget {
        /// The name.
        name: String,
    },
    /// The search for a target visited its bound of roles.
    #[error(
        "the search for target {name:?} was given up after {limit} delegated roles; delegate with narrower paths"
    )]
    TooManyRoles {
        /// The name.
        name: String,
        /// The bound.
        limit: usize,
    },
    /// Snapshot does not list the role that was delegated to.
    #[error(
        "snapshot.json does not list {file}: the delegated role was never published; publish it"
    )]
    NotListed {
        /// The role's file.
        file: String,
    },
    /// Targets were asked for before a refresh succeeded.
    #[error("nothing is trusted yet: refresh first")]
    NotRefreshed,

    // ---- transport and store
    /// The source does not have a file that it must have.
    #[error("{file} is missing at the source: {why}; publish it or use another mirror")]
    Missing {
        /// Which file.
        file: String,
        /// The source's words.
        why: String,
    },
    /// The source failed in a way that may pass.
    #[error("{file} could not be read: {why}; try again later")]
    Unreachable {
        /// Which file.
        file: String,
        /// The source's words.
        why: String,
    },
    /// The source failed in a way that will not pass (other origin, forbidden name).
    #[error("{file} was not fetched: {why}")]
    SourceRefused {
        /// Which file.
        file: String,
        /// The source's words.
        why: String,
    },
    /// The source is so slow that it holds the device up (slow retrieval).
    #[error(
        "{file} came too slowly ({got} bytes in {seconds} s): the source is overloaded or holds this device up on purpose; use another mirror"
    )]
    TooSlow {
        /// Which file.
        file: String,
        /// Bytes so far.
        got: u64,
        /// Seconds so far.
        seconds: u64,
    },
    /// This device's own metadata store failed.
    #[error("the metadata store failed at {what}: {why}; check the data partition (space, errors)")]
    Store {
        /// File or directory and step.
        what: String,
        /// The operating system's words.
        why: String,
    },
}
