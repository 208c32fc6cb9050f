//! `hypriot-fleet serve` as an owner runs it: the real program and its real store, ended as roughly as a power cut.

#![expect(
    clippy::disallowed_methods,
    reason = "a test starts the program itself"
)]

mod protocol;
mod server;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use server::{Server, ask, board_says};

#[test]
fn what_was_granted_is_held_after_kill_9_at_any_moment() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(Server::new(dir.path(), 1000));
    let mut granted = 0;
    for round in 0..5_u64 {
        let mut server = Server::start(dir.path(), &[]).expect("serves");
        let port = server.port;
        let boards: Vec<_> = (0..4)
            .map(|n| {
                std::thread::spawn(move || {
                    let name = |m: usize| format!("r{round}n{n}m{m}");
                    let said_yes = |m: &usize| {
                        matches!(
                            board_says(port, "pre-reboot", &name(*m), json!({})),
                            Ok((200, _))
                        )
                    };
                    (0..100_000)
                        .take_while(said_yes)
                        .map(name)
                        .collect::<Vec<String>>()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(150 + round * 37));
        server.kill();
        let said: Vec<String> = boards
            .into_iter()
            .flat_map(|b| b.join().expect("ends"))
            .collect();
        granted += said.len();
        let server = Server::start(dir.path(), &[]).expect("serves again");
        let held = server.locks();
        for board in &said {
            assert!(held.contains(board), "{board} was let go, and is forgotten");
        }
    }
    assert!(
        granted > 20,
        "only {granted} were granted: the test saw nothing"
    );
}

#[test]
fn the_server_restarts_and_nobody_gets_a_slot_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::new(dir.path(), 1);
    assert_eq!(server.lock("a").0, 200);
    server.kill();
    let server = Server::start(dir.path(), &["--group", "default=1"]).expect("serves");
    assert_eq!(server.lock("b").0, 423);
    assert_eq!(server.lock("a").0, 200, "its answer may have been lost");
    assert_eq!(server.steady("a").0, 200);
    assert_eq!(server.lock("b").0, 200);
    // changed slots count at once
    drop(server);
    let server = Server::start(dir.path(), &["--group", "default=2"]).expect("serves");
    assert_eq!(server.lock("c").0, 200);
}

#[test]
fn a_second_copy_of_the_server_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let _server = Server::new(dir.path(), 1);
    let said = Server::start(dir.path(), &[]).expect_err("two of them");
    assert!(
        said.0.contains("another hypriot-fleet serves from"),
        "{}",
        said.0
    );
}

#[test]
fn a_lost_disk_is_not_taken_for_a_first_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 1);
    assert_eq!(server.lock("a").0, 200);
    drop(server);
    std::fs::remove_file(dir.path().join("fleet.redb")).expect("lost");
    let said = Server::start(dir.path(), &[]).expect_err("a is out, and nothing knows of it");
    assert!(said.0.contains("boards may be out"), "{}", said.0);
}

#[test]
fn a_full_disk_grants_nothing_says_so_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    std::fs::create_dir(&state).expect("made");
    let script = "mount -t tmpfs -o size=4m,mode=700 none \"$1\" && exec \"$2\" serve --listen 127.0.0.1:0 --state \"$1\" --new --group default=1000";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(&state)
        .arg(server::PROGRAM);
    let server = Server::spawn(command, &state).expect("serves from a small disk");
    // its disk, seen from outside
    let disk = std::path::PathBuf::from(format!("/proc/{}/root{}", server.pid(), state.display()));
    assert!(disk.join("fleet.redb").exists());
    assert_eq!(server.lock("a").0, 200);
    let ballast = disk.join("ballast");
    let full = std::fs::write(&ballast, vec![0; 8 << 20]).expect_err("no room for so much");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let big = "x".repeat(150);
    let mut granted = vec!["a".to_owned()];
    let refused = (0..900).find_map(|n| {
        let name = format!("{big}{n}");
        let (status, answer) = server.lock(&name);
        match status {
            200 => {
                granted.push(name);
                None
            }
            _ => Some((status, answer)),
        }
    });
    let (status, answer) = refused.expect("the disk is full");
    assert_eq!(
        (status, answer["kind"].as_str()),
        (503, Some("failed_store")),
        "{answer}"
    );
    assert_eq!(server.get("/readyz").0, 503);
    assert_eq!(server.get("/livez").0, 200, "restarting it would not help");
    std::fs::remove_file(&ballast).expect("room again");
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while server.lock("late").0 != 200 {
        assert!(std::time::Instant::now() < end, "it does not find back");
        std::thread::sleep(Duration::from_millis(200));
    }
    let held = server.locks();
    for board in &granted {
        assert!(held.contains(board), "{board} was let go, and is forgotten");
    }
}

#[test]
fn a_board_that_comes_back_broken_pauses_its_group_until_an_operator_looks() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 1);
    let says = |word: &str, version: &str, target: &str| {
        board_says(
            server.port,
            word,
            "a",
            json!({"version": version, "target": target, "reason": "docker: not running"}),
        )
        .expect("answers")
    };
    assert_eq!(says("pre-reboot", "1.0.0", "1.1.0").0, 200);
    assert_eq!(says("steady-state", "1.0.0", "").0, 200);
    let (status, answer) = server.lock("b");
    assert_eq!(
        (status, answer["kind"].as_str()),
        (423, Some("failed_lock_group_paused"))
    );
    assert!(
        answer["value"]
            .as_str()
            .is_some_and(|v| v.contains("went for 1.1.0 and came back with 1.0.0")),
        "{answer}"
    );
    let (code, text) = server.operator(&["group", "show"]);
    assert!(
        code == 0 && text.contains("paused by the server: a went for 1.1.0"),
        "{text}"
    );
    assert_eq!(
        server.operator(&["group", "resume", "default"]),
        (0, "default: resume: done\n".into())
    );
    assert_eq!(server.lock("b").0, 200);
    let (code, text) = server.operator(&["group", "clear", "default", "nobody"]);
    assert!(code == 1 && text.contains("no board nobody"), "{text}");
}

