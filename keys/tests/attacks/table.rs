//! The rows: attack and outcome.

use hypriot_keys::Error;
use hypriot_keys::client::Limits;

use crate::fixture::Outcome;

/// What must come out: `Ok` with the version of the trusted timestamp, or the reason.
pub(crate) type Row = (&'static str, fn(&Outcome) -> bool);

/// Refused with this variant, under this condition.
macro_rules! refused {
    ($pattern:pat $(if $condition:expr)?) => {
        |outcome: &Outcome| matches!(outcome, Err($pattern) $(if $condition)?)
    };
}

/// Accepted, with this timestamp.
macro_rules! accepted {
    ($version:literal) => {
        |outcome: &Outcome| matches!(outcome, Ok($version))
    };
}

/// Every attack and its outcome.
pub(crate) fn table() -> Vec<Row> {
    let mut rows = order();
    rows.extend(signatures_and_roots());
    rows.extend(forms_and_targets());
    rows.extend(delegations());
    rows
}

fn order() -> Vec<Row> {
    vec![
        (
            "rollback-timestamp",
            refused!(Error::Rollback { file, trusted: 2, offered: 1 } if file == "timestamp.json"),
        ),
        (
            "rollback-snapshot",
            refused!(Error::Rollback { file, trusted: 2, offered: 1 } if file == "snapshot.json"),
        ),
        (
            "rollback-targets",
            refused!(Error::Rollback { file, trusted: 2, offered: 1 } if file == "targets.json"),
        ),
        (
            "same-version-other-snapshot",
            refused!(Error::HashMismatch { file, .. } if file == "snapshot.json"),
        ),
        ("same-version-other-timestamp", accepted!(2)),
        (
            "freeze-timestamp",
            refused!(Error::Expired { file, .. } if file == "timestamp.json"),
        ),
        (
            "freeze-known-timestamp",
            refused!(Error::Expired { file, .. } if file == "timestamp.json"),
        ),
        (
            "freeze-snapshot",
            refused!(Error::Expired { file, .. } if file == "snapshot.json"),
        ),
        (
            "freeze-targets",
            refused!(Error::Expired { file, .. } if file == "targets.json"),
        ),
        (
            "freeze-root",
            refused!(Error::Expired { file, .. } if file == "root.json"),
        ),
        (
            "freeze-with-clock-at-1970",
            refused!(Error::Expired { file, .. } if file == "timestamp.json"),
        ),
        ("clock-at-1970", accepted!(2)),
        (
            "clock-at-2038",
            refused!(Error::Expired { file, .. } if file == "root.json"),
        ),
        (
            "fast-forward",
            refused!(Error::Rollback { file, trusted: 4_000_000_000, offered: 3 } if file == "timestamp.json"),
        ),
        (
            "fast-forward-without-rotation",
            refused!(Error::Rollback { file, trusted: 4_000_000_000, .. } if file == "timestamp.json"),
        ),
        ("fast-forward-recovered", accepted!(3)),
        ("fast-forwarded-time-recovered", accepted!(3)),
        (
            "mix-and-match-snapshot",
            refused!(Error::HashMismatch { file, .. } if file == "snapshot.json"),
        ),
        (
            "mix-and-match-targets",
            refused!(Error::HashMismatch { file, .. } if file == "targets.json"),
        ),
        (
            "mix-and-match-without-hashes",
            refused!(Error::VersionMismatch { file, listed: 2, found: 1 } if file == "targets.json"),
        ),
        (
            "mix-and-match-snapshot-without-hashes",
            refused!(Error::VersionMismatch { file, listed: 2, found: 1 } if file == "snapshot.json"),
        ),
        (
            "truncated-targets",
            refused!(Error::LengthMismatch { file, found: 512, .. } if file == "targets.json"),
        ),
        (
            "padded-targets",
            refused!(Error::TooLong { file, .. } if file == "2.targets.json"),
        ),
        (
            "endless-root",
            refused!(Error::TooLong { file, limit } if file == "2.root.json" && *limit == Limits::default().root),
        ),
        (
            "endless-timestamp",
            refused!(Error::TooLong { file, limit } if file == "timestamp.json" && *limit == Limits::default().timestamp),
        ),
        (
            "endless-snapshot",
            refused!(Error::TooLong { file, limit } if file == "2.snapshot.json" && *limit < 2000),
        ),
        (
            "endless-targets",
            refused!(Error::TooLong { file, limit } if file == "2.targets.json" && *limit == Limits::default().targets),
        ),
        (
            "hundred-megabytes",
            refused!(Error::TooLong { file, limit } if file == "2.snapshot.json" && *limit == Limits::default().snapshot),
        ),
        (
            "missing-timestamp",
            refused!(Error::Missing { file, .. } if file == "timestamp.json"),
        ),
        (
            "missing-snapshot",
            refused!(Error::Missing { file, .. } if file == "2.snapshot.json"),
        ),
    ]
}

fn signatures_and_roots() -> Vec<Row> {
    vec![
        (
            "unsigned-timestamp",
            refused!(Error::NotSigned { role, valid: 0, threshold: 1, .. } if role == "timestamp"),
        ),
        (
            "unsigned-snapshot",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "snapshot"),
        ),
        (
            "unsigned-targets",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "targets"),
        ),
        (
            "wrong-key-timestamp",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "wrong-key-snapshot",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "snapshot"),
        ),
        (
            "wrong-key-targets",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "targets"),
        ),
        (
            "key-of-another-role",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "targets"),
        ),
        (
            "stranger-under-our-key-id",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "altered-timestamp",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "altered-field-nobody-knows",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "duplicate-signature",
            refused!(Error::DuplicateSignature { file, .. } if file == "timestamp.json"),
        ),
        (
            "empty-signature",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "below-threshold",
            refused!(Error::NotSigned { role, valid: 1, threshold: 2, .. } if role == "targets"),
        ),
        (
            "same-key-under-two-ids",
            refused!(Error::NotSigned { role, valid: 1, threshold: 2, .. } if role == "timestamp"),
        ),
        (
            "root-signed-by-old-only",
            refused!(Error::NotSigned { by, valid: 0, .. } if by == "the new root"),
        ),
        (
            "root-signed-by-new-only",
            refused!(Error::NotSigned { by, valid: 0, .. } if by == "the trusted root"),
        ),
        ("root-signed-by-both", accepted!(2)),
        (
            "root-unsigned",
            refused!(Error::NotSigned { by, valid: 0, .. } if by == "the trusted root"),
        ),
        (
            "root-skips-a-version",
            refused!(Error::RootVersion {
                expected: 2,
                found: 3,
                ..
            }),
        ),
        (
            "root-repeats-its-version",
            refused!(Error::RootVersion {
                expected: 2,
                found: 1,
                ..
            }),
        ),
        (
            "root-expired",
            refused!(Error::Expired { file, .. } if file == "root.json"),
        ),
        (
            "root-threshold-zero",
            refused!(Error::ZeroThreshold { role, .. } if role == "timestamp"),
        ),
        (
            "root-threshold-negative",
            refused!(Error::Schema { file, .. } if file == "2.root.json"),
        ),
        (
            "root-zero-keys",
            refused!(Error::NotSigned { role, valid: 0, threshold: 1, .. } if role == "timestamp"),
        ),
        (
            "root-lists-a-key-twice",
            refused!(Error::DuplicateKeyId { role, .. } if role == "timestamp"),
        ),
        (
            "root-without-a-role",
            refused!(Error::Schema { why, .. } if why.contains("snapshot")),
        ),
        (
            "key-id-of-another-key",
            refused!(Error::KeyIdMismatch { file, .. } if file == "2.root.json"),
        ),
        (
            "key-id-collision",
            refused!(Error::DuplicateJsonKey { file, .. } if file == "2.root.json"),
        ),
        (
            "rsa-key-of-512-bits",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
        (
            "unknown-key-type",
            refused!(Error::NotSigned { role, valid: 0, .. } if role == "timestamp"),
        ),
    ]
}

