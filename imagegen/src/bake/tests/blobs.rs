//! Where the boot loaders of boards whose blobs the owner brings end on a card, and which blobs are refused. The offsets
//! are those of the sources the board files name, in sectors.

use super::*;
use crate::formats::Blocks;
use crate::image::card::{Card, volumes};
use crate::image::table;
use crate::inputs::board as boards;
use hypriot_updater::mbr;

/// Blobs of a user, by name.
type Blobs = BTreeMap<String, Content>;

/// Bytes that differ from place to place and from file to file.
fn made_up(name: &str, len: usize) -> Content {
    let seed = name.bytes().fold(7u8, u8::wrapping_add);
    let bytes: Vec<u8> = (0..251u8)
        .cycle()
        .take(len)
        .map(|n| seed.wrapping_add(n) | 1)
        .collect();
    Content::Bytes(bytes.into())
}

/// A blob, its sector, the first byte and the number of bytes of it that lie there.
type Place = (&'static str, u64, usize, usize);

const BL1: &str = "bl1.bin.hardkernel";
const XU4_U_BOOT: &str = "usr/lib/u-boot/odroid-xu3/u-boot.bin";
const BOARDS: [(&str, &[Place]); 3] = [
    (
        "odroid-c1",
        &[
            (BL1, 0, 0, 442),
            (BL1, 1, 512, 63 * 512),
            ("u-boot.bin", 64, 0, (1024 - 64) * 512),
        ],
    ),
    (
        "odroid-c2",
        &[
            (BL1, 0, 0, 442),
            (BL1, 1, 512, 96 * 512),
            ("u-boot.gxbb", 97, 0, 2 << 20),
        ],
    ),
    (
        "odroid-xu4",
        &[
            (BL1, 1, 0, 30 * 512),
            ("bl2.bin.hardkernel", 31, 0, 32 * 512),
            (XU4_U_BOOT, 63, 0, 1 << 20),
            ("tzsw.bin.hardkernel", 2111, 0, 512 * 512),
        ],
    ),
];

/// Every file of a board, as long as there is room for.
fn all(places: &[Place]) -> Blobs {
    let mut blobs = Blobs::new();
    for (name, _, from, len) in places {
        let long = made_up(name, from + len);
        let known = blobs.entry((*name).to_owned()).or_insert(long.clone());
        if known.len() < long.len() {
            *known = long;
        }
    }
    blobs
}

/// The blobs of a board, as they would be baked.
fn raw(name: &str, blobs: &Blobs) -> Result<Vec<Raw>> {
    let board = boards::find(name).unwrap();
    let (version, files) = (semver::Version::new(1, 0, 0), Tree::new(EPOCH));
    config::raw(&Input {
        board: &board,
        version: &version,
        recipe: &Recipe::default(),
        steps: Steps::None,
        root: Tree::new(EPOCH),
        boot_files: &files,
        kernel_release: RELEASE,
        agent: Content::Bytes(b"agent"[..].into()),
        overlays: Vec::new(),
        trust_root: None,
        update_url: None,
        poll_seconds: None,
        user_data: None,
        blobs,
        lock: "",
        record: "",
    })
}

#[test]
fn each_blob_lies_in_its_sectors_and_the_partition_table_is_whole() {
    let baked = bake_with(&board(PLAIN), "1.0.0", |_| ()).unwrap();
    let volumes = volumes(&baked, "x", "1.0.0", None).unwrap();
    for (name, places) in BOARDS {
        let blobs = all(places);
        let raw = raw(name, &blobs).unwrap();
        let card = Card::plan(&volumes, &raw, 1).unwrap();
        for (blob, sector, from, len) in places {
            let want = &blobs[*blob].read().unwrap()[*from..from + len];
            let found = card.bytes(sector * 512, *len).unwrap();
            assert!(found == want, "{name}: {blob} is not at sector {sector}");
        }
        let table = table::read(&card).unwrap();
        assert_eq!(
            table.partitions,
            mbr::card(table.signature).partitions,
            "{name}"
        );
    }
}

#[test]
fn blobs_that_are_missing_empty_too_short_or_too_long_are_named() {
    for (name, places) in BOARDS {
        for (blob, sector, from, len) in places {
            let with = |len: usize| {
                let mut blobs = all(places);
                blobs.insert((*blob).to_owned(), made_up(blob, len));
                raw(name, &blobs)
            };
            let refused = |len: usize| format!("{:#}", with(len).unwrap_err());
            assert!(refused(0).contains(&format!("{blob} is empty")));
            // The first part of a file in two parts is as long as it is, and the second takes what follows.
            let part = *sector == 0;
            let (fits, bad) = if part {
                (513, from + len - 1)
            } else {
                (from + 1, from + len + 1)
            };
            assert!(with(fits).is_ok(), "{name}: {blob} of {fits} bytes");
            let e = refused(bad);
            assert!(
                e.contains(blob) && e.contains(&bad.to_string()),
                "{name}: {e}"
            );
            let says = if part {
                "needs 442"
            } else {
                "there is room for"
            };
            assert!(e.contains(says), "{name}: {e}");
            if *from > 0 {
                assert!(refused(*from).contains("what follows the first 512"));
            }
            if *blob != XU4_U_BOOT {
                let mut blobs = all(places);
                blobs.remove(*blob);
                let e = format!("{:#}", raw(name, &blobs).unwrap_err());
                assert!(e.contains(&format!("--blob {blob}=FILE")), "{e}");
                assert!(e.contains("Hardkernel") && e.contains("byte"), "{e}");
            }
        }
    }
}

#[test]
fn blobs_without_a_stated_room_may_not_reach_the_next_one() {
    let baked = bake_with(&board(PLAIN), "1.0.0", |_| ()).unwrap();
    let volumes = volumes(&baked, "x", "1.0.0", None).unwrap();
    let at = |name: &str, offset: u64, len: usize| Raw {
        name: name.to_owned(),
        offset,
        bytes: vec![1; len].into(),
    };
    for (danger, raw, says) in [
        (
            "overlap",
            vec![at("one", 8192, 4097), at("two", 12_288, 1)],
            "one at 8192",
        ),
        ("past the gap", vec![at("one", 8192, 4 << 20)], "boot state"),
        (
            "on the partition table",
            vec![at("one", 0, 447)],
            "partition table",
        ),
        (
            "on the partition table from behind",
            vec![at("one", 500, 1)],
            "partition table",
        ),
    ] {
        let e = Card::plan(&volumes, &raw, 1).unwrap_err().to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
    assert!(Card::plan(&volumes, &[at("one", 8192, 4096), at("two", 12_288, 1)], 1).is_ok());
}

#[test]
fn board_files_whose_blobs_cannot_lie_together_are_refused() {
    for (danger, raw, says) in [
        (
            "overlap",
            "{ file = \"a\", offset = 512, room = 1024 }, { file = \"b\", offset = 1024 }",
            "a and b overlap",
        ),
        (
            "same place",
            "{ file = \"a\", offset = 512 }, { file = \"b\", offset = 512 }",
            "overlap",
        ),
        (
            "on the boot state",
            "{ file = \"a\", offset = 512, room = 0x400000 }",
            "does not lie",
        ),
        (
            "between the rooms",
            "{ file = \"a\", offset = 0x400000 }",
            "does not lie",
        ),
        (
            "end of the second room",
            "{ file = \"a\", offset = 0x800000, room = 0x400001 }",
            "does not lie",
        ),
        (
            "end beyond all numbers",
            "{ file = \"a\", offset = 512, room = 0x7fffffffffffffff }",
            "does not lie",
        ),
        (
            "no room",
            "{ file = \"a\", offset = 512, room = 0 }",
            "no room",
        ),
        (
            "part and whole at once",
            "{ file = \"a\", offset = 512, room = 9, length = 9 }",
            "`length` and `room`",
        ),
    ] {
        let text = format!(
            "name = \"x\"\ndescription = \"\"\narch = \"armhf\"\nagent-target = \"t\"\nsuite = \"trixie\"\npackages = []\nconsole = []\nproven = \"\"\n{PLAIN}raw = [{raw}]\n"
        );
        let e = boards::parse("test", &text).unwrap_err().to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
}
