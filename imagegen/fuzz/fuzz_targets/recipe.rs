//! Any text as a recipe, and as a board file: never a panic; a recipe that is accepted is accepted again as the build record
//! spells it.
#![no_main]

use hypriot_imagegen::inputs::{board, recipe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    drop(board::own("fuzz", text));
    drop(recipe::version(text));
    let Ok(read) = recipe::parse("fuzz", text) else {
        return;
    };
    // what lies in files of the owner's is not in the record
    if read.files.is_none() && read.debs.is_empty() && read.repositories.is_empty() {
        let spelt = toml::to_string(&read).expect("a recipe is written");
        recipe::parse("record", &spelt).expect("what was written is read");
    }
});
