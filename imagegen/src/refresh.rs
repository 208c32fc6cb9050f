//! Owns the next release out of Debian's own updates: what the archive has that the last release has not, why it matters, and
//! which version it becomes. Building, playing and publishing are other rooms' work; the order of it is in `cli`.

pub mod changelog;
pub mod news;

use anyhow::{Context, Result, ensure};
use semver::Version;
use serde_json::Value;

use crate::debian::deb;
use crate::fetch::Client;
use crate::fetch::store::Store;
use crate::inputs::mirror::Mirror;
use crate::lock::repo::archive::SECURITY;
use crate::lock::{Lock, LockedPackage};
use crate::progress::Progress;

use news::{Change, News};

#[cfg(test)]
mod tests;

/// No file list of a package is longer: the largest of Debian, linux-image, has 400 MiB of files.
const DATA_MAX: u64 = 2 << 30;

/// What `new` has that `old` has not, and why, in the words of the packages' own changelogs. What changed is fetched for that: a
/// build needs it anyway.
pub fn look(
    old: &Lock,
    new: &Lock,
    mirror: &Mirror,
    store: &Store,
    client: &Client,
    progress: Progress,
) -> Result<News> {
    let mut found = news::between(old, new);
    refuse_older(&found)?;
    let changed: Vec<&LockedPackage> = new.in_image().filter(|p| found.names(&p.name)).collect();
    let mut wanted = new.wanted(mirror)?;
    wanted.retain(|w| {
        changed.iter().any(|p| p.sha256 == w.sha256) && store.get(w.sha256, w.size).is_none()
    });
    if !wanted.is_empty() {
        let bytes: u64 = wanted.iter().map(|w| w.size).sum();
        let stage = progress.bytes("news", bytes);
        client.fetch_all(store, &wanted, &stage)?;
        stage.done(&format!("{} packages changed", wanted.len()));
    }
    for change in &mut found.changed {
        // Binary packages of one source share its changelog, and some keep it in another's folder: the first that has one.
        let text = changed
            .iter()
            .filter(|p| change.packages.contains(&p.name))
            .find_map(|p| text_of(p, store).transpose())
            .transpose()?;
        if let Some(text) = text {
            let why = changelog::since(&text, &change.from);
            change.urgency = why.urgency;
            change.first = why.first;
            change.cves = why.cves;
        }
    }
    Ok(found)
}

/// A mirror that lags, or lies within what its signatures allow: what boards have may not be taken back.
fn refuse_older(found: &News) -> Result<()> {
    let older: Vec<String> = found
        .changed
        .iter()
        .filter(|c| c.is_older())
        .map(|c| format!("{} {} (the last release has {})", c.source, c.to, c.from))
        .collect();
    ensure!(
        older.is_empty(),
        "the archive has older packages than the last release: {}; its mirror is behind, or another suite was asked for: \
         nothing is made. Ask again later, or name another mirror with --mirror",
        older.join(", ")
    );
    Ok(())
}

fn text_of(package: &LockedPackage, store: &Store) -> Result<Option<String>> {
    let path = store
        .get(package.sha256, package.size)
        .with_context(|| format!("{} was fetched and is gone", package.name))?;
    let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
    let deb = deb::parse(&bytes).with_context(|| package.name.clone())?;
    changelog::of(&package.name, deb.data(DATA_MAX)?)
        .with_context(|| format!("the changelog of {}", package.name))
}

/// What is done with news, board by board.
pub trait Hands {
    /// What is made of one board's news.
    type Made;

    /// Makes the release of the `n`th board.
    fn make(&mut self, n: usize) -> Result<Self::Made>;
    /// Plays it: an update from the last release, and the way back.
    fn play(&mut self, made: &Self::Made) -> Result<()>;
    /// Publishes all of them at once.
    fn publish(&mut self, made: &[Self::Made]) -> Result<()>;
    /// Remembers what the `n`th board's release is made of.
    fn remember(&mut self, n: usize) -> Result<()>;
}

/// Carries it out for so many boards: nothing is published unless all of it was made and played. What was published is remembered
/// last: after a cut between the two the same packages are published once more, and never not at all.
pub fn carry_out<H: Hands>(boards: usize, hands: &mut H) -> Result<Vec<H::Made>> {
    let made: Vec<H::Made> = (0..boards).map(|n| hands.make(n)).collect::<Result<_>>()?;
    for one in &made {
        hands.play(one)?;
    }
    hands.publish(&made)?;
    for n in 0..boards {
        hands.remember(n)?;
    }
    Ok(made)
}

/// The newest version of a board that a repository lists.
pub fn last_version(targets: &[(String, Value)], board: &str) -> Option<Version> {
    targets
        .iter()
        .filter(|(_, custom)| custom["board"] == board)
        .filter_map(|(_, custom)| Version::parse(custom["version"].as_str()?).ok())
        .max()
}

/// The version after that: the same system with newer packages is a patch.
pub fn next_version(last: &Version) -> Version {
    Version::new(last.major, last.minor, last.patch + 1)
}

impl Change {
    /// Whether it comes from the archive of security updates.
    pub fn is_security(&self) -> bool {
        self.archive == SECURITY
    }
}
