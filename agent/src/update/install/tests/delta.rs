//! Deltas: each operation, a running slot that is worn or another one, and power cuts at every write.

use hypriot_updater::layout::SECTOR;
use hypriot_updater::payload::Extent;
use zstd::zstd_safe::CCtx;

use super::*;

/// A delta between two releases of this test: zeros, same, a copy from elsewhere, or a patch, as the bytes suggest.
pub(super) fn rows(old: &[Vec<u8>; 2], new: &[Vec<u8>; 2], full: &Rows) -> Rows {
    let mut rows = Rows::new();
    for (image, bytes) in (0u8..).zip(new) {
        let own = &old[usize::from(image)];
        for (segment, at) in bytes.chunks(MIB).zip((0..).step_by(MIB)) {
            let (operation, data) = &full[rows.len()];
            let before = own.get(at..at + segment.len());
            let elsewhere = || own.chunks(MIB).position(|c| c == segment);
            rows.push(if *operation == Operation::Zeros {
                (Operation::Zeros, Vec::new())
            } else if before == Some(segment) {
                (Operation::Same, Vec::new())
            } else if let Some(n) = elsewhere() {
                let whole = extents(image, n * MIB, segment.len());
                (Operation::Copy(whole), Vec::new())
            } else {
                let patch = patch(segment, before.unwrap_or_default());
                if patch.len() < data.len() {
                    let reference = extents(image, at, segment.len());
                    (Operation::Patch(reference), patch)
                } else {
                    (operation.clone(), data.clone())
                }
            });
        }
    }
    rows
}

/// A place in the running slot, as two extents where it is long enough.
fn extents(image: u8, at: usize, len: usize) -> Vec<Extent> {
    let extent = |at: usize, len: usize| Extent {
        image,
        sector: u32::try_from(at as u64 / SECTOR).unwrap(),
        count: u32::try_from(len as u64 / SECTOR).unwrap(),
    };
    let first = (len / 2).next_multiple_of(512);
    if first == len {
        return vec![extent(at, len)];
    }
    vec![extent(at, first), extent(at + first, len - first)]
}

fn patch(segment: &[u8], reference: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.ref_prefix(reference).unwrap();
    let mut frame = Vec::with_capacity(2 * MIB);
    context.compress2(&mut frame, segment).unwrap();
    frame
}

/// A board that runs `old` and is offered `new` with a delta from it.
struct Scene {
    index: Verified<Index>,
    images: [Vec<u8>; 2],
    files: Vec<(String, Vec<u8>)>,
    running: [MemDisk; 2],
    version: semver::Version,
}

impl Scene {
    fn new(old: u8, new: u8) -> Self {
        let (index, images, files) = release_from(new, &[old]);
        Self {
            index,
            images,
            files,
            running: holding(&super::images(old)),
            version: semver::Version::new(u64::from(old), 0, 0),
        }
    }

    fn source(&self) -> MemSource {
        let [full, delta] = &self.files[..] else {
            panic!("a full payload and a delta")
        };
        MemSource::new(&full.0, full.1.clone()).and(&delta.0, delta.1.clone())
    }

    fn run(&self, source: &MemSource, slot: &[MemDisk; 2]) -> Result<Summary, InstallError> {
        let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
        let base = super::super::Base {
            version: &self.version,
            slot: &self.running,
        };
        install(
            &self.index,
            source,
            Some(base),
            None,
            &mut disks,
            &mut |_| (),
        )
    }

    fn delta_size(&self) -> u64 {
        self.files[1].1.len() as u64
    }

    fn operations(&self) -> Vec<Operation> {
        let file = &self.index.payloads[1];
        let table = &self.files[1].1[..file.table_size as usize];
        let entries = payload::parse_table(&self.index, file, table).unwrap();
        entries.into_iter().map(|e| e.operation).collect()
    }
}

/// A slot with these images in it.
fn holding(images: &[Vec<u8>; 2]) -> [MemDisk; 2] {
    let slot = slot();
    for (disk, image) in slot.iter().zip(images) {
        let mut disk = disk.clone();
        disk.write_at(0, image).unwrap();
        disk.sync().unwrap();
    }
    slot
}

#[test]
fn a_delta_costs_what_changed_and_asks_for_nothing_else() {
    let scene = Scene::new(4, 7);
    let operations = scene.operations();
    let used = |wanted: fn(&Operation) -> bool| operations.iter().any(wanted);
    assert!(
        used(|o| matches!(o, Operation::Copy(e) if e.len() == 2)),
        "{operations:?}"
    );
    assert!(
        used(|o| matches!(o, Operation::Patch(e) if e.len() == 2)),
        "{operations:?}"
    );
    assert!(used(|o| *o == Operation::Zeros), "{operations:?}");
    let (slot, source) = (slot(), scene.source());
    let summary = scene.run(&source, &slot).unwrap();
    assert!(holds(&slot, &scene.images));
    assert_eq!(summary.delta_from, Some(scene.version.clone()));
    assert_eq!((summary.worn, summary.fetched), (0, scene.delta_size()));
    assert!(summary.fetched < 10_000, "{summary}");
    assert!(
        source.asked().iter().all(|name| name == "p.from-4"),
        "{:?}",
        source.asked()
    );
}

