//! Any bytes as the table of a full payload or a delta, its own hash right: never a panic, and what is accepted asks for no more
//! than the file, the running slot, and the memory of a board give.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/payload.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
