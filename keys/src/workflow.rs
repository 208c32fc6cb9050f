//! The client workflow of TUF 1.0 section 5 as functions on bytes: no files, no network, no clock.
//!
//! Each function checks one downloaded file against what is trusted already and gives the new trusted value, or the reason
//! to refuse. Numbers in the comments are the specification's (version 1.0.34).

use alloc::string::String;

use crate::check::{self, Metadata};
use crate::error::Error;
use crate::names;
use crate::schema::{Delegations, Listing, MetaFile, Root, Targets};
use crate::signed::{Signed, Signers};
use crate::time::Timestamp;
use crate::verified::Verified;

/// The later of the device's clock and the time floor: the one fixed time of a refresh, and of TLS checks.
///
/// * The floor (build time, or the newest signed time among trusted metadata) is a proof: it cannot be later now than it
///   was. So a clock at 1970 cannot make expired metadata valid again, and does not make valid metadata look unborn.
/// * The clock is only believed for this one refresh and never stored: a clock far ahead refuses everything while it is
///   wrong, and has changed nothing once it is right again.
pub fn trusted_now(clock: Timestamp, floor: Timestamp) -> Timestamp {
    clock.max(floor)
}

/// 5.2 Load the trusted root: it must at least be signed as it says itself, so that a torn file is noticed.
pub fn load_root(bytes: &[u8]) -> Result<Verified<Root>, Error> {
    let file = "root.json";
    let signed = Signed::parse(file, bytes)?;
    let root: Root = check::read(file, "root", signed.signed.clone())?;
    signed.verify(file, &root_signers(&root, "root", "the same file"))?;
    Ok(Verified::new(root))
}

/// 5.3.4 to 5.3.7: root N+1 after root N.
pub fn next_root(trusted: &Verified<Root>, bytes: &[u8]) -> Result<Verified<Root>, Error> {
    // 5.3.2 Let N denote the version number of the trusted root metadata file.
    let expected = trusted.header.version.saturating_add(1);
    let file = names::metadata("root", Some(expected));
    let signed = Signed::parse(&file, bytes)?;
    // 5.3.4 Check for an arbitrary software attack: signed by a threshold of the keys of N ...
    signed.verify(&file, &root_signers(trusted, "root", "the trusted root"))?;
    let root: Root = check::read(&file, "root", signed.signed.clone())?;
    // ... and by a threshold of its own.
    signed.verify(&file, &root_signers(&root, "root", "the new root"))?;
    // 5.3.5 Check for a rollback attack: precisely N+1.
    if root.header.version != expected {
        return Err(Error::RootVersion {
            file,
            expected,
            found: root.header.version,
        });
    }
    // 5.3.6 The expiration of an intermediate root does not matter yet.
    // 5.3.7 Set the trusted root metadata file.
    Ok(Verified::new(root))
}

/// 5.3.11 Whether the keys of timestamp or snapshot differ between two roots.
///
/// Any difference counts as a rotation, a changed threshold too: only root holders can cause it, and what it costs is the
/// memory of the last version numbers, which is what recovery from a fast-forward attack is to forget.
pub fn rotated(old: &Root, new: &Root) -> bool {
    ["timestamp", "snapshot"].iter().any(|role| {
        let keys = |root: &Root| {
            root.roles.get(*role).map(|r| {
                let mut ids = r.keyids.clone();
                ids.sort();
                (ids, r.threshold)
            })
        };
        keys(old) != keys(new)
    })
}

/// 5.3.10, 5.4.4, 5.5.6, 5.6.5 Check for a freeze attack: the expiry MUST be higher than the fixed update start time.
pub fn not_expired(file: &str, expires: Timestamp, now: Timestamp) -> Result<(), Error> {
    if expires > now {
        Ok(())
    } else {
        Err(Error::Expired {
            file: file.into(),
            expires,
            now,
        })
    }
}

