//! The boot loader of the matrix: the script's definition on the memory of the cell.

use hypriot_updater::boot::{BootState, Copies, Phase, start};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::slot::Slot;

use super::ports::Gap;
use crate::card::ports::Disk;

pub(super) fn copies(gap: &Gap) -> Copies {
    let mut blocks = [[0; BOOT_STATE_SIZE]; 2];
    for (at, block) in BOOT_STATE.into_iter().zip(&mut blocks) {
        if gap.read_at(at, block).is_err() {
            *block = [0; BOOT_STATE_SIZE];
        }
    }
    Copies::parse([&blocks[0], &blocks[1]])
}

/// As if nobody had cleared the count of the start before.
pub(super) fn count_again(gap: &mut Gap, starts: u8) {
    let copies = copies(gap);
    let Some((_, state)) = copies.newest() else {
        return;
    };
    let mut state = state.clone();
    state.starts = starts;
    let (n, block) = copies.write(&state).expect("encodes");
    drop(gap.write_at(BOOT_STATE[n], &block));
    drop(gap.sync());
}

/// What `boot.scr` does (`hypriot_updater::boot::script`): read, decide, write to the other copy, read back, start.
/// Gives the slot, and whether it starts on trial.
pub(super) fn script(gap: &mut Gap) -> (Slot, bool) {
    let copies = copies(gap);
    let fresh = || BootState {
        seq: 0,
        ..BootState::fresh()
    };
    let start = start(&copies.newest().map_or_else(fresh, |(_, s)| s.clone()));
    let Some(next) = start.write else {
        return (start.slot, false);
    };
    let (n, block) = match copies.newest() {
        Some(_) => copies.write(&next),
        // the script counts on from nothing
        None => next.encode().map(|block| (0, block)),
    }
    .expect("encodes");
    let mut back = vec![0; BOOT_STATE_SIZE];
    let kept = gap.write_at(BOOT_STATE[n], &block).is_ok()
        && gap.sync().is_ok()
        && gap.read_at(BOOT_STATE[n], &mut back).is_ok()
        && back == block;
    let tried = next
        .on_trial(start.slot)
        .is_some_and(|t| t.phase == Phase::Trying);
    if kept {
        (start.slot, tried)
    } else {
        (start.unwritten, false)
    }
}
