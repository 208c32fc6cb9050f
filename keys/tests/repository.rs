//! The writing side and the client against each other: what is published is accepted, step by step through a repository's life.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::path::PathBuf;

use hypriot_keys::Error;
use hypriot_keys::client::Client;
use hypriot_keys::repo::{NewDelegation, Options, RepoError, Repository, Rotation};
use hypriot_keys::secret::SecretKey;
use hypriot_keys::source::FileSource;
use hypriot_keys::time::Timestamp;
use serde_json::{Value, json};

const DAY: u64 = 86_400;

/// A maintainer's directory, a served directory and a device, with keys that anybody may know.
struct Scene {
    place: tempfile::TempDir,
    now: Timestamp,
    first_root: Vec<u8>,
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
        let work = place.path().join("work");
        let mut repo = Repository::init(&work, &Options::single(key(1).public()), now).unwrap();
        repo.add_target("board-1.json", b"one", json!({"version": "1"}))
            .unwrap();
        repo.publish(&place.path().join("out"), &[&key(1)]).unwrap();
        let first_root = repo.first_root().unwrap();
        Self {
            place,
            now,
            first_root,
        }
    }

    fn later(&mut self, days: u64) -> &mut Self {
        self.now = self.now.plus(days * DAY);
        self
    }

    fn repo(&self) -> Repository {
        Repository::open(&self.place.path().join("work"), self.now).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.place.path().join("out")
    }

    fn client(&self) -> Client {
        Client::open(
            &self.place.path().join("device"),
            &self.first_root,
            Timestamp(0),
        )
        .unwrap()
    }

    fn refreshed(&self) -> Result<Client, Error> {
        let mut client = self.client();
        client.refresh(&FileSource::new(self.out()), self.now)?;
        Ok(client)
    }
}

#[test]
fn what_is_published_is_found_downloaded_and_described() {
    let scene = Scene::new();
    let client = scene.refreshed().unwrap();
    let listed: Vec<_> = client
        .targets()
        .map(|(name, t)| (name.to_owned(), t.custom.clone()))
        .collect();
    assert_eq!(
        listed,
        [("board-1.json".to_owned(), json!({"version": "1"}))]
    );
    let bytes = client
        .download(&FileSource::new(scene.out()), "board-1.json")
        .unwrap();
    assert_eq!(*bytes, b"one");
    assert!(matches!(
        client.download(&FileSource::new(scene.out()), "board-2.json"),
        Err(Error::NoSuchTarget { .. })
    ));
}

#[test]
fn the_floor_is_the_newest_signed_time_and_survives_a_restart() {
    let mut scene = Scene::new();
    assert_eq!(scene.client().floor(), scene.now, "the root's signing time");
    scene
        .later(3)
        .repo()
        .refresh_timestamp(&scene.out(), &[&key(1)])
        .unwrap();
    scene.refreshed().unwrap();
    assert_eq!(scene.client().floor(), scene.now);
    let built = scene.now.plus(DAY);
    let image = Client::open(&scene.place.path().join("device"), &scene.first_root, built).unwrap();
    assert_eq!(image.floor(), built, "a newer image is a floor too");
}

#[test]
fn a_clock_at_1970_neither_blocks_nor_revives() {
    let mut scene = Scene::new();
    let source = FileSource::new(scene.out());
    let frozen = scene.place.path().join("frozen");
    copy(&scene.out(), &frozen);
    scene.client().refresh(&source, Timestamp(0)).unwrap();
    // 40 days later a new timestamp is published and accepted, still with the clock at 1970.
    scene
        .later(40)
        .repo()
        .publish(&scene.out(), &[&key(1)])
        .unwrap();
    let mut client = scene.client();
    client.refresh(&source, Timestamp(0)).unwrap();
    // The floor has passed the first timestamp's 30 days: a device that lost its store but has this image's build time
    // refuses the frozen copy, whatever its clock says.
    let floor = client.floor();
    let other = scene.place.path().join("other");
    let mut wiped = Client::open(&other, &scene.first_root, floor).unwrap();
    let refused = wiped.refresh(&FileSource::new(frozen), Timestamp(0));
    assert!(
        matches!(refused, Err(Error::Expired { ref file, .. }) if file == "timestamp.json"),
        "{refused:?}"
    );
}

#[test]
fn a_clock_far_ahead_is_survived() {
    let scene = Scene::new();
    let source = FileSource::new(scene.out());
    let mut client = scene.client();
    let ahead = client.refresh(&source, scene.now.plus(3651 * DAY));
    assert!(matches!(ahead, Err(Error::Expired { .. })), "{ahead:?}");
    client.refresh(&source, scene.now).unwrap();
    let mut again = scene.client();
    let ahead = again.refresh(&source, scene.now.plus(31 * DAY));
    assert!(matches!(ahead, Err(Error::Expired { .. })), "{ahead:?}");
    again.refresh(&source, scene.now).unwrap();
}

