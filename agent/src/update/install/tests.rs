//! Power cuts at every write, lying sources, failing media.

mod delta;
mod neighbours;
mod server;

use super::*;
use crate::card::fakes::{MemDisk, MemSource};
use crate::update::signed::verified;
use hypriot_updater::index::{Base, FORMAT, Image, PayloadFile, SegmentHash, Target};
use hypriot_updater::payload::{self, Operation};

const MIB: usize = 1 << 20;

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut x = u32::from(seed) + 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// How each segment of a payload is sent.
type Rows = Vec<(Operation, Vec<u8>)>;

/// The bytes of a payload and what its index says about it.
fn payload_of(name: &str, rows: &Rows, base: Option<Base>) -> (PayloadFile, Vec<u8>) {
    let table = payload::encode_table(rows.iter().map(|(o, d)| (o, d.as_slice())));
    let data = rows.iter().flat_map(|(_, d)| d.iter().copied());
    let bytes: Vec<u8> = table.iter().copied().chain(data).collect();
    let file = PayloadFile {
        name: name.into(),
        format: payload::FORMAT,
        size: bytes.len() as u64,
        table_size: u32::try_from(table.len()).unwrap(),
        table: SegmentHash::of(&table),
        base,
    };
    (file, bytes)
}

/// How the full payload sends these images.
fn full_rows(images: &[Vec<u8>; 2]) -> Rows {
    let segments = images.iter().flat_map(|image| image.chunks(MIB));
    segments
        .map(|segment| {
            let packed = zstd::bulk::compress(segment, 3).unwrap();
            if segment.iter().all(|b| *b == 0) {
                (Operation::Zeros, Vec::new())
            } else if packed.len() < segment.len() {
                (Operation::Zstd, packed)
            } else {
                (Operation::Raw, segment.to_vec())
            }
        })
        .collect()
}

/// A release of these images and payloads, signed.
fn index_of(number: u8, images: &[Vec<u8>; 2], payloads: Vec<PayloadFile>) -> Verified<Index> {
    let image = |target, bytes: &[u8]| Image {
        target,
        size: bytes.len() as u64,
        segments: bytes.chunks(MIB).map(SegmentHash::of).collect(),
    };
    verified(&Index {
        format: FORMAT.into(),
        board: "test".into(),
        version: semver::Version::new(u64::from(number), 0, 0),
        state_version: 0,
        created: hypriot_keys::time::Timestamp(0),
        images: vec![
            image(Target::Boot, &images[0]),
            image(Target::Root, &images[1]),
        ],
        payloads,
    })
}

/// What a release contains: filling, noise with a page of its own in it, zeros, noise that moves with each odd number.
fn images(seed: u8) -> [Vec<u8>; 2] {
    let mut changed = noise(200, MIB);
    changed[300_000..][..4096].copy_from_slice(&noise(seed, 4096));
    let boot = [vec![seed; MIB], changed].concat();
    let (one, other) = (noise(101 + seed % 2, MIB), noise(102 - seed % 2, MIB));
    let root = [vec![0; MIB], one, other, vec![seed; 512]].concat();
    [boot, root]
}

/// Signed index, images and full payload of a release with zeros, raw and compressible segments.
pub(crate) fn release(seed: u8) -> (Verified<Index>, [Vec<u8>; 2], Vec<u8>) {
    let (index, images, mut files) = release_from(seed, &[]);
    (index, images, files.remove(0).1)
}

/// Files of a release by name, the full payload first.
type Files = Vec<(String, Vec<u8>)>;

/// The same with deltas from other releases.
pub(crate) fn release_from(seed: u8, bases: &[u8]) -> (Verified<Index>, [Vec<u8>; 2], Files) {
    let images = images(seed);
    let full = full_rows(&images);
    let mut made = vec![payload_of("p.full", &full, None)];
    for number in bases {
        let rows = delta::rows(&self::images(*number), &images, &full);
        let base = Base {
            version: semver::Version::new(u64::from(*number), 0, 0),
            content: SegmentHash([*number; 32]),
        };
        made.push(payload_of(&format!("p.from-{number}"), &rows, Some(base)));
    }
    let payloads = made.iter().map(|(file, _)| file.clone()).collect();
    let files = made.into_iter().map(|(f, bytes)| (f.name, bytes));
    (index_of(seed, &images, payloads), images, files.collect())
}

fn slot() -> [MemDisk; 2] {
    [MemDisk::new(3 * MIB), MemDisk::new(5 * MIB)]
}

