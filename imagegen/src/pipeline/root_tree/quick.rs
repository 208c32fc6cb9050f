//! Owns the quick way to a tree, for trying things out (`--quick`): packages that are new are installed into the nearest tree of the
//! cache, by dpkg, as on a board. What comes of it is not what comes of the lock alone: ids of system users depend on which tree
//! that was. So it has a name of its own in the cache, its image says so, and `verify` and `publish` refuse it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{BUILDER, RootError, stage};
use crate::configure;
use crate::debian::dpkg;
use crate::fetch::store::Store;
use crate::files;
use crate::lock::local::LOCAL;
use crate::lock::{Lock, LockedPackage};
use crate::progress::Stage;
use crate::tree::{Owners, Tree};
use crate::unpack::UnpackError;

/// Trees that are looked at, the newest first: who tries things out changes one thing at a time.
const LOOKED_AT: usize = 8;
/// Where the files of packages lie in the tree while dpkg installs them.
const DEBS: &str = "var/cache/hypriot-quick";

/// A tree that holds a part of the packages, and nothing else.
#[derive(Debug)]
pub(super) struct Near {
    tree: Tree,
    /// What it lacks.
    pub(super) added: Vec<LockedPackage>,
}

/// The tree of the cache that lacks the fewest packages of this lock, and has none that the lock has not.
pub(super) fn nearest(cache: &Path, lock: &Lock) -> Option<Near> {
    let epoch = u64::try_from(lock.source_date()).unwrap_or(0);
    let near = kept(cache).into_iter().filter_map(|path| {
        let tree = Tree::packed(&path, epoch).ok()?;
        let status = tree.read(&format!("{}/status", dpkg::DIR)).ok()?;
        let added = lacking(&String::from_utf8_lossy(&status), lock)?;
        Some(Near { tree, added })
    });
    near.min_by_key(|near| near.added.len())
}

/// Trees as packages' scripts left them, by this builder.
fn kept(cache: &Path) -> Vec<PathBuf> {
    let begin = format!("root-{BUILDER}-");
    let entries = fs::read_dir(cache.join(stage::TREES)).into_iter().flatten();
    let mut trees: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(&begin)?;
            // a recipe's steps have changed those
            let fits = !rest.starts_with("steps-") && stage::name_of(&name) != name;
            let made = entry.metadata().ok()?.modified().ok()?;
            fits.then(|| (made, entry.path()))
        })
        .collect();
    trees.sort_by(|a, b| b.cmp(a));
    trees.truncate(LOOKED_AT);
    trees.into_iter().map(|(_, path)| path).collect()
}

/// What of the lock is not in `status` (dpkg's); none if that has what the lock has not, or in another version.
fn lacking(status: &str, lock: &Lock) -> Option<Vec<LockedPackage>> {
    let mut installed: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| dpkg::field(paragraph, name);
        let Some(name) = field("Package") else {
            continue;
        };
        if field("Status") != Some("install ok installed") {
            return None;
        }
        installed.insert(name, (field("Version")?, field("Architecture")?));
    }
    // of one name and version an owner's file may be another one by now
    let is_there = |p: &LockedPackage| {
        let there = installed.get(p.name.as_str());
        p.archive != LOCAL && there == Some(&(p.version.as_str(), p.arch.as_str()))
    };
    let (there, added): (Vec<_>, Vec<_>) = lock.packages.iter().cloned().partition(is_there);
    (there.len() == installed.len()).then_some(added)
}

/// Lays the tree out in `job.root`, which is empty, and installs what it lacks; says how, in a word.
pub(super) fn add(
    near: &Near,
    job: &configure::Job<'_>,
    store: &Store,
    stage: &Stage,
) -> Result<String, RootError> {
    let spread = near.tree.spread(job.root, Owners::Kept);
    spread.map_err(RootError::Tree)?;
    if near.added.is_empty() {
        return Ok("as it was".to_owned());
    }
    let place = job.root.join(DEBS);
    fs::create_dir_all(&place).map_err(|e| files::named(&place, &e))?;
    let mut debs = Vec::new();
    for package in &near.added {
        let name = format!("{}.deb", package.name);
        let stored = store.get(package.sha256, package.size);
        let stored = stored.ok_or_else(|| UnpackError::Missing {
            package: package.name.clone(),
        })?;
        // a copy: a script must not reach the store's own file
        fs::copy(&stored, place.join(&name)).map_err(|e| files::named(&stored, &e))?;
        debs.push(format!("/{DEBS}/{name}"));
    }
    let how = configure::add(job, &debs, stage)?;
    fs::remove_dir_all(&place).map_err(|e| files::named(&place, &e))?;
    Ok(how)
}

/// Takes everything out of a directory.
pub(super) fn empty(dir: &Path) -> Result<(), RootError> {
    for entry in fs::read_dir(dir)? {
        stage::remove(&entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: base-files\nStatus: install ok installed\nArchitecture: arm64\nVersion: 13.8\n\n\
                          Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2026b-0\n\n";

    fn lock(packages: &[(&str, &str, &str, &str)]) -> Lock {
        let packages = packages.iter().map(|(name, version, arch, archive)| {
            format!(
                "[[package]]\nname = '{name}'\nversion = '{version}'\narch = '{arch}'\nsource = '{name}'\narchive = '{archive}'\n\
                 filename = 'x'\nsize = 1\ninstalled-kib = 1\nsha256 = '{}'\n",
                "0".repeat(64)
            )
        });
        let head = "format = 3\nboard = 'x'\narch = 'arm64'\nsuite = 'trixie'\nrequest = 'x'\nrelease = []\n".to_owned();
        toml::from_str(&packages.fold(head, |all, one| all + &one)).unwrap()
    }

    #[test]
    fn only_a_tree_that_is_a_part_of_the_lock_is_added_to() {
        let base = ("base-files", "13.8", "arm64", "main");
        let zone = ("tzdata", "2026b-0", "all", "main");
        let htop = ("htop", "3.4", "arm64", "main");
        for (danger, packages, added) in [
            ("the same", vec![base, zone], Some(vec![])),
            ("one more", vec![base, zone, htop], Some(vec!["htop"])),
            ("one less", vec![base], None),
            (
                "another version",
                vec![base, ("tzdata", "2026c-0", "all", "main")],
                None,
            ),
            (
                "another architecture",
                vec![("base-files", "13.8", "armhf", "main"), zone],
                None,
            ),
        ] {
            let found = lacking(STATUS, &lock(&packages));
            let names = found.map(|all| all.into_iter().map(|p| p.name).collect::<Vec<_>>());
            let expected = added.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(names, expected, "{danger}");
        }
        let half = STATUS.replacen("ok installed", "ok half-configured", 1);
        assert!(lacking(&half, &lock(&[base, zone])).is_none());
    }
}
