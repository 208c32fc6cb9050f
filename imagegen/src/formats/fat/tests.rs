//! Our FAT as dosfstools, mtools and our own reader see it.

use std::fs;
use std::path::Path;

use super::read::Fat;
use super::*;
use crate::files::replace;
use crate::formats::Blocks;
use crate::testing::tool;

const EPOCH: u64 = 1_700_000_000;

fn files() -> Tree {
    let mut tree = Tree::new(EPOCH);
    let mut put = |path: &str, bytes: &[u8]| tree.insert_bytes(path, 0o644, bytes).unwrap();
    put("boot.scr", b"script");
    put("BOOTCODE.BIN", &vec![1; 52_000]);
    put("start.elf", &vec![2; 3_000_000]);
    put("user-data", b"#cloud-config\n");
    put("empty", b"");
    put("dtb/broadcom/bcm2837-rpi-3-b-plus.dtb", &vec![3; 30_000]);
    put("dtb/broadcom/bcm2837-rpi-3-b.dtb", &vec![4; 30_001]);
    put("dtb/allwinner/sun8i-h3-orangepi-pc.dtb", &[5; 512]);
    put("Ärger mit Umlauten und einem langen Namen.txt", b"utf-16");
    for n in 0..200 {
        put(
            &format!("overlays/overlay-with-a-long-name-{n}.dtbo"),
            &[u8::try_from(n).unwrap(); 700],
        );
    }
    tree
}

fn options(size: u64) -> Options<'static> {
    Options {
        label: "HypriotOS",
        volume_id: 0x1234_5678,
        size,
        last: &["boot.scr"],
    }
}

fn image(tree: &Tree, size: u64, to: &Path) {
    let volume = plan(tree, options(size)).unwrap();
    replace(
        to,
        &volume
            .bytes(0, usize::try_from(volume.size()).unwrap())
            .unwrap(),
    )
    .unwrap();
}

