//! Any bytes as any role: never a panic, and whatever is accepted says again what it said.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/metadata.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
