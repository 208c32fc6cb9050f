//! Owns the stages of the cache: complete under their name or not there, whoever is killed and however many build at once.
//!
//! A stage is made in `trees/half-<name>`, under a lock of its own. A finished tree is one file of whoever built it, so nothing is
//! left behind that he cannot delete; tools stay a directory, whose files are all his.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::RootError;
use crate::fetch::store::Store;
use crate::files;
use crate::tree::Tree;

/// Where stages lie in the cache.
pub(crate) const TREES: &str = "trees";
/// What the name of an unfinished stage begins with.
pub(crate) const HALF: &str = "half-";
/// What the name of a packed tree ends with.
const PACKED: &str = ".tar";

/// Where the packed tree of this name lies, or would lie.
pub(super) fn packed_path(cache: &Path, name: &str) -> PathBuf {
    cache.join(TREES).join(format!("{name}{PACKED}"))
}

/// The name of the stage that an entry of [`TREES`] belongs to: what its lock is called.
pub(crate) fn name_of(entry: &str) -> &str {
    let name = entry.strip_prefix(HALF).unwrap_or(entry);
    name.strip_suffix(PACKED).unwrap_or(name)
}

/// A packed tree that is made once, out of the directory that `make` fills.
pub(super) fn packed(
    store: &Store,
    name: &str,
    epoch: u64,
    make: impl FnOnce(&Path) -> Result<(), RootError>,
) -> Result<(), RootError> {
    let done = packed_path(store.root(), name);
    once(store, name, &done, |half| {
        let (dir, file) = (half.join("tree"), half.join("packed"));
        fs::create_dir(&dir).map_err(|e| files::named(&dir, &e))?;
        make(&dir)?;
        let tree = Tree::scan(&dir, epoch).map_err(RootError::Tree)?;
        files::replace_with(&file, |f| tree.pack(f))?;
        Ok(file)
    })
}

/// A directory that is made once, and a lock that keeps it there while it is used.
pub(super) fn directory(
    store: &Store,
    name: &str,
    make: impl Fn(&Path) -> Result<(), RootError>,
) -> Result<(PathBuf, File), RootError> {
    let done = store.root().join(TREES).join(name);
    loop {
        once(store, name, &done, |half| {
            let dir = half.join("tree");
            fs::create_dir(&dir).map_err(|e| files::named(&dir, &e))?;
            make(&dir)?;
            // Thousands of files: one sync of all of them costs less than one of each.
            nix::unistd::syncfs(File::open(&dir)?).map_err(|e| files::named(&dir, &e.into()))?;
            Ok(dir)
        })?;
        let held = store.lock_shared(name)?;
        // Somebody may have cleaned the cache between the two.
        if done.exists() {
            return Ok((done, held));
        }
    }
}

/// Makes a stage unless it is there: `fill` gets a fresh directory and says what in it becomes the stage.
fn once(
    store: &Store,
    name: &str,
    done: &Path,
    fill: impl FnOnce(&Path) -> Result<PathBuf, RootError>,
) -> Result<(), RootError> {
    if done.exists() {
        return Ok(());
    }
    let trees = store.root().join(TREES);
    fs::create_dir_all(&trees).map_err(|e| files::named(&trees, &e))?;
    let _lock = store.lock(name)?;
    // Another process may have made it while we waited.
    if done.exists() {
        return Ok(());
    }
    sweep(store, &trees)?;
    let half = trees.join(format!("{HALF}{name}"));
    remove(&half)?;
    fs::create_dir(&half).map_err(|e| files::named(&half, &e))?;
    let made = fill(&half).and_then(|stage| Ok(files::rename(&stage, done)?));
    let removed = remove(&half);
    made?;
    Ok(removed?)
}

/// Removes what killed builds left. What another user left stays: that is for him or root.
fn sweep(store: &Store, trees: &Path) -> io::Result<()> {
    for entry in fs::read_dir(trees)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if name.starts_with(HALF)
            && let Ok(Some(_lock)) = store.try_lock(name_of(&name))
        {
            drop(remove(&entry.path()));
        }
    }
    Ok(())
}

/// Removes a directory and all in it, or a file; not being there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let done = if is_dir {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(files::named(path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let list = fs::read_dir(dir.path().join(TREES)).unwrap();
        let mut names: Vec<String> = list
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn fill(dir: &Path) -> Result<(), RootError> {
        Ok(files::replace(&dir.join("f"), b"x")?)
    }

    #[test]
    fn failed_stage_leaves_nothing_and_the_next_try_makes_it() {
        let (dir, store) = store();
        let fail = |at: &Path| {
            fill(at)?;
            Err(io::Error::other("power").into())
        };
        let e = packed(&store, "root-x", 0, fail).unwrap_err();
        assert!(e.to_string().contains("power"), "{e}");
        assert_eq!(names(&dir), [""; 0]);
        packed(&store, "root-x", 0, fill).unwrap();
        assert_eq!(names(&dir), ["root-x.tar"]);
        packed(&store, "root-x", 0, |_| panic!("it is there")).unwrap();
    }

    #[test]
    fn leftovers_of_killed_builds_go_and_what_is_being_made_stays() {
        let (dir, store) = store();
        for name in ["half-root-dead", "half-root-alive"] {
            fs::create_dir_all(dir.path().join(TREES).join(name).join("tree/usr")).unwrap();
        }
        let _alive = store.lock("root-alive").unwrap();
        packed(&store, "root-x", 0, fill).unwrap();
        assert_eq!(names(&dir), ["half-root-alive", "root-x.tar"]);
    }

    #[test]
    fn directory_in_use_cannot_be_locked_by_a_cleaner() {
        let (_dir, store) = store();
        let (_path, held) = directory(&store, "tools-x", fill).unwrap();
        assert!(store.try_lock("tools-x").unwrap().is_none());
        drop(held);
        assert!(store.try_lock("tools-x").unwrap().is_some());
    }
}
