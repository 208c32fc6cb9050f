//! Any text as a recipe, and as a board file: never a panic; a recipe that is accepted is accepted again as the build record
//! spells it.

use hypriot_imagegen::inputs::{board, recipe};

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
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
}
