//! Names and patterns: encoded names are harmless segments, matching ends.

use arbitrary::{Arbitrary as _, Unstructured};
use hypriot_keys::names;
use hypriot_keys::schema::DelegatedRole;

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(input) = <(String, String)>::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let (name, pattern) = input;
    let encoded = names::encode(&name);
    assert!(
        encoded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b))
    );
    if names::is_safe_target(&name) {
        assert!(
            !name
                .split('/')
                .any(|s| s.is_empty() || s == ".." || s == ".")
        );
    }
    let role: DelegatedRole = serde_json::from_value(serde_json::json!({
        "name": "r", "keyids": [], "threshold": 1, "paths": [pattern, name],
    }))
    .expect("a role");
    let plain = !name.contains(['*', '?', '[']);
    assert!(
        !plain || names::covers(&role, &name),
        "a name matches itself"
    );
}
