//! Owns releases made for a bench, by the programs that a maintainer uses: images out of locks, deltas, keys, a signed folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hypriot_imagegen::files;
use hypriot_imagegen::lock::Lock;
use hypriot_updater::index::Index;

use super::mirror;
use crate::factory::{Factory, VIRTUAL};
use crate::{exec, papers};

/// The board that everything is made for.
pub(super) const BOARD: &str = VIRTUAL;
const LIMIT: Duration = Duration::from_hours(1);

/// Makes releases in a folder.
pub(super) struct Releases {
    dir: PathBuf,
    agent: PathBuf,
}

/// A release.
pub(super) struct Made {
    pub(super) version: String,
    /// The card, if there is one.
    pub(super) image: Option<PathBuf>,
    pub(super) index: PathBuf,
}

impl Made {
    /// Bytes of the full payload and of the delta; of the full one, where there is none.
    pub(super) fn sizes(&self) -> Result<(u64, u64)> {
        let index = Index::parse(&fs::read(&self.index)?)?;
        let full = index.full().context("every release has one")?.size;
        let delta = index.known().find(|p| p.base.is_some());
        Ok((full, delta.map_or(full, |p| p.size)))
    }

    pub(super) fn remove(&self) -> Result<()> {
        let dir = self.index.parent().context("it lies in a folder")?;
        Ok(fs::remove_dir_all(dir)?)
    }
}

impl Releases {
    /// Makes a key, and the agent if it is not there yet.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let factory = Factory::new()?;
        let agent = match std::env::var_os("HYPRIOT_AGENT") {
            Some(path) => path.into(),
            None => factory.own_agent()?,
        };
        fs::create_dir_all(dir)?;
        let this = Self {
            dir: dir.to_owned(),
            agent,
        };
        let (key, public) = (this.at("bench.key"), this.at("bench.pub"));
        program("hypriot-keys", |c| c.arg("generate").arg(&key))?;
        let (repo, site) = (this.at("repo"), this.at("site"));
        program("hypriot-keys", |c| {
            c.arg("init").arg(&repo).arg("--key").arg(&public)
        })?;
        program("hypriot-keys", |c| {
            c.arg("publish").args([&repo, &site]).arg("--key").arg(&key)
        })?;
        Ok(this)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What boards trust.
    pub(super) fn trust_root(&self) -> PathBuf {
        self.at("site").join("1.root.json")
    }

    /// A release of these packages with this folder on top; the first one with a card, the others with a delta.
    pub(super) fn make(
        &self,
        version: &str,
        lock: &Lock,
        overlay: &Path,
        base: Option<&Made>,
    ) -> Result<Made> {
        let out = mirror::fresh(self.at(&format!("out-{version}")))?;
        let locked = self.at(&format!("{version}.lock.toml"));
        files::replace(&locked, lock.to_text()?.as_bytes())?;
        program("hypriot-imagegen", |c| {
            c.args(["image", "--board", BOARD, "--version", version]);
            c.arg("--lock").arg(&locked).arg("--agent").arg(&self.agent);
            c.arg("--overlay").arg(overlay).arg("--out").arg(&out);
            c.arg("--trust-root").arg(self.trust_root());
            c.args(["--update-url", "http://127.0.0.1/"]);
            match base {
                Some(base) => c.arg("--release-only").arg("--delta-from").arg(&base.index),
                None => c.arg("--no-delta"),
            }
        })?;
        let file = |end: &str| out.join(format!("hypriotos-{BOARD}-{version}.{end}"));
        Ok(Made {
            version: version.to_owned(),
            image: base.is_none().then(|| file("img")),
            index: file("json"),
        })
    }

    /// Signs a release, alone, and gives the folder to serve.
    pub(super) fn publish(&self, made: &Made) -> Result<PathBuf> {
        let site = mirror::fresh(self.at("public"))?;
        program("hypriot-imagegen", |c| {
            c.args(["publish", "--replace", "--repo"])
                .arg(self.at("repo"));
            c.arg("--key").arg(self.at("bench.key"));
            c.arg("--to").arg(&site).arg(&made.index)
        })?;
        Ok(site)
    }
}

fn program(name: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let mut command = exec::command(exec::workspace_program(name)?);
    // Keys that sign nothing but what this machine shows itself: their passphrase is no secret.
    command
        .current_dir(papers::root())
        .env("HYPRIOT_KEYS_PASSPHRASE", "bench of HypriotOS");
    with(&mut command);
    exec::run_shown(command, LIMIT).map(drop)
}
