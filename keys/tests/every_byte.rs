//! Every byte altered, every truncation: nothing but the honest content is ever trusted.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use hypriot_keys::schema::{Listing, Root};
use hypriot_keys::time::Timestamp;
use hypriot_keys::{Error, Verified, workflow};

const NOW: Timestamp = Timestamp(1_795_435_200);

fn read(name: &str) -> Vec<u8> {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/attacks");
    std::fs::read(place.join(name)).unwrap()
}

struct Honest {
    root: Verified<Root>,
    timestamp: Verified<Listing>,
    snapshot: Verified<Listing>,
}

fn honest() -> Honest {
    let root = workflow::load_root(&read("honest/1.root.json")).unwrap();
    let timestamp = workflow::timestamp(&root, None, &read("honest/timestamp.json"), NOW)
        .unwrap()
        .unwrap();
    let snapshot = workflow::snapshot(
        &root,
        &timestamp,
        None,
        &read("honest/2.snapshot.json"),
        NOW,
    )
    .unwrap();
    Honest {
        root,
        timestamp,
        snapshot,
    }
}

/// Every text that differs from `bytes` in one byte (by three changes), lacks its end, or has one byte more.
fn altered(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..bytes.len()).flat_map(move |at| {
        [1, 0x20, 0x80].map(|bit| {
            let mut copy = bytes.to_vec();
            copy[at] ^= bit;
            copy
        })
    });
    let cut = (0..bytes.len()).map(|end| bytes[..end].to_vec());
    let longer = (0..bytes.len()).step_by(7).map(|at| {
        let mut copy = bytes.to_vec();
        copy.insert(at, b' ');
        copy
    });
    flipped.chain(cut).chain(longer)
}

/// Counts; what is accepted must be equal to the honest value (white space and the case of a signature's digits are not signed).
fn all<T: PartialEq + std::fmt::Debug>(
    file: &str,
    honest: &T,
    check: impl Fn(&[u8]) -> Result<Option<T>, Error>,
) -> (usize, usize) {
    let (mut refused, mut same) = (0, 0);
    for bytes in altered(&read(file)) {
        match check(&bytes) {
            Ok(Some(value)) => {
                assert_eq!(value, *honest);
                same += 1;
            }
            Ok(None) => panic!("nothing was trusted before"),
            Err(_) => refused += 1,
        }
    }
    (refused, same)
}

#[test]
fn altered_metadata_is_refused_or_says_the_same() {
    let Honest {
        root,
        timestamp,
        snapshot,
    } = honest();
    let (refused, same) = all("honest/timestamp.json", &timestamp, |b| {
        workflow::timestamp(&root, None, b, NOW)
    });
    assert!(refused > 2000 && same < refused / 2, "{refused} {same}");
    // Listed by hash: not even white space may differ.
    let (_, same) = all("honest/2.snapshot.json", &snapshot, |b| {
        workflow::snapshot(&root, &timestamp, None, b, NOW).map(Some)
    });
    assert_eq!(same, 0);
    let targets = workflow::targets(&root, &snapshot, &read("honest/2.targets.json"), NOW).unwrap();
    let (_, same) = all("honest/2.targets.json", &targets, |b| {
        workflow::targets(&root, &snapshot, b, NOW).map(Some)
    });
    assert_eq!(same, 0);
}

#[test]
fn an_altered_root_is_refused_or_says_the_same() {
    let root = honest().root;
    let file = "root-signed-by-both/served/2.root.json";
    let next = workflow::next_root(&root, &read(file)).unwrap();
    let (refused, _) = all(file, &next, |b| workflow::next_root(&root, b).map(Some));
    assert!(refused > 4000, "{refused}");
}
