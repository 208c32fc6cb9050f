//! A whole card: what lies where, what is refused, and that it is the same card every time.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::formats::fat::read::Fat;
use crate::formats::{HostFile, Window};
use crate::image::table;

fn raw(name: &str, offset: u64, len: usize) -> Raw {
    Raw {
        name: name.to_owned(),
        offset,
        bytes: Arc::from(vec![0xAB; len]),
    }
}

fn baked() -> Baked {
    bake_with(&board(PLAIN), "1.0.0", |_| ()).unwrap()
}

#[test]
fn a_written_card_reads_back_part_by_part() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("card.img");
    let volumes = volumes(&baked(), "x", "1.0.0", None).unwrap();
    let card = Card::plan(&volumes, &[raw("spl", 8192, 40_000)], 0x1234_5678).unwrap();
    card.write(&path, 2).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), layout::IMAGE_SIZE);
    assert!(
        meta.blocks() * 512 < 64 << 20,
        "not sparse: {} MiB",
        meta.blocks() >> 11
    );

    let disk = HostFile::open(&path).unwrap();
    let table = table::read(&disk).unwrap();
    assert_eq!(table, mbr::card(0x1234_5678));
    let part = |n: u8| {
        let p = table.get(n).unwrap();
        Window {
            of: &disk,
            start: p.start,
            len: p.size,
        }
    };
    let p1 = part(1);
    let config = Fat::open(&p1).unwrap();
    assert_eq!(config.label, "HypriotOS");
    assert!(config.names.contains_key("user-data") && config.names.contains_key("boot.scr"));
    let p2 = part(2);
    assert_eq!(
        Fat::open(&p2).unwrap().read("version").unwrap(),
        b"x 1.0.0\n"
    );
    assert_eq!(
        part(5).bytes(1024, 4).unwrap(),
        0xE0F5_E1E2u32.to_le_bytes()
    );
    for n in [3, 6, 7] {
        let p = part(n);
        assert!(
            pass::is_zero(&p.bytes(0, 1 << 20).unwrap()),
            "partition {n} is not empty"
        );
    }
    for at in BOOT_STATE {
        assert_eq!(
            BootState::parse(&disk.bytes(at, BOOT_STATE_SIZE).unwrap()).unwrap(),
            BootState::fresh()
        );
    }
    assert_eq!(disk.bytes(BLANK, 16).unwrap(), BLANK_MARK);
    assert_eq!(disk.bytes(8192, 40_000).unwrap(), vec![0xAB; 40_000]);
    // What is not mapped is zero, so that a bmap may leave it out.
    let mut end = 0;
    for (at, len) in card.mapped() {
        assert!(at >= end);
        let gap = usize::try_from((at - end).min(1 << 20)).unwrap();
        assert!(pass::is_zero(&disk.bytes(end, gap).unwrap()), "{end}");
        end = at + len;
    }
}

#[test]
fn the_same_input_is_the_same_card_on_any_number_of_cores() {
    let work = tempfile::tempdir().unwrap();
    let make = |name: &str, threads| {
        let volumes = volumes(&baked(), "x", "1.0.0", None).unwrap();
        let path = work.path().join(name);
        Card::plan(&volumes, &[], 1)
            .unwrap()
            .write(&path, threads)
            .unwrap();
        let disk = HostFile::open(&path).unwrap();
        let runs = Card::plan(&volumes, &[], 1).unwrap().mapped();
        let hash = |(at, len)| {
            (
                at,
                blake3::hash(&disk.bytes(at, usize::try_from(len).unwrap()).unwrap()),
            )
        };
        runs.into_iter().map(hash).collect::<Vec<_>>()
    };
    assert_eq!(make("a", 1), make("b", 3));
}

#[test]
fn blobs_that_lie_on_something_are_refused_by_name() {
    let volumes = volumes(&baked(), "x", "1.0.0", None).unwrap();
    let e = |blobs: &[Raw]| Card::plan(&volumes, blobs, 1).unwrap_err().to_string();
    let text = e(&[raw("spl", 8192, 40_000), raw("fit", 40_960, 10)]);
    assert!(
        text.contains("spl") && text.contains("fit") && text.contains("on each other"),
        "{text}"
    );
    assert!(e(&[raw("bl1", 0, 447)]).contains("room for 446"));
    assert!(e(&[raw("tzsw", 100, 400)]).contains("partition table"));
    assert!(e(&[raw("huge", 512, 4 << 20)]).contains("must lie"));
    // The first stage of some ODROIDs is 442 bytes before the partition entries.
    Card::plan(&volumes, &[raw("bl1", 0, 442), raw("rest", 512, 15_000)], 1).unwrap();
}

#[test]
fn a_full_disk_leaves_nothing_under_the_final_name() {
    let work = tempfile::tempdir().unwrap();
    let volumes = volumes(&baked(), "x", "1.0.0", None).unwrap();
    let card = Card::plan(&volumes, &[], 1).unwrap();
    let to = work.path().join("no-such-type");
    std::fs::create_dir(&to).unwrap();
    // A directory in the way fails at the very end, after everything was written.
    assert!(card.write(&to, 1).is_err());
    let left: Vec<_> = std::fs::read_dir(work.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
