//! Trees: what is read, what is refused, and the fixture that the writers' tests share.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::files::replace;
use crate::testing::{is_root, tool};

/// Bytes that repeat only every 251.
fn pattern(n: usize) -> Vec<u8> {
    (0..n)
        .map(|i| u8::try_from(i * 7 % 251).unwrap())
        .collect::<Vec<u8>>()
}

/// A directory with everything that has ever broken a file system writer. Owners, devices and attributes of the
/// `security` space need root and are left out without.
pub(crate) fn fixture(at: &Path) {
    let dir = |p: &str| fs::create_dir_all(at.join(p)).unwrap();
    let file = |p: &str, bytes: &[u8]| {
        // Thousands of files: no need to sync each.
        fs::File::create(at.join(p))
            .and_then(|mut f| f.write_all(bytes))
            .unwrap();
    };
    dir("usr/bin");
    dir("empty");
    dir("many");
    for size in [
        0,
        1,
        4031,
        4032,
        4033,
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        100_000,
        1 << 20,
        3_000_001,
    ] {
        file(&format!("usr/bin/size-{size}"), &pattern(size));
    }
    for n in 0..3000 {
        file(
            &format!("many/entry-{n:05}-{}", "x".repeat(n % 60)),
            &pattern(n % 97),
        );
    }
    for n in 0..20 {
        dir(&format!("many/dir-{n}/deeper"));
    }
    file(&format!("many/{}", "l".repeat(255)), b"long name");
    for odd in [
        "!before-dot",
        "-dash",
        ".hidden",
        "a b",
        "ä",
        "tail~",
        "a-b",
        "a.b",
    ] {
        file(odd, odd.as_bytes());
    }
    dir("a");
    file("a/b", b"sorts after a-b and a.b as a path");
    symlink("usr/bin/size-1", at.join("short-link")).unwrap();
    symlink("x/".repeat(2000), at.join("long-link")).unwrap();
    symlink("/absolute", at.join("absolute-link")).unwrap();
    fs::hard_link(at.join("usr/bin/size-8193"), at.join("usr/bin/again")).unwrap();
    fs::hard_link(at.join("usr/bin/size-8193"), at.join("empty-but-one")).unwrap();
    fs::hard_link(at.join("usr/bin/size-1"), at.join("one-again")).unwrap();
    for (p, mode) in [
        ("usr/bin/size-1", 0o4755),
        ("usr/bin/size-4096", 0o0),
        ("many", 0o1777),
        ("empty", 0o2750),
    ] {
        fs::set_permissions(at.join(p), fs::Permissions::from_mode(mode)).unwrap();
    }
    attributes(at);
}

