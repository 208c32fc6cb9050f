//! An index that a signer got wrong.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

fn payload(name: &str, base: Option<Base>) -> PayloadFile {
    PayloadFile {
        name: name.into(),
        format: crate::payload::FORMAT,
        size: 90,
        table_size: 80,
        table: SegmentHash::of(b"table"),
        base,
    }
}

fn good() -> Index {
    let image = |target, size: u64| Image {
        target,
        size,
        segments: vec![SegmentHash::of(b"x"); usize::try_from(size.div_ceil(SEGMENT)).unwrap()],
    };
    Index {
        format: FORMAT.into(),
        board: "qemu-arm64".into(),
        version: "1.0.1".parse().unwrap(),
        state_version: 0,
        created: hypriot_keys::time::Timestamp(1_700_000_000),
        images: vec![
            image(Target::Boot, 3 * SEGMENT),
            image(Target::Root, 2 * SEGMENT + 512),
        ],
        payloads: vec![
            payload("hypriotos-qemu-arm64-1.0.1.payload", None),
            payload(
                "hypriotos-qemu-arm64-1.0.1-from-1.0.0.payload",
                Some(Base {
                    version: "1.0.0".parse().unwrap(),
                    content: SegmentHash::of(b"old"),
                }),
            ),
        ],
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = good().encode().unwrap();
    assert_eq!(Index::parse(&bytes).unwrap(), good());
    let lengths: Vec<usize> = good().segments().map(|(_, _, len, _)| len).collect();
    assert_eq!(lengths, [1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 512]);
}

#[test]
fn wrong_contents_are_refused_by_name() {
    type Case = (&'static str, fn(&mut Index), fn(&IndexError) -> bool);
    let cases: [Case; 13] = [
        (
            "newer format",
            |i| i.format = "hypriot-release/3".into(),
            |e| matches!(e, IndexError::Format(_)),
        ),
        (
            "no image",
            |i| i.images.clear(),
            |e| *e == IndexError::Images,
        ),
        (
            "images swapped",
            |i| i.images.swap(0, 1),
            |e| *e == IndexError::Images,
        ),
        (
            "image larger than its partition",
            |i| i.images[0].size = 129 << 20,
            |e| matches!(e, IndexError::Size { .. }),
        ),
        (
            "empty image",
            |i| i.images[1].size = 0,
            |e| matches!(e, IndexError::Size { .. }),
        ),
        (
            "half a sector",
            |i| i.images[1].size += 1,
            |e| matches!(e, IndexError::Size { .. }),
        ),
        (
            "hash missing",
            |i| i.images[1].segments.truncate(2),
            |e| {
                matches!(
                    e,
                    IndexError::Segments {
                        needed: 3,
                        found: 2,
                        ..
                    }
                )
            },
        ),
        (
            "payload is a path",
            |i| i.payloads[1].name = "../x".into(),
            |e| matches!(e, IndexError::PayloadName(_)),
        ),
        (
            "payload without a name",
            |i| i.payloads[0].name.clear(),
            |e| matches!(e, IndexError::PayloadName(_)),
        ),
        (
            "deltas only",
            |i| drop(i.payloads.remove(0)),
            |e| *e == IndexError::Payloads,
        ),
        (
            "a full payload of a later format only",
            |i| i.payloads[0].format = 3,
            |e| *e == IndexError::Payloads,
        ),
        (
            "a table longer than its file",
            |i| i.payloads[0].table_size = 91,
            |e| matches!(e, IndexError::Table { .. }),
        ),
        (
            "a table that fills the memory",
            |i| (i.payloads[1].table_size, i.payloads[1].size) = (u32::MAX, u64::MAX),
            |e| matches!(e, IndexError::Table { .. }),
        ),
    ];
    for (danger, change, expected) in cases {
        let mut index = good();
        change(&mut index);
        let bytes = serde_json::to_vec(&index).unwrap();
        let error = Index::parse(&bytes).expect_err(danger);
        assert!(expected(&error), "{danger}: {error}");
    }
}

#[test]
fn what_a_later_release_adds_does_not_lock_older_boards_out() {
    let text = serde_json::to_string(&good()).unwrap();
    let more =
        text.replacen('{', "{\"extra\":1,", 1)
            .replacen("{\"name\"", "{\"extra\":[],\"name\"", 1);
    assert_eq!(Index::parse(more.as_bytes()).unwrap(), good());
    // a payload of a format that this agent does not know is none for it
    let mut index = good();
    index.payloads[1].format = 3;
    let index = Index::parse(&serde_json::to_vec(&index).unwrap()).unwrap();
    assert_eq!(index.known().count(), 1);
}

#[test]
fn hostile_json_is_refused() {
    let text = serde_json::to_string(&good()).unwrap();
    let hash = text.replacen(&hex::encode(SegmentHash::of(b"table").0), "zz", 1);
    let segments = text.replacen("\"segments\":\"", "\"segments\":\"AAAA", 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in [
        hash,
        segments,
        deep,
        "{}".to_string(),
        String::new(),
        "null".to_string(),
    ] {
        assert!(
            matches!(Index::parse(bad.as_bytes()), Err(IndexError::Json(_))),
            "{}",
            &bad[..bad.len().min(60)]
        );
    }
    assert!(matches!(
        Index::parse(&vec![b' '; 300 << 10]),
        Err(IndexError::TooLong(_))
    ));
}

#[test]
fn a_release_of_the_first_format_is_refused_with_what_to_do() {
    let old = include_bytes!("../../testdata/releases/1.json");
    let refused = Index::parse(old).unwrap_err();
    assert_eq!(refused, IndexError::Old);
    let told = format!("{refused}");
    assert!(told.contains("make the release again"), "{told}");
}
