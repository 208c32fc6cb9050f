//! Any two blocks as the boot loader's memory, their checksums right or not: never a panic, never a trial of the default slot,
//! and each write is read back as what was meant.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/boot_state.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
