//! Any bytes as the table of a full payload or a delta, its own hash right: never a panic, and what is accepted asks for no more
//! than the file, the running slot, and the memory of a board give.

use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use hypriot_keys::time::Timestamp;
use hypriot_updater::index::{
    Base, FORMAT, Image, Index, PayloadFile, SEGMENT, SegmentHash, Target,
};
use hypriot_updater::payload::{self, MAX_REFERENCE, encode_table, parse_table, run_end};

/// Five segments; the last of each image is short.
static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let image = |target, size: u64| Image {
        target,
        size,
        segments: vec![
            SegmentHash([7; 32]);
            usize::try_from(size.div_ceil(SEGMENT)).unwrap_or(usize::MAX)
        ],
    };
    Index {
        format: FORMAT.into(),
        board: "x".into(),
        version: semver::Version::new(1, 0, 0),
        state_version: 0,
        created: Timestamp(0),
        images: vec![
            image(Target::Boot, SEGMENT + 512),
            image(Target::Root, 2 * SEGMENT + 4096),
        ],
        payloads: Vec::new(),
    }
});

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(input) = <(bool, u32, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let (delta, data, table) = input;
    let file = PayloadFile {
        name: "p".into(),
        format: payload::FORMAT,
        size: table.len() as u64 + u64::from(data),
        table_size: u32::try_from(table.len()).unwrap_or(u32::MAX),
        table: SegmentHash::of(table),
        base: delta.then(|| Base {
            version: semver::Version::new(0, 9, 0),
            content: SegmentHash([1; 32]),
        }),
    };
    let Ok(entries) = parse_table(&INDEX, &file, table) else {
        return;
    };
    assert_eq!(entries.len(), INDEX.segment_count());
    let mut at = u64::from(file.table_size);
    for (entry, (_, _, len, _)) in entries.iter().zip(INDEX.segments()) {
        assert_eq!(entry.at, at);
        at += entry.len as u64;
        assert!(entry.len <= len, "more data than a segment has");
        let named: u64 = entry.operation.extents().iter().map(|e| e.len()).sum();
        assert!(
            named <= MAX_REFERENCE.max(len as u64),
            "a reference that a board has no room for"
        );
        assert!(delta || !entry.operation.needs_base());
    }
    assert_eq!(at, file.size);
    for missing in [[true; 5], [false; 5], [true, false, true, false, true]] {
        assert!(payload::cost(&file, &entries, &missing) <= file.size);
        for first in 0..5 {
            let end = run_end(&entries, &missing, first, 4096);
            assert!(first < end && end <= 5);
        }
    }
    // the hash of nothing is not spelt, so all the rest must come out again
    let mut again = Vec::new();
    for entry in &entries {
        again.push((&entry.operation, vec![0; entry.len]));
    }
    let rows = again.iter().map(|(o, d)| (*o, d.as_slice()));
    assert_eq!(encode_table(rows).len(), table.len());
}
