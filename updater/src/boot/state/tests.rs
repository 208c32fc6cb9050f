//! Torn, swapped, stale and corrupt copies of the boot state.

use super::*;
use crate::layout::BOOT_STATE_SIZE;
use alloc::vec;
use proptest::prelude::*;

fn any_state() -> impl Strategy<Value = BootState> {
    let phase = prop_oneof![
        Just(Phase::Armed),
        Just(Phase::Trying),
        Just(Phase::Failed),
        Just(Phase::Lost)
    ];
    let trial = proptest::option::of((phase, "[0-9a-f]{16}", 0..=MAX_REARMS, 1..u64::MAX));
    let failed = proptest::option::of("[0-9a-f]{16}");
    let spoilt = prop_oneof![
        Just(None),
        Just(Some(Spoilt::Left)),
        Just(Some(Spoilt::Unproven))
    ];
    let state = (1..=i32::MAX as u32 - 2, any::<bool>(), trial);
    let more = (failed, any::<bool>(), any::<u8>(), spoilt);
    (state, more).prop_map(|((seq, b, trial), (failed, local, starts, spoilt))| {
        let default = if b { Slot::B } else { Slot::A };
        let trial = trial.map(|(phase, id, rearms, deadline)| Trial {
            slot: !default,
            phase,
            id,
            rearms,
            deadline,
        });
        BootState {
            seq,
            default,
            // a trial says it all
            spoilt: spoilt.filter(|_| trial.is_none()),
            trial,
            failed,
            local,
            starts,
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(state in any_state()) {
        let block = state.encode().unwrap();
        prop_assert_eq!(block.len(), BOOT_STATE_SIZE);
        prop_assert_eq!(BootState::parse(&block).unwrap(), state);
    }

    /// A power cut while one copy is written leaves old sectors, new sectors, or garbage in it, in any mix.
    #[test]
    fn torn_write_gives_the_old_or_the_new_state(old in any_state(), new in any_state(), first in any::<bool>(), tear in 0usize..=8, garbage in any::<Option<u8>>()) {
        let older = BootState { seq: old.seq - 1, default: old.default, ..BootState::fresh() };
        let mut blocks = [older.encode().unwrap(), old.encode().unwrap()];
        if first { blocks.swap(0, 1); }
        let copies = Copies::parse([&blocks[0], &blocks[1]]);
        let (index, block) = copies.write(&new).unwrap();
        let cut = tear * 512;
        blocks[index][..cut].copy_from_slice(&block[..cut]);
        if let (Some(byte), true) = (garbage, cut < BOOT_STATE_SIZE) { blocks[index][cut..(cut + 512).min(BOOT_STATE_SIZE)].fill(byte); }
        let after = Copies::parse([&blocks[0], &blocks[1]]);
        let (_, seen) = after.newest().unwrap();
        let is_new = seen.default == new.default && seen.trial == new.trial && seen.seq == old.seq + 1;
        prop_assert!(seen == &old || is_new, "neither old nor new: {seen:?}");
        if cut == BOOT_STATE_SIZE { prop_assert!(is_new); }
    }

    #[test]
    fn any_flipped_bit_makes_a_copy_invalid(state in any_state(), at in 0..BOOT_STATE_SIZE, bit in 0u8..8) {
        let mut block = state.encode().unwrap();
        block[at] ^= 1 << bit;
        prop_assert!(BootState::parse(&block).is_err());
    }

    #[test]
    fn garbage_never_panics(block in proptest::collection::vec(any::<u8>(), 0..BOOT_STATE_SIZE + 9)) {
        prop_assert!(BootState::parse(&block).is_err());
    }

    #[test]
    fn swapped_copies_mean_the_same(a in any_state(), b in any_state()) {
        prop_assume!(a.seq != b.seq);
        let (x, y) = (a.encode().unwrap(), b.encode().unwrap());
        let one = Copies::parse([&x, &y]);
        let two = Copies::parse([&y, &x]);
        prop_assert_eq!(one.newest().unwrap().1, two.newest().unwrap().1);
    }

    /// A copy that is valid but old (a write that never reached the card) loses against the newer one.
    #[test]
    fn stale_copy_loses(state in any_state(), age in 1u32..100) {
        let stale = BootState { seq: state.seq.saturating_sub(age), ..state.clone() };
        prop_assume!(stale.seq < state.seq);
        let copies = Copies([Some(stale), Some(state.clone())]);
        prop_assert_eq!(copies.newest().unwrap().1, &state);
    }
}

#[test]
fn no_valid_copy_is_no_state() {
    let zeros = vec![0; BOOT_STATE_SIZE];
    let erased = vec![0xff; BOOT_STATE_SIZE];
    assert_eq!(Copies::parse([&zeros, &erased]).newest(), None);
    assert_eq!(
        Copies::parse([&zeros, &erased])
            .write(&BootState::fresh())
            .unwrap()
            .0,
        0
    );
}

/// The words of the block are an interface: the script on p1 of a card may be older than the agent.
#[test]
fn the_variables_are_spelled_as_the_script_spells_them() {
    let mut state = BootState {
        seq: 0x1f,
        default: Slot::B,
        failed: Some("f00d".into()),
        starts: 2,
        ..BootState::fresh()
    };
    state.arm(Slot::A, "0123456789abcdef", 0x384).unwrap();
    let block = state.encode().unwrap();
    let text = core::str::from_utf8(&block[4..])
        .unwrap()
        .trim_end_matches('\0');
    assert_eq!(
        text,
        "hy_seq=1f\0hy_default=b\0hy_trial=armed\0hy_slot=a\0hy_id=0123456789abcdef\0hy_boots=0\0hy_deadline=384\0hy_failed=f00d\0hy_local=0\0hy_starts=2"
    );
    state.refuse();
    let block = state.encode().unwrap();
    let text = core::str::from_utf8(&block[4..]).unwrap();
    assert!(
        text.contains("hy_trial=none\0hy_slot=a\0hy_id=unproven\0hy_boots=0\0"),
        "{text}"
    );
}

/// What the boot loader did because a slot did not come up is kept and told; what failed its trial is never made the default
/// by that alone, or three power cuts would leave a board on a release that is known to be bad.
#[test]
fn what_runs_because_the_default_does_not_is_kept_unless_it_is_known_to_be_bad() {
    let tried = |phase| {
        Some(Trial {
            slot: Slot::B,
            phase,
            id: "x1".into(),
            rearms: 0,
            deadline: 900,
        })
    };
    let (a, b) = (Slot::A, Slot::B);
    let (left, refused) = (Some(Spoilt::Left), Some(Spoilt::Unproven));
    // (danger, trial, spoilt, starts, booted) -> (changed, default, spoilt, starts)
    for (danger, trial, spoilt, starts, booted, changed, default, after, count) in [
        ("a start after two cuts", None, None, 2, a, true, a, None, 0),
        ("nothing to write", None, None, 0, a, false, a, None, 0),
        ("it did not come up", None, None, 4, b, true, b, left, 0),
        ("it did not load", None, None, 1, b, true, b, left, 0),
        ("both did once", None, left, 4, b, true, b, left, 0),
        ("a bad one", None, refused, 4, b, true, a, refused, 0),
        ("and again", None, refused, 0, b, false, a, refused, 0),
        (
            "a trial is judged by its tests",
            tried(Phase::Trying),
            None,
            1,
            b,
            false,
            a,
            None,
            1,
        ),
        (
            "the trial before failed",
            tried(Phase::Failed),
            None,
            4,
            b,
            true,
            a,
            None,
            0,
        ),
        (
            "the way back came up",
            tried(Phase::Lost),
            None,
            1,
            a,
            true,
            a,
            None,
            0,
        ),
    ] {
        let mut state = BootState {
            trial: trial.clone(),
            spoilt,
            starts,
            ..BootState::fresh()
        };
        assert_eq!(state.came_up(booted), changed, "{danger}");
        assert_eq!(
            (state.default, state.spoilt, state.starts),
            (default, after, count),
            "{danger}"
        );
        assert_eq!(state.trial, trial, "{danger}: its end is told later");
    }
    // the agent may be the first to keep it
    let mut state = BootState::fresh();
    state.commit(b);
    assert_eq!(state.spoilt, left);
    state.arm(a, "x2", 900).unwrap();
    assert_eq!(state.spoilt, None, "something else is there now");
    state.cancel();
    assert_eq!(state.spoilt, refused, "which nobody tried");
    // three power cuts beside an installation must not end on what was just written
    let mut state = BootState::fresh();
    state.overwrite_other();
    state.starts = 4;
    assert!(state.came_up(b) && state.default == a);
}

#[test]
fn verbs_refuse_what_makes_no_sense() {
    let mut state = BootState::fresh();
    assert_eq!(
        state.arm(Slot::A, "x", 900),
        Err(BootStateError::TryDefault(Slot::A))
    );
    assert_eq!(
        state.arm(Slot::B, "a=b", 900),
        Err(BootStateError::BadId("a=b".into()))
    );
    assert_eq!(state.fail(), Err(BootStateError::NoTrial));
    assert_eq!(state.rearm(), Err(BootStateError::NoTrial));
    state.arm(Slot::B, "x1", 900).unwrap();
    assert_eq!(state.rearm(), Ok(false), "armed already");
    for _ in 0..MAX_REARMS {
        state.trial.as_mut().unwrap().phase = Phase::Trying;
        assert_eq!(state.rearm(), Ok(true));
    }
    state.trial.as_mut().unwrap().phase = Phase::Trying;
    assert_eq!(state.rearm(), Ok(false), "a reboot loop must end");
    for judged in [Phase::Failed, Phase::Lost] {
        let mut state = state.clone();
        state.trial.as_mut().unwrap().phase = judged;
        let late = state.win(Slot::B);
        assert_eq!(
            late,
            Err(BootStateError::Judged(Slot::B)),
            "the last resort was first"
        );
        assert_eq!(state.default, Slot::A);
    }
    assert_eq!(state.win(Slot::A), Err(BootStateError::Judged(Slot::A)));
    state.win(Slot::B).unwrap();
    assert_eq!(
        state,
        BootState {
            default: Slot::B,
            ..BootState::fresh()
        }
    );
}

#[test]
fn a_trial_of_the_default_slot_is_no_state() {
    let block = env::encode(&[
        ("hy_seq", "1".into()),
        ("hy_default", "a".into()),
        ("hy_trial", "armed".into()),
        ("hy_slot", "a".into()),
        ("hy_id", "x".into()),
        ("hy_boots", "0".into()),
    ])
    .unwrap();
    assert_eq!(BootState::parse(&block), Err(EnvError::Malformed));
}

/// A card's blocks may be older than the agent that reads them.
#[test]
fn a_block_of_before_deadlines_and_failures_is_read() {
    let block = env::encode(&[
        (name::SEQ, "2".into()),
        (name::DEFAULT, "a".into()),
        (name::TRIAL, "trying".into()),
        (name::SLOT, "b".into()),
        (name::ID, "x1".into()),
        (name::BOOTS, "0".into()),
    ])
    .unwrap();
    let state = BootState::parse(&block).unwrap();
    assert_eq!((state.failed.as_deref(), state.local), (None, false));
    assert_eq!((state.starts, state.spoilt), (0, None));
    assert_eq!(state.trial.unwrap().deadline, DEFAULT_DEADLINE);
}

/// The variables of a block, from the text of a fixture.
fn block(text: &str) -> Vec<u8> {
    let pairs: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, String::from(value)))
        .collect();
    env::encode(&pairs).expect("fits")
}

#[test]
fn boot_states_of_other_versions_are_read() {
    let first = block(include_str!(
        "../../../testdata/versions/boot-state-2026-11-26.txt"
    ));
    let today = block(include_str!(
        "../../../testdata/versions/boot-state-2026-11-27.txt"
    ));
    let next = block(include_str!(
        "../../../testdata/versions/boot-state-next.txt"
    ));
    let trial = |deadline| Trial {
        slot: Slot::B,
        phase: Phase::Trying,
        id: "0202020202020202".into(),
        rearms: 1,
        deadline,
    };
    let read = |block: &[u8]| BootState::parse(block).expect("readable");
    let state = read(&today);
    assert_eq!(
        (state.seq, state.default, state.starts, state.local),
        (0x1f, Slot::A, 2, true)
    );
    assert_eq!(state.trial, Some(trial(900)));
    assert_eq!(state.failed.as_deref(), Some("0909090909090909"));
    assert_eq!(read(&next), state, "what is new is passed over");
    assert_eq!(
        state.encode().as_deref(),
        Ok(&*today),
        "today's format changed: add a fixture, change none"
    );
    // and what older agents did not write is what it was for them
    let older = BootState {
        starts: 0,
        local: false,
        failed: None,
        ..state
    };
    assert_eq!(read(&first), older);
}

#[test]
fn a_boot_state_that_was_lost_makes_the_first_slot_prove_itself_and_no_other_state_does() {
    let anew = |seq, starts| BootState {
        seq,
        starts,
        ..BootState::fresh()
    };
    // with arithmetic and without
    for seq in [0, 1] {
        let mut state = anew(seq, 1);
        assert!(state.doubt());
        let trial = state.on_trial(Slot::A).cloned().expect("a trial");
        assert_eq!((trial.phase, state.default), (Phase::Trying, Slot::B));
        assert_eq!(trial.id, UNKNOWN);
        let block = state.encode().unwrap();
        assert_eq!(
            BootState::parse(&block),
            Ok(state.clone()),
            "it survives the script"
        );
        assert!(!state.doubt(), "once");
    }
    for (danger, state) in [
        ("as it was flashed", BootState::fresh()),
        ("the first start where nothing can count", anew(FIRST, 1)),
        ("an ordinary start", anew(FIRST + 1, 1)),
        ("nothing was counted", anew(1, 0)),
        (
            "somebody kept the other slot",
            BootState {
                default: Slot::B,
                ..anew(1, 1)
            },
        ),
        (
            "something failed",
            BootState {
                failed: Some("x1".into()),
                ..anew(1, 1)
            },
        ),
    ] {
        let mut asked = state.clone();
        assert!(!asked.doubt() && asked == state, "{danger}");
    }
}
