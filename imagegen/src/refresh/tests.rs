//! Tests of [`super`], against an archive of their own that gets updates: signed lists over HTTP, packages with changelogs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pgp::composed::SignedSecretKey;

use super::news::between;
use super::*;
use crate::bake::tests::{PLAIN, board};
use crate::debian::deb::write::{File, Package};
use crate::inputs::board::Board;
use crate::inputs::recipe::{self, Recipe};
use crate::lock;
use crate::lock::repo::archive::Sources;
use crate::lock::repo::archive::tests::{Answer, Site, serve, xz};
use crate::lock::repo::keyring::Keyring;
use crate::lock::repo::release::tests::{key, now, ring, signed};
use crate::sha256::Sha256;

/// A package of the archive: name, source, version, its changelog.
type Row = (&'static str, &'static str, &'static str, &'static str);

const BASE: [Row; 3] = [
    (
        "app",
        "app",
        "1.0-1",
        "app (1.0-1) trixie; urgency=medium\n\n  * First.\n",
    ),
    (
        "libssl3",
        "openssl",
        "3.5.1-1",
        "openssl (3.5.1-1) trixie; urgency=medium\n\n  * Old.\n",
    ),
    (
        "openssl",
        "openssl",
        "3.5.1-1+b2",
        "openssl (3.5.1-1) trixie; urgency=medium\n\n  * Old.\n",
    ),
];

const FIXED: &str = "openssl (3.5.1-1+deb13u2) trixie-security; urgency=low\n\n  * CVE-2026-1111 (a \x1b[31mred\x07 overflow)\n\n -- x\n\n\
    openssl (3.5.1-1+deb13u1) trixie-security; urgency=high\n\n  * Non-maintainer upload by the Security Team.\n  * Fix \
    CVE-2026-22222 and CVE-2026-1111, not CVE-26-1 nor CVE-2026-12.\n\n -- x\n\nopenssl (3.5.1-1) trixie; urgency=medium\n\n  \
    * Fix CVE-2001-0001.\n";

const SECURITY_UPDATE: [Row; 2] = [
    ("libssl3", "openssl", "3.5.1-1+deb13u2", FIXED),
    ("openssl", "openssl", "3.5.1-1+deb13u2", FIXED),
];

/// Both parts of an archive, as a mirror serves them.
#[derive(Default)]
struct Archive {
    site: Site,
}

impl Archive {
    /// Adds a suite; `hour` dates it.
    fn suite(&mut self, name: &str, hour: u8, rows: &[Row], key: &SignedSecretKey) {
        let mut sums = String::new();
        for arch in ["arm64", "amd64"] {
            let list: String = rows.iter().map(|row| self.package(row, arch)).collect();
            let list = xz(&list);
            let path = format!("main/binary-{arch}/Packages.xz");
            writeln!(sums, " {} {} {path}", Sha256::of(&list), list.len()).unwrap();
            self.put(&format!("dists/{name}/{path}"), list);
        }
        let suite = name.replace("trixie", "stable");
        let text = format!(
            "Origin: Debian\nSuite: {suite}\nCodename: {name}\nDate: Mon, 23 Nov 2026 {hour:02}:00:00 UTC\nSHA256:\n{sums}"
        );
        self.put(
            &format!("dists/{name}/InRelease"),
            signed(&text, key).into_bytes(),
        );
    }

    /// Puts a package into the pool and gives its paragraph of the list.
    fn package(&mut self, (name, source, version, log): &Row, arch: &str) -> String {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(log.as_bytes()).unwrap();
        let file = |bytes| File { mode: 0o644, bytes };
        let folder = format!("usr/share/doc/{name}");
        let deb = Package {
            fields: vec![
                ("Package", (*name).to_owned()),
                ("Version", (*version).to_owned()),
                ("Architecture", arch.to_owned()),
                ("Maintainer", "a test <test@example.invalid>".to_owned()),
                ("Description", "a test".to_owned()),
            ],
            files: BTreeMap::from([
                (
                    format!("{folder}/changelog.Debian.gz"),
                    file(packed.finish().unwrap()),
                ),
                (
                    format!("{folder}/changelog.gz"),
                    file(b"not even gzip".to_vec()),
                ),
            ]),
            ..Package::default()
        };
        let deb = deb.encode().unwrap();
        let path = format!("pool/{name}_{version}_{arch}.deb");
        let row = format!(
            "Package: {name}\nSource: {source}\nVersion: {version}\nArchitecture: {arch}\nFilename: {path}\nSize: {}\nSHA256: {}\n\n",
            deb.len(),
            Sha256::of(&deb)
        );
        self.put(&path, deb);
        row
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.site
            .insert(path.to_owned(), vec![Answer::Bytes(bytes)]);
    }
}

