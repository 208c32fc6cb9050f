//! Owns the work behind a tree of the cache: unpack, configure, normalise, pack. It runs as root, of the machine or of a user
//! namespace; which of the two makes no difference to the result.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BUILDER, RootError, quick, stage};
use crate::arch::Arch;
use crate::configure::{self, ConfigureError, Mode, cover};
use crate::fetch::store::Store;
use crate::files;
use crate::lock::{Lock, LockedPackage};
use crate::normalise;
use crate::progress::Progress;
use crate::sandbox::errand::Errand;
use crate::tree::Owners;
use crate::unpack::{self, Unpacked};

/// One of the trees that an image is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// The root file system.
    Root,
    /// The files of the board's boot packages.
    Boot,
}

/// Everything that making a tree needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Which tree.
    pub(crate) what: What,
    /// The cache.
    pub(crate) cache: PathBuf,
    /// The packages.
    pub(crate) lock: Lock,
    /// How scripts are run.
    pub(crate) configure: Mode,
    /// This program.
    pub(crate) helper: PathBuf,
    /// Where progress goes.
    pub(crate) progress: Progress,
}

impl Errand for Job {
    const NAME: &'static str = "tree";

    fn work(self) -> anyhow::Result<String> {
        self.run()?;
        Ok(String::new())
    }
}

impl Job {
    /// The stage's name in the cache: a hash of everything the tree depends on.
    pub(super) fn name(&self) -> String {
        match self.what {
            What::Root => {
                // The second was a hash of the recipe's files, which are laid over the finished tree now.
                let more = [self.configure.name(), ""];
                key("root", &self.lock.packages, &self.lock, &more)
            }
            What::Boot => key("boot", &self.lock.boot_packages, &self.lock, &["records"]),
        }
    }

    /// Where the tree lies, or will lie.
    pub(super) fn path(&self) -> PathBuf {
        stage::packed_path(&self.cache, &self.name())
    }

    /// Makes the tree unless it is there.
    pub(crate) fn run(&self) -> Result<(), RootError> {
        // Whatever the caller's is: nothing of it shall be seen in a tree.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let store = Store::open(&self.cache)?;
        let epoch = u64::try_from(self.lock.source_date()).unwrap_or(0);
        stage::packed(&store, &self.name(), epoch, |dir| match self.what {
            What::Root => self.root(dir, &store),
            What::Boot => self.boot(dir, &store),
        })
    }

    fn root(&self, dir: &Path, store: &Store) -> Result<(), RootError> {
        let tools = if configure::needs_tools(self.configure, &self.lock)? {
            Some(self.tools(store)?)
        } else {
            None
        };
        let tools = tools.as_ref().map(|(dir, _held)| dir.as_path());
        if self.configure == Mode::Quick && self.quickly(dir, store, tools)? {
            return self.normalise(dir);
        }
        let unpacked = self.unpack(dir, store)?;
        self.configure(dir, &unpacked, tools)?;
        self.normalise(dir)
    }

    /// Adds what is new to the nearest tree of the cache. False, and `dir` is empty, where there is none or its scripts do not bear it.
    fn quickly(&self, dir: &Path, store: &Store, tools: Option<&Path>) -> Result<bool, RootError> {
        let Some(near) = quick::nearest(&self.cache, &self.lock) else {
            let why = "note: no tree in the cache is part of this one; it is made from nothing";
            self.progress.note(why);
            return Ok(false);
        };
        let stage = self.progress.steps("quick", near.added.len() as u64);
        let job = configure::Job {
            mode: Mode::Native,
            ..self.scripts(dir, &[], tools)
        };
        match quick::add(&near, &job, store, &stage) {
            Ok(how) => {
                let count = near.added.len();
                stage.done(&format!("{count} packages added to a kept tree, {how}"));
                Ok(true)
            }
            Err(RootError::Configure(e @ ConfigureError::Script { .. })) => {
                stage.note(&format!(
                    "note: {e}\nnote: the tree is made from nothing instead"
                ));
                quick::empty(dir)?;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    fn boot(&self, dir: &Path, store: &Store) -> Result<(), RootError> {
        let packages = &self.lock.boot_packages;
        let stage = self.progress.bytes("boot files", size(packages));
        unpack::boot_files(dir, store, packages, &stage)?;
        Ok(normalise::run_times(dir, self.lock.source_date())?)
    }

    fn unpack(&self, dir: &Path, store: &Store) -> Result<Vec<Unpacked>, RootError> {
        let packages = &self.lock.packages;
        let stage = self.progress.bytes("unpack", size(packages));
        let unpacked = unpack::root_tree(dir, store, packages, &stage)?;
        stage.done(&format!("{} packages", unpacked.len()));
        Ok(unpacked)
    }

    fn configure(
        &self,
        dir: &Path,
        unpacked: &[Unpacked],
        tools: Option<&Path>,
    ) -> Result<(), RootError> {
        let stage = self.progress.steps("configure", unpacked.len() as u64);
        let job = self.scripts(dir, unpacked, tools);
        let how = configure::run(&job, &stage)?;
        stage.done(&format!("{} packages, {how}", unpacked.len()));
        Ok(())
    }

    fn scripts<'a>(
        &'a self,
        root: &'a Path,
        unpacked: &'a [Unpacked],
        tools: Option<&'a Path>,
    ) -> configure::Job<'a> {
        configure::Job {
            root,
            arch: self.lock.arch,
            packages: &self.lock.packages,
            unpacked,
            tools,
            mode: match self.configure {
                // what could not be added quickly is made as it always is
                Mode::Quick => Mode::Auto,
                mode => mode,
            },
            helper: &self.helper,
            source_date: self.lock.source_date(),
        }
    }

    /// The tree of tools, and the lock that keeps it there.
    fn tools(&self, store: &Store) -> Result<(PathBuf, std::fs::File), RootError> {
        let tools = &self.lock.tools;
        stage::directory(store, &key("tools", tools, &self.lock, &[]), |dir| {
            let stage = self.progress.bytes("tools", size(tools));
            unpack::files_only(dir, store, tools, Owners::Caller, &stage)?;
            if let Some(host) = Arch::host() {
                cover::adapt(dir, self.lock.arch, host)?;
            }
            stage.done(&format!("{} packages unpacked", tools.len()));
            Ok(())
        })
    }

    fn normalise(&self, dir: &Path) -> Result<(), RootError> {
        let stage = self.progress.steps("normalise", 1);
        let report = normalise::run(dir, self.lock.source_date())?;
        stage.done(&format!(
            "{} files removed, {} set, {} times",
            report.removed.len(),
            report.changed.len(),
            report.clamped
        ));
        Ok(())
    }
}

fn size(packages: &[LockedPackage]) -> u64 {
    packages.iter().map(|p| p.size).sum()
}

/// The name of a stage: what it is, which builder made it, and a hash of what it is made of.
fn key(what: &str, packages: &[LockedPackage], lock: &Lock, more: &[&str]) -> String {
    let list: Vec<String> = packages
        .iter()
        .flat_map(|p| [p.name.clone(), p.sha256.to_string()])
        .collect();
    let list = list.join("\n");
    let context = format!("{} {} {}", lock.arch, lock.source_date(), more.join(" "));
    let hash = files::content_key([
        ("packages", list.as_bytes()),
        ("context", context.as_bytes()),
    ]);
    format!("{what}-{BUILDER}-{hash}")
}

/// Whether a stage of this name may be used by this builder.
pub(crate) fn is_current(name: &str) -> bool {
    ["root", "boot", "tools"]
        .iter()
        .any(|what| name.starts_with(&format!("{what}-{BUILDER}-")))
}
