//! What a hand that watches boards makes of gaps in its watch.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::rollout::journal::{Before, Event, Facts, Journal};
use crate::rollout::plan::Member;
use crate::rollout::{Answer, Attempt, Order, decide};

static NOW: AtomicU64 = AtomicU64::new(1_000_000);

fn clock() -> u64 {
    NOW.load(Ordering::SeqCst)
}

/// A canary that has the release for ten seconds of its soak of fifteen minutes, and one that restarts.
fn soaking() -> (Plan, Journal) {
    let member = |name: &str| Member {
        name: name.into(),
        line: name.into(),
        ..Member::default()
    };
    let plan = Plan::new(vec![member("127.0.0.1:1"), member("127.0.0.1:2")]);
    let mut journal = Journal::default();
    let from = Before {
        version: "1.0.0".into(),
        slot: "a".into(),
        last: None,
    };
    for member in &plan.boards {
        let (board, from) = (member.name.clone(), from.clone());
        let facts = Facts {
            id: board.clone(),
            model: "pi".into(),
            before: from.clone(),
            target: Some("1.1.0".into()),
        };
        for what in [
            What::Fit {
                board: board.clone(),
                facts,
            },
            What::Ordered {
                board,
                action: Action::Update,
                version: "1.1.0".into(),
                from,
            },
        ] {
            journal.add(&Event { at: clock(), what });
        }
    }
    (plan, journal)
}

#[tokio::test]
async fn a_laptop_that_slept_has_watched_nobody_meanwhile() {
    let (plan, journal) = soaking();
    let hosts = crate::hosts::parse("127.0.0.1:1\n127.0.0.1:2\n").expect("hosts");
    let ssh = Ssh::new(Vec::new(), false).expect("ssh");
    let mut live = Live::start(hosts, ssh, &plan, ("r", "me"), clock).expect("starts");
    let updated = Answer {
        version: "1.1.0".into(),
        slot: "b".into(),
        last: Some(Attempt {
            version: "1.1.0".into(),
            outcome: "confirmed".into(),
            at: "now".into(),
        }),
        ..Answer::default()
    };
    for (name, answer) in [
        ("127.0.0.1:1", Some(updated)),
        ("127.0.0.1:2", Some(Answer::default())),
    ] {
        hear(&mut of(&live.boards[name]).seen, answer, clock());
    }
    let notes = |live: &mut Live| {
        let orders = decide(&plan, &live.seen(), &journal, clock());
        orders.into_iter().filter(|o| matches!(o, Order::Note(_)))
    };
    NOW.fetch_add(10, Ordering::SeqCst);
    assert_eq!(notes(&mut live).count(), 0);
    NOW.fetch_add(2 * 3600, Ordering::SeqCst);
    let told: Vec<Order> = notes(&mut live).collect();
    assert_eq!(told, [], "nobody was silent, and nobody was good for hours");
    // from now on it counts again
    for _ in 0..=plan.silence / 30 {
        NOW.fetch_add(30, Ordering::SeqCst);
        live.seen();
    }
    let told: Vec<Order> = notes(&mut live).collect();
    let silent = |o: &&Order| matches!(o, Order::Note(What::Failed { reason, .. }) if reason.contains("said nothing"));
    assert_eq!(told.iter().filter(silent).count(), 2, "{told:?}");
}