/// Whoever asks: a board, a recipe, a cache.
struct Builder {
    board: Board,
    recipe: Recipe,
    store: Store,
    keyring: Keyring,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Builder {
    fn new(key: &SignedSecretKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut board = board(PLAIN);
        board.packages.clear();
        board.boot_packages.clear();
        let recipe = "name = 'x'\nversion = '1.0.0'\npackages = ['app', 'libssl3', 'openssl']\n";
        Self {
            board,
            recipe: recipe::parse("x", recipe).unwrap(),
            store: Store::open(dir.path()).unwrap(),
            keyring: ring(key),
            client: Client::new(Duration::from_millis(400)),
            _dir: dir,
        }
    }

    fn lock(&self, mirror: &Mirror) -> Result<Lock> {
        let from = Sources {
            mirror,
            keyring: &self.keyring,
            store: &self.store,
            client: &self.client,
            frozen: false,
            now: now(),
            progress: Progress::Quiet,
        };
        Ok(lock::make(&self.board, &self.recipe, &from)?)
    }

    /// Locks by the archive as it is now, and tells what is new.
    fn ask(&self, old: &Lock, mirror: &Mirror) -> Result<News> {
        let new = self.lock(mirror)?;
        look(
            old,
            &new,
            mirror,
            &self.store,
            &self.client,
            Progress::Quiet,
        )
    }
}

/// An archive of these suites at that hour.
fn archive(hour: u8, main: &[Row], security: &[Row], key: &SignedSecretKey) -> Mirror {
    let (mut here, mut there) = (Archive::default(), Archive::default());
    here.suite("trixie", hour, main, key);
    here.suite("trixie-updates", hour, &[], key);
    there.suite("trixie-security", hour, security, key);
    Mirror {
        main: serve(here.site),
        security: Some(serve(there.site)),
        security_guessed: false,
    }
}

#[test]
fn a_security_update_is_told_with_its_vulnerabilities() {
    let key = key();
    let builder = Builder::new(&key);
    let old = builder.lock(&archive(9, &BASE, &[], &key)).unwrap();
    let news = builder
        .ask(&old, &archive(10, &BASE, &SECURITY_UPDATE, &key))
        .unwrap();
    // The two were built apart, so their old versions differ: two lines, one changelog.
    assert_eq!(news.changed.len(), 2, "{news:?}");
    for change in &news.changed {
        assert!(change.is_security());
        assert_eq!(change.source, "openssl");
        assert_eq!(change.to, "3.5.1-1+deb13u2");
        assert_eq!(
            change.urgency.as_deref(),
            Some("high"),
            "of all new entries"
        );
        assert_eq!(change.cves, ["CVE-2026-1111", "CVE-2026-22222"]);
        assert_eq!(
            change.first.as_deref(),
            Some("CVE-2026-1111 (a [31mred overflow)"),
            "without what would steer a terminal"
        );
    }
    assert_eq!(news.changed[0].packages, ["libssl3"]);
    assert_eq!(news.cves().len(), 2);
}

#[test]
fn nothing_new_is_nothing_to_do() {
    let key = key();
    let builder = Builder::new(&key);
    let old = builder.lock(&archive(9, &BASE, &[], &key)).unwrap();
    // A newer date of the same packages is no news.
    let news = builder.ask(&old, &archive(10, &BASE, &[], &key)).unwrap();
    assert!(news.is_empty(), "{news:?}");
}

#[test]
fn an_older_archive_takes_nothing_back() {
    let key = key();
    let old = {
        let builder = Builder::new(&key);
        builder
            .lock(&archive(10, &BASE, &SECURITY_UPDATE, &key))
            .unwrap()
    };
    // Whoever has seen the newer lists refuses older ones as a whole.
    let same = Builder::new(&key);
    same.lock(&archive(10, &BASE, &SECURITY_UPDATE, &key))
        .unwrap();
    let e = same.ask(&old, &archive(9, &BASE, &[], &key)).unwrap_err();
    assert!(format!("{e:#}").contains("older"), "{e:#}");
    // Whoever has not, for example a new runner of a workflow, learns it from the packages.
    let e = Builder::new(&key)
        .ask(&old, &archive(9, &BASE, &[], &key))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("openssl 3.5.1-1") && e.contains("3.5.1-1+deb13u2"),
        "{e}"
    );
}

#[test]
fn a_package_that_is_not_what_its_list_says_stops_it() {
    let key = key();
    let builder = Builder::new(&key);
    let old = builder.lock(&archive(9, &BASE, &[], &key)).unwrap();
    let (mut here, mut there) = (Archive::default(), Archive::default());
    here.suite("trixie", 10, &BASE, &key);
    here.suite("trixie-updates", 10, &[], &key);
    there.suite("trixie-security", 10, &SECURITY_UPDATE, &key);
    there.put(
        "pool/libssl3_3.5.1-1+deb13u2_arm64.deb",
        b"another".to_vec(),
    );
    let broken = Mirror {
        main: serve(here.site),
        security: Some(serve(there.site)),
        security_guessed: false,
    };
    let e = builder.ask(&old, &broken).unwrap_err();
    assert!(format!("{e:#}").contains("libssl3"), "{e:#}");
}

