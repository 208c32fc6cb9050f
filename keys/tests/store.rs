//! The device's store: cut off at every step, torn, emptied; it goes on, and never back.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use hypriot_keys::Error;
use hypriot_keys::client::Client;
use hypriot_keys::repo::{NewDelegation, Options, Repository, Rotation};
use hypriot_keys::secret::SecretKey;
use hypriot_keys::source::{FileSource, Source, SourceError, SourceErrorKind};
use hypriot_keys::time::Timestamp;
use serde_json::Value;

const NOW: Timestamp = Timestamp(1_795_435_200);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Publications 1 and 2; the second has a new root with another timestamp key, other targets and a delegated role.
struct Scene {
    place: tempfile::TempDir,
    root: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let work = place.path().join("work");
        let mut repo = Repository::init(&work, &Options::single(key(1).public()), NOW).unwrap();
        repo.add_target("a", b"1", Value::Null).unwrap();
        repo.publish(&place.path().join("one"), &[&key(1)]).unwrap();
        let root = repo.first_root().unwrap();
        let change = Rotation {
            add: vec![key(2).public().clone()],
            remove: vec![key(1).id().into()],
            threshold: None,
        };
        repo.rotate("timestamp", &change).unwrap();
        repo.add_target("a", b"2", Value::Null).unwrap();
        let team = NewDelegation {
            name: "team".into(),
            keys: vec![key(3).public().clone()],
            threshold: 1,
            paths: vec!["t-*".into()],
            hash_prefixes: vec![],
            terminating: false,
        };
        repo.delegate("targets", &team).unwrap();
        repo.add_target_to("team", "t-b", b"b", Value::Null)
            .unwrap();
        repo.publish(&place.path().join("two"), &[&key(1), &key(2), &key(3)])
            .unwrap();
        Self { place, root }
    }

    fn source(&self, publication: &str) -> FileSource {
        FileSource::new(self.place.path().join(publication))
    }

    fn store(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn open(&self, store: &Path) -> Client {
        Client::open(store, &self.root, Timestamp(0)).unwrap()
    }
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

/// Everything ends after a number of files, as when the plug is pulled.
struct CutAfter<'a> {
    source: &'a FileSource,
    left: AtomicUsize,
}

impl Source for CutAfter<'_> {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let one_less = |left: usize| left.checked_sub(1);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let left = self.left.fetch_update(set, get, one_less);
        left.map_err(|_zero| SourceError {
            kind: SourceErrorKind::Temporary,
            what: format!("{name}: the plug was pulled"),
        })?;
        self.source.open(name, from)
    }
}

#[test]
fn a_refresh_cut_at_every_file_goes_on_where_it_was() {
    let scene = Scene::new();
    let two = scene.source("two");
    let mut finished = 0;
    for n in 0..12 {
        let store = scene.store(&format!("cut-{n}"));
        scene
            .open(&store)
            .refresh(&scene.source("one"), NOW)
            .unwrap();
        let cut = CutAfter {
            source: &two,
            left: AtomicUsize::new(n),
        };
        let mut client = scene.open(&store);
        let first = client
            .refresh(&cut, NOW)
            .and_then(|()| client.download(&cut, "t-b").map(|_| ()));
        finished += usize::from(first.is_ok());
        assert!(
            matches!(first, Ok(()) | Err(Error::Unreachable { .. })),
            "{n}: {first:?}"
        );
        let mut again = scene.open(&store);
        again.refresh(&two, NOW).unwrap();
        assert_eq!(*again.download(&two, "t-b").unwrap(), b"b");
        // And never back, whatever was stored when the plug was pulled.
        let back = scene.open(&store).refresh(&scene.source("one"), NOW);
        assert!(back.is_err(), "{n}");
    }
    assert!(finished > 0, "some runs were not cut");
}

#[test]
fn rollback_memory_survives_a_restart() {
    let scene = Scene::new();
    let store = scene.store("restart");
    let work = scene.store("work");
    let later = scene.store("later");
    let mut repo = Repository::open(&work, NOW).unwrap();
    repo.refresh_timestamp(&later, &[&key(2)]).unwrap();
    scene
        .open(&store)
        .refresh(&FileSource::new(&later), NOW)
        .unwrap();
    let back = scene.open(&store).refresh(&scene.source("two"), NOW);
    assert!(
        matches!(
            back,
            Err(Error::Rollback {
                trusted: 3,
                offered: 2,
                ..
            })
        ),
        "{back:?}"
    );
}

#[test]
fn a_torn_store_is_rebuilt_from_the_baked_root() {
    let scene = Scene::new();
    let two = scene.source("two");
    for file in [
        "root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "team.json",
    ] {
        for (damage, bytes) in [
            ("emptied", &b""[..]),
            ("torn", &b"{\"signed\": {"[..]),
            ("zeroed", &[0; 4096][..]),
        ] {
            let store = scene.store(&format!("{file}-{damage}"));
            let mut client = scene.open(&store);
            client.refresh(&two, NOW).unwrap();
            client.download(&two, "t-b").unwrap();
            put(&store.join(file), bytes);
            let mut client = scene.open(&store);
            client
                .refresh(&two, NOW)
                .unwrap_or_else(|e| panic!("{file} {damage}: {e}"));
            assert_eq!(
                *client.download(&two, "t-b").unwrap(),
                b"b",
                "{file} {damage}"
            );
            assert_eq!(client.root_version(), 2, "{file} {damage}");
        }
    }
}

#[test]
fn a_newer_image_raises_the_floor_of_trust() {
    let scene = Scene::new();
    let store = scene.store("image");
    scene
        .open(&store)
        .refresh(&scene.source("one"), NOW)
        .unwrap();
    let newer = std::fs::read(scene.store("two").join("2.root.json")).unwrap();
    let mut client = Client::open(&store, &newer, Timestamp(0)).unwrap();
    assert_eq!(client.root_version(), 2);
    assert!(
        client.timestamp().is_none(),
        "signed by a key that the new root does not name"
    );
    client.refresh(&scene.source("two"), NOW).unwrap();
    // An older image (the other slot) does not lower it again.
    assert_eq!(scene.open(&store).root_version(), 2);
}

#[test]
fn sticks_do_not_lead_out_of_their_directory() {
    let place = tempfile::tempdir().unwrap();
    let stick = place.path().join("stick");
    std::fs::create_dir(&stick).unwrap();
    put(&place.path().join("secret"), b"secret");
    std::os::unix::fs::symlink("../secret", stick.join("link.json")).unwrap();
    std::os::unix::fs::symlink(&stick, place.path().join("also")).unwrap();
    put(&stick.join("plain.json"), b"0123456789");
    let source = FileSource::new(&stick);
    for name in [
        "link.json",
        "../secret",
        "%2e%2e/secret",
        "/etc/passwd",
        "..%2Fsecret",
        "a%00b",
        "%zz",
        "",
        "plain.json/",
    ] {
        let refused = source.open(name, 0).err().unwrap();
        assert_eq!(refused.kind, SourceErrorKind::Refused, "{name}: {refused}");
    }
    assert_eq!(
        source.open("none.json", 0).err().unwrap().kind,
        SourceErrorKind::Missing
    );
    let mut text = String::new();
    source
        .open("plain.json", 7)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "789");
    let linked = FileSource::new(place.path().join("also"));
    assert!(
        linked.open("plain.json", 0).is_ok(),
        "the stick itself may be a link"
    );
}
