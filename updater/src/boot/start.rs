//! What the boot loader does at each start: the definition. The script ([`super::script`]) says the same in U-Boot's
//! language, and `tests/tests/boot_script.rs` runs every row of the table below in U-Boot itself.
//!
//! | boot state | slot that is started | written first |
//! |---|---|---|
//! | trial armed | the trial's, once the write was read back right; else the default | trial trying |
//! | trial trying | as below: nobody judged it | trial lost, and as below |
//! | starts below [`MAX_STARTS`] | the default | one start more |
//! | starts below twice that | the other | one start more |
//! | starts at twice that | the default, after a pause | nothing |
//!
//! A slot that does not load (it is empty, or its installation was cut) makes room for the other one in the same start,
//! unless it is on trial: then the board restarts, and finds it `trying`.
//!
//! The other has its turn also when it is [`super::Spoilt`]: something that runs and says what is wrong is better than nothing.
//! But what failed its trial only stands in ([`BootState::came_up`]).
//!
//! Why a write at each start: a kernel that hangs or panics cannot say so, and a start that leaves no trace cannot be
//! told from one that went well. So a start costs one write of 4 KiB, and its success another. The copies take turns.
//! The last row writes nothing: a board whose slots both fail must not wear out its card as well.

use super::state::{BootState, Phase};
use crate::slot::Slot;

/// After so many starts in a row without a system that came up, the other slot has its turn.
pub const MAX_STARTS: u8 = 3;
/// Seconds between starts when neither slot comes up.
pub const PAUSE: u8 = 60;

/// What a start does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The slot that is started.
    pub slot: Slot,
    /// What is written before, if anything; its sequence number is one higher.
    pub write: Option<BootState>,
    /// If that cannot be written, or reads back differently: the slot that is started then.
    pub unwritten: Slot,
    /// Whether the start waits [`PAUSE`] seconds first.
    pub pause: bool,
}

/// What a start does that finds `state`.
pub fn start(state: &BootState) -> Start {
    let mut next = BootState {
        seq: state.seq.saturating_add(1),
        ..state.clone()
    };
    let default = state.default;
    let mut lost = false;
    if let Some(trial) = &mut next.trial {
        match trial.phase {
            Phase::Armed => {
                trial.phase = Phase::Trying;
                return Start {
                    slot: trial.slot,
                    write: Some(next),
                    unwritten: default,
                    pause: false,
                };
            }
            Phase::Trying => {
                trial.phase = Phase::Lost;
                lost = true;
            }
            Phase::Failed | Phase::Lost => (),
        }
    }
    let counts = state.starts < 2 * MAX_STARTS;
    next.starts += u8::from(counts);
    let other = counts && next.starts > MAX_STARTS;
    Start {
        slot: if other { !default } else { default },
        write: (lost || counts).then_some(next),
        unwritten: default,
        pause: !counts,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_start_tries_once_and_comes_back() {
        let mut state = BootState::fresh();
        let next = |state: &mut BootState| {
            let start = start(state);
            if let Some(written) = start.write {
                *state = written;
            }
            start.slot
        };
        assert_eq!(next(&mut state), Slot::A);
        state.came_up(Slot::A);
        state.arm(Slot::B, "x1", 900).unwrap();
        assert_eq!(next(&mut state), Slot::B);
        assert!(state.on_trial(Slot::B).is_some() && state.on_trial(Slot::A).is_none());
        // nobody judged it
        assert_eq!(next(&mut state), Slot::A);
        assert_eq!(state.trial.as_ref().unwrap().phase, Phase::Lost);
        assert_eq!(next(&mut state), Slot::A);
        state.refuse();
        let end = (state.trial.is_none(), state.failed.as_deref());
        assert_eq!(end, (true, Some("x1")));
    }

    #[test]
    fn three_power_cuts_do_not_leave_a_board_on_a_release_that_failed() {
        let mut state = BootState {
            spoilt: Some(super::super::Spoilt::Unproven),
            ..BootState::fresh()
        };
        let slots: Vec<Slot> = (0..8)
            .map(|n| {
                let start = start(&state);
                state = start.write.unwrap_or(state.clone());
                // cut before anything came up, three times; from then on the power stays
                if n >= 3 {
                    state.came_up(start.slot);
                }
                start.slot
            })
            .collect();
        let (a, b) = (Slot::A, Slot::B);
        assert_eq!(slots, [a, a, a, b, a, a, a, a]);
    }

    /// The system of `good` slots comes up, the others reset the board.
    fn starts_until_one_runs(mut state: BootState, good: &[Slot]) -> (usize, BootState) {
        for n in 1..100 {
            let start = start(&state);
            if let Some(next) = start.write {
                state = next;
            }
            if good.contains(&start.slot) {
                state.came_up(start.slot);
                return (n, state);
            }
        }
        (100, state)
    }

    #[test]
    fn a_board_ends_on_a_slot_that_runs_in_bounded_starts() {
        let (a, b) = (Slot::A, Slot::B);
        for (danger, good, bound) in [
            ("both run", &[a, b][..], 1),
            ("the default panics", &[b], 1 + usize::from(MAX_STARTS)),
            ("the other is broken", &[a], 1),
        ] {
            let (n, state) = starts_until_one_runs(BootState::fresh(), good);
            assert_eq!(n, bound, "{danger}");
            assert!(good.contains(&state.default), "{danger}");
            // and stays there, in one start
            assert_eq!(starts_until_one_runs(state, good).0, 1, "{danger}");
        }
        // on trial, with a default that was damaged meanwhile
        let mut state = BootState::fresh();
        state.arm(b, "x1", 900).unwrap();
        let (n, _) = starts_until_one_runs(state, &[]);
        assert_eq!(n, 100, "nothing runs, and it goes on trying");
    }

    #[test]
    fn a_board_on_which_nothing_runs_stops_writing() {
        let mut state = BootState::fresh();
        let mut writes = 0;
        for _ in 0..1000 {
            let start = start(&state);
            if let Some(next) = start.write {
                writes += 1;
                state = next;
            } else {
                assert!(start.pause && start.slot == state.default);
            }
        }
        assert_eq!(writes, 2 * u32::from(MAX_STARTS));
    }

    #[test]
    fn a_trial_is_tried_once_whatever_the_count_says() {
        for starts in 0..=u8::MAX {
            let mut state = BootState {
                starts,
                ..BootState::fresh()
            };
            state.arm(Slot::B, "x1", 900).unwrap();
            let first = start(&state);
            assert_eq!(
                (first.slot, first.unwritten, first.pause),
                (Slot::B, Slot::A, false)
            );
            let state = first.write.unwrap();
            assert_eq!(state.starts, starts, "a trial is no start of the default");
            let second = start(&state);
            let state = second.write.unwrap();
            assert_eq!(state.trial.as_ref().unwrap().phase, Phase::Lost);
            let third = start(&state);
            assert_eq!(third.write.as_ref().unwrap_or(&state).trial, state.trial);
        }
    }
}
