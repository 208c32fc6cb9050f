//! Rollouts as tables: one board's turn, many boards' shares, and the choice among releases.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use hypriot_keys::time::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::{Candidate, Next, Place, Point, Rollout, RolloutError, Turn, choose, rollout};
use crate::slot::{Digest, Release};

const NOW: Timestamp = Timestamp(1_795_440_585); // 2026-11-23T13:29:45Z, a Monday

fn version(text: &str) -> semver::Version {
    text.parse().unwrap()
}

fn release(text: &str) -> Release {
    let version = version(text);
    let n = u8::try_from(version.major).unwrap();
    Release {
        version,
        digest: Digest([n; 32]),
        state_version: 0,
    }
}

fn candidate(text: &str, rollout: Rollout) -> Candidate {
    Candidate {
        release: release(text),
        rollout,
    }
}

fn curve(points: &[(u32, u8)]) -> Vec<Point> {
    points
        .iter()
        .map(|&(hours, percent)| Point { hours, percent })
        .collect()
}

fn paused() -> Rollout {
    Rollout {
        paused: Some("a bug".into()),
        ..Rollout::default()
    }
}

fn barrier() -> Rollout {
    Rollout {
        barrier: Some("moves the data".into()),
        ..Rollout::default()
    }
}

fn deadend() -> Rollout {
    Rollout {
        deadend: Some("eats cards".into()),
        ..Rollout::default()
    }
}

fn minimum(text: &str) -> Rollout {
    Rollout {
        minimum: Some(version(text)),
        ..Rollout::default()
    }
}

#[test]
fn the_words_for_an_owner() {
    let later = Rollout {
        start: Timestamp::parse("2026-11-26T14:00:00Z"),
        ..Rollout::default()
    };
    let turn = rollout(&later, &release("2.0.0"), b"board", &version("1.0.0"), NOW);
    assert_eq!(
        format!("{turn}"),
        "your turn about Thursday 14:00 UTC (2026-11-26)"
    );
    let next = choose(
        &[candidate("2.0.0", barrier())],
        b"board",
        &version("1.0.0"),
        NOW,
    );
    let Next::Candidate { why, .. } = next else {
        panic!("{next:?}")
    };
    assert_eq!(
        why,
        "version 2.0.0, which no board may skip (moves the data): your turn is now"
    );
}