#[test]
fn a_fast_forwarded_timestamp_and_time_are_forgotten_when_its_key_is_rotated() {
    let mut scene = Scene::new();
    // The thief of the timestamp key publishes from far in the future.
    let stolen = scene.place.path().join("stolen");
    copy(&scene.place.path().join("work"), &stolen);
    let far = scene.now.plus(3000 * DAY);
    let lies = scene.place.path().join("lies");
    let mut thief = Repository::open(&stolen, far).unwrap();
    // Root and targets would expire long before; only the timestamp is new.
    let refused = thief.refresh_timestamp(&lies, &[&key(1)]);
    assert!(
        matches!(refused, Err(RepoError::Tuf(Error::Expired { .. }))),
        "{refused:?}"
    );

    let mut repo = scene.later(1).repo();
    let change = Rotation {
        add: vec![key(2).public().clone()],
        remove: vec![key(1).id().to_owned()],
        threshold: None,
    };
    repo.rotate("timestamp", &change).unwrap();
    repo.publish(&scene.out(), &[&key(1), &key(2)]).unwrap();
    let client = scene.refreshed().unwrap();
    assert_eq!(client.root_version(), 2);
    assert_eq!(client.timestamp().unwrap().header.version, 2);
}

#[test]
fn root_rotation_needs_old_and_new_holders() {
    let mut scene = Scene::new();
    let mut repo = scene.later(1).repo();
    let change = Rotation {
        add: vec![key(2).public().clone(), key(3).public().clone()],
        remove: vec![key(1).id().to_owned()],
        threshold: Some(2),
    };
    repo.rotate("root", &change).unwrap();
    let short = |signers: &[&SecretKey]| scene.repo().publish(&scene.out(), signers);
    // Key 1 also signs timestamps, so it is always there; the new holders sign one after another.
    let refused = short(&[&key(1), &key(2)]);
    assert!(
        matches!(
            refused,
            Err(RepoError::Tuf(Error::NotSigned {
                valid: 1,
                threshold: 2,
                ..
            }))
        ),
        "{refused:?}"
    );
    scene.repo().sign("root", &key(3)).unwrap();
    short(&[&key(1)]).unwrap();
    assert_eq!(scene.refreshed().unwrap().root_version(), 2);
    let stranger = scene.repo().sign("root", &key(9));
    assert!(
        matches!(stranger, Err(RepoError::NoRole { .. })),
        "nothing is staged: {stranger:?}"
    );
}

#[test]
fn delegations_are_followed_and_bounded_by_their_paths() {
    let mut scene = Scene::new();
    let mut repo = scene.later(1).repo();
    let new = NewDelegation {
        name: "community".into(),
        keys: vec![key(5).public().clone()],
        threshold: 1,
        paths: vec!["c-*".into()],
        hash_prefixes: vec![],
        terminating: true,
    };
    repo.delegate("targets", &new).unwrap();
    repo.add_target_to("community", "c-board.json", b"theirs", Value::Null)
        .unwrap();
    repo.publish(&scene.out(), &[&key(1), &key(5)]).unwrap();
    let client = scene.refreshed().unwrap();
    let source = FileSource::new(scene.out());
    assert_eq!(
        *client.download(&source, "c-board.json").unwrap(),
        b"theirs"
    );
    // A name outside its paths is refused before it is published.
    let mut repo = scene.repo();
    repo.add_target_to("community", "board-9.json", b"not theirs", Value::Null)
        .unwrap();
    let refused = repo.publish(&scene.out(), &[&key(1), &key(5)]);
    assert!(
        matches!(refused, Err(RepoError::Tuf(Error::NoSuchTarget { .. }))),
        "{refused:?}"
    );
    scene.refreshed().unwrap();
}

#[test]
fn a_rotated_targets_key_signs_the_list_again() {
    let mut scene = Scene::new();
    let mut repo = scene.later(1).repo();
    let change = Rotation {
        add: vec![key(4).public().clone()],
        remove: vec![key(1).id().to_owned()],
        threshold: None,
    };
    repo.rotate("targets", &change).unwrap();
    repo.publish(&scene.out(), &[&key(1), &key(4)]).unwrap();
    let client = scene.refreshed().unwrap();
    assert_eq!(client.targets().count(), 1);
    assert_eq!(client.top_level().unwrap().header.version, 2);
}

#[test]
fn nothing_half_done_is_published() {
    let scene = Scene::new();
    let before = std::fs::read(scene.out().join("timestamp.json")).unwrap();
    let mut repo = scene.repo();
    repo.add_target("board-2.json", b"two", Value::Null)
        .unwrap();
    for signers in [&[][..], &[&key(7)][..]] {
        assert!(repo.publish(&scene.out(), signers).is_err());
        assert_eq!(
            std::fs::read(scene.out().join("timestamp.json")).unwrap(),
            before
        );
    }
    for name in ["", ".hidden", "a/b", "../x", "späti", "a b", "a\nb"] {
        let refused = repo.add_target(name, b"x", Value::Null);
        assert!(
            matches!(refused, Err(RepoError::TargetName { .. })),
            "{name:?}"
        );
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
