//! How cards are chosen and written, and what is refused.

use std::fs;

use super::disks::{Disk, chosen, list};
use super::*;

/// A disk below a made-up `/sys`.
fn disk(sys: &Path, name: &str, number: u32, removable: bool, parts: &[(&str, u32)]) {
    let at = sys.join("block").join(name);
    let put = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::files::replace(&path, text.as_bytes()).unwrap();
    };
    put(at.join("size"), "62333952\n");
    put(at.join("dev"), &format!("8:{number}\n"));
    put(at.join("removable"), if removable { "1\n" } else { "0\n" });
    put(at.join("device/model"), &format!("Model of {name}\n"));
    for (part, number) in parts {
        put(at.join(part).join("partition"), "1\n");
        put(at.join(part).join("dev"), &format!("8:{number}\n"));
    }
}

#[test]
fn a_disk_of_this_machine_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let sys = dir.path();
    disk(sys, "sda", 0, false, &[("sda1", 1)]);
    disk(sys, "sdb", 16, true, &[("sdb1", 17)]);
    disk(sys, "sdc", 32, true, &[("sdc1", 33)]);
    disk(sys, "sdd", 48, true, &[("sdd1", 49)]);
    disk(sys, "sde", 64, false, &[]);
    disk(sys, "sdf", 80, true, &[("sdf1", 81)]);
    disk(sys, "dm-0", 99, true, &[]);
    fs::create_dir_all(sys.join("block/sdd/sdd1/holders/dm-0")).unwrap();
    let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:17 / /media/stick rw - vfat /dev/sdb1 rw\n31 22 8:99 / /secret rw - ext4 x rw\n";
    let swaps = "Filename Type Size Used Priority\n/dev/sdf1 partition 1 0 -2\n";
    let disks = list(sys, mounts, swaps).unwrap();
    let names: Vec<_> = disks.iter().map(|d| d.path.display().to_string()).collect();
    assert_eq!(
        names,
        [
            "/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/sdf"
        ]
    );
    for (danger, name, needs, says) in [
        ("the disk it runs from", "/dev/sda", 1, "in use (/)"),
        ("a mounted stick", "/dev/sdb", 1, "umount /media/stick"),
        ("a disk under an encrypted one", "/dev/sdd", 1, "/secret"),
        ("swap", "/dev/sdf", 1, "swap"),
        ("a disk that is built in", "/dev/sde", 1, "built into"),
        ("a partition", "/dev/sdc1", 1, "name the whole disk"),
        ("a card that is too small", "/dev/sdc", 1 << 40, "needs"),
        ("no disk", "/dev/null", 1, "/dev/sdc  31.9 GB  Model of sdc"),
    ] {
        let e = chosen(&disks, Path::new(name), needs)
            .expect_err(danger)
            .to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
    let good: Disk = chosen(&disks, Path::new("/dev/sdc"), 1).unwrap();
    assert!(good.used.is_empty());
    assert_eq!(disks::candidates(&disks), good.line());
}

/// An image of 12 MiB with something at three places, and its map.
fn image(dir: &Path) -> (PathBuf, bmap::Bmap) {
    let mut bytes = vec![0_u8; 12 << 20];
    for (at, byte) in [(0, 1), (5 << 20, 2), ((12 << 20) - 1, 3)] {
        bytes[at] = byte;
    }
    let path = dir.join("x.img");
    crate::files::replace(&path, &bytes).unwrap();
    let runs = [(0, 4096), (5 << 20, 4096), ((12 << 20) - 4096, 4096)];
    let map = dir.join("x.bmap");
    crate::image::output::bmap::write(bytes.as_slice(), &runs, 2, &map).unwrap();
    (
        path,
        bmap::parse(&fs::read_to_string(map).unwrap()).unwrap(),
    )
}

fn plain(path: &Path) -> Image {
    let disk = HostFile::open(path).unwrap();
    prepare(disk, &Changes::default(), Locked::Meant, Progress::Quiet).unwrap()
}

#[test]
fn what_is_written_is_the_image_and_a_map_spares_what_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (path, map) = image(dir.path());
    let whole = fs::read(&path).unwrap();
    for (map, bytes) in [(None, 12 << 20), (Some(&map), 3 * 4096)] {
        let to = dir.path().join("card");
        assert_eq!(
            write(&plain(&path), map, &to, Progress::Quiet).unwrap(),
            bytes
        );
        assert!(fs::read(&to).unwrap() == whole);
    }
}

#[test]
fn an_image_that_is_not_its_maps_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, map) = image(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[5 << 20] ^= 1;
    let bad = dir.path().join("bad.img");
    crate::files::replace(&bad, &bytes).unwrap();
    let to = dir.path().join("card");
    let e = write(&plain(&bad), Some(&map), &to, Progress::Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("5242880") && e.contains("Nothing was written"),
        "{e}"
    );
    assert!(!to.exists());
    crate::files::replace(&bad, &bytes[..5 << 20]).unwrap();
    let e = write(&plain(&bad), Some(&map), &to, Progress::Quiet)
        .unwrap_err()
        .to_string();
    assert!(e.contains("block map is of one"), "{e}");
    let text = fs::read_to_string(dir.path().join("x.bmap")).unwrap();
    for (danger, from, to) in [
        ("a hash changed", "chksum=\"", "chksum=\"0"),
        ("a part left out", "<Range", "<Rang"),
        ("another format", "version=\"2.0\"", "version=\"1.0\""),
    ] {
        assert!(
            bmap::parse(&text.replacen(from, to, 1)).is_err(),
            "{danger}"
        );
    }
}

#[test]
fn every_form_an_image_comes_in_is_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = image(dir.path());
    let whole = fs::read(&path).unwrap();
    let at = |name: &str| dir.path().join(name);
    crate::image::output::zip::write(
        whole.as_slice(),
        "x.img",
        1_700_000_000,
        6,
        2,
        &at("x.img.zip"),
    )
    .unwrap();
    crate::files::replace(&at("x.img.zst"), &zstd::bulk::compress(&whole, 1).unwrap()).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &whole).unwrap();
    crate::files::replace(&at("x.img.gz"), &gz.finish().unwrap()).unwrap();
    for name in ["x.img", "x.img.zip", "x.img.zst", "x.img.gz"] {
        let opened = source::open(&at(name), dir.path()).unwrap();
        assert!(
            opened.disk.bytes(0, whole.len()).unwrap() == whole,
            "{name}"
        );
        assert_eq!(opened.disk.size(), whole.len() as u64, "{name}");
    }
    crate::files::replace(&at("bad.zip"), b"PK nothing").unwrap();
    assert!(source::open(&at("bad.zip"), dir.path()).is_err());
    let left = fs::read_dir(dir.path()).unwrap().filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("image-")
    });
    assert_eq!(left.count(), 0, "what was unpacked is gone");
}
