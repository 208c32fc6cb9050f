//! Any bytes as a release index: never a panic, and what is accepted says again what it said, within its bounds.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/index.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
