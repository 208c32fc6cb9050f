//! Tests of [`super`]: packages laid out as a tree.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::progress::Progress;
use crate::sha256::Sha256;

/// A member of a package in the making: kind, path, content or link target.
type Member<'a> = (u8, &'a str, &'a str);

const FILE: u8 = b'0';
const HARD: u8 = b'1';
const SYM: u8 = b'2';
const CHAR: u8 = b'3';
const DIR: u8 = b'5';
/// A directory that others may not look into.
const PRIVATE: u8 = b'P';

/// Writes a tar header by hand: the names that matter here are those a library would refuse to write.
fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let (uid, gid) = (
        nix::unistd::getuid().as_raw(),
        nix::unistd::getgid().as_raw(),
    );
    let mut out = Vec::new();
    for (kind, path, content) in members {
        let link = matches!(*kind, HARD | SYM);
        let size = if *kind == FILE { content.len() } else { 0 };
        let mut h = vec![0u8; 512];
        let mut put =
            |at: usize, text: &str| h[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        let mode = match *kind {
            DIR => "0000755",
            PRIVATE => "0000700",
            _ => "0000640",
        };
        put(100, mode);
        put(108, &format!("{uid:07o}"));
        put(116, &format!("{gid:07o}"));
        put(124, &format!("{size:011o}"));
        put(136, "14000000000");
        put(148, "        ");
        put(257, "ustar\x0000");
        if link {
            put(157, content);
        }
        h[156] = if *kind == PRIVATE { DIR } else { *kind };
        let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
        h[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(h);
        if size > 0 {
            out.extend(content.as_bytes());
            out.resize(out.len().next_multiple_of(512), 0);
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        out.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                "100644",
                bytes.len()
            )
            .bytes(),
        );
        out.extend_from_slice(bytes);
        out.resize(out.len() + out.len() % 2, b'\n');
    }
    out
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    packages: Vec<LockedPackage>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        Self {
            dir,
            store,
            packages: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, fields: &str, control: &[Member<'_>], data: &[Member<'_>]) {
        let text =
            format!("Package: {name}\nVersion: 1\nArchitecture: all\n{fields}Description: x\n");
        let mut members = vec![(FILE, "./control", text.as_str())];
        members.extend(control);
        let deb = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &tar(&members)),
            ("data.tar", &tar(data)),
        ]);
        let sha256 = Sha256::of(&deb);
        files::replace(&self.store.path(sha256), &deb).unwrap();
        self.packages.push(LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: "all".to_owned(),
            source: name.to_owned(),
            archive: "main".to_owned(),
            filename: "x".to_owned(),
            size: deb.len() as u64,
            installed_kib: 1,
            sha256,
        });
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn unpack(&self) -> Result<Vec<Unpacked>, UnpackError> {
        root_tree(
            &self.root(),
            &self.store,
            &self.packages,
            &Progress::Quiet.bytes("x", 0),
        )
    }
}

#[test]
fn files_keep_what_the_archive_says() {
    let mut w = World::new();
    w.add(
        "a",
        "",
        &[],
        &[
            (DIR, "./", ""),
            (DIR, "./usr/", ""),
            (DIR, "./usr/share/", ""),
            (FILE, "./usr/share/f", "hello"),
            (SYM, "./usr/share/s", "/etc/x"),
            (HARD, "./usr/share/h", "./usr/share/f"),
        ],
    );
    w.unpack().unwrap();
    let share = w.root().join("usr/share");
    let meta = fs::metadata(share.join("f")).unwrap();
    assert_eq!(
        (
            meta.permissions().mode() & 0o7777,
            meta.mtime(),
            meta.nlink()
        ),
        (0o640, 0o14_000_000_000, 2)
    );
    assert_eq!(fs::read_to_string(share.join("h")).unwrap(), "hello");
    assert_eq!(fs::read_link(share.join("s")).unwrap(), Path::new("/etc/x"));
    assert_eq!(
        fs::metadata(&share).unwrap().mtime(),
        0o14_000_000_000,
        "a directory keeps its time although files came into it"
    );
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap().to_owned();
    let through = format!("{out}/victim");
    for (danger, data) in [
        ("absolute path", vec![(FILE, through.as_str(), "x")]),
        ("climbing path", vec![(FILE, "./usr/../../victim", "x")]),
        (
            "hard link to an absolute path",
            vec![(HARD, "./f", "/etc/passwd")],
        ),
        (
            "hard link that climbs",
            vec![(HARD, "./f", "../../etc/passwd")],
        ),
        ("device", vec![(CHAR, "./null", "")]),
        ("pipe", vec![(b'6', "./pipe", "")]),
    ] {
        let mut w = World::new();
        w.add("evil", "", &[], &data);
        let e = w.unpack().unwrap_err();
        assert!(
            matches!(&e, UnpackError::Refused { package, .. } if package == "evil"),
            "{danger}: {e}"
        );
    }
    for (danger, link) in [
        ("absolute link", out.as_str()),
        ("climbing link", "../../../../../../../../tmp"),
    ] {
        let mut w = World::new();
        let name = format!("./way/victim-{}", std::process::id());
        w.add("evil", "", &[], &[(SYM, "./way", link), (FILE, &name, "x")]);
        // Either refused, or it stayed inside: the link's target is taken as a path of the tree.
        drop(w.unpack());
        assert!(!outside.path().join(&name[6..]).exists(), "{danger}");
        assert!(!Path::new("/tmp").join(&name[6..]).exists(), "{danger}");
    }
}

