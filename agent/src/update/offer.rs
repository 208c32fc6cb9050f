//! What the repository offers to this board, and the verified index of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hypriot_keys::Verified;
use hypriot_keys::client::Client;
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsTime};
use hypriot_keys::source::{FileSource, Source};
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::Offer;
use hypriot_updater::index::Index;
use hypriot_updater::record::Record;
use hypriot_updater::rollout::{Candidate, Next, Rollout, Turn, choose};
use hypriot_updater::slot::{Digest, Release};

use super::ports::Releases;
use crate::config::Settings;

/// The first root of trust, from the image.
pub const ROOT: &str = "/usr/share/hypriot/root.json";

/// A repository that was asked, and answered with metadata that was verified.
pub struct Repository {
    client: Client,
    source: Box<dyn Source>,
    /// Releases for this board, with the names of their targets.
    candidates: Vec<(Candidate, String)>,
}

/// How a rollout is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurry {
    /// Wait for this board's turn.
    No,
    /// The owner stands before the board and wants it now; withdrawn releases and minimum versions still hold.
    Yes,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the trust store at `store`, asks the repository at `url` (a URL or a directory), and verifies what it says.
    pub fn ask(
        url: &str,
        store: &Path,
        settings: &Settings,
        clock: Timestamp,
    ) -> anyhow::Result<Self> {
        let baked = std::fs::read(ROOT)
            .with_context(|| format!("reading the image's root of trust {ROOT}"))?;
        let mut client = Client::open(store, &baked, settings.built)?;
        let source: Box<dyn Source> = if url.starts_with("http://") || url.starts_with("https://") {
            let time = TlsTime {
                clock,
                floor: client.floor(),
            };
            let options = HttpOptions {
                proxy: settings.net.proxy.clone(),
                identity: settings.net.identity()?,
                ..HttpOptions::at(time)
            };
            Box::new(HttpSource::new(url, options)?)
        } else if let Some(directory) = directory(url) {
            Box::new(FileSource::new(directory))
        } else {
            bail!("{url} is neither an http(s) URL nor a directory");
        };
        client
            .refresh(&*source, clock)
            .with_context(|| format!("asking {url}"))?;
        let candidates = candidates(&client, &settings.board)?;
        Ok(Self {
            client,
            source,
            candidates,
        })
    }

    /// What this means for a board that runs `running`.
    pub fn offer(
        &self,
        board_id: &[u8],
        running: &semver::Version,
        record: &Record,
        hurry: Hurry,
        now: Timestamp,
    ) -> Offer {
        let candidates: Vec<Candidate> = self.candidates.iter().map(|(c, _)| c.clone()).collect();
        offered(&candidates, board_id, running, record, hurry, now)
    }

    /// The verified index of a release, checked to be what its target said it is.
    pub fn index(&self, release: &Release, board: &str) -> anyhow::Result<Verified<Index>> {
        let (_, target) = self
            .candidates
            .iter()
            .find(|(c, _)| c.release == *release)
            .with_context(|| {
                format!("the repository no longer names release {}", release.version)
            })?;
        let bytes = self.client.download(&*self.source, target)?;
        let index: Verified<Index> = bytes.parse()?;
        let said = (&*index.board, &index.version, index.state_version);
        if said != (board, &release.version, release.state_version) {
            bail!(
                "target {target} holds {} for {}, with data of state version {}, which is not what its metadata says; tell the \
                 maintainer",
                index.version,
                index.board,
                index.state_version
            );
        }
        Ok(index)
    }

    /// Where the payload comes from.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// The newest time that anybody trusted has signed: it is not earlier than this.
    pub fn floor(&self) -> Timestamp {
        self.client.floor()
    }
}

/// The TUF repository that is asked, and what it said last.
#[derive(Debug, Default)]
pub struct Tuf(Option<Repository>);

impl Releases for Tuf {
    fn ask(
        &mut self,
        url: &str,
        trust: &Path,
        settings: &Settings,
        clock: Timestamp,
    ) -> anyhow::Result<()> {
        self.0 = Some(Repository::ask(url, trust, settings, clock)?);
        Ok(())
    }

    fn offer(
        &self,
        board_id: &[u8],
        running: &semver::Version,
        record: &Record,
        hurry: Hurry,
        now: Timestamp,
    ) -> Offer {
        let answer = self.0.as_ref();
        answer.map_or(Offer::Due, |repository| {
            repository.offer(board_id, running, record, hurry, now)
        })
    }

    fn release(
        &self,
        release: &Release,
        board: &str,
    ) -> anyhow::Result<(Verified<Index>, &dyn Source)> {
        let repository = self
            .0
            .as_ref()
            .context("the repository was not asked yet")?;
        Ok((repository.index(release, board)?, repository.source()))
    }

    fn floor(&self) -> Option<Timestamp> {
        self.0.as_ref().map(Repository::floor)
    }
}

