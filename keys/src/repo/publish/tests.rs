//! Power cuts between any two changes of the disk, with the real code and a real client.

use std::path::PathBuf;

use super::*;
use crate::files::power;
use crate::repo::{Options, Rotation};

const NOW: Timestamp = Timestamp(1_800_000_000);

struct Desk {
    dir: tempfile::TempDir,
    key: SecretKey,
}

impl Desk {
    /// A repository with one release on the air.
    fn new() -> Self {
        let (dir, key) = (tempfile::tempdir().unwrap(), SecretKey::from_seed(&[1; 32]));
        let desk = Self { dir, key };
        let options = Options::single(desk.key.public());
        let mut repo = Repository::init(&desk.repo(), &options, NOW).unwrap();
        Self::add(&mut repo, "one").unwrap();
        repo.publish(&desk.out(), &[&desk.key]).unwrap();
        desk
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn open(&self) -> Repository {
        Repository::open(&self.repo(), NOW).unwrap()
    }

    fn add(repo: &mut Repository, name: &str) -> Result<(), RepoError> {
        repo.add_target(name, name.as_bytes(), serde_json::Value::Null)
    }

    /// What a board sees that knows the first root alone.
    fn seen(&self) -> Result<Vec<String>, crate::Error> {
        let root = std::fs::read(self.out().join("1.root.json")).unwrap();
        let store = tempfile::tempdir().unwrap();
        let mut client = Client::open(store.path(), &root, Timestamp(0))?;
        let source = FileSource::new(self.out());
        client.refresh(&source, NOW)?;
        let names: Vec<String> = client.targets().map(|(n, _)| n.into()).collect();
        for name in &names {
            client.download(&source, name)?;
        }
        Ok(names)
    }
}

/// A second release, with or without a new root.
fn second(desk: &Desk, new_root: bool) -> Result<Published, RepoError> {
    let mut repo = desk.open();
    Desk::add(&mut repo, "two")?;
    if new_root {
        let change = Rotation {
            add: std::vec![SecretKey::from_seed(&[2; 32]).public().clone()],
            remove: Vec::new(),
            threshold: None,
        };
        repo.rotate("root", &change)?;
    }
    repo.publish(&desk.out(), &[&desk.key])
}

#[test]
fn a_power_cut_between_any_two_writes_leaves_a_valid_repository_and_loses_no_release() {
    for new_root in [false, true] {
        let mut cuts = 0;
        loop {
            let desk = Desk::new();
            power::cut_after(Some(cuts));
            let done = second(&desk, new_root).is_ok();
            power::cut_after(None);
            let seen = desk.seen().unwrap_or_else(|e| panic!("cut {cuts}: {e}"));
            assert!(
                seen == ["one"] || seen == ["one", "two"],
                "cut {cuts}: {seen:?}"
            );
            // The timer goes on, and then somebody tries again and adds a third.
            desk.open()
                .refresh_timestamp(&desk.out(), &[&desk.key])
                .unwrap_or_else(|e| panic!("cut {cuts}: {e}"));
            desk.seen()
                .unwrap_or_else(|e| panic!("cut {cuts}, timer: {e}"));
            let mut repo = desk.open();
            Desk::add(&mut repo, "two").unwrap();
            Desk::add(&mut repo, "three").unwrap();
            repo.publish(&desk.out(), &[&desk.key])
                .unwrap_or_else(|e| panic!("cut {cuts}: {e}"));
            assert_eq!(desk.seen().unwrap(), ["one", "three", "two"], "cut {cuts}");
            let left = std::fs::read_dir(desk.repo().join("staged")).unwrap();
            assert_eq!(left.count(), 0, "cut {cuts}");
            if done {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 10, "{cuts} cuts only: the power no longer goes off");
    }
}

#[test]
fn a_root_that_is_refused_was_never_public() {
    let desk = Desk::new();
    let mut repo = desk.open();
    let other = SecretKey::from_seed(&[3; 32]);
    let change = Rotation {
        add: std::vec![other.public().clone()],
        remove: std::vec![desk.key.id().into()],
        threshold: None,
    };
    // The holder of the timestamp changes, and the new one is not at hand.
    repo.rotate("timestamp", &change).unwrap();
    repo.publish(&desk.out(), &[&desk.key]).unwrap_err();
    assert!(!desk.out().join("2.root.json").exists());
    // What is refused by the client alone: a target whose bytes are others.
    let file = std::fs::read_dir(desk.repo().join("targets"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::remove_file(desk.out().join(file.file_name().unwrap())).unwrap();
    files::replace(&file, b"other bytes", files::Access::Public).unwrap();
    repo.publish(&desk.out(), &[&desk.key, &other]).unwrap_err();
    assert!(!desk.out().join("2.root.json").exists());
}

#[test]
fn an_older_copy_of_the_working_folder_takes_nothing_back() {
    let desk = Desk::new();
    let copy = desk.dir.path().join("copy");
    for sub in ["metadata", "staged", "targets"] {
        std::fs::create_dir_all(copy.join(sub)).unwrap();
        for entry in std::fs::read_dir(desk.repo().join(sub)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.join(sub).join(entry.file_name())).unwrap();
        }
    }
    let settings = "repository.json";
    std::fs::copy(desk.repo().join(settings), copy.join(settings)).unwrap();
    second(&desk, false).unwrap();
    let mut old = Repository::open(&copy, NOW).unwrap();
    let e = old
        .refresh_timestamp(&desk.out(), &[&desk.key])
        .unwrap_err();
    assert!(
        matches!(
            e,
            RepoError::Behind {
                there: 2,
                here: 2,
                ..
            }
        ),
        "{e}"
    );
    assert_eq!(desk.seen().unwrap(), ["one", "two"]);
}
