//! Three servers on three members of etcd, while members die and are cut off: never more boards out than allowed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hypriot_tests::locks::boards::{Board, Line, Truth, Way};
use hypriot_tests::locks::servers::{self, Server};
use serde_json::{Value, json};

const SLOTS: usize = 3;

/// Reads the history: how many boards were out after each event.
fn most_out(events: &[Value]) -> usize {
    let mut out = BTreeSet::new();
    let mut most = 0;
    for event in events {
        let board = event["board"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "granted" => {
                assert!(out.insert(board), "granted twice: {event}");
            }
            "released" | "cleared" | "forgotten" => {
                out.remove(&board);
            }
            _ => {}
        }
        most = most.max(out.len());
    }
    most
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < end, "it does not come to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn members_and_servers_die_and_are_cut_off_and_never_more_are_out_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut members = servers::etcd(dir.path()).unwrap();
    let cluster = servers::names(&members);
    let token = dir.path().join("token");
    let token = token.to_str().unwrap();
    let start = |n: usize, store: &str, new: bool| {
        let state = dir.path().join(format!("s{n}"));
        let mut words = vec!["--store", store, "--token-file", token];
        if new {
            words.extend(["--new", "--group", "default=3"]);
        }
        Server::start(&state, &words).unwrap()
    };
    let mut fleet: Vec<Server> = (0..3)
        .map(|n| start(n, &servers::store(&members, n), n == 0))
        .collect();
    let truth = Arc::new(Truth::default());
    let boards: Vec<_> = (0..48_usize)
        .map(|n| {
            let mut ports: Vec<u16> = fleet.iter().map(|s| s.port).collect();
            ports.rotate_left(n % 3);
            let board = Board {
                id: format!("n{n}"),
                way: if n % 8 == 0 { Way::Flapping } else { Way::Good },
                ports,
                restart: Duration::from_millis(300),
                pause: Duration::from_millis(150),
            };
            let truth = Arc::clone(&truth);
            std::thread::spawn(move || board.live(&truth))
        })
        .collect();
    let gone = || truth.grants.load(Ordering::SeqCst);
    wait_for("boards go", || gone() >= 6);
    members[0].kill();
    let before = gone();
    wait_for("boards go on with two of three members", || {
        gone() >= before + 6
    });
    members[0].again(&cluster).unwrap();
    members[1].cut_off(true).unwrap();
    let before = gone();
    wait_for("boards go on with one member cut off", || {
        gone() >= before + 6
    });
    // and now the majority is away
    members[2].cut_off(true).unwrap();
    wait_for("those that are out come back", || truth.out() == 0);
    std::thread::sleep(Duration::from_millis(300));
    let before = gone();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(gone(), before, "a minority lets nobody go");
    members[1].cut_off(false).unwrap();
    members[2].cut_off(false).unwrap();
    // a server dies as well, and boards ask the others
    fleet[0].kill().unwrap();
    for board in boards {
        board.join().unwrap();
    }
    assert_eq!(gone(), 48, "everybody had a turn");
    assert!(
        truth.most() <= SLOTS,
        "{} out by their own clock",
        truth.most()
    );
    let events = servers::history(&members[1]).unwrap();
    assert_eq!(most_out(&events), SLOTS, "the slots were used, and no more");
    // another server reads the same
    let late = start(4, &servers::store(&members, 1), false);
    assert_eq!(late.group().unwrap()["out"], 0);
    assert_eq!(
        late.group().unwrap()["boards"].as_array().unwrap().len(),
        48
    );
}

/// As many as a plan's entry is too large for etcd with.
const MANY: usize = 4_000;
const HANDS: usize = 8;

#[test]
fn a_plan_over_thousands_of_boards_is_larger_than_etcd_takes_in_one_request_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let members = servers::etcd(dir.path()).unwrap();
    let store = servers::store(&members, 0);
    let start = |name: &str, new: &[&str]| {
        // as on a machine that has never seen it
        let state = dir.path().join(name);
        Server::start(&state, &[&["--store", store.as_str()], new].concat()).unwrap()
    };
    let server = start("s0", &["--new", "--group", "default=10"]);
    let port = server.port;
    let boards: Vec<_> = (0..HANDS)
        .map(|hand| {
            std::thread::spawn(move || {
                let mut line = Line::default();
                for n in (hand..MANY).step_by(HANDS) {
                    let said = json!({
                        "name": format!("n{n}"), "version": "1.0.0", "target": "1.1.0", "model": "rpi64", "slot": "a",
                        "boot": format!("{n:08x}-0000-4000-8000-000000000000"), "progress": "steady",
                        "last": {"version": "1.0.0", "outcome": "confirmed", "at": "2026-11-27T00:00:00Z"},
                    });
                    let (status, answer) = line.say(port, "steady-state", &format!("{n:064x}"), &said).unwrap();
                    assert_eq!(status, 200, "{answer}");
                }
            })
        })
        .collect();
    for hand in boards {
        hand.join().unwrap();
    }
    assert_eq!(
        servers::parts(&members[0]).unwrap(),
        (0, 0),
        "what boards say is small"
    );

    let plan = dir.path().join("plan.toml");
    let text = "group = \"default\"\nversion = \"1.1.0\"\nmax_unavailable = \"10\"\n";
    hypriot_imagegen::files::replace(&plan, text.as_bytes()).unwrap();
    server
        .operator(&["plan", "apply", plan.to_str().unwrap()])
        .unwrap();
    let (whole, largest) = servers::parts(&members[1]).unwrap();
    assert!(
        !servers::takes(&members[1], whole).unwrap(),
        "{whole} bytes fit, so this test has seen nothing"
    );
    assert!(servers::takes(&members[1], largest).unwrap(), "{largest}");

    // another server, and one that was killed, read the same
    let waves = |server: &Server| server.group().unwrap()["rollout"]["waves"].clone();
    let size = |waves: &Value| {
        waves
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["boards"].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    assert_eq!(size(&waves(&server)), MANY as u64, "{}", waves(&server));
    drop(server);
    assert_eq!(size(&waves(&start("s1", &[]))), MANY as u64);
}
