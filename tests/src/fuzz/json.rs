//! The strict reader against serde_json: what it accepts the other accepts and reads alike, and its canonical form is
//! stable.

use hypriot_keys::json::{canonical, parse};

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(value) = parse("fuzz", bytes) else {
        return;
    };
    let other: serde_json::Value =
        serde_json::from_slice(bytes).expect("serde_json refuses what we accept");
    assert_eq!(value, other);
    let spelt = serde_json::to_vec(&value).expect("a value is written");
    let again = parse("fuzz", &spelt).expect("what was written is read");
    assert_eq!(value, again);
    assert_eq!(canonical(&value), canonical(&again));
}