#[test]
fn what_others_need_now_is_new_and_what_nobody_needs_is_gone() {
    let key = key();
    let builder = Builder::new(&key);
    let lock = builder.lock(&archive(9, &BASE, &[], &key)).unwrap();
    let mut less = lock.clone();
    less.packages.retain(|p| p.name != "app");
    assert_eq!(between(&less, &lock).added, ["app"]);
    assert_eq!(between(&lock, &less).removed, ["app"]);
    let mut tools = lock.clone();
    tools.tools.clear();
    assert!(between(&lock, &tools).is_empty(), "tools leave no trace");
}

#[test]
fn a_changelog_is_read_down_to_the_version_that_boards_have() {
    let log = "a (2:1.10-1) unstable; urgency=emergency\n\n  [ Somebody ]\n  * Newest point.\n\n -- x\n\n\
               a (2:1.9-1) unstable; urgency=low\n\n  * CVE-2026-10000\n";
    for (danger, from, first, urgency, cves) in [
        (
            "one entry",
            "2:1.9-1",
            Some("Newest point."),
            Some("emergency"),
            0,
        ),
        (
            "a rebuild",
            "2:1.9-1+b12",
            Some("Newest point."),
            Some("emergency"),
            0,
        ),
        (
            "all of it",
            "1.0-1",
            Some("CVE-2026-10000"),
            Some("emergency"),
            1,
        ),
        ("none of it", "2:1.10-1", None, None, 0),
        (
            "a version that is not in it",
            "2:1.9-5",
            Some("Newest point."),
            Some("emergency"),
            0,
        ),
    ] {
        let why = changelog::since(log, from);
        assert_eq!(why.first.as_deref(), first, "{danger}");
        assert_eq!(why.urgency.as_deref(), urgency, "{danger}");
        assert_eq!(why.cves.len(), cves, "{danger}: {why:?}");
    }
    for garbage in ["", "no changelog\n", "a (1", "a (1) x; urgency=\n  * y\n"] {
        assert_eq!(
            changelog::since(garbage, "0"),
            changelog::Why::default(),
            "{garbage:?}"
        );
    }
    let endless = format!("a (2) x; urgency=low\n  * {}\n", "ä".repeat(5000));
    assert_eq!(
        changelog::since(&endless, "1")
            .first
            .unwrap()
            .chars()
            .count(),
        160
    );
}

#[test]
fn the_next_version_follows_the_newest_release_of_the_board() {
    let custom = |board: &str, version: &str| {
        (
            "x".to_owned(),
            serde_json::json!({ "board": board, "version": version }),
        )
    };
    let all = [
        custom("rpi", "1.9.0"),
        custom("rpi", "1.10.0-rc.1"),
        custom("rpi64", "7.0.0"),
        custom("rpi", "none"),
    ];
    let last = last_version(&all, "rpi").unwrap();
    assert_eq!(last.to_string(), "1.10.0-rc.1");
    assert_eq!(next_version(&last).to_string(), "1.10.1");
    assert_eq!(last_version(&all, "other"), None);
}

/// Says what was done, and fails at one of the steps.
struct Recorder {
    fails_at: &'static str,
    done: Vec<String>,
}

impl Recorder {
    fn step(&mut self, what: String) -> Result<()> {
        ensure!(what != self.fails_at, "{what} failed");
        self.done.push(what);
        Ok(())
    }
}

impl Hands for Recorder {
    type Made = usize;

    fn make(&mut self, n: usize) -> Result<usize> {
        self.step(format!("make {n}")).map(|()| n)
    }

    fn play(&mut self, made: &usize) -> Result<()> {
        self.step(format!("play {made}"))
    }

    fn publish(&mut self, made: &[usize]) -> Result<()> {
        self.step(format!("publish {}", made.len()))
    }

    fn remember(&mut self, n: usize) -> Result<()> {
        self.step(format!("remember {n}"))
    }
}

#[test]
fn what_was_not_made_and_played_for_every_board_is_published_for_none() {
    let all = [
        "make 0",
        "make 1",
        "play 0",
        "play 1",
        "publish 2",
        "remember 0",
        "remember 1",
    ];
    for (n, fails_at) in all.into_iter().chain([""]).enumerate() {
        let mut hands = Recorder {
            fails_at,
            done: Vec::new(),
        };
        assert_eq!(carry_out(2, &mut hands).is_ok(), fails_at.is_empty());
        assert_eq!(hands.done, all[..n], "stops at {fails_at:?}");
    }
}
