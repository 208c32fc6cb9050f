//! Owns the reading of an archive: its suites' tables of contents, verified and not older than before, and the package lists they vouch for.

use std::path::PathBuf;
use std::time::SystemTime;

use super::index::Index;
use super::keyring::{self, Keyring};
use super::{RepoError, release};
use crate::fetch::store::Store;
use crate::fetch::{Client, FetchError, Wanted};
use crate::files;
use crate::inputs::board::Pin;
use crate::inputs::mirror::Mirror;
use crate::inputs::recipe::Repository;
use crate::lock::LockedRelease;
use crate::lock::resolve::Universe;
use crate::progress::{Progress, Stage};
use crate::sha256::Sha256;

/// The name of the archive that holds the suites.
pub const MAIN: &str = "main";
/// The name of the archive that holds their security updates.
pub const SECURITY: &str = "security";

/// What making a lock needs besides recipe and board.
#[derive(Debug)]
pub struct Sources<'a> {
    /// Where packages come from.
    pub mirror: &'a Mirror,
    /// Whom to believe.
    pub keyring: &'a Keyring,
    /// Where downloads go.
    pub store: &'a Store,
    /// The network.
    pub client: &'a Client,
    /// True if the mirror is a frozen copy of the archive: it may be past its `Valid-Until`.
    pub frozen: bool,
    /// The time.
    pub now: SystemTime,
    /// Where progress goes.
    pub progress: Progress,
}