fn forms_and_targets() -> Vec<Row> {
    vec![
        (
            "deep-json",
            refused!(Error::TooDeep { file, .. } if file == "timestamp.json"),
        ),
        (
            "duplicate-json-key",
            refused!(Error::DuplicateJsonKey { key, .. } if key == "version"),
        ),
        ("not-json", refused!(Error::Json { at: 0, .. })),
        ("empty-file", refused!(Error::Json { at: 0, .. })),
        ("not-utf-8", refused!(Error::Json { at: 12, .. })),
        (
            "fraction",
            refused!(Error::Json { why, .. } if why.contains("whole numbers")),
        ),
        (
            "number-beyond-64-bits",
            refused!(Error::Json { why, .. } if why.contains("64 bits")),
        ),
        (
            "version-zero",
            refused!(Error::Schema { why, .. } if why == "version 0"),
        ),
        (
            "wrong-type",
            refused!(Error::WrongType { found, .. } if found == "snapshot"),
        ),
        (
            "unknown-specification",
            refused!(Error::SpecVersion { found, .. } if found == "2.0.0"),
        ),
        (
            "date-in-another-form",
            refused!(Error::Schema { why, .. } if why.contains("a time must look like")),
        ),
        (
            "signatures-not-a-list",
            refused!(Error::Schema { file, .. } if file == "timestamp.json"),
        ),
        (
            "name-climbs-out",
            refused!(Error::UnsafeName { name, .. } if name == "../../etc/passwd"),
        ),
        ("name-is-absolute", refused!(Error::UnsafeName { .. })),
        (
            "name-with-a-dot-segment",
            refused!(Error::UnsafeName { .. }),
        ),
        (
            "name-is-empty",
            refused!(Error::UnsafeName { name, .. } if name.is_empty()),
        ),
        ("name-with-nul", refused!(Error::UnsafeName { .. })),
        ("name-with-line-end", refused!(Error::UnsafeName { .. })),
        ("name-with-backslash", refused!(Error::UnsafeName { .. })),
        ("name-runs-backwards", refused!(Error::UnsafeName { .. })),
        ("name-too-long", refused!(Error::UnsafeName { .. })),
        ("name-not-ascii", accepted!(2)),
        (
            "hash-empty-list",
            refused!(Error::NoUsableHash { of, .. } if of == "board.json"),
        ),
        (
            "hash-blank",
            refused!(Error::MalformedHash { of, .. } if of == "board.json"),
        ),
        (
            "hash-after-a-space",
            refused!(Error::MalformedHash { of, .. } if of == "board.json"),
        ),
        (
            "hash-upper-case",
            refused!(Error::MalformedHash { of, .. } if of == "board.json"),
        ),
        (
            "hash-unknown",
            refused!(Error::NoUsableHash { of, .. } if of == "board.json"),
        ),
        (
            "hash-second-differs",
            refused!(Error::HashMismatch { algorithm, .. } if algorithm == "sha512"),
        ),
        (
            "target-altered",
            refused!(Error::HashMismatch { algorithm, .. } if algorithm == "sha256"),
        ),
        (
            "target-truncated",
            refused!(Error::LengthMismatch {
                listed: 9,
                found: 7,
                ..
            }),
        ),
        ("target-endless", refused!(Error::TooLong { limit: 9, .. })),
        (
            "target-of-two-to-the-63",
            refused!(Error::TooLong { limit, .. } if *limit == Limits::default().target),
        ),
        (
            "target-of-negative-length",
            refused!(Error::Schema { file, .. } if file == "targets.json"),
        ),
        (
            "target-unknown",
            refused!(Error::NoSuchTarget { name } if name == "nothing.json"),
        ),
        (
            "target-missing",
            refused!(Error::Missing { file, .. } if file.ends_with(".board.json")),
        ),
    ]
}

