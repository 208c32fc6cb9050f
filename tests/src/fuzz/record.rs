//! Any bytes as the agent's record: never a panic, and what is read is written and read alike.

use hypriot_updater::record::Record;

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let again = Record::parse(&record.encode()).expect("what was written is read");
    assert_eq!(again, record, "something was lost");
}
