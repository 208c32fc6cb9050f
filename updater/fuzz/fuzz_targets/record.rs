//! Any bytes as the agent's record: never a panic, and what is read is written and read alike.
#![no_main]

use hypriot_updater::record::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let again = Record::parse(&record.encode()).expect("what was written is read");
    assert_eq!(again, record, "something was lost");
});
