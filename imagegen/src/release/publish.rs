//! Adds releases to a signed repository and publishes it: the signed files by `keys`, the payloads beside them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hypriot_keys::repo::{Published, Repository};
use hypriot_keys::secret::SecretKey;
use hypriot_updater::index::{Index, MAX_INDEX};

use crate::configure::Mode;
use crate::{files, release};

/// What becomes of the releases that a repository lists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// They stay: boards that must take one after the other find all of them.
    Kept,
    /// Those of the same boards go: the place that is served holds one release, as the assets of a GitHub release do.
    Replaced,
}

/// Publishes the releases whose index files are given. Payloads are verified segment by segment and lie in `to` before the
/// signed files that lead to them.
pub fn publish(
    repo: &mut Repository,
    indexes: &[PathBuf],
    listed: Listed,
    signers: &[&SecretKey],
    to: &Path,
) -> Result<Published> {
    // What is listed and what is signed belong together: nobody else publishes the half of it.
    let _held = repo.hold()?;
    stage(repo, indexes, listed, to)?;
    Ok(repo.publish(to, signers)?)
}

/// Does all of it but the signing: the holders carry the repository's `staged` files to their keys.
pub fn stage(repo: &mut Repository, indexes: &[PathBuf], listed: Listed, to: &Path) -> Result<()> {
    let _held = repo.hold()?;
    for path in indexes {
        for payload in list(repo, path, listed)? {
            let name = payload.file_name().context("it was made from a name")?;
            let there = to.join(name);
            if !same_file(&payload, &there) {
                let mut from = std::fs::File::open(&payload)
                    .with_context(|| format!("cannot open {}", payload.display()))?;
                files::replace_with(&there, |file| {
                    std::io::copy(&mut from, file).and_then(|_| file.flush())
                })?;
            }
        }
    }
    Ok(())
}

/// Puts one release on the list and gives its payloads, which have been verified.
fn list(repo: &mut Repository, path: &Path, listed: Listed) -> Result<Vec<PathBuf>> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .with_context(|| format!("{} has no usable name", path.display()))?;
    let len = std::fs::metadata(path)
        .with_context(|| format!("cannot look at {}", path.display()))?
        .len();
    ensure!(
        len <= MAX_INDEX,
        "{} has {len} bytes: this is no release index",
        path.display()
    );
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let index = Index::parse(&bytes).with_context(|| format!("{}", path.display()))?;
    ensure!(
        index.version.build.as_str() != Mode::Quick.name(),
        "{} was made with --quick, to try things out: build the release without",
        path.display()
    );
    release::verify(dir, &bytes)
        .with_context(|| format!("{} cannot be published", path.display()))?;
    if listed == Listed::Replaced {
        for (old, custom) in repo.targets()? {
            if custom["board"] == index.board.as_str() {
                repo.remove_target("targets", &old)?;
            }
        }
    }
    let mut custom =
        serde_json::json!({ "board": index.board, "version": index.version.to_string() });
    if index.state_version > 0 {
        // boards decide by it before they fetch the index, and compare
        custom["state_version"] = index.state_version.into();
    }
    repo.add_target(name, &bytes, custom)?;
    Ok(index.known().map(|p| dir.join(&p.name)).collect())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::make_in;
    use hypriot_keys::repo::Options;
    use hypriot_keys::time::Timestamp;

    /// A repository of one holder, and the folder releases are made in.
    fn repository(dir: &Path) -> (Repository, SecretKey) {
        let key = SecretKey::from_seed(&[7; 32]);
        let options = Options::single(key.public());
        let repo = Repository::init(&dir.join("repo"), &options, Timestamp(1_700_000_000));
        (repo.unwrap(), key)
    }

    fn made(dir: &Path, version: &str) -> PathBuf {
        let release = make_in(dir, version, "agent", 2);
        dir.join(release.index_name)
    }

    fn names(repo: &Repository) -> Vec<String> {
        repo.targets().unwrap().into_iter().map(|t| t.0).collect()
    }

    #[test]
    fn a_place_for_one_release_does_not_list_what_it_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        let (mut repo, key) = repository(dir.path());
        let (one, two) = (made(dir.path(), "1.0.0"), made(dir.path(), "2.0.0"));
        let publish = |repo: &mut Repository, index: &PathBuf, listed, to: &str| {
            let index = std::slice::from_ref(index);
            publish(repo, index, listed, &[&key], &dir.path().join(to)).unwrap()
        };
        publish(&mut repo, &one, Listed::Kept, "first");
        // A new place that has the second release alone: the client that boards use finds everything in it.
        publish(&mut repo, &two, Listed::Replaced, "second");
        assert_eq!(names(&repo), ["hypriotos-x-2.0.0.json"]);
        publish(&mut repo, &one, Listed::Kept, "second");
        assert_eq!(names(&repo).len(), 2);
    }

    /// Boards compare what the metadata says with the index: one without the other would be refused by all of them.
    #[test]
    fn what_a_release_says_of_its_data_stands_in_the_metadata_too() {
        let dir = tempfile::tempdir().unwrap();
        let (mut repo, key) = repository(dir.path());
        let path = made(dir.path(), "1.0.0");
        for (state_version, told) in [(0, serde_json::Value::Null), (2, 2.into())] {
            let mut index = Index::parse(&std::fs::read(&path).unwrap()).unwrap();
            index.state_version = state_version;
            files::replace(&path, &index.encode().unwrap()).unwrap();
            let to = dir.path().join("public");
            let indexes = std::slice::from_ref(&path);
            publish(&mut repo, indexes, Listed::Replaced, &[&key], &to).unwrap();
            let [(_, custom)] = <[_; 1]>::try_from(repo.targets().unwrap()).unwrap();
            assert_eq!(custom["state_version"], told);
        }
    }

    #[test]
    fn what_was_made_to_try_things_out_is_no_release() {
        let dir = tempfile::tempdir().unwrap();
        let (mut repo, key) = repository(dir.path());
        let path = made(dir.path(), "1.0.0+quick");
        let to = dir.path().join("public");
        let refused = publish(&mut repo, &[path], Listed::Kept, &[&key], &to).unwrap_err();
        assert!(format!("{refused:#}").contains("--quick"), "{refused:#}");
        assert!(!to.exists() && names(&repo).is_empty());
    }

    #[test]
    fn a_staged_release_waits_for_its_holders() {
        let dir = tempfile::tempdir().unwrap();
        let (mut repo, key) = repository(dir.path());
        let (index, to) = (made(dir.path(), "1.0.0"), dir.path().join("public"));
        stage(&mut repo, &[index], Listed::Replaced, &to).unwrap();
        assert!(
            !to.join("timestamp.json").exists(),
            "nothing is published yet"
        );
        assert!(repo.staged().unwrap().contains(&"targets".to_owned()));
        repo.publish(&to, &[&key]).unwrap();
        assert!(to.join("timestamp.json").exists());
    }
}
