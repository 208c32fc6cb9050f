//! Any two blocks as the boot loader's memory, their checksums right or not: never a panic, never a trial of the default slot,
//! and each write is read back as what was meant.

use arbitrary::{Arbitrary as _, Unstructured};
use hypriot_updater::boot::{BootState, Copies, env, start};
use hypriot_updater::layout::BOOT_STATE_SIZE;

/// A block of these variables, as U-Boot would write it.
fn block(text: &[u8]) -> Vec<u8> {
    let pairs: Vec<(String, String)> = text
        .split(|b| *b == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let named: Vec<(&str, String)> = pairs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    env::encode(&named).unwrap_or_else(|_| {
        let mut raw = text.to_vec();
        raw.resize(BOOT_STATE_SIZE, 0);
        raw
    })
}

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    let Ok(input) = <(&[u8], &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    drop(BootState::parse(input.0));
    let copies = Copies::parse([&block(input.0), &block(input.1)]);
    let Some((_, newest)) = copies.newest() else {
        return;
    };
    assert!(
        newest
            .trial
            .as_ref()
            .is_none_or(|t| t.slot != newest.default)
    );
    let begun = start(newest);
    let Some(next) = begun.write else {
        return;
    };
    let Ok((place, bytes)) = copies.write(&next) else {
        // an identity that fills the block: nothing is written, and what was there still counts
        return;
    };
    let mut after = copies.clone();
    after.0[place] = BootState::parse(&bytes).ok();
    let (found, read) = after.newest().expect("it was written");
    if newest.seq < i32::MAX.unsigned_abs() {
        assert_eq!((found, read.default), (place, next.default));
        assert_eq!(read.trial, next.trial);
    }
}
