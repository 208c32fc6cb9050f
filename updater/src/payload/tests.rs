//! Tables that are written are read; those that cannot be right, or are not the signed ones, are not.

use super::*;
use crate::index::{Base, Image, SEGMENT, Target};
use alloc::vec;

const MIB: usize = 1 << 20;

fn extent(image: u8, sector: u32, count: u32) -> Extent {
    Extent {
        image,
        sector,
        count,
    }
}

fn index() -> Index {
    let image = |target, n: u64, more: u64| Image {
        target,
        size: n * SEGMENT + more,
        segments: vec![SegmentHash::of(b""); usize::try_from(n + u64::from(more > 0)).unwrap()],
    };
    Index {
        format: crate::index::FORMAT.into(),
        board: "x".into(),
        version: "1.0.0".parse().unwrap(),
        state_version: 0,
        created: hypriot_keys::time::Timestamp(0),
        images: vec![image(Target::Boot, 2, 0), image(Target::Root, 1, 512)],
        payloads: Vec::new(),
    }
}

type Rows = Vec<(Operation, Vec<u8>)>;

fn encode(rows: &Rows) -> Vec<u8> {
    encode_table(rows.iter().map(|(o, d)| (o, d.as_slice())))
}

fn signed(table: &[u8], data: u64, delta: bool) -> PayloadFile {
    PayloadFile {
        name: "p".into(),
        format: FORMAT,
        size: table.len() as u64 + data,
        table_size: u32::try_from(table.len()).unwrap(),
        table: SegmentHash::of(table),
        base: delta.then(|| Base {
            version: "0.9.0".parse().unwrap(),
            content: SegmentHash::of(b"old"),
        }),
    }
}

fn parse(rows: &Rows, delta: bool) -> Result<Vec<Entry>, PayloadError> {
    let table = encode(rows);
    let data: usize = rows.iter().map(|(_, d)| d.len()).sum();
    parse_table(&index(), &signed(&table, data as u64, delta), &table)
}

fn full() -> Rows {
    vec![
        (Operation::Zeros, vec![]),
        (Operation::Zstd, vec![1; 100]),
        (Operation::Raw, vec![2; MIB]),
        (Operation::Zstd, vec![3; 7]),
    ]
}

fn delta() -> Rows {
    vec![
        (Operation::Same, vec![]),
        (
            Operation::Copy(vec![extent(1, 8, 2000), extent(0, 0, 48)]),
            vec![],
        ),
        (Operation::Patch(vec![extent(1, 0, 4096)]), vec![2; 9]),
        (Operation::Zstd, vec![3; 7]),
    ]
}

#[test]
fn what_is_written_is_read() {
    for (rows, is_delta) in [(full(), false), (delta(), true)] {
        let entries = parse(&rows, is_delta).unwrap();
        let mut at = encode(&rows).len() as u64;
        for (entry, (operation, data)) in entries.iter().zip(&rows) {
            assert_eq!((&entry.operation, entry.at), (operation, at));
            assert_eq!((entry.len, entry.hash), (data.len(), SegmentHash::of(data)));
            at += data.len() as u64;
        }
    }
}

#[test]
fn rows_that_cannot_be_right_are_refused_even_if_signed() {
    let large = u32::try_from(MAX_REFERENCE / SECTOR).unwrap() + 1;
    let cases: Vec<(&str, usize, Operation, usize)> = vec![
        ("raw of another length", 1, Operation::Raw, 5),
        ("empty frame", 1, Operation::Zstd, 0),
        ("frame no smaller than the segment", 1, Operation::Zstd, MIB),
        (
            "frame larger than the last segment",
            3,
            Operation::Zstd,
            512,
        ),
        ("raw longer than the last segment", 3, Operation::Raw, MIB),
        (
            "copy that is too short",
            1,
            Operation::Copy(vec![extent(1, 0, 2047)]),
            0,
        ),
        (
            "copy of a third image",
            1,
            Operation::Copy(vec![extent(2, 0, 2048)]),
            0,
        ),
        (
            "copy from behind the partition",
            1,
            Operation::Copy(vec![extent(0, 128 << 11, 2048)]),
            0,
        ),
        (
            "copy whose end does not fit a number",
            1,
            Operation::Copy(vec![extent(1, u32::MAX, 2048)]),
            0,
        ),
        (
            "empty extent",
            1,
            Operation::Patch(vec![extent(1, 0, 0), extent(1, 0, 8)]),
            9,
        ),
        (
            "reference that does not fit the memory",
            1,
            Operation::Patch(vec![extent(1, 0, large)]),
            9,
        ),
        (
            "patch without data",
            1,
            Operation::Patch(vec![extent(1, 0, 8)]),
            0,
        ),
    ];
    for (danger, n, operation, len) in cases {
        let mut rows = delta();
        rows[n] = (operation, vec![0; len]);
        assert!(
            matches!(parse(&rows, true), Err(PayloadError::Entry { segment, .. }) if segment == n),
            "{danger}: {:?}",
            parse(&rows, true)
        );
    }
    assert!(
        matches!(
            parse(&delta(), false),
            Err(PayloadError::Entry { segment: 0, .. })
        ),
        "a full payload that needs a base"
    );
}

#[test]
fn a_table_is_not_parsed_before_its_hash_is_right() {
    let table = encode(&full());
    let data = MIB as u64 + 107;
    let file = signed(&table, data, false);
    for n in 0..table.len() {
        let mut altered = table.clone();
        altered[n] ^= 1;
        assert_eq!(
            parse_table(&index(), &file, &altered),
            Err(PayloadError::Altered)
        );
    }
    assert_eq!(
        parse_table(&index(), &file, &table[..20]),
        Err(PayloadError::Altered)
    );
    // what a signer got wrong
    let wrong = |bytes: &[u8], data| parse_table(&index(), &signed(bytes, data, false), bytes);
    assert_eq!(wrong(b"garbage", 0), Err(PayloadError::Magic));
    assert!(matches!(
        wrong(&table[..table.len() - 1], data),
        Err(PayloadError::Table { segment: 3, .. })
    ));
    assert!(matches!(
        wrong(&[&table[..], b"x"].concat(), data),
        Err(PayloadError::Table { segment: 4, .. })
    ));
    assert!(matches!(
        wrong(&table, data + 1),
        Err(PayloadError::Size { .. })
    ));
}

#[test]
fn missing_segments_become_few_requests() {
    let mut rows = full();
    rows[0] = (Operation::Raw, vec![1; MIB]);
    let entries = parse(&rows, false).unwrap();
    let runs = |missing: [bool; 4], gap| -> Vec<(usize, usize)> {
        let (mut runs, mut next) = (Vec::new(), 0);
        while let Some(first) = (next..4).find(|n| missing[*n]) {
            next = run_end(&entries, &missing, first, gap);
            runs.push((first, next));
        }
        runs
    };
    assert_eq!(runs([true, true, true, true], 0), [(0, 4)]);
    assert_eq!(runs([true, false, true, false], 0), [(0, 1), (2, 3)]);
    assert_eq!(runs([true, false, true, false], 100), [(0, 3)]);
    assert_eq!(runs([false, false, false, false], 0), []);
    assert_eq!(runs([false, false, false, true], 0), [(3, 4)]);
    let file = signed(&encode(&rows), 0, false);
    assert_eq!(
        cost(&file, &entries, &[false, true, false, true]),
        u64::from(file.table_size) + 107
    );
}