/// 5.4.2 to 5.4.4: a new timestamp; `None` when it is the version that is trusted already.
pub fn timestamp(
    root: &Verified<Root>,
    trusted: Option<&Verified<Listing>>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Option<Verified<Listing>>, Error> {
    let file = "timestamp.json";
    // 5.4.2 Check for an arbitrary software attack.
    let new: Listing = signed_by_root(root, file, "timestamp", bytes)?;
    if let Some(old) = trusted {
        // 5.4.3.1 Check for a rollback attack; an equal version is discarded and is no error.
        if new.header.version < old.header.version {
            return Err(rollback(file, old.header.version, new.header.version));
        }
        if new.header.version == old.header.version {
            // Off-spec: the specification ends the cycle here without a look at the date. A mirror that serves the same
            // timestamp for ever would then never be noticed, so the trusted one's expiry is judged again.
            not_expired(file, old.header.expires, now)?;
            return Ok(None);
        }
        // 5.4.3.2 The version of snapshot it lists must not go back.
        let (old, offered) = (
            listed(old, "snapshot.json")?,
            listed(&new, "snapshot.json")?,
        );
        if offered.version < old.version {
            return Err(rollback("snapshot.json", old.version, offered.version));
        }
    }
    // 5.4.4 Check for a freeze attack.
    not_expired(file, new.header.expires, now)?;
    Ok(Some(Verified::new(new)))
}

/// 5.5.2 to 5.5.6: the snapshot that the timestamp lists, after the one that is trusted.
pub fn snapshot(
    root: &Verified<Root>,
    timestamp: &Verified<Listing>,
    trusted: Option<&Verified<Listing>>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Verified<Listing>, Error> {
    let wanted = listed(timestamp, "snapshot.json")?;
    let file = "snapshot.json";
    // 5.5.2 Check against timestamp role's snapshot hash.
    check::listed_matches(file, bytes, wanted)?;
    // 5.5.3 Check for an arbitrary software attack.
    let new: Listing = signed_by_root(root, file, "snapshot", bytes)?;
    // 5.5.4 Check against timestamp role's snapshot version.
    same_version(file, wanted, new.header.version)?;
    // 5.5.5 Check for a rollback attack: nothing that was listed goes back or vanishes.
    if let Some(old) = trusted {
        for (name, old) in &old.meta {
            let Some(offered) = new.meta.get(name) else {
                return Err(Error::Dropped { file: name.clone() });
            };
            if offered.version < old.version {
                return Err(rollback(name, old.version, offered.version));
            }
        }
    }
    // 5.5.6 Check for a freeze attack.
    not_expired(file, new.header.expires, now)?;
    Ok(Verified::new(new))
}

/// 5.6.2 to 5.6.5: the top-level targets that the snapshot lists.
pub fn targets(
    root: &Verified<Root>,
    snapshot: &Verified<Listing>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Verified<Targets>, Error> {
    let by = root_signers(root, "targets", "the trusted root");
    listed_targets(&by, snapshot, bytes, now)
}

/// 5.6.7 "metadata about the desired target": one delegated role, checked as 5.6.2 to 5.6.5 check targets, against the keys
/// of the role that delegates to it. A role that two others delegate to is checked anew on each way.
pub fn delegated(
    delegations: &Delegations,
    role: &str,
    snapshot: &Verified<Listing>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Verified<Targets>, Error> {
    let Some(found) = delegations.roles.iter().find(|r| r.name == role) else {
        return Err(Error::NotListed {
            file: names::metadata(role, None),
        });
    };
    let by = Signers {
        role,
        by: "the delegating role",
        keys: &delegations.keys,
        keyids: &found.keys.keyids,
        threshold: found.keys.threshold,
    };
    listed_targets(&by, snapshot, bytes, now)
}

fn listed_targets(
    by: &Signers<'_>,
    snapshot: &Verified<Listing>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Verified<Targets>, Error> {
    let file = names::metadata(by.role, None);
    let wanted = listed_role(snapshot, by.role)?;
    // 5.6.2 Check against snapshot role's targets hash.
    check::listed_matches(&file, bytes, wanted)?;
    // 5.6.3 Check for an arbitrary software attack.
    let signed = Signed::parse(&file, bytes)?;
    signed.verify(&file, by)?;
    let new: Targets = check::read(&file, "targets", signed.signed)?;
    // 5.6.4 Check against snapshot role's targets version.
    same_version(&file, wanted, new.header.version)?;
    // 5.6.5 Check for a freeze attack.
    not_expired(&file, new.header.expires, now)?;
    Ok(Verified::new(new))
}

/// A timestamp or snapshot from the device's own store: what it says about versions is believed when the trusted root's
/// keys signed it. Its date does not matter, it is only compared with (as 5.3.6 for roots).
pub fn stored(root: &Verified<Root>, kind: &str, bytes: &[u8]) -> Result<Verified<Listing>, Error> {
    signed_by_root(root, &names::metadata(kind, None), kind, bytes).map(Verified::new)
}

/// What `timestamp` or `snapshot` lists about a file.
pub fn listed<'a>(listing: &'a Listing, name: &str) -> Result<&'a MetaFile, Error> {
    listing
        .meta
        .get(name)
        .ok_or_else(|| Error::NotListed { file: name.into() })
}

/// What the snapshot lists about a role. The role's name stands there as it is, only the file's name is encoded.
pub fn listed_role<'a>(snapshot: &'a Listing, role: &str) -> Result<&'a MetaFile, Error> {
    listed(snapshot, &alloc::format!("{role}.json"))
}

fn signed_by_root<T: Metadata>(
    root: &Root,
    file: &str,
    role: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    let signed = Signed::parse(file, bytes)?;
    signed.verify(file, &root_signers(root, role, "the trusted root"))?;
    check::read(file, role, signed.signed)
}

/// The signers of a top-level role. Every root that was checked has the four roles; any other asks for what nobody can give.
pub fn root_signers<'a>(root: &'a Root, role: &'a str, by: &'a str) -> Signers<'a> {
    let (keyids, threshold): (&[String], u64) = root
        .roles
        .get(role)
        .map_or((&[], 1), |r| (r.keyids.as_slice(), r.threshold));
    Signers {
        role,
        by,
        keys: &root.keys,
        keyids,
        threshold,
    }
}

fn same_version(file: &str, wanted: &MetaFile, found: u64) -> Result<(), Error> {
    if found == wanted.version {
        Ok(())
    } else {
        Err(Error::VersionMismatch {
            file: file.into(),
            listed: wanted.version,
            found,
        })
    }
}

fn rollback(file: &str, trusted: u64, offered: u64) -> Error {
    Error::Rollback {
        file: file.into(),
        trusted,
        offered,
    }
}