/// Owners, devices, capabilities and other extended attributes.
fn attributes(at: &Path) {
    let set = |p: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at.join(p), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    if is_root() {
        tool(
            "mknod",
            "coreutils",
            &[at.join("null").to_str().unwrap(), "c", "1", "3"],
        );
        tool(
            "mknod",
            "coreutils",
            &[at.join("disk").to_str().unwrap(), "b", "259", "70000"],
        );
        for (p, uid, gid) in [
            ("usr/bin/size-4097", 1000, 1001),
            ("many", 65_534, 4_000_000_000),
        ] {
            std::os::unix::fs::chown(at.join(p), Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(at.join("many"), fs::Permissions::from_mode(0o1777)).unwrap();
        // CAP_NET_RAW, as ping carries it (struct vfs_cap_data, revision 2).
        set(
            "usr/bin/size-100000",
            "security.capability",
            &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        set("many", "trusted.note", b"for root only");
    }
    tool("mkfifo", "coreutils", &[at.join("pipe").to_str().unwrap()]);
    set("usr/bin/size-4033", "user.one", b"1");
    set("usr/bin/size-4033", "user.two", &pattern(300));
    set("usr/bin/size-3000001", "user.big", &pattern(3000));
    set("a", "user.empty", b"");
}

/// All entries; content by its bytes, wherever it lies.
fn listed(tree: &Tree) -> Vec<(Vec<u8>, Entry)> {
    let one = |(path, entry): (&[u8], &Entry)| {
        let mut entry = entry.clone();
        if let Kind::File(content) = &entry.kind {
            entry.kind = Kind::File(Content::Bytes(content.read().unwrap()));
        }
        (path.to_vec(), entry)
    };
    tree.iter().map(one).collect()
}

fn packed(tree: &Tree, at: &Path) -> Tree {
    tree.pack(&mut fs::File::create(at).unwrap()).unwrap();
    Tree::packed(at, tree.epoch()).unwrap()
}

fn refused(dir: &Path) -> String {
    format!("{:#}", Tree::scan(dir, 0).unwrap_err())
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    let mut tree = Tree::new(0);
    for bad in [
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/.",
        "a\0b",
        &"n".repeat(256),
        &"d/".repeat(2100),
    ] {
        assert!(tree.insert_bytes(bad, 0o644, "").is_err(), "{bad:?}");
    }
    assert!(
        tree.insert_bytes("x", 0o10_644, "").is_err(),
        "type bits in a mode"
    );
    assert!(tree.is_empty());
}

#[test]
fn writing_through_a_link_is_refused_and_names_it() {
    let mut tree = Tree::new(0);
    tree.insert_symlink("lib", "usr/lib").unwrap();
    let e = tree
        .insert_bytes("lib/x", 0o644, "")
        .unwrap_err()
        .to_string();
    assert!(e.contains("/lib is a link to usr/lib"), "{e}");
}

#[test]
fn a_directory_never_becomes_a_file_by_accident() {
    let mut tree = Tree::new(0);
    tree.insert_bytes("etc/passwd", 0o644, "").unwrap();
    assert!(tree.insert_bytes("etc", 0o644, "").is_err());
    assert!(tree.insert_dir("etc/passwd", 0o755).is_err());
    assert_eq!(tree.remove("etc").unwrap(), 2);
    tree.insert_bytes("etc", 0o644, "").unwrap();
}

#[test]
fn removing_takes_what_is_below_and_nothing_beside() {
    let mut tree = Tree::new(0);
    for p in ["a/b", "a/c/d", "a-b", "a.b", "ab"] {
        tree.insert_bytes(p, 0o644, "").unwrap();
    }
    assert_eq!(tree.remove("a").unwrap(), 4);
    let left: Vec<_> = tree.iter().map(|(p, _)| show(p)).collect();
    assert_eq!(left, ["/", "/a-b", "/a.b", "/ab"]);
    assert_eq!(tree.remove("nothing").unwrap(), 0);
    assert!(tree.remove("/").is_err());
}

#[test]
fn links_resolve_as_on_the_board_and_loops_end() {
    let mut tree = Tree::new(0);
    tree.insert_bytes("usr/lib/os-release", 0o644, "ID=debian")
        .unwrap();
    tree.insert_symlink("etc/os-release", "../usr/lib/os-release")
        .unwrap();
    tree.insert_symlink("lib", "usr/lib").unwrap();
    tree.insert_symlink("abs", "/lib/os-release").unwrap();
    tree.insert_symlink("loop", "loop").unwrap();
    tree.insert_symlink("out", "../../../usr/lib/os-release")
        .unwrap();
    for p in ["etc/os-release", "lib/os-release", "abs", "/out"] {
        assert_eq!(&*tree.read(p).unwrap(), b"ID=debian", "{p}");
    }
    assert!(tree.resolve("loop").is_none());
}

#[test]
fn nothing_is_newer_than_the_epoch() {
    let work = tempfile::tempdir().unwrap();
    replace(&work.path().join("f"), b"").unwrap();
    let mut tree = Tree::scan(work.path(), 1000).unwrap();
    tree.insert_bytes("g", 0o644, "").unwrap();
    assert!(tree.iter().all(|(_, e)| e.mtime == 1000));
    tree.clamp_mtimes(500);
    assert!(tree.iter().all(|(_, e)| e.mtime == 500));
}

#[test]
fn sockets_and_missing_directories_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(work.path().join("s")).unwrap();
    assert!(refused(work.path()).contains("is a socket"));
    assert!(refused(&work.path().join("none")).contains("none"));
    replace(&work.path().join("f"), b"").unwrap();
    assert!(refused(&work.path().join("f")).contains("not a directory"));
}

#[test]
fn a_whiteout_is_refused() {
    if !is_root() {
        println!("not run: making a device needs root");
        return;
    }
    let work = tempfile::tempdir().unwrap();
    tool(
        "mknod",
        "coreutils",
        &[work.path().join("w").to_str().unwrap(), "c", "0", "0"],
    );
    assert!(refused(work.path()).contains("whiteout"));
}

#[test]
fn two_scans_of_equal_directories_are_equal() {
    let work = tempfile::tempdir().unwrap();
    let make = |name: &str, order: &[usize]| {
        let at = work.path().join(name);
        fs::create_dir(&at).unwrap();
        for n in order {
            replace(&at.join(format!("f{n}")), b"x").unwrap();
            fs::hard_link(at.join(format!("f{n}")), at.join(format!("g{n}"))).unwrap();
        }
        let tree = Tree::scan(&at, 5).unwrap();
        tree.iter()
            .map(|(p, e)| (p.to_vec(), e.link))
            .collect::<Vec<_>>()
    };
    assert_eq!(make("a", &[1, 2, 3]), make("b", &[3, 1, 2]));
}

#[test]
fn a_link_whose_other_name_is_outside_is_an_ordinary_file() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("in")).unwrap();
    replace(&work.path().join("out"), b"x").unwrap();
    fs::hard_link(work.path().join("out"), work.path().join("in/f")).unwrap();
    assert_eq!(
        Tree::scan(&work.path().join("in"), 0)
            .unwrap()
            .get("f")
            .unwrap()
            .link,
        None
    );
}

#[test]
fn an_overlay_adds_files_and_keeps_the_modes_of_directories() {
    let mut tree = Tree::new(0);
    tree.insert_dir("root", 0o700).unwrap();
    let mut upper = Tree::new(0);
    upper.insert_bytes("root/.bashrc", 0o600, "x").unwrap();
    tree.overlay(&upper).unwrap();
    assert_eq!(tree.get("root").unwrap().mode, 0o700);
    assert_eq!(tree.get("root/.bashrc").unwrap().mode, 0o600);
}