#[test]
fn a_package_may_not_grow_beyond_what_it_says() {
    let mut w = World::new();
    w.add("bomb", "", &[], &[(FILE, "./f", &"x".repeat(66 << 20))]);
    w.packages[0].installed_kib = 1;
    let e = w.unpack().unwrap_err();
    assert!(
        matches!(&e, UnpackError::Deb { package, .. } if package == "bomb")
            && e.to_string().contains("grows beyond"),
        "{e}"
    );
}

#[test]
fn links_of_the_base_system_are_followed_inside() {
    let mut w = World::new();
    w.add(
        "old",
        "",
        &[],
        &[
            (DIR, "./lib/", ""),
            (DIR, "./lib/modules/", ""),
            (FILE, "./lib/modules/x", "ko"),
            (FILE, "./bin/tool", "elf"),
        ],
    );
    w.unpack().unwrap();
    assert!(
        fs::symlink_metadata(w.root().join("lib"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read_to_string(w.root().join("usr/lib/modules/x")).unwrap(),
        "ko"
    );
    assert_eq!(
        fs::read_to_string(w.root().join("usr/bin/tool")).unwrap(),
        "elf"
    );
}

#[test]
fn one_path_in_two_packages() {
    let file = |text| [(FILE, "./f", text)];
    let mut w = World::new();
    w.add("one", "", &[], &file("1"));
    w.add("two", "", &[], &file("2"));
    assert!(matches!(w.unpack(), Err(UnpackError::FileConflict { .. })));

    let mut w = World::new();
    w.add("one", "", &[], &file("1"));
    w.add("two", "Replaces: one (<< 2)\n", &[], &file("2"));
    w.unpack().unwrap();
    assert_eq!(fs::read_to_string(w.root().join("f")).unwrap(), "2");
    let list = fs::read_to_string(w.root().join("var/lib/dpkg/info/one.list")).unwrap();
    assert!(!list.contains("/f"), "it is no longer the other's: {list}");
}

#[test]
fn records_are_those_of_dpkg() {
    let mut w = World::new();
    let control = [
        (FILE, "./conffiles", "/etc/a.conf\n"),
        (
            FILE,
            "./triggers",
            "interest-noawait /usr/share/t\nactivate x\ninterest name\n",
        ),
        (FILE, "./postinst", "#!/bin/sh\n"),
    ];
    w.add(
        "a",
        "Multi-Arch: same\n",
        &control,
        &[
            (DIR, "./", ""),
            (DIR, "./etc/", ""),
            (FILE, "./etc/a.conf", "x"),
        ],
    );
    w.unpack().unwrap();
    let base = w.root().join("var/lib/dpkg");
    let read = |p: &str| fs::read_to_string(base.join(p)).unwrap();
    assert!(
        read("status").contains("Status: install ok unpacked\n")
            && read("status").contains("Conffiles:\n /etc/a.conf newconffile\n")
    );
    assert_eq!(read("info/a:all.list"), "/.\n/etc\n/etc/a.conf\n");
    assert_eq!(read("triggers/File"), "/usr/share/t a:all/noawait\n");
    assert_eq!(read("triggers/name"), "a:all\n");
    assert!(w.root().join("etc/a.conf.dpkg-new").exists() && !w.root().join("etc/a.conf").exists());
    assert!(base.join("info/a:all.postinst").exists());
}

#[test]
fn damaged_package_is_named_and_removed() {
    let mut w = World::new();
    w.add("a", "", &[], &[(FILE, "./f", "x")]);
    let path = w.store.path(w.packages[0].sha256);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    files::replace(&path, &bytes).unwrap();
    let e = w.unpack().unwrap_err();
    assert!(
        matches!(&e, UnpackError::Damaged { package, .. } if package == "a"),
        "{e}"
    );
    assert!(!path.exists(), "so that the next run fetches it anew");
    assert!(matches!(w.unpack(), Err(UnpackError::Missing { .. })));
}

#[test]
fn package_that_is_another_than_the_lock_says_is_refused() {
    let mut w = World::new();
    w.add("a", "", &[], &[]);
    w.packages[0].version = "2".to_owned();
    assert!(w.unpack().unwrap_err().to_string().contains("Version"));
}

#[test]
fn control_files_stay_in_their_directory() {
    let mut w = World::new();
    w.add("a", "", &[(FILE, "./../../evil", "x")], &[]);
    assert!(matches!(w.unpack(), Err(UnpackError::Refused { .. })));
}

#[test]
fn directory_of_two_packages_does_not_depend_on_who_is_first() {
    let seen = |names: [&str; 2]| {
        let mut w = World::new();
        // The larger package is begun first.
        let long = "x".repeat(4000);
        w.add(
            names[0],
            "",
            &[],
            &[(DIR, "./d/", ""), (FILE, "./d/one", &long)],
        );
        w.add(
            names[1],
            "",
            &[],
            &[(DIR, "./d/", ""), (FILE, "./d/two", "x")],
        );
        w.packages.sort_by(|a, b| a.name.cmp(&b.name));
        w.unpack().unwrap();
        let meta = fs::metadata(w.root().join("d")).unwrap();
        (meta.mode(), meta.mtime())
    };
    assert_eq!(seen(["a", "b"]), seen(["b", "a"]));
    assert_eq!(
        seen(["a", "b"]).1,
        0o14_000_000_000,
        "not the time of unpacking"
    );
}