/// What `candidates`, the releases of a repository for this board, mean for it.
fn offered(
    candidates: &[Candidate],
    board_id: &[u8],
    running: &semver::Version,
    record: &Record,
    hurry: Hurry,
    now: Timestamp,
) -> Offer {
    if candidates.is_empty() {
        return Offer::Nothing;
    }
    let (refused, fresh): (Vec<Candidate>, Vec<Candidate>) = candidates
        .iter()
        .cloned()
        .partition(|c| record.refusal(&c.release.digest).is_some());
    match choose(&fresh, board_id, running, now) {
        Next::Candidate { index, turn, why } => {
            let hold = match turn {
                Turn::Now => None,
                Turn::At(_) | Turn::NotYet | Turn::Paused(_) if hurry == Hurry::Yes => None,
                Turn::At(_)
                | Turn::NotYet
                | Turn::Paused(_)
                | Turn::Deadend(_)
                | Turn::Below(_) => Some(why),
            };
            Offer::Release {
                release: fresh[index].release.clone(),
                hold,
            }
        }
        Next::Stuck(why) => Offer::Stuck(why),
        // A refused newer release is shown as such, so that nobody thinks there is none. Only a refused one: `decide`
        // keeps it from being installed, which nothing does for one that was withdrawn.
        Next::UpToDate => refused
            .into_iter()
            .map(|c| c.release)
            .filter(|r| r.version > *running)
            .max_by(|a, b| a.version.cmp(&b.version))
            .map_or(Offer::UpToDate, |release| Offer::Release {
                release,
                hold: None,
            }),
    }
}

/// A directory: as such, or as a URL of this host (RFC 8089).
fn directory(url: &str) -> Option<PathBuf> {
    let local = ["file://localhost/", "file:///"]
        .iter()
        .find_map(|begin| url.strip_prefix(begin))
        .map(|rest| format!("/{rest}"));
    let path = PathBuf::from(local.as_deref().unwrap_or(url));
    path.is_dir().then_some(path)
}

/// The releases for `board`. A target for this board that cannot be read is an error: skipping it would hide an update.
fn candidates(client: &Client, board: &str) -> anyhow::Result<Vec<(Candidate, String)>> {
    let mut found = Vec::new();
    for (name, target) in client.targets() {
        let text = |key: &str| target.custom.get(key).and_then(serde_json::Value::as_str);
        if text("board") != Some(board) {
            continue;
        }
        let version = text("version").unwrap_or_default();
        let version = version.parse().with_context(|| {
            format!("target {name} has the version {version:?}; tell the maintainer")
        })?;
        let digest = target.hashes.get("sha256").and_then(|h| Digest::parse(h));
        let digest =
            digest.with_context(|| format!("target {name} has no SHA-256; tell the maintainer"))?;
        found.push((
            Candidate {
                release: Release {
                    version,
                    digest,
                    state_version: state_version(&target.custom).with_context(|| {
                        format!(
                            "target {name} has a state version that is none; tell the maintainer"
                        )
                    })?,
                },
                // one that cannot be read is paused, and holds no other one back
                rollout: Rollout::of_target(&target.custom),
            },
            name.to_owned(),
        ));
    }
    Ok(found)
}

/// The shape of data that a release leaves; what says nothing of it leaves none.
fn state_version(custom: &serde_json::Value) -> anyhow::Result<u32> {
    match custom.get("state_version") {
        None => Ok(0),
        Some(number) => Ok(serde_json::from_value(number.clone())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u8, deadend: bool) -> Candidate {
        Candidate {
            release: Release {
                version: semver::Version::new(n.into(), 0, 0),
                digest: Digest([n; 32]),
                state_version: 0,
            },
            rollout: Rollout {
                deadend: deadend.then(|| "eats data".into()),
                ..Rollout::default()
            },
        }
    }

    #[test]
    fn a_directory_may_be_written_as_a_url_of_this_host_and_no_other() {
        for (url, expected) in [
            ("/usr", Some("/usr")),
            ("file:///usr", Some("/usr")),
            ("file://localhost/usr", Some("/usr")),
            ("file://host/usr", None),
            ("file:///no/such/place", None),
            ("file:", None),
            ("", None),
        ] {
            assert_eq!(directory(url), expected.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn withdrawn_release_is_never_offered_and_a_refused_one_is_shown() {
        let mut record = Record::default();
        record.refuse(candidate(3, false).release, Vec::new(), Timestamp(0));
        let show = |n| Offer::Release {
            release: candidate(n, false).release,
            hold: None,
        };
        for (danger, candidates, expected) in [
            ("nothing there", vec![], Offer::Nothing),
            ("only withdrawn", vec![candidate(2, true)], Offer::UpToDate),
            ("only refused", vec![candidate(3, false)], show(3)),
            (
                "refused and withdrawn",
                vec![candidate(3, false), candidate(4, true)],
                show(3),
            ),
            (
                "an older one that holds",
                vec![candidate(2, false), candidate(3, false)],
                show(2),
            ),
            ("what runs", vec![candidate(1, false)], Offer::UpToDate),
        ] {
            for hurry in [Hurry::No, Hurry::Yes] {
                let running = semver::Version::new(1, 0, 0);
                let offer = offered(&candidates, b"id", &running, &record, hurry, Timestamp(9));
                assert_eq!(offer, expected, "{danger}, {hurry:?}");
            }
        }
    }
}
