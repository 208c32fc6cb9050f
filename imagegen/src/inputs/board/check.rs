//! What a board file must say besides being one: names, arguments, places on the card.

use hypriot_updater::layout;

use super::{Board, Pin, RawBlob};

pub(super) fn check(board: &Board) -> Result<(), String> {
    let name_ok = |n: &str| {
        !n.is_empty()
            && n.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if let Some(bad) = board
        .packages
        .iter()
        .chain(board.boot_packages.iter().map(|p| &p.name))
        .chain(board.pins.iter().flat_map(|p| &p.sources))
        .find(|n| !name_ok(n))
    {
        return Err(format!("`{bad}` cannot be the name of a package"));
    }
    check_pins(&board.pins)?;
    if let Some(bad) = board
        .console
        .iter()
        .chain(&board.cmdline)
        .find(|a| a.contains(char::is_whitespace))
    {
        return Err(format!("kernel argument `{bad}` contains white space"));
    }
    if let Some(bad) = board
        .elf_exceptions
        .iter()
        .find(|e| e.files.is_empty() || e.reason.trim().is_empty())
    {
        return Err(format!("the exception for `{}` has no reason", bad.files));
    }
    if let Some(at) = board.boot.addresses
        && !(at.kernel < at.device_tree && at.device_tree < at.initramfs)
    {
        return Err(
            "boot.addresses must be in the order kernel, device-tree, initramfs".to_owned(),
        );
    }
    check_raw(&board.boot.raw)
}

/// A source has one place to come from.
fn check_pins(pins: &[Pin]) -> Result<(), String> {
    let mut pinned: Vec<&str> = Vec::new();
    for pin in pins {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if pin.pocket.is_empty() || !pin.pocket.bytes().all(word) {
            return Err(format!(
                "`{}` is no pocket of a suite, such as `backports`",
                pin.pocket
            ));
        }
        if pin.sources.is_empty() {
            return Err(format!("the pin to {} names no sources", pin.pocket));
        }
        for source in &pin.sources {
            if pinned.contains(&source.as_str()) {
                return Err(format!("source {source} is pinned twice"));
            }
            pinned.push(source);
        }
    }
    Ok(())
}

/// Blobs lie before the boot state, apart from each other, and never on the partition table.
fn check_raw(blobs: &[RawBlob]) -> Result<(), String> {
    let mut raw: Vec<&RawBlob> = blobs.iter().collect();
    raw.sort_by_key(|b| b.offset);
    for blob in &raw {
        let end = blob.offset.checked_add(blob.reserved().unwrap_or(1));
        let room = layout::raw_room(blob.offset);
        if end.is_none_or(|end| room.is_none_or(|room| end > room)) {
            return Err(format!(
                "{} at {} does not lie {}",
                blob.file,
                blob.offset,
                layout::raw_rooms()
            ));
        }
        if blob.length.is_some() && blob.room.is_some() {
            return Err(format!(
                "{} at {} has `length` and `room`: the first is for a part of a file, the second for a whole one",
                blob.file, blob.offset
            ));
        }
        if blob.reserved() == Some(0) {
            return Err(format!("{} at {} has no room", blob.file, blob.offset));
        }
    }
    for pair in raw.windows(2) {
        if pair[0].offset + pair[0].reserved().unwrap_or(1) > pair[1].offset {
            return Err(format!("{} and {} overlap", pair[0].file, pair[1].file));
        }
    }
    Ok(())
}
