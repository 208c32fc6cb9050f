//! Any bytes as a release index: never a panic, and what is accepted says again what it said, within its bounds.

use hypriot_updater::index::{Index, MAX_PAYLOADS, SEGMENT, Target};
use hypriot_updater::slot::Slot;

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(index) = Index::parse(bytes) else {
        return;
    };
    let spelt = index.encode().expect("what was read is written");
    assert_eq!(Index::parse(&spelt).as_ref(), Ok(&index));
    assert!(index.payloads.len() <= MAX_PAYLOADS && index.full().is_some());
    let targets = [Target::Boot, Target::Root];
    for ((image, n, len, _), _) in index.segments().zip(0..=index.segment_count()) {
        // every segment lies within its partition, and none is longer than a buffer
        let end = n as u64 * SEGMENT + len as u64;
        assert!(len as u64 <= SEGMENT && end <= targets[image].partition(Slot::B).size);
    }
}
