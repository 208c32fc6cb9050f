//! What a fuzzer is let loose on: each target takes any bytes, and panics when something is wrong. `make fuzz` gives them to
//! libFuzzer (`*/fuzz`); `make test` runs them on what lies near the committed corpora (tests/tests/fuzz.rs).

pub mod boot_state;
pub mod index;
pub mod json;
pub mod metadata;
pub mod names;
pub mod payload;
pub mod recipe;
pub mod record;
pub mod workflow;

/// Crate whose `fuzz/corpus` has its inputs, name, and what it does.
pub type Target = (&'static str, &'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("keys", "json", json::target),
    ("keys", "metadata", metadata::target),
    ("keys", "names", names::target),
    ("keys", "workflow", workflow::target),
    ("updater", "boot_state", boot_state::target),
    ("updater", "index", index::target),
    ("updater", "payload", payload::target),
    ("updater", "record", record::target),
    ("imagegen", "recipe", recipe::target),
];
