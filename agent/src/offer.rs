//! What the repository offers to this board, and the verified index of it.

use std::path::Path;

use anyhow::{Context, bail};
use hypriot_keys::client::Client;
use hypriot_keys::source::http::HttpSource;
use hypriot_keys::source::{FileSource, Source};
use hypriot_keys::time::Timestamp;
use hypriot_updater::index::Index;
use hypriot_updater::slot::{Digest, Release};

use crate::config::Settings;

/// The first root of trust, from the image.
pub const ROOT: &str = "/usr/share/hypriot/root.json";

/// A repository that was asked.
pub struct Repository {
    client: Client,
    source: Box<dyn Source>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The newest release for a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Which.
    pub release: Release,
    /// Name of its target.
    pub target: String,
}

impl Repository {
    /// Opens the trust store at `store`, asks the repository at `url` (or in that directory), and verifies what it says.
    pub fn ask(url: &str, store: &Path, settings: &Settings, now: Timestamp) -> anyhow::Result<Self> {
        let baked = std::fs::read(ROOT).with_context(|| format!("reading the image's root of trust {ROOT}"))?;
        let mut client = Client::open(store, &baked, settings.built)?;
        let source: Box<dyn Source> = if url.starts_with("http://") || url.starts_with("https://") {
            Box::new(HttpSource::new(url, hypriot_keys::source::http::Limits::default())?)
        } else {
            Box::new(FileSource::new(url))
        };
        client.refresh(&*source, now).with_context(|| format!("asking {url}"))?;
        Ok(Self { client, source })
    }

    /// The newest release for `board` that the repository's targets name.
    pub fn newest(&self, board: &str) -> anyhow::Result<Option<Newest>> {
        let mut newest: Option<Newest> = None;
        for (name, target) in self.client.targets() {
            let text = |key: &str| target.custom.get(key).and_then(serde_json::Value::as_str);
            if text("board") != Some(board) {
                continue;
            }
            let Some(version) = text("version").and_then(|v| v.parse().ok()) else {
                bail!("target {name} is for this board but its version cannot be read; tell the maintainer");
            };
            let Some(digest) = target.hashes.get("sha256").and_then(|h| Digest::parse(h)) else {
                bail!("target {name} has no SHA-256; tell the maintainer");
            };
            if newest.as_ref().is_none_or(|n| n.release.version < version) {
                newest = Some(Newest { release: Release { version, digest }, target: name.to_owned() });
            }
        }
        Ok(newest)
    }

    /// The verified index of a release, checked to be what its target said it is.
    pub fn index(&self, newest: &Newest, board: &str) -> anyhow::Result<Index> {
        let bytes = self.client.download(&*self.source, &newest.target)?;
        let index = Index::parse(&bytes)?;
        if index.board != board || index.version != newest.release.version {
            bail!("target {} holds {} for {}, which is not what its metadata says; tell the maintainer", newest.target, index.version, index.board);
        }
        Ok(index)
    }

    /// Where the payload comes from.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Nothing that this repository signed is older: time cannot be earlier.
    pub fn floor(&self) -> Timestamp {
        self.client.floor()
    }
}
