//! What a start with tryboot does, without a firmware to run it.

use alloc::string::ToString;

use super::super::state::Spoilt;
use super::*;

const NEW: u32 = 1_760_000_000;

fn view(partition: u32, tryboot: bool, built: u32) -> View {
    View {
        partition,
        tryboot,
        built,
    }
}

#[test]
fn a_firmware_without_a_way_back_is_refused_with_its_date_and_the_command() {
    let old = view(2, false, 1_673_395_200)
        .usable()
        .unwrap_err()
        .to_string();
    for words in ["2023-01-11", "2025-08-20", "rpi-eeprom-update -a"] {
        assert!(old.contains(words), "{old}");
    }
    let day_before = u32::try_from(EEPROM.0).unwrap() - 1;
    assert!(view(2, false, day_before).usable().is_err());
    assert_eq!(view(2, false, day_before + 1).usable(), Ok(()));
    // partition 0 is reported by firmware that ignored the file (firmware#1974), 32 after a reset by U-Boot (firmware#2000)
    for partition in [0, 1, 4, 32] {
        assert_eq!(
            view(partition, true, NEW).usable(),
            Err(Unusable::NoSlot(partition))
        );
    }
    assert_eq!(view(3, true, NEW).slot(), Ok(Slot::B));
}

#[test]
fn the_device_tree_has_its_numbers_highest_byte_first() {
    let cell = u32::to_be_bytes;
    let found = View::parse(&cell(3), &cell(1), &cell(NEW));
    assert_eq!(found, Some(view(3, true, NEW)));
    assert_eq!(View::parse(&cell(3), &[1], &cell(NEW)), None);
}

fn armed(rearms: u8) -> BootState {
    let mut state = BootState::fresh();
    state.arm(Slot::B, "x1", 900).unwrap();
    state.trial.as_mut().unwrap().rearms = rearms;
    state
}

fn phase(began: &Began) -> Option<Phase> {
    Some(began.write.as_ref()?.trial.as_ref()?.phase)
}

#[test]
fn a_trial_that_never_began_is_armed_again_and_not_for_ever() {
    let mut state = armed(0);
    for n in 1..=MAX_REARMS {
        let start = began(&state, Slot::A, false);
        assert_eq!((start.next, phase(&start)), (Next::Arm, Some(Phase::Armed)));
        state = start.write.unwrap();
        assert_eq!(state.trial.as_ref().unwrap().rearms, n);
        state.came_up(Slot::A);
    }
    let start = began(&state, Slot::A, false);
    assert_eq!((start.next, phase(&start)), (Next::Go, Some(Phase::Lost)));
}

#[test]
fn a_trial_is_marked_before_it_goes_on_and_lost_when_the_default_is_back() {
    let start = began(&armed(0), Slot::B, true);
    assert_eq!(
        (start.next, phase(&start), start.must),
        (Next::Go, Some(Phase::Trying), true)
    );
    let trying = start.write.unwrap();
    let back = began(&trying, Slot::A, false);
    assert_eq!(phase(&back), Some(Phase::Lost));
    // nobody judged it, and it is started again by a walk over the partitions: it only stands in
    let again = began(&trying, Slot::B, false);
    assert_eq!((again.write, again.must), (None, false));
}

#[test]
fn a_default_that_does_not_come_up_makes_room_in_bounded_starts_and_writes() {
    let mut state = BootState::fresh();
    let mut writes = 0;
    for n in 0..20 {
        let start = began(&state, Slot::A, false);
        // not for a number of turns: a power cut takes the flag away, and with it the turn
        let turn = n >= MAX_STARTS;
        assert_eq!(start.next == Next::Other, turn, "start {n}");
        writes += u32::from(start.write.is_some());
        state = start.write.unwrap_or(state);
    }
    assert_eq!(writes, 2 * u32::from(MAX_STARTS));
    // the other, in its turn, counts nothing and is taken if it comes up
    let turn = began(&state, Slot::B, true);
    assert_eq!((turn.write, turn.next), (None, Next::Go));
    assert!(state.came_up(Slot::B) && state.default == Slot::B);
}

#[test]
fn a_cut_in_a_commit_is_one_that_went_through() {
    let trying = began(&armed(0), Slot::B, true).write.unwrap();
    let state = reconciled(trying.clone(), Some(Slot::B));
    assert_eq!(
        (state.default, state.trial, state.spoilt),
        (Slot::B, None, None)
    );
    for same in [None, Some(Slot::A)] {
        assert_eq!(reconciled(trying.clone(), same), trying);
    }
    // the other way: a default that was left
    let state = reconciled(BootState::fresh(), Some(Slot::B));
    assert_eq!(state.spoilt, Some(Spoilt::Left));
}