#[test]
fn a_packed_tree_is_the_tree_and_packs_to_the_same_bytes() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("tree");
    fs::create_dir(&dir).unwrap();
    fixture(&dir);
    let mut tree = Tree::scan(&dir, u64::MAX >> 32).unwrap();
    let odd = (b"user.a=b%3D".to_vec(), b"1\n2 x=y\n".to_vec());
    tree.entries
        .get_mut(&b"a/b"[..])
        .unwrap()
        .xattrs
        .extend([odd]);
    tree.insert_bytes(&format!("{}f", "deep/".repeat(60)), 0o644, "long path")
        .unwrap();
    let again = packed(&tree, &work.path().join("one"));
    assert!(listed(&tree) == listed(&again), "read back");
    let third = packed(&again, &work.path().join("two"));
    assert!(listed(&third) == listed(&tree));
    let bytes = |name| fs::read(work.path().join(name)).unwrap();
    assert!(bytes("one") == bytes("two"), "packed from a packed tree");
    assert!(matches!(
        &again.get("usr/bin/size-1").unwrap().kind,
        Kind::File(Content::Packed { .. })
    ));
}

#[test]
fn tar_unpacks_a_packed_tree_and_so_do_we() {
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    for name in ["tree", "tar", "ours"] {
        fs::create_dir(at(name)).unwrap();
    }
    fixture(&at("tree"));
    let tree = packed(
        &Tree::scan(&at("tree"), u64::MAX >> 32).unwrap(),
        &at("packed"),
    );
    let arg = |name: &str| at(name).to_str().unwrap().to_owned();
    let includes = [
        "--xattrs-include=user.*",
        "--xattrs-include=security.*",
        "--xattrs-include=trusted.*",
    ];
    let mut args = vec![
        "-xpf".to_owned(),
        arg("packed"),
        "-C".to_owned(),
        arg("tar"),
        "--xattrs".to_owned(),
    ];
    args.extend(includes.map(str::to_owned));
    tool(
        "tar",
        "tar",
        &args.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    if is_root() {
        tree.spread(&at("ours"), Owners::Kept).unwrap();
    } else {
        tree.spread(&at("ours"), Owners::Caller).unwrap();
        println!("owners not compared: giving files away needs root");
    }
    let of = |name: &str| listed(&Tree::scan(&at(name), u64::MAX >> 32).unwrap());
    let whole = listed(&tree);
    for name in ["ours", "tar"] {
        let found = of(name);
        let wrong = whole.iter().zip(&found).find(|(a, b)| a != b && is_root());
        assert!(
            wrong.is_none() && found.len() == whole.len(),
            "{name}: {:?}",
            wrong.map(|(a, _)| show(&a.0))
        );
    }
}

#[test]
fn what_the_caller_unpacks_for_himself_is_his() {
    let work = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(7);
    tree.insert_bytes("bin/su", 0o4755, "x").unwrap();
    tree.insert_dir("closed", 0o500).unwrap();
    tree.chown("bin/su", 42, 43).unwrap();
    tree.spread(work.path(), Owners::Caller).unwrap();
    let meta = fs::metadata(work.path().join("bin/su")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&meta),
        rustix::process::geteuid().as_raw()
    );
    let e = format!(
        "{:#}",
        tree.spread(work.path(), Owners::Caller).unwrap_err()
    );
    assert!(e.contains("is not empty"), "{e}");
}

#[test]
fn a_damaged_packed_tree_is_refused_and_named() {
    let work = tempfile::tempdir().unwrap();
    let at = work.path().join("x.tar");
    let mut tree = Tree::new(0);
    tree.insert_bytes("a/b", 0o644, pattern(1000)).unwrap();
    packed(&tree, &at);
    let good = fs::read(&at).unwrap();
    let without = |from: usize, to: usize| [&good[..from], &good[to..]].concat();
    let mut flipped = good.clone();
    flipped[600] ^= 1;
    // 0: root, 512: a, 1024: a/b, 1536: its content, 2560: the end
    for (danger, bytes) in [
        ("cut in a header", good[..700].to_vec()),
        ("cut between entries", good[..1024].to_vec()),
        ("cut in the content", good[..2000].to_vec()),
        ("without its end", good[..2560].to_vec()),
        ("more behind its end", [&good[..], b"x"].concat()),
        ("empty", Vec::new()),
        ("without its root", without(0, 512)),
        ("without a parent", without(512, 1024)),
        ("an entry twice", [&good[..1024], &good[512..]].concat()),
        ("a flipped bit", flipped),
    ] {
        fs::File::create(&at)
            .and_then(|mut f| f.write_all(&bytes))
            .unwrap();
        let e = Tree::packed(&at, 0).expect_err(danger);
        let e = format!("{e:#}");
        assert!(e.contains("x.tar is damaged"), "{danger}: {e}");
    }
}
