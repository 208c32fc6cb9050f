//! An index that a signer got wrong.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

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
        created: hypriot_keys::time::Timestamp(1_700_000_000),
        images: vec![
            image(Target::Boot, 3 * SEGMENT),
            image(Target::Root, 2 * SEGMENT + 512),
        ],
        payload: PayloadFile {
            name: "hypriotos-qemu-arm64-1.0.1.full".into(),
            size: 9,
        },
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
    let cases: [Case; 9] = [
        (
            "newer format",
            |i| i.format = "hypriot-release/2".into(),
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
            |i| i.payload.name = "../x".into(),
            |e| matches!(e, IndexError::PayloadName(_)),
        ),
        (
            "payload without a name",
            |i| i.payload.name.clear(),
            |e| matches!(e, IndexError::PayloadName(_)),
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
fn hostile_json_is_refused() {
    let text = serde_json::to_string(&good()).unwrap();
    let unknown = text.replacen('{', "{\"extra\":1,", 1);
    let hash = text.replacen(&hex::encode(SegmentHash::of(b"x").0), "zz", 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in [
        unknown,
        hash,
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