#[test]
fn what_lies_where_it_lay_is_taken_from_the_running_slot() {
    // same parity: the noise did not move
    let scene = Scene::new(5, 7);
    assert!(scene.operations().contains(&Operation::Same));
    let slot = slot();
    scene.run(&scene.source(), &slot).unwrap();
    assert!(holds(&slot, &scene.images));
}

#[test]
fn a_worn_card_costs_one_segment_and_is_told() {
    let read_error: fn(&[MemDisk; 2]) = |slot| slot[0].unreadable(MIB as u64 + 4096, 512);
    let wrong_bytes: fn(&[MemDisk; 2]) = |slot| {
        let mut disk = slot[0].clone();
        disk.write_at(MIB as u64 + 499_712, &[0; 512]).unwrap();
    };
    for wear in [read_error, wrong_bytes] {
        let scene = Scene::new(4, 7);
        wear(&scene.running);
        let (slot, source) = (slot(), scene.source());
        let summary = scene.run(&source, &slot).unwrap();
        assert!(holds(&slot, &scene.images));
        assert_eq!(summary.worn, 1);
        assert!(
            summary
                .to_string()
                .contains("1 segments of the running slot"),
            "{summary}"
        );
        let (one, all) = (MIB as u64, scene.files[0].1.len() as u64);
        assert!((one..one + 20_000).contains(&summary.fetched), "{summary}");
        assert!(summary.fetched < all);
    }
}

#[test]
fn a_slot_that_is_not_what_its_version_says_costs_bytes_and_nothing_else() {
    let scene = Scene {
        running: slot(),
        ..Scene::new(4, 7)
    };
    let slot = slot();
    let summary = scene.run(&scene.source(), &slot).unwrap();
    assert!(holds(&slot, &scene.images));
    assert_eq!(summary.worn, 3, "{summary}");
}

#[test]
fn a_damaged_or_missing_delta_does_not_keep_a_board_from_the_full_payload() {
    type Damage = fn(&mut Vec<(String, Vec<u8>)>);
    let cases: [(&str, Damage); 3] = [
        ("it is not there", |files| files[1].0 = "other".into()),
        ("its table is altered", |files| files[1].1[9] ^= 1),
        ("its data is altered", |files| {
            let last = files[1].1.len() - 1;
            files[1].1[last] ^= 1;
        }),
    ];
    for (danger, damage) in cases {
        let mut scene = Scene::new(4, 7);
        damage(&mut scene.files);
        let (slot, source) = (slot(), scene.source());
        let summary = scene.run(&source, &slot).expect(danger);
        assert!(holds(&slot, &scene.images), "{danger}");
        assert_eq!(source.asked().last().unwrap(), "p.full", "{danger}");
        assert_eq!(summary.worn, 0, "{danger}");
    }
}

#[test]
fn what_lies_in_the_idle_slot_decides_what_is_cheapest() {
    let scene = Scene::new(4, 7);
    // all but the last, small segment is there: its few bytes of the full payload are cheaper than a whole delta
    let slot = holding(&scene.images);
    slot[1].clone().write_at(3 * MIB as u64, &[1; 512]).unwrap();
    slot[1].clone().sync().unwrap();
    let summary = scene.run(&scene.source(), &slot).unwrap();
    assert!(holds(&slot, &scene.images));
    assert_eq!(summary.written, 1);
    assert!(summary.fetched < scene.delta_size(), "{summary}");
    // the delta of a release that does not run is no choice at all
    let stranger = Scene {
        version: semver::Version::new(9, 9, 9),
        ..Scene::new(4, 7)
    };
    let source = stranger.source();
    let summary = stranger.run(&source, &self::slot()).unwrap();
    assert_eq!(summary.delta_from, None);
    assert!(source.asked().iter().all(|name| name == "p.full"));
}

#[test]
fn a_power_cut_at_any_write_of_a_delta_is_taken_up_by_the_next_run() {
    let scene = Scene::new(4, 7);
    let complete = |slot: &[MemDisk; 2]| holds(slot, &scene.images);
    let before = images(3);
    let mut cuts = 0;
    for tear in [0, 512, MIB - 512] {
        for n in 0.. {
            let slot = holding(&before);
            for disk in &slot {
                disk.cut_at_write(n, tear);
            }
            let done = scene.run(&scene.source(), &slot).is_ok();
            for disk in &slot {
                disk.power_on();
            }
            let loadable = slot[0].medium()[..512] != [0; 512];
            assert!(
                !loadable || holds(&slot, &before) || complete(&slot),
                "cut at write {n}, torn at {tear}: an incomplete slot would start"
            );
            let again = scene.run(&scene.source(), &slot).unwrap();
            assert!(complete(&slot), "cut at write {n}");
            // with little missing, the tables of both may be looked at
            let tables = u64::from(scene.index.payloads[0].table_size);
            assert!(again.fetched <= scene.delta_size() + tables, "{again}");
            cuts += 1;
            if done {
                break;
            }
        }
    }
    assert!(cuts > 9, "{cuts} cuts only: the fake no longer cuts");
}