/// Reads the package lists of a suite, its updates and its security updates.
pub fn universe(
    from: &Sources<'_>,
    suite: &str,
    arch: &str,
    components: &[&str],
    releases: &mut Vec<LockedRelease>,
) -> Result<Universe, RepoError> {
    let mut places = vec![(MAIN, from.mirror.main.as_str(), suite.to_owned(), false)];
    if !["sid", "unstable"].contains(&suite) {
        places.push((MAIN, &from.mirror.main, format!("{suite}-updates"), false));
        if let Some(security) = &from.mirror.security {
            places.push((
                SECURITY,
                security,
                format!("{suite}-security"),
                from.mirror.security_guessed,
            ));
        }
    }
    let mut indices = Vec::new();
    for (archive, base, name, optional) in places {
        match indices_of(from, archive, base, &name, arch, components) {
            Ok((release, found)) => {
                releases.push(release);
                indices.extend(found);
            }
            Err(RepoError::Fetch(FetchError::NotFound { url, .. })) if optional => {
                from.progress.note(&format!("note: no security archive beside the mirror ({url}); name one with --security-mirror"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Universe {
        arch: arch.to_owned(),
        suite: suite.to_owned(),
        indices,
        wanted: std::collections::BTreeMap::new(),
    })
}

/// Adds the packages that a board takes from a pocket of the suite, and from nowhere else.
pub fn pin(
    from: &Sources<'_>,
    universe: &mut Universe,
    pin: &Pin,
    components: &[&str],
    releases: &mut Vec<LockedRelease>,
) -> Result<(), RepoError> {
    let (suite, arch) = (format!("{}-{}", universe.suite, pin.pocket), &universe.arch);
    let (release, found) = indices_of(from, MAIN, &from.mirror.main, &suite, arch, components)?;
    releases.push(release);
    universe.pin(&pin.sources, found);
    Ok(())
}

/// Adds the packages of another suite of Debian's: none of them is taken unless it is asked for, as with apt and backports.
pub fn suite(
    from: &Sources<'_>,
    universe: &mut Universe,
    suite: &str,
    components: &[&str],
    releases: &mut Vec<LockedRelease>,
) -> Result<(), RepoError> {
    let (release, found) = indices_of(
        from,
        MAIN,
        &from.mirror.main,
        suite,
        &universe.arch,
        components,
    )?;
    releases.push(release);
    let asked = found.into_iter().map(|mut index| {
        index.priority = 100;
        index
    });
    universe.indices.extend(asked);
    Ok(())
}

/// Adds the packages of an archive that a recipe names, signed with that archive's own key and no other.
pub fn repository(
    from: &Sources<'_>,
    universe: &mut Universe,
    repository: &Repository,
    releases: &mut Vec<LockedRelease>,
) -> Result<(), RepoError> {
    let named = PathBuf::from(format!("the key of [[repository]] {}", repository.name));
    let keyring = keyring::parse(&named, &repository.key_bytes())?;
    let from = Sources {
        keyring: &keyring,
        frozen: false,
        ..*from
    };
    let base = repository.uri.trim_end_matches('/');
    let flat = [""];
    let components: Vec<&str> = match &repository.components {
        none if none.is_empty() => flat.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    for suite in &repository.suites {
        let (release, found) = indices_of(
            &from,
            &repository.name,
            base,
            suite,
            &universe.arch,
            &components,
        )?;
        releases.push(release);
        for mut index in found {
            index.priority = repository.priority;
            if !repository.packages.is_empty() {
                index.retain(|name, _| repository.packages.iter().any(|p| p == name));
            }
            universe.indices.push(index);
        }
    }
    Ok(())
}

/// Where the table of contents of a suite lies; one whose name ends in `/` is a folder of a flat archive (sources.list(5)).
fn contents(base: &str, suite: &str) -> String {
    match suite.strip_suffix('/') {
        None => format!("{base}/dists/{suite}"),
        Some("." | "") => base.to_owned(),
        Some(folder) => format!("{base}/{}", folder.trim_start_matches("./")),
    }
}

/// Times a mirror that is in the middle of an update is asked again.
const MID_SYNC_TRIES: u32 = 3;

fn indices_of(
    from: &Sources<'_>,
    archive: &str,
    base: &str,
    suite: &str,
    arch: &str,
    components: &[&str],
) -> Result<(LockedRelease, Vec<Index>), RepoError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match indices_once(from, archive, base, suite, arch, components) {
            // The table of contents and the lists may be from before and after an update of the mirror.
            Err(RepoError::Fetch(
                FetchError::NotFound { url, .. } | FetchError::Mismatch { url, .. },
            )) if tries < MID_SYNC_TRIES && !url.ends_with("/InRelease") => {
                from.progress.note(&format!("note: {url} does not fit its table of contents; the mirror may be updating, trying again"));
                std::thread::sleep(from.client.patience() / 4 * tries);
            }
            Err(RepoError::Fetch(
                e @ (FetchError::NotFound { .. } | FetchError::Mismatch { .. }),
            )) if tries == MID_SYNC_TRIES => {
                let reason = e.to_string();
                return Err(RepoError::MidSync {
                    suite: suite.to_owned(),
                    arch: arch.to_owned(),
                    reason,
                });
            }
            other => return other,
        }
    }
}

/// Fetches a package list: under its hash, and where the mirror does not keep those, under its plain name. Both are checked.
fn list(
    from: &Sources<'_>,
    dists: &str,
    file: &release::IndexFile,
    stage: &Stage,
) -> Result<PathBuf, FetchError> {
    let wanted = |path: &str| Wanted {
        url: format!("{dists}/{path}"),
        sha256: file.sha256,
        size: file.size,
    };
    match from
        .client
        .fetch(from.store, &wanted(&file.path), Some(stage))
    {
        Err(FetchError::NotFound { .. }) if file.path != file.plain => {
            from.client
                .fetch(from.store, &wanted(&file.plain), Some(stage))
        }
        other => other,
    }
}

fn indices_once(
    from: &Sources<'_>,
    archive: &str,
    base: &str,
    suite: &str,
    arch: &str,
    components: &[&str],
) -> Result<(LockedRelease, Vec<Index>), RepoError> {
    let dists = contents(base, suite);
    // Debian's mirrors are one archive, wherever they are; another's is known by its address.
    let known_as = match archive {
        MAIN | SECURITY => archive,
        _ => base,
    };
    let url = format!("{dists}/InRelease");
    let text = from.client.text(&url)?;
    let release = release::verify(&url, suite, &text, from.keyring, from.now, from.frozen)?;
    let seen = from.store.seen(&format!("{known_as} {suite}"));
    release.not_older_than(seen.as_ref().map(|(at, text)| (*at, text.as_str())))?;

    let mut indices = Vec::new();
    for component in components {
        let file = release.packages(component, arch)?;
        let stage = from.progress.bytes("index", file.size);
        stage.now(&format!("{suite} {component} {arch}"));
        let path = list(from, &dists, &file, &stage)?;
        let bytes = std::fs::read(&path).map_err(|e| files::named(&path, &e))?;
        if Sha256::of(&bytes) != file.sha256 {
            from.store.discard(file.sha256)?;
            return Err(RepoError::Malformed {
                what: path.display().to_string(),
                reason: "damaged in the cache, it was removed; start again".to_owned(),
            });
        }
        let text = crate::debian::deb::index_text(&file.plain, &bytes).map_err(|e| {
            RepoError::Malformed {
                what: format!("{dists}/{}", file.plain),
                reason: e.to_string(),
            }
        })?;
        indices.push(Index::new(archive, suite, text));
    }
    // Only a release whose lists could be read is remembered: a broken mirror must not lock us out of a good one.
    from.store.set_seen(
        &format!("{known_as} {suite}"),
        release.date(),
        release.date_text(),
    )?;
    let locked = LockedRelease {
        archive: archive.to_owned(),
        suite: suite.to_owned(),
        date: release.date_text().to_owned(),
        seconds: release.date(),
    };
    Ok((locked, indices))
}

#[cfg(test)]
pub(crate) mod tests;