#[test]
fn dosfstools_and_mtools_agree_at_every_size() {
    let work = tempfile::tempdir().unwrap();
    let tree = files();
    for (mib, width) in [
        (8, Width::Fat16),
        (32, Width::Fat16),
        (40, Width::Fat32),
        (64, Width::Fat32),
        (128, Width::Fat32),
    ] {
        let at = work.path().join("fat");
        image(&tree, mib << 20, &at);
        let img = at.to_str().unwrap();
        let text = tool("fsck.fat", "dosfstools", &["-n", "-v", img]);
        for bad in ["differ", "Dirty", "wrong", "Orphaned", "Invalid", "leaving"] {
            assert!(!text.contains(bad), "{mib} MiB: {text}");
        }
        let bytes = fs::read(&at).unwrap();
        let fat = Fat::open(&bytes[..]).unwrap();
        assert_eq!(
            (fat.width, fat.label.as_str(), fat.volume_id),
            (width, "HypriotOS", 0x1234_5678),
            "{mib} MiB"
        );
        let out = work.path().join(format!("out-{mib}"));
        fs::create_dir(&out).unwrap();
        tool(
            "mcopy",
            "mtools",
            &["-s", "-n", "-i", img, "::", out.to_str().unwrap()],
        );
        let theirs = Tree::scan(&out, EPOCH).unwrap();
        let theirs: Vec<_> = theirs.below(b"").collect();
        let ours: Vec<_> = tree.below(b"").collect();
        assert_eq!(ours.len(), theirs.len(), "{mib} MiB");
        for ((path, a), (other, b)) in ours.into_iter().zip(theirs) {
            assert_eq!(show(path), show(other));
            if let (Kind::File(a), Kind::File(b)) = (&a.kind, &b.kind) {
                let name = std::str::from_utf8(path).unwrap();
                assert_eq!(a.read().unwrap(), b.read().unwrap(), "{name}");
                assert_eq!(&*a.read().unwrap(), fat.read(name).unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn an_owner_can_edit_it_afterwards() {
    let work = tempfile::tempdir().unwrap();
    let at = work.path().join("fat");
    image(&files(), 128 << 20, &at);
    let img = at.to_str().unwrap();
    let new = work.path().join("user-data");
    replace(&new, &vec![b'#'; 300_000]).unwrap();
    tool(
        "mcopy",
        "mtools",
        &["-o", "-i", img, new.to_str().unwrap(), "::user-data"],
    );
    tool(
        "mcopy",
        "mtools",
        &["-o", "-i", img, new.to_str().unwrap(), "::dtb/new file.txt"],
    );
    let text = tool("fsck.fat", "dosfstools", &["-n", img]);
    assert!(
        !text.contains("differ") && !text.contains("wrong"),
        "{text}"
    );
    let bytes = fs::read(&at).unwrap();
    let fat = Fat::open(&bytes[..]).unwrap();
    assert_eq!(fat.read("user-data").unwrap().len(), 300_000);
    assert_eq!(fat.read("dtb/new file.txt").unwrap().len(), 300_000);
    assert_eq!(fat.read("start.elf").unwrap(), vec![2; 3_000_000]);
}

#[test]
fn boot_roms_find_their_exact_short_names() {
    let mut taken = names::Taken::default();
    for (name, short) in [
        ("bootcode.bin", "BOOTCODE.BIN"),
        ("start.elf", "START.ELF"),
        ("boot.scr", "BOOT.SCR"),
        ("initrd.zst", "INITRD.ZST"),
        ("network-config", "NETWOR~1"),
        ("network-other", "NETWOR~2"),
        ("bcm2710-rpi-3-b.dtb", "BCM271~1.DTB"),
        ("a.b.c", "AB~1.C"),
        ("UPPER", "UPPER"),
    ] {
        let (given, long) = taken.give(name).unwrap();
        assert_eq!(names::as_text(given), short);
        assert_eq!(long.is_empty(), name == short, "{name}");
    }
}

#[test]
fn what_fat_cannot_hold_is_refused_by_name() {
    let refused = |fill: &dyn Fn(&mut Tree)| {
        let mut tree = Tree::new(EPOCH);
        fill(&mut tree);
        format!("{:#}", plan(&tree, options(64 << 20)).unwrap_err())
    };
    let one =
        |name: &'static str| refused(&move |t: &mut Tree| t.insert_bytes(name, 0o644, "").unwrap());
    for bad in ["a:b", "dot.", "q?", "back\\slash", "tab\tname"] {
        assert!(one(bad).contains(bad), "{bad}: {}", one(bad));
    }
    let e = refused(&|t| {
        t.insert_bytes("README", 0o644, "").unwrap();
        t.insert_bytes("Readme", 0o644, "").unwrap();
    });
    assert!(e.contains("differ only in case"), "{e}");
    assert!(refused(&|t| t.insert_symlink("l", "x").unwrap()).contains("/l is a symbolic link"));
    let e = refused(&|t| t.insert_bytes("big", 0o644, vec![0; 65 << 20]).unwrap());
    assert!(
        e.contains("/big did not fit") && e.contains("64 MiB"),
        "{e}"
    );
    let e = refused(&|t| {
        let content = Content::Host {
            path: Path::new("/nowhere").into(),
            len: 4 << 30,
        };
        t.insert_file("huge", 0o644, content).unwrap();
    });
    assert!(e.contains("/huge is bigger than the 4 GiB"), "{e}");
}

#[test]
fn the_time_is_utc_and_before_1980_is_1980() {
    // 2023-11-14T22:13:20Z
    assert_eq!(
        DosTime::of(EPOCH),
        DosTime {
            date: 43 * 512 + 11 * 32 + 14,
            time: 22 * 2048 + 13 * 32 + 10
        }
    );
    assert_eq!(
        DosTime::of(0),
        DosTime {
            date: 32 + 1,
            time: 0
        }
    );
}

#[test]
fn a_broken_file_system_is_an_error_and_never_a_panic() {
    let mut tree = Tree::new(EPOCH);
    tree.insert_bytes("dir/a file with a long name", 0o644, vec![9; 5000])
        .unwrap();
    let volume = plan(&tree, options(8 << 20)).unwrap();
    let good = volume
        .bytes(0, usize::try_from(volume.size()).unwrap())
        .unwrap();
    let first_table = 8 * 512;
    for at in (0..512)
        .chain(first_table..first_table + 64)
        .chain(first_table + 128 * 512..first_table + 129 * 512)
    {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            if let Ok(fat) = Fat::open(&bad[..]) {
                for name in fat.names.keys() {
                    drop(fat.read(name));
                }
            }
        }
    }
    for cut in [0, 511, 512, 4096, 100_000] {
        assert!(Fat::open(&good[..cut]).is_err());
    }
}
