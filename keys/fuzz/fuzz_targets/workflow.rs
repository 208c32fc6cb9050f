//! A mirror without keys: it serves any bytes in place of any file after honest ones. Nothing but the honest state is ever
//! trusted.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/workflow.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
