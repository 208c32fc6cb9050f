//! What an owner may write, and what becomes of mistakes.

use super::*;

fn named(texts: &[&str]) -> Vec<Named<String>> {
    let name = |n| PathBuf::from(format!("{n}.toml"));
    let texts = texts.iter().enumerate();
    texts.map(|(n, t)| (name(n), (*t).to_owned())).collect()
}

fn merged(texts: &[&str]) -> anyhow::Result<Settings> {
    merge(&named(texts))
}

const IMAGE: &str = "board = 'x'\nversion = '1.2.3'\n[update]\nurl = 'http://a/'\n";

#[test]
fn the_owner_overrides_the_image_and_the_last_file_wins() {
    let settings = merged(&[
        IMAGE,
        "[update]\npoll_seconds = 60\ninstall = 'manual'",
        "[update]\nurl = ''\npoll_seconds = 61",
    ])
    .unwrap();
    assert_eq!(
        (settings.board.as_str(), settings.poll, settings.url),
        ("x", 61, None)
    );
    assert_eq!(settings.policy.install, Automatic::No);
    assert_eq!(settings.policy.reboot, Automatic::Yes);
}

#[test]
fn neighbours_are_off_where_the_owner_says_so_or_closed_another_door_to_the_network() {
    for (texts, expected) in [
        (vec![IMAGE], true),
        (vec![IMAGE, "[update]\nneighbours = false"], false),
        (
            vec![
                IMAGE,
                "[update]\nneighbours = false",
                "[update]\nneighbours = true",
            ],
            true,
        ),
        (vec![IMAGE, "[health]\nlisten = '127.0.0.1:8080'"], false),
        (
            vec![
                IMAGE,
                "[health]\nlisten = '127.0.0.1:8080'",
                "[update]\nneighbours = true",
            ],
            false,
        ),
        (vec![IMAGE, "[health]\nlisten = '0.0.0.0:80'"], true),
    ] {
        assert_eq!(merged(&texts).unwrap().neighbours, expected, "{texts:?}");
    }
}

#[test]
fn mistakes_are_named_with_their_file() {
    for (danger, texts, expected) in [
        ("typo", vec![IMAGE, "[update]\npol_seconds = 60"], "1.toml"),
        ("other board", vec![IMAGE, "board = 'y'"], "1.toml: board"),
        (
            "busy loop",
            vec![IMAGE, "[update]\npoll_seconds = 1"],
            "at least 5",
        ),
        (
            "no time to boot",
            vec![IMAGE, "[update]\ntrial_deadline_seconds = 1"],
            "at least 60",
        ),
        (
            "a port that is none",
            vec![IMAGE, "[health]\nlisten = '[::]:80800'"],
            "1.toml",
        ),
        ("no board", vec!["version = '1.0.0'"], "0.toml: `board`"),
        ("no version", vec!["board = 'x'\nversion = '1'"], "0.toml"),
    ] {
        let error = format!("{:#}", merged(&texts).expect_err(danger));
        assert!(error.contains(expected), "{danger}: {error}");
    }
}

/// A typo must neither open what was closed nor stop the agent, which has a slot on trial to judge.
#[test]
fn broken_settings_of_an_owner_forbid_everything_and_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (image, owner) = (dir.path().join("agent.toml"), dir.path().join("d"));
    fs::create_dir(&owner).unwrap();
    files::replace(&image, IMAGE.as_bytes(), 0o644).unwrap();
    let with = |text: &[u8]| {
        files::replace(&owner.join("x.toml"), text, 0o644).unwrap();
        load(&image, &owner).unwrap()
    };
    let fine = with(b"[update]\npoll_seconds = 60");
    assert_eq!((fine.trouble, fine.poll), (None, 60));
    for (danger, text) in [
        ("typo", &b"[update]\ninstal = 'manual'"[..]),
        ("no toml", b"["),
        ("no text", b"\xff\xfe"),
        ("another board", b"board = 'y'"),
    ] {
        let settings = with(text);
        let why = settings.trouble.expect(danger);
        assert!(why.contains("x.toml"), "{danger}: {why}");
        assert_eq!(settings.policy.install, Automatic::No, "{danger}");
        assert_eq!(settings.policy.reboot, Automatic::No, "{danger}");
        assert_eq!((settings.url, settings.local), (None, true), "{danger}");
    }
    assert!(
        load(&dir.path().join("none"), &owner).is_err(),
        "the image's own"
    );
}

#[test]
fn health_is_open_unless_the_owner_closes_it() {
    let health = |texts: &[&str]| merge_health(&named(texts)).unwrap();
    let all = health(&[]);
    assert_eq!(all.listen, "[::]:8080".parse().unwrap());
    assert!(!all.detail && all.hosts.is_empty());
    let set = health(&[
        IMAGE,
        "[health]\nlisten = '127.0.0.1:9000'\nhosts = ['a']\ndetail = true",
        "[health]\nhosts = ['b']",
    ]);
    assert_eq!(set.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(
        (set.hosts, set.detail),
        (vec!["a".into(), "b".into()], true)
    );
    // closed for the network with a typo: an error, not the open default
    let e = merge_health(&named(&["[health]\nlistn = '127.0.0.1:9000'"])).unwrap_err();
    assert!(format!("{e:#}").contains("0.toml"), "{e:#}");
}

#[test]
fn owners_fragments_are_checked_where_there_is_no_image_too() {
    let dir = tempfile::tempdir().unwrap();
    let set = |text: &str| {
        files::replace(&dir.path().join("x.toml"), text.as_bytes(), 0o644).unwrap();
        updates_are_set(dir.path())
    };
    assert!(!set("[health]\ndetail = true").unwrap());
    assert!(set("[update]\npoll_seconds = 60").unwrap());
    for wrong in ["board = 'x'", "[update]\npol_seconds = 60", "["] {
        assert!(set(wrong).is_err(), "{wrong}");
    }
    assert!(!updates_are_set(Path::new("/nowhere")).unwrap());
}