fn delegations() -> Vec<Row> {
    vec![
        ("delegation-honest", accepted!(2)),
        (
            "delegation-outside-its-paths",
            refused!(Error::NoSuchTarget { .. }),
        ),
        (
            "delegation-below-its-parents-paths",
            refused!(Error::NoSuchTarget { .. }),
        ),
        (
            "delegation-wrong-key",
            refused!(Error::NotSigned { role, by, .. } if role == "team" && by == "the delegating role"),
        ),
        (
            "delegation-signed-by-its-parent",
            refused!(Error::NotSigned { role, .. } if role == "team"),
        ),
        (
            "delegation-expired",
            refused!(Error::Expired { file, .. } if file == "team.json"),
        ),
        (
            "delegation-not-in-snapshot",
            refused!(Error::NotListed { file } if file == "team.json"),
        ),
        (
            "delegation-terminating",
            refused!(Error::NoSuchTarget { .. }),
        ),
        (
            "delegation-terminating-below",
            refused!(Error::NoSuchTarget { .. }),
        ),
        ("delegation-cycle", refused!(Error::NoSuchTarget { .. })),
        (
            "delegation-chain",
            refused!(Error::TooManyRoles { limit: 32, .. }),
        ),
        (
            "delegations-10000",
            refused!(Error::TooManyRoles { limit: 32, .. }),
        ),
        (
            "delegation-rollback",
            refused!(Error::Rollback { file, trusted: 7, offered: 6 } if file == "team.json"),
        ),
        (
            "delegation-dropped",
            refused!(Error::Dropped { file } if file == "team.json"),
        ),
        (
            "delegation-named-root",
            refused!(Error::BadRoleName { name, .. } if name == "root"),
        ),
        (
            "delegation-named-twice",
            refused!(Error::BadRoleName { name, .. } if name == "team"),
        ),
        ("delegation-with-a-path-for-a-name", accepted!(2)),
        (
            "delegation-threshold-zero",
            refused!(Error::ZeroThreshold { role, .. } if role == "team"),
        ),
        (
            "delegation-key-twice",
            refused!(Error::DuplicateKeyId { role, .. } if role == "team"),
        ),
        (
            "delegation-paths-and-prefixes",
            refused!(Error::Schema { why, .. } if why.contains("one of them")),
        ),
        (
            "delegation-empty-prefix",
            refused!(Error::Schema { why, .. } if why.contains("path hash prefix")),
        ),
        (
            "delegation-honest-but-unknown-name",
            refused!(Error::NoSuchTarget { .. }),
        ),
        (
            "delegation-missing",
            refused!(Error::Missing { file, .. } if file == "1.team.json"),
        ),
    ]
}