fn run(
    index: &Verified<Index>,
    source: &MemSource,
    slot: &[MemDisk; 2],
) -> Result<Summary, InstallError> {
    let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
    install(index, source, None, None, &mut disks, &mut |_| ())
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
        (6, 5),
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
fn garbage_is_handed_to_no_decoder_and_written_to_no_disk() {
    let (index, images, payload) = release(7);
    let table = index.payloads[0].table_size as usize;
    let good = MemSource::new("p.full", payload.clone());
    let whole = slot();
    run(&index, &good, &whole).unwrap();
    // a byte of the table, and one of each segment's data
    let entries = payload::parse_table(&index, &index.payloads[0], &payload[..table]).unwrap();
    let data = entries.iter().filter(|e| e.len > 0);
    let places = data.map(|e| usize::try_from(e.at).unwrap() + e.len / 2);
    let mut refused = 0;
    for at in [9, table - 1].into_iter().chain(places) {
        let mut altered = payload.clone();
        altered[at] ^= 1;
        let slot = slot();
        let error = run(&index, &MemSource::new("p.full", altered), &slot).unwrap_err();
        match (&error, at < table) {
            // the hash of the table is wrong: it was not parsed, and nothing was touched
            (InstallError::Payload { source, .. }, true) => {
                assert_eq!(*source, PayloadError::Altered);
                assert_eq!(slot.iter().map(MemDisk::writes).sum::<usize>(), 0);
            }
            // the hash of the data is wrong: `Segment` would say that it was decoded
            (InstallError::Altered { .. }, false) => (),
            _ => panic!("altered at {at}: {error}"),
        }
        refused += 1;
        // every write of every disk: nothing but bytes that belong there, and the broken first sector
        for (disk, image) in slot.iter().zip(&images) {
            for (at, bytes) in disk.written() {
                let end = at + bytes.len();
                let right = image.get(at..end) == Some(&bytes[..]);
                let broken = at == 0 && bytes == [0; 512];
                assert!(right || broken, "{} bytes at {at}", bytes.len());
            }
        }
        assert_eq!(slot[0].medium()[..512], [0; 512], "the slot must not start");
    }
    assert_eq!(refused, 7);
}

#[test]
fn a_source_that_breaks_off_is_taken_up_again() {
    let (index, images, payload) = release(7);
    // each transfer ends after 300 kB, less than a segment
    let slot = slot();
    let source = MemSource::new("p.full", payload.clone()).cut_every(300_000);
    run(&index, &source, &slot).unwrap();
    assert!(holds(&slot, &images));
    // a server that drips is given up
    let source = MemSource::new("p.full", payload).cut_every(1000);
    let dripped = run(&index, &source, &self::slot());
    assert!(
        matches!(dripped, Err(InstallError::Cut { .. })),
        "{dripped:?}"
    );
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

#[test]
fn the_key_sector_comes_last_and_only_when_all_the_rest_was_read_back() {
    let (index, images, payload) = release(7);
    let fresh = slot();
    let source = MemSource::new("p.full", payload);
    run(&index, &source, &fresh).unwrap();
    let key = (0, images[0][..512].to_vec());
    let all = fresh[0].written();
    assert_eq!(all.last(), Some(&key), "it is the last write of its disk");
    assert_eq!(all.iter().filter(|write| **write == key).count(), 1);
    let writes = [all.len(), fresh[1].writes()];
    for (disk, writes) in writes.into_iter().enumerate() {
        for n in 0..writes {
            let slot = slot();
            // what lay there is no part of the release, or a lost write would lose nothing
            for disk in &slot {
                disk.clone().write_at(0, &vec![0xa5; MIB * 2]).unwrap();
            }
            slot[disk].lose_write(n);
            let done = run(&index, &source, &slot);
            let (is_break, is_key) = (disk == 0 && n == 0, disk == 0 && n == writes - 1);
            let sealed = slot[0].written().contains(&key);
            if is_break {
                // the sector that says that nothing loads was lost: all the rest is as it should be
                assert!(done.is_ok() && holds(&slot, &images));
                continue;
            }
            let error = done.expect_err("a write was lost");
            assert!(matches!(error, InstallError::ReadBack { .. }), "{error}");
            assert_eq!(sealed, is_key, "disk {disk}, write {n}: {error}");
            assert_eq!(slot[0].medium()[..512], [0; 512], "disk {disk}, write {n}");
        }
    }
}

#[test]
fn a_server_without_ranges_sends_the_front_once() {
    let (index, images, payload) = release(7);
    // every other segment lies there: what is missing has gaps that are otherwise asked around
    let slot = slot();
    for (n, chunk) in images[1]
        .chunks(MIB)
        .enumerate()
        .filter(|(n, _)| n % 2 == 0)
    {
        slot[1].clone().write_at((n * MIB) as u64, chunk).unwrap();
    }
    let len = payload.len() as u64;
    let source = MemSource::new("p.full", payload).without_parts();
    run(&index, &source, &slot).unwrap();
    assert!(holds(&slot, &images));
    assert!(source.asked().len() <= 2, "the table, and the data");
    assert!(
        source.fronts() < len,
        "{} bytes came again",
        source.fronts()
    );
}

#[test]
fn a_refusal_of_the_source_is_final_since_it_asked_again_itself() {
    let (index, _, payload) = release(7);
    let source = MemSource::new("other", payload.clone());
    assert!(run(&index, &source, &slot()).is_err());
    assert_eq!(source.asked(), ["p.full"]);
    // a body that breaks off and brings nothing is opened a few times, and no more
    let source = MemSource::new("p.full", payload).cut_every(10);
    assert!(run(&index, &source, &slot()).is_err());
    assert!(source.asked().len() <= 6, "{}", source.asked().len());
}
