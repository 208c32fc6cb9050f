//! A mirror without keys: it serves any bytes in place of any file after honest ones. Nothing but the honest state is ever
//! trusted.

use std::sync::LazyLock;

use hypriot_keys::schema::{Listing, Root};
use hypriot_keys::time::Timestamp;
use hypriot_keys::{Verified, workflow};

const NOW: Timestamp = Timestamp(1_795_435_200);

macro_rules! honest {
    ($name:literal) => {
        include_bytes!(concat!("../../../keys/testdata/attacks/honest/", $name))
    };
}

struct Honest {
    root: Verified<Root>,
    timestamp: Verified<Listing>,
    snapshot: Verified<Listing>,
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let root = workflow::load_root(honest!("1.root.json")).expect("honest");
    let timestamp = workflow::timestamp(&root, None, honest!("timestamp.json"), NOW)
        .expect("honest")
        .expect("new");
    let snapshot = workflow::snapshot(&root, &timestamp, None, honest!("2.snapshot.json"), NOW)
        .expect("honest");
    Honest {
        root,
        timestamp,
        snapshot,
    }
});

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Honest {
        root,
        timestamp,
        snapshot,
    } = &*HONEST;
    assert!(
        workflow::next_root(root, bytes).is_err(),
        "a root without a signature of the old one"
    );
    if let Ok(Some(new)) = workflow::timestamp(root, None, bytes, NOW) {
        assert_eq!(*new, **timestamp);
    }
    if let Ok(new) = workflow::snapshot(root, timestamp, None, bytes, NOW) {
        assert_eq!(*new, **snapshot);
    }
    if let Ok(new) = workflow::targets(root, snapshot, bytes, NOW) {
        assert_eq!(new.header.version, 2);
    }
}
