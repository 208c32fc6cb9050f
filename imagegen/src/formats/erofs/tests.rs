//! Our images as erofs-utils and the kernel see them.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::files::replace;
use crate::formats::pass;
use crate::testing::{is_root, tool};
use crate::tree::compare::{Field, compare};
use crate::tree::{Entry, Xattrs, tests::fixture};

mod layouts;

const EPOCH: u64 = 1_700_000_000;
const OPTIONS: Options<'_> = Options {
    label: "root",
    seed: "test 1.0.0",
    last: &[],
    before: None,
};

fn write(volume: &Volume, to: &Path) -> String {
    let file = fs::File::create(to).unwrap();
    pass::each(volume, 1 << 20, 2, |_, at, bytes| {
        Ok(file.write_all_at(bytes, at)?)
    })
    .unwrap();
    blake3::hash(&fs::read(to).unwrap()).to_hex().to_string()
}

/// What must survive: everything but where content comes from and how link groups are numbered.
type Fact = (
    String,
    String,
    u16,
    [u32; 2],
    u64,
    Xattrs,
    Option<u32>,
    Option<blake3::Hash>,
);

fn facts(tree: &Tree) -> Vec<Fact> {
    let fact = |(path, e): (&[u8], &Entry)| {
        let hash = match &e.kind {
            Kind::File(c) => Some(blake3::hash(&c.read().unwrap())),
            _ => None,
        };
        let kind = match &e.kind {
            Kind::File(c) => format!("file of {}", c.len()),
            other => format!("{other:?}"),
        };
        (
            show(path),
            kind,
            e.mode,
            [e.uid, e.gid],
            e.mtime,
            e.xattrs.clone(),
            e.link,
            hash,
        )
    };
    tree.iter().map(fact).collect()
}

