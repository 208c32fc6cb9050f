//! Owns the steps of a recipe (`[[run]]`): a tree in memory is laid out on disk, the steps run in it as packages' scripts do, and
//! what they left is brought into the form that depends on the inputs alone. The result is kept in the cache by those.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{BUILDER, RootError, stage};
use crate::arch::Arch;
use crate::bake::record::Hash;
use crate::configure;
use crate::fetch::store::Store;
use crate::files;
use crate::inputs::recipe::Run;
use crate::normalise;
use crate::progress::Progress;
use crate::sandbox::errand::{self, Errand};
use crate::tree::{Owners, Tree};

/// Where trees are made, and with what.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// The cache.
    pub cache: PathBuf,
    /// This program.
    pub helper: PathBuf,
    /// Where progress goes.
    pub progress: Progress,
}

/// Everything that running steps needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    cache: PathBuf,
    helper: PathBuf,
    progress: Progress,
    arch: Arch,
    /// The tree, packed.
    packed: PathBuf,
    steps: Vec<Run>,
    source_date: i64,
    name: String,
}

impl Errand for Job {
    const NAME: &'static str = "steps";

    fn work(self) -> anyhow::Result<String> {
        self.run()?;
        Ok(String::new())
    }
}

/// The tree after these steps.
pub fn run(
    tree: &Tree,
    steps: &[Run],
    arch: Arch,
    source_date: i64,
    workshop: &Workshop,
) -> anyhow::Result<Tree> {
    let mut owners = String::new();
    for (path, e) in tree.iter() {
        writeln!(owners, "{} {}:{}", path.escape_ascii(), e.uid, e.gid)?;
    }
    let scripts = steps
        .iter()
        .flat_map(|s| [&*s.name, "\n", &*s.script, "\n"]);
    let scripts: String = scripts.collect();
    let hash = Hash::of_tree(tree)?.sha256.to_string();
    let key = files::content_key([
        ("tree", hash.as_bytes()),
        ("owners", owners.as_bytes()),
        ("steps", scripts.as_bytes()),
    ]);
    let mut packed = tempfile::Builder::new()
        .prefix("steps-")
        .tempfile_in(&workshop.cache)
        .context("the cache")?;
    let job = Job {
        cache: workshop.cache.clone(),
        helper: workshop.helper.clone(),
        progress: workshop.progress,
        arch,
        packed: packed.path().to_owned(),
        steps: steps.to_vec(),
        source_date,
        name: format!("root-{BUILDER}-steps-{key}"),
    };
    let done = stage::packed_path(&job.cache, &job.name);
    if !done.exists() {
        tree.pack(packed.as_file_mut())?;
        if nix::unistd::geteuid().is_root() {
            job.run()?;
        } else {
            errand::run(&job.helper, &job)?;
        }
    }
    Tree::packed(&done, tree.epoch())
}

impl Job {
    fn run(&self) -> Result<(), RootError> {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let store = Store::open(&self.cache)?;
        let epoch = u64::try_from(self.source_date).unwrap_or(0);
        stage::packed(&store, &self.name, epoch, |dir| {
            let tree = Tree::packed(&self.packed, epoch).map_err(RootError::Tree)?;
            tree.spread(dir, Owners::Kept).map_err(RootError::Tree)?;
            let shown = self.progress.steps("run", self.steps.len() as u64);
            let job = configure::Steps {
                root: dir,
                arch: self.arch,
                steps: &self.steps,
                helper: &self.helper,
                source_date: self.source_date,
            };
            configure::steps_of(&job, &shown)?;
            shown.done(&format!("{} steps of the recipe", self.steps.len()));
            normalise::run(dir, self.source_date)?;
            Ok(())
        })
    }
}