/// A case: its name, the releases, and which is next and whether now. The board runs 1.0.0.
type Case = (
    &'static str,
    Vec<(&'static str, Rollout)>,
    Option<(&'static str, bool)>,
);

fn plain() -> Rollout {
    Rollout::default()
}

fn future() -> Rollout {
    Rollout {
        start: Some(NOW.plus(60)),
        ..Rollout::default()
    }
}

#[test]
fn which_release_is_next() {
    run([
        ("nothing", vec![], None),
        ("only what runs", vec![("1.0.0", plain())], None),
        ("older", vec![("0.9.0", plain())], None),
        (
            "the newest",
            vec![("2.0.0", plain()), ("3.0.0", plain())],
            Some(("3.0.0", true)),
        ),
        (
            "a barrier is not skipped",
            vec![("2.0.0", barrier()), ("3.0.0", plain())],
            Some(("2.0.0", true)),
        ),
        (
            "up to the barrier",
            vec![("2.0.0", plain()), ("3.0.0", barrier()), ("4.0.0", plain())],
            Some(("3.0.0", true)),
        ),
        (
            "the first barrier",
            vec![("2.0.0", barrier()), ("3.0.0", barrier())],
            Some(("2.0.0", true)),
        ),
        (
            "a barrier behind is no barrier",
            vec![("0.5.0", barrier()), ("3.0.0", plain())],
            Some(("3.0.0", true)),
        ),
        (
            "withdrawn",
            vec![("2.0.0", plain()), ("3.0.0", deadend())],
            Some(("2.0.0", true)),
        ),
        (
            "a withdrawn barrier is no barrier",
            vec![
                (
                    "2.0.0",
                    Rollout {
                        barrier: Some("x".into()),
                        ..deadend()
                    },
                ),
                ("3.0.0", plain()),
            ],
            Some(("3.0.0", true)),
        ),
        ("all withdrawn", vec![("3.0.0", deadend())], None),
    ]);
}

#[test]
fn which_release_is_next_while_others_wait() {
    run([
        ("paused", vec![("3.0.0", paused())], Some(("3.0.0", false))),
        (
            "paused, the one before is not",
            vec![("2.0.0", plain()), ("3.0.0", paused())],
            Some(("2.0.0", true)),
        ),
        ("not yet", vec![("3.0.0", future())], Some(("3.0.0", false))),
        (
            "not yet, the one before is due",
            vec![("2.0.0", plain()), ("3.0.0", future())],
            Some(("2.0.0", true)),
        ),
        (
            "not yet, and the one before is paused",
            vec![("2.0.0", paused()), ("3.0.0", future())],
            Some(("3.0.0", false)),
        ),
        (
            "a paused barrier holds all behind it",
            vec![
                (
                    "2.0.0",
                    Rollout {
                        barrier: Some("x".into()),
                        ..paused()
                    },
                ),
                ("3.0.0", plain()),
            ],
            Some(("2.0.0", false)),
        ),
        (
            "a minimum that is met",
            vec![("3.0.0", minimum("1.0.0"))],
            Some(("3.0.0", true)),
        ),
        (
            "a minimum that is not met",
            vec![("2.0.0", plain()), ("3.0.0", minimum("2.0.0"))],
            Some(("2.0.0", true)),
        ),
        (
            "a minimum that nothing leads to",
            vec![("3.0.0", minimum("2.0.0"))],
            Some(("3.0.0", false)),
        ),
        (
            "what leads to the minimum is paused",
            vec![("2.0.0", paused()), ("3.0.0", minimum("2.0.0"))],
            Some(("2.0.0", false)),
        ),
    ]);
}

fn run<const N: usize>(cases: [Case; N]) {
    for (name, candidates, expected) in cases {
        let list: Vec<_> = candidates
            .into_iter()
            .map(|(v, r)| candidate(v, r))
            .collect();
        let found = match choose(&list, b"board", &version("1.0.0"), NOW) {
            Next::UpToDate => None,
            Next::Candidate { index, turn, .. } => Some((
                format!("{}", list[index].release.version),
                turn == Turn::Now,
            )),
            Next::Stuck(why) => panic!("{name}: {why}"),
        };
        let expected = expected.map(|(v, now): (&str, bool)| (v.into(), now));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_board_on_a_withdrawn_release_is_told() {
    let list = [
        candidate("1.0.0", deadend()),
        candidate("2.0.0", Rollout::default()),
    ];
    let next = choose(&list, b"board", &version("1.0.0"), NOW);
    assert!(
        matches!(&next, Next::Stuck(why) if why.contains("eats cards")),
        "{next:?}"
    );
}

#[test]
fn a_key_of_a_newer_version_keeps_no_board_from_updates() {
    let newer = json!({"rollout": {
        "start": "2026-11-26T08:00:00Z",
        "curve": [{"hours": 0, "percent": 100, "regions": ["eu"]}],
        "weather": {"fair": true}
    }});
    let read = Rollout::of_target(&newer);
    assert_eq!(read.curve, curve(&[(0, 100)]));
    assert_eq!(read.paused, None);
    let waits = |value: serde_json::Value| Rollout::of_target(&json!({ "rollout": value }));
    // what must not be passed over holds this release back, and no other one
    for (danger, value) in [
        (
            "a rule that it must know",
            json!({"weather": 1, "needs": ["weather"]}),
        ),
        (
            "a known key that says something new",
            json!({"paused": {"by": "x"}}),
        ),
        ("not a table", json!([])),
        ("no curve", json!({"curve": [{"hours": 0, "percent": 5}]})),
    ] {
        let candidates = [
            Candidate {
                release: release("3.0.0"),
                rollout: waits(value),
            },
            candidate("2.0.0", plain()),
        ];
        let next = choose(&candidates, b"board", &version("1.0.0"), NOW);
        let chosen = matches!(
            next,
            Next::Candidate {
                index: 1,
                turn: Turn::Now,
                ..
            }
        );
        assert!(chosen, "{danger}: {next:?}");
        let next = choose(&candidates[..1], b"board", &version("1.0.0"), NOW);
        let paused = matches!(
            next,
            Next::Candidate {
                turn: Turn::Paused(_),
                ..
            }
        );
        assert!(paused, "{danger}: {next:?}");
    }
    // a barrier that cannot be read is none that may be passed
    let rollout = waits(json!({"barrier": "converts data", "needs": ["weather"]}));
    let candidates = [
        Candidate {
            release: release("2.0.0"),
            rollout,
        },
        candidate("3.0.0", plain()),
    ];
    let next = choose(&candidates, b"board", &version("1.0.0"), NOW);
    assert!(
        matches!(
            next,
            Next::Candidate {
                index: 0,
                turn: Turn::Paused(_),
                ..
            }
        ),
        "{next:?}"
    );
}

#[test]
fn a_slip_of_the_pen_is_not_signed() {
    let start = "2026-11-26T08:00:00Z";
    for (value, key) in [
        (json!({"stat": start}), "stat"),
        (
            json!({"start": start, "curve": [{"hour": 1, "hours": 1, "percent": 5}]}),
            "hour",
        ),
        (json!({"pause": "x"}), "pause"),
    ] {
        assert_eq!(
            Rollout::parse_new(&value),
            Err(RolloutError::Unknown(key.into()))
        );
    }
    let whole = Rollout {
        start: Some(NOW),
        curve: curve(&[(0, 100)]),
        paused: Some("x".into()),
        barrier: Some("x".into()),
        deadend: Some("x".into()),
        minimum: Some(version("1.0.0")),
        needs: vec!["start".into()],
    };
    let value = serde_json::to_value(&whole).expect("json");
    let written: Vec<_> = value
        .as_object()
        .expect("a table")
        .keys()
        .map(|key| &**key)
        .collect();
    let mut known = hypriot_keys::schema::ROLLOUT_KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(
        written, known,
        "every key has a meaning, and every meaning a key"
    );
    assert_eq!(Rollout::parse_new(&value), Ok(whole));
}

#[test]
fn rollouts_that_are_none() {
    let parse = |rollout: serde_json::Value| Rollout::parse(&json!({"rollout": rollout}));
    let start = "2026-11-26T14:00:00Z";
    let with = |points: serde_json::Value| parse(json!({"start": start, "curve": points}));
    assert_eq!(
        Rollout::parse(&json!({"board": "x"})),
        Ok(Rollout::default())
    );
    assert_eq!(
        Rollout::parse(&serde_json::Value::Null),
        Ok(Rollout::default())
    );
    assert_eq!(
        parse(json!({"curve": [{"hours": 0, "percent": 5}]})),
        Err(RolloutError::NoStart)
    );
    for (name, result, point) in [
        (
            "goes down",
            with(json!([{"hours": 0, "percent": 5}, {"hours": 1, "percent": 4}])),
            1,
        ),
        (
            "goes back",
            with(json!([{"hours": 2, "percent": 5}, {"hours": 1, "percent": 6}])),
            1,
        ),
        (
            "stands still in time",
            with(json!([{"hours": 1, "percent": 5}, {"hours": 1, "percent": 6}])),
            1,
        ),
        (
            "more than all",
            with(json!([{"hours": 1, "percent": 101}])),
            0,
        ),
        (
            "a century",
            with(json!([{"hours": 876_000, "percent": 100}])),
            0,
        ),
    ] {
        assert_eq!(result, Err(RolloutError::Curve(point)), "{name}");
    }
    for bad in [
        json!({"start": "Thursday"}),
        json!({"paused": true}),
        json!({"minimum": "2"}),
        json!([]),
    ] {
        assert!(
            matches!(parse(bad.clone()), Err(RolloutError::Json(_))),
            "{bad}"
        );
    }
}

#[test]
fn places_spread_evenly_and_differ_between_releases() {
    let (one, two) = (Digest([1; 32]), Digest([2; 32]));
    let half = |digest: &Digest| -> Vec<bool> {
        (0..10_000u32)
            .map(|n| Place::of(digest, &n.to_be_bytes()).0 < 500_000)
            .collect()
    };
    let (first, second) = (half(&one), half(&two));
    let count = |list: &[bool]| list.iter().filter(|b| **b).count();
    assert!((4_800..5_200).contains(&count(&first)), "{}", count(&first));
    let both = first
        .iter()
        .zip(&second)
        .filter(|(a, b)| **a && **b)
        .count();
    assert!(
        (2_300..2_700).contains(&both),
        "the same boards go first again: {both}"
    );
}

proptest! {
    /// The turn is the first second at which the curve's share exceeds the place.
    #[test]
    fn turns_follow_the_curve(
        steps in proptest::collection::vec((1u32..500, 0u8..=60), 1..6),
        place in 0u64..1_000_000,
    ) {
        let (mut hours, mut percent) = (0, 0u8);
        let points: Vec<_> = steps.iter().map(|(h, p)| {
            hours += h;
            percent = percent.saturating_add(*p).min(100);
            (hours, percent)
        }).collect();
        let rollout = Rollout { start: Some(NOW), curve: curve(&points), ..Rollout::default() };
        prop_assert_eq!(rollout.check(), Ok(()));
        // The share in millionths times the seconds of the segment, so that nothing is rounded.
        let reached = |seconds: u64| -> bool {
            let mut before: Option<(u64, u64)> = None;
            let mut last = 0;
            for (h, p) in &points {
                let (t, s) = (u64::from(*h) * 3600, u64::from(*p) * 10_000);
                if seconds < t {
                    return before.is_some_and(|(t0, s0)| (s - s0) * (seconds - t0) >= (place + 1).saturating_sub(s0) * (t - t0));
                }
                before = Some((t, s));
                last = s;
            }
            last > place
        };
        match rollout.turn(Place(place)) {
            None => prop_assert!(!reached(u64::from(hours) * 3600 + 1_000_000)),
            Some(time) => {
                let after = time.0 - NOW.0;
                prop_assert!(reached(after), "at {after}");
                prop_assert!(after == 0 || !reached(after - 1), "before {after}");
            }
        }
    }
}