#[test]
fn nobody_but_the_operator_changes_anything() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 1);
    let token = format!("Bearer {}", server.token());
    let path = "/v1/groups/default/pause";
    for (danger, header, status) in [
        ("nobody", ("x", "y"), 401),
        (
            "a wrong one",
            ("authorization", "Bearer 0123456789abcdef"),
            401,
        ),
        ("the operator", ("authorization", token.as_str()), 200),
    ] {
        let (got, text) = ask(server.port, "POST", path, &[header], "{}").expect("answers");
        assert_eq!(got, status, "{danger}: {text}");
        assert!(!text.contains(&server.token()), "{danger}");
    }
    let rebound = [
        ("host", "evil.example.org"),
        ("authorization", token.as_str()),
    ];
    assert_eq!(
        ask(server.port, "POST", path, &rebound, "{}")
            .expect("answers")
            .0,
        421
    );
    for path in [
        "/",
        "/fleet.js",
        "/fleet.css",
        "/v1/state",
        "/v1/locks",
        "/metrics",
        "/sd",
    ] {
        assert_eq!(server.get(path).0, 200, "{path}: reading is open");
    }
    drop(server);
    let server = Server::start(dir.path(), &["--closed"]).expect("serves");
    for path in ["/v1/state", "/v1/locks", "/v1/events", "/metrics", "/sd"] {
        assert_eq!(server.get(path).0, 401, "{path}: reading is closed");
        let (status, _) =
            ask(server.port, "HEAD", path, &[("authorization", &token)], "").expect("answers");
        assert_eq!(status, 200, "{path}");
    }
    assert_eq!(
        server.lock("a").0,
        423,
        "boards go on asking; the pause holds"
    );
}

#[test]
fn the_page_is_small_ours_alone_and_metrics_and_discovery_are_what_prometheus_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 1);
    let mut size = 0;
    for path in ["/", "/fleet.js", "/fleet.css", "/icon.svg"] {
        let (status, text) = server.get(path);
        assert_eq!(status, 200);
        let own = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !own.contains("//cdn") && !own.contains("http://") && !own.contains("https://"),
            "{path}"
        );
        size += text.len();
    }
    assert!(size < 100_000, "{size}");
    let hostile = json!({"version": "1", "name": "<img src=x onerror=alert(1)>\u{1b}[2J", "address": "n1.local:8080", "target": "2"});
    board_says(server.port, "pre-reboot", "a", hostile).expect("answers");
    let (_, sd) = server.get("/sd");
    let targets: Value = serde_json::from_str(&sd).expect("JSON");
    assert_eq!(targets[0]["targets"], json!(["n1.local:8080"]));
    assert!(!sd.contains("\\u001b"), "{sd}");
    let (_, metrics) = server.get("/metrics");
    for line in [
        "hypriot_fleet_out{group=\"default\"} 1",
        "hypriot_fleet_slots{group=\"default\"} 1",
        "hypriot_fleet_grants_total{group=\"default\"} 1",
        "hypriot_fleet_store_up 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_plan_is_carried_out_over_http_canary_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 3);
    let says = |word: &str, board: &str, version: &str, target: &str| {
        board_says(
            server.port,
            word,
            board,
            json!({"version": version, "target": target}),
        )
        .expect("answers")
        .0
    };
    for board in ["n1", "n2", "n3"] {
        assert_eq!(says("steady-state", board, "1.0.0", "1.1.0"), 200);
    }
    let file = dir.path().join("plan.toml");
    let text = "group = \"default\"\nversion = \"latest\"\ncanary = [\"n2\"]\nsoak = 1\nsettle = 0\nmax_unavailable = \"2\"\n";
    std::fs::write(&file, text).expect("written");
    server.operator(&["group", "pause", "default"]);
    let (code, text) = server.operator(&["plan", "apply", &file.display().to_string()]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("nobody goes yet") && text.contains("group resume default"),
        "a plan of a paused group begins when that goes on, and says so: {text}"
    );
    server.until("it shows", |g| g["rollout"]["state"] == "paused");
    assert_eq!(says("pre-reboot", "n2", "1.0.0", "1.1.0"), 423, "paused");
    server.operator(&["group", "resume", "default"]);
    assert_eq!(
        says("pre-reboot", "n1", "1.0.0", "1.1.0"),
        423,
        "not its turn"
    );
    assert_eq!(says("pre-reboot", "n2", "1.0.0", "1.1.0"), 200);
    assert_eq!(says("steady-state", "n2", "1.1.0", ""), 200);
    server.until("the canary is done", |g| {
        g["rollout"]["waves"][0]["done"] == 1
    });
    assert_eq!(says("pre-reboot", "n1", "1.0.0", "1.1.0"), 200);
    assert_eq!(says("steady-state", "n1", "1.1.0", ""), 200);
    server.until("its wave is done", |g| {
        g["rollout"]["waves"][1]["done"] == 1
    });
    assert_eq!(says("pre-reboot", "n3", "1.0.0", "1.1.0"), 200);
    assert_eq!(says("steady-state", "n3", "1.0.0", ""), 200, "it fell back");
    let group = server.until("the rollout ends", |g| g["rollout"]["state"] != "running");
    assert_eq!(group["rollout"]["state"], "stopped", "{group:#}");
    let (code, text) = server.operator(&[
        "plan",
        "apply",
        &dir.path().join("token").display().to_string(),
    ]);
    assert_eq!(code, 2, "no plan: {text}");
}
