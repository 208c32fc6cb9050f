//! Power cuts at every write, lying sources, failing media.

use super::*;
use crate::card::fakes::{MemDisk, MemSource};
use crate::update::signed::verified;
use hypriot_updater::index::{FORMAT, Image, PayloadFile, Target};

const MIB: usize = 1 << 20;

/// A release with zeros, raw and compressible segments, and its payload.
pub(crate) fn release(seed: u8) -> (Verified<Index>, [Vec<u8>; 2], Vec<u8>) {
    let noise = |n: usize| {
        let mut x = u32::from(seed) + 1;
        (0..n)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x.to_le_bytes()[0]
            })
            .collect::<Vec<u8>>()
    };
    let boot = [vec![seed; MIB], noise(MIB)].concat();
    let root = [vec![0; MIB], noise(MIB), vec![seed; 512]].concat();
    let image = |target, bytes: &[u8]| Image {
        target,
        size: bytes.len() as u64,
        segments: bytes.chunks(MIB).map(SegmentHash::of).collect(),
    };
    let mut rows = Vec::new();
    let mut data = Vec::new();
    for segment in boot.chunks(MIB).chain(root.chunks(MIB)) {
        let packed = zstd::bulk::compress(segment, 3).unwrap();
        if segment.iter().all(|b| *b == 0) {
            rows.push((Operation::Zeros, 0));
        } else if packed.len() < segment.len() {
            rows.push((Operation::Zstd, packed.len()));
            data.extend(packed);
        } else {
            rows.push((Operation::Raw, segment.len()));
            data.extend_from_slice(segment);
        }
    }
    let bytes = [payload::encode_table(&rows), data].concat();
    let index = Index {
        format: FORMAT.into(),
        board: "test".into(),
        version: semver::Version::new(u64::from(seed), 0, 0),
        created: hypriot_keys::time::Timestamp(0),
        images: vec![image(Target::Boot, &boot), image(Target::Root, &root)],
        payload: PayloadFile {
            name: "p.full".into(),
            size: bytes.len() as u64,
        },
    };
    (verified(&index), [boot, root], bytes)
}

fn slot() -> [MemDisk; 2] {
    [MemDisk::new(3 * MIB), MemDisk::new(4 * MIB)]
}

fn run(
    index: &Verified<Index>,
    source: &MemSource,
    slot: &[MemDisk; 2],
) -> Result<Summary, InstallError> {
    let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
    install(index, source, &mut disks, &mut |_| ())
}

fn holds(slot: &[MemDisk; 2], images: &[Vec<u8>; 2]) -> bool {
    slot.iter()
        .zip(images)
        .all(|(disk, image)| disk.medium()[..image.len()] == image[..])
}

#[test]
fn a_release_is_written_and_a_second_time_costs_nothing() {
    let (index, images, payload) = release(7);
    let source = MemSource::new("p.full", payload);
    let slot = slot();
    let first = run(&index, &source, &slot).unwrap();
    assert!(holds(&slot, &images));
    assert_eq!(
        (first.total, first.written),
        (5, 4),
        "the zero segment lies there already"
    );
    let again = run(&index, &source, &slot).unwrap();
    assert_eq!((again.written, again.fetched), (0, 0));
}

#[test]
fn a_power_cut_at_any_write_leaves_no_loadable_slot_and_the_next_run_finishes() {
    let (old, old_images, old_payload) = release(3);
    let (new, new_images, new_payload) = release(9);
    let complete = |slot: &[MemDisk; 2]| holds(slot, &new_images) || holds(slot, &old_images);
    let mut cuts = 0;
    for tear in [0, 512, 4096, MIB - 512] {
        for n in 0.. {
            let slot = slot();
            run(&old, &MemSource::new("p.full", old_payload.clone()), &slot).unwrap();
            for disk in &slot {
                disk.cut_at_write(n, tear);
            }
            let done = run(&new, &MemSource::new("p.full", new_payload.clone()), &slot).is_ok();
            for disk in &slot {
                disk.power_on();
            }
            let loadable = slot[0].medium()[..512] != [0; 512];
            assert!(
                !loadable || complete(&slot),
                "cut at write {n}, torn at {tear}: an incomplete slot would start"
            );
            run(&new, &MemSource::new("p.full", new_payload.clone()), &slot).unwrap();
            assert!(
                holds(&slot, &new_images),
                "cut at write {n}: the next run does not finish"
            );
            cuts += 1;
            if done {
                break;
            }
        }
    }
    assert!(cuts > 16, "{cuts} cuts only: the fake no longer cuts");
}

#[test]
fn altered_bytes_are_never_written() {
    let (index, _, payload) = release(7);
    let table = payload::table_len(&index);
    for at in [table, table + 40, table + 200_000, payload.len() - 1] {
        let mut altered = payload.clone();
        altered[at] ^= 1;
        let slot = slot();
        let error = run(&index, &MemSource::new("p.full", altered), &slot).unwrap_err();
        assert!(matches!(error, InstallError::Segment { .. }), "{error}");
        assert!(
            slot[0].medium()[..512] == [0; 512],
            "the slot must not start"
        );
    }
}

#[test]
fn a_source_that_breaks_off_is_taken_up_again() {
    let (index, images, payload) = release(7);
    let slot = slot();
    let source = MemSource::new("p.full", payload).cut_every(300_000);
    let summary = run(&index, &source, &slot);
    // each transfer ends after 300 kB, less than the raw segment of 1 MiB: no progress is possible there
    assert!(
        matches!(summary, Err(InstallError::Cut { .. })),
        "{summary:?}"
    );
    let (index2, _, payload2) = release(7);
    let source = MemSource::new("p.full", payload2).cut_every(1_100_000);
    run(&index2, &source, &slot).unwrap();
    assert!(holds(&slot, &images));
}

#[test]
fn a_source_that_lies_about_itself_is_an_error() {
    type Case = (&'static str, MemSource, fn(&InstallError) -> bool);
    let (index, _, payload) = release(7);
    let mut table = payload.clone();
    table[8] ^= 0xff;
    let cases: [Case; 4] = [
        (
            "no such file",
            MemSource::new("other", payload.clone()),
            |e| matches!(e, InstallError::Source { .. }),
        ),
        (
            "truncated",
            MemSource::new("p.full", payload[..payload.len() - 1].to_vec()),
            |e| matches!(e, InstallError::Cut { .. }),
        ),
        (
            "not a payload",
            MemSource::new("p.full", vec![b'x'; 10_000]),
            |e| matches!(e, InstallError::Payload { .. }),
        ),
        ("altered table", MemSource::new("p.full", table), |e| {
            matches!(e, InstallError::Payload { .. })
        }),
    ];
    for (danger, source, expected) in cases {
        let error = run(&index, &source, &slot()).expect_err(danger);
        assert!(expected(&error), "{danger}: {error}");
    }
}

#[test]
fn a_card_that_forgets_is_found_out() {
    let (index, _, payload) = release(7);
    let slot = slot();
    slot[1].forget_writes();
    let error = run(&index, &MemSource::new("p.full", payload), &slot).unwrap_err();
    assert!(matches!(error, InstallError::ReadBack { .. }), "{error}");
}