fn assert_same(ours: &Tree, theirs: &Tree) {
    let (ours, theirs) = (facts(ours), facts(theirs));
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!(a, b);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn erofs_utils_extract_what_went_in() {
    let work = tempfile::tempdir().unwrap();
    let (from, image, out) = (
        work.path().join("in"),
        work.path().join("i.erofs"),
        work.path().join("out"),
    );
    fixture(&from);
    let tree = Tree::scan(&from, EPOCH).unwrap();
    write(&plan(&tree, OPTIONS).unwrap(), &image);
    let text = tool(
        "fsck.erofs",
        "erofs-utils",
        &["-d3", image.to_str().unwrap()],
    );
    assert!(text.contains("No error"), "{text}");
    tool(
        "fsck.erofs",
        "erofs-utils",
        &[
            "--preserve",
            &format!("--extract={}", out.display()),
            image.to_str().unwrap(),
        ],
    );
    // fsck.erofs 1.5 restores neither attributes nor hard links, and loses the set-id bits when it sets the owner; the
    // kernel's test below looks at those.
    let strip = |t: &Tree| {
        let mut bare = Tree::new(EPOCH);
        for (path, e) in t.iter() {
            let xattrs = Xattrs::new();
            bare.insert_entry(
                path.to_vec(),
                Entry {
                    xattrs,
                    link: None,
                    mode: e.mode & 0o1777,
                    ..e.clone()
                },
            )
            .unwrap();
        }
        bare
    };
    assert_same(&strip(&tree), &strip(&Tree::scan(&out, EPOCH).unwrap()));
}

#[test]
fn the_kernel_mounts_what_went_in() {
    let supported = fs::read_to_string("/proc/filesystems")
        .unwrap()
        .lines()
        .any(|l| l.trim() == "erofs");
    if !is_root() || !supported || !Path::new("/dev/loop-control").exists() {
        println!(
            "not run: needs root, loop devices and a kernel with EROFS; erofs-utils and our reader cover the rest"
        );
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (from, image, at) = (
        work.path().join("in"),
        work.path().join("i.erofs"),
        work.path().join("mnt"),
    );
    fixture(&from);
    let tree = Tree::scan(&from, EPOCH).unwrap();
    write(&plan(&tree, OPTIONS).unwrap(), &image);
    fs::create_dir(&at).unwrap();
    tool(
        "mount",
        "mount",
        &[
            "-t",
            "erofs",
            "-o",
            "loop,ro",
            image.to_str().unwrap(),
            at.to_str().unwrap(),
        ],
    );
    let seen = Tree::scan(&at, EPOCH).map(|t| facts(&t));
    tool("umount", "mount", &[at.to_str().unwrap()]);
    let (ours, theirs) = (facts(&tree), seen.unwrap());
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!(a, b);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn order_of_insertion_and_cores_do_not_show() {
    let work = tempfile::tempdir().unwrap();
    let make = |names: &[&str]| {
        let mut tree = Tree::new(EPOCH);
        for name in names {
            tree.insert_bytes(name, 0o644, name.repeat(900)).unwrap();
        }
        plan(&tree, OPTIONS).unwrap()
    };
    let a = write(
        &make(&["usr/bin/a", "etc/b", "etc/c-d", "etc/c/d"]),
        &work.path().join("a"),
    );
    let b = write(
        &make(&["etc/c/d", "etc/c-d", "etc/b", "usr/bin/a"]),
        &work.path().join("b"),
    );
    assert_eq!(a, b);
}

#[test]
fn sizes_around_a_block_have_their_tail_in_one_block() {
    for size in [
        0,
        1,
        4031,
        4032,
        4033,
        4095,
        4096,
        4097,
        8127,
        8128,
        8129,
        1 << 20,
    ] {
        let mut tree = Tree::new(EPOCH);
        tree.insert_bytes("f", 0o644, vec![7; size]).unwrap();
        let inodes = inodes::collect(&tree).unwrap();
        let (places, blocks) = place::place(&inodes, &[], None).unwrap();
        let p = places[1];
        assert_eq!(
            u64::from(p.blocks) * BLOCK + p.tail,
            (size as u64).next_multiple_of(if p.tail > 0 { 1 } else { BLOCK }),
            "{size}"
        );
        if p.tail > 0 {
            let tail = p.at + disk::INODE_SIZE;
            assert_eq!(tail / BLOCK, (tail + p.tail - 1) / BLOCK, "{size}");
        }
        assert!(p.blocks == 0 || p.block + p.blocks <= blocks);
    }
}

#[test]
fn files_beyond_4_gib_are_planned_without_overlap() {
    let mut tree = Tree::new(EPOCH);
    let big = |len| Content::Host {
        path: Path::new("/nowhere").into(),
        len,
    };
    tree.insert_file("a", 0o644, big(5 << 30)).unwrap();
    // A tail too long to lie behind its inode, so that planning does not read it.
    tree.insert_file("b", 0o644, big((6 << 30) + BLOCK - 1))
        .unwrap();
    let volume = plan(&tree, OPTIONS).unwrap();
    assert_eq!(volume.size(), (11 << 30) + 2 * BLOCK);
    tree.insert_file("c", 0o644, big(17 << 40)).unwrap();
    assert!(
        plan(&tree, OPTIONS)
            .unwrap_err()
            .to_string()
            .contains("16 TiB")
    );
}

#[test]
fn what_an_image_cannot_hold_is_refused_by_name() {
    let mut tree = Tree::new(EPOCH);
    tree.insert("run/x", 0o644, Kind::Socket).unwrap();
    assert!(
        plan(&tree, OPTIONS)
            .unwrap_err()
            .to_string()
            .contains("/run/x is a socket")
    );
    let mut tree = Tree::new(EPOCH);
    let xattrs = Xattrs::from([(b"odd.name".to_vec(), vec![1])]);
    let entry = Entry {
        xattrs,
        ..tree.get("").unwrap().clone()
    };
    tree.insert_entry(b"d".to_vec(), entry).unwrap();
    let e = format!("{:#}", plan(&tree, OPTIONS).unwrap_err());
    assert!(e.contains("/d") && e.contains("odd.name"), "{e}");
}

#[test]
fn a_file_that_changes_between_plan_and_write_is_refused() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("in")).unwrap();
    let file = work.path().join("in/f");
    replace(&file, &[1; 9000]).unwrap();
    let volume = plan(
        &Tree::scan(&work.path().join("in"), EPOCH).unwrap(),
        OPTIONS,
    )
    .unwrap();
    replace(&file, &[1; 8999]).unwrap();
    let e = volume
        .bytes(0, usize::try_from(volume.size()).unwrap())
        .unwrap_err()
        .to_string();
    assert!(e.contains("changed while the image was made"), "{e}");
}

#[test]
fn dump_shows_our_super_block() {
    let work = tempfile::tempdir().unwrap();
    let image = work.path().join("i");
    let mut tree = Tree::new(EPOCH);
    tree.insert_bytes("a", 0o644, "x").unwrap();
    write(&plan(&tree, OPTIONS).unwrap(), &image);
    let text = tool(
        "dump.erofs",
        "erofs-utils",
        &["-s", image.to_str().unwrap()],
    );
    for want in [
        "Filesystem magic number:                      0xE0F5E1E2",
        "Filesystem inode count:                       2",
    ] {
        assert!(text.contains(want), "{text}");
    }
    assert!(text.contains("sb_csum") && text.contains("mtime"), "{text}");
}

#[test]
fn crc_is_the_kernels() {
    // crc32c("123456789") is 0xE3069283 with the final inversion, which the kernel's function leaves to its caller.
    assert_eq!(!disk::crc32c(b"123456789"), 0xE306_9283);
}

#[test]
fn modes_survive_a_strict_umask() {
    let work = tempfile::tempdir().unwrap();
    let f = work.path().join("f");
    replace(&f, b"x").unwrap();
    fs::set_permissions(&f, fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("f", work.path().join("l")).unwrap();
    assert_eq!(
        Tree::scan(work.path(), EPOCH)
            .unwrap()
            .get("f")
            .unwrap()
            .mode,
        0o4751
    );
}

#[test]
fn our_reader_finds_what_went_in() {
    let work = tempfile::tempdir().unwrap();
    let from = work.path().join("in");
    fixture(&from);
    let tree = Tree::scan(&from, EPOCH).unwrap();
    let volume = plan(&tree, OPTIONS).unwrap();
    let erofs = read::Erofs::open(&volume).unwrap();
    assert_eq!(erofs.names.len(), tree.len());
    for (path, e) in tree.iter() {
        let path = std::str::from_utf8(path).unwrap();
        let node = erofs.get(path).unwrap();
        assert_eq!(
            (node.mode & 0o7777, node.uid, node.gid, node.mtime),
            (e.mode, e.uid, e.gid, e.mtime),
            "{path}"
        );
        match &e.kind {
            Kind::File(c) => assert!(*c.read().unwrap() == *erofs.read(path).unwrap(), "{path}"),
            Kind::Symlink(text) => assert_eq!(erofs.link(path).unwrap().as_bytes(), &**text),
            _ => {}
        }
    }
    assert_eq!(
        erofs.read("short-link").unwrap(),
        erofs.read("usr/bin/size-1").unwrap()
    );
    // The tree of an image has no bytes in its files; those are compared above.
    let others = compare(&tree, &erofs.tree().unwrap()).unwrap();
    assert!(
        others.iter().all(|d| d.field == Field::Content),
        "{others:?}"
    );
}

#[test]
fn a_damaged_image_is_an_error_and_never_a_panic() {
    let mut tree = Tree::new(EPOCH);
    tree.insert_bytes("d/f", 0o644, vec![1; 5000]).unwrap();
    tree.insert_symlink("l", "d/f").unwrap();
    let volume = plan(&tree, OPTIONS).unwrap();
    let good = volume
        .bytes(0, usize::try_from(volume.size()).unwrap())
        .unwrap();
    for at in 1024..3000 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            if let Ok(erofs) = read::Erofs::open(&bad[..]) {
                drop(erofs.tree());
                for name in erofs.names.keys() {
                    drop(erofs.read(name));
                }
            }
        }
    }
    for cut in [0, 1024, 1151, 1152, 4096] {
        assert!(read::Erofs::open(&good[..cut]).is_err());
    }
}

#[test]
fn a_file_that_changes_its_size_moves_no_other() {
    let make = |size: usize| {
        let mut tree = Tree::new(EPOCH);
        for (path, size) in [("a", 5000), ("b", size), ("c", 9000), ("d/e", 100_000)] {
            tree.insert_bytes(path, 0o644, vec![path.as_bytes()[0]; size])
                .unwrap();
        }
        plan(
            &tree,
            Options {
                last: &["b"],
                ..OPTIONS
            },
        )
        .unwrap()
    };
    let (one, two) = (make(10_000), make(50_001));
    let (one, two) = (
        read::Erofs::open(&one).unwrap(),
        read::Erofs::open(&two).unwrap(),
    );
    for path in ["a", "c", "d/e"] {
        assert_eq!(one.get(path).unwrap(), two.get(path).unwrap(), "{path}");
    }
    assert_eq!(two.read("b").unwrap(), vec![b'b'; 50_001]);
}
