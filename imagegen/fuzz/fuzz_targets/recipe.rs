//! Any text as a recipe, and as a board file: never a panic; a recipe that is accepted is accepted again as the build record
//! spells it.
#![no_main]

// `make test` runs the same, on what lies near the corpus
#[path = "../../../tests/src/fuzz/recipe.rs"]
mod of_tests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| of_tests::target(bytes));
