//! Tests of [`super`] against a fake engine.

use std::os::unix::net::UnixListener;

use super::*;
use crate::report::Knowledge;

const INFO: &str = r#"{"ServerVersion":"26.1.5","Driver":"overlay2","CgroupVersion":"2","CgroupDriver":"systemd",
    "Warnings":null,"ContainersRunning":2,"Containers":3,"Swarm":{"LocalNodeState":"inactive","NodeID":""},"More":[1]}"#;
const LIST: &str = r#"[{"Names":["/web"],"Image":"nginx","State":"running","Status":"Up 2 hours (healthy)"},
    {"Names":["/db"],"Image":"pg","State":"running","Status":"Up 2 hours (unhealthy)"},
    {"Names":["/loop"],"Image":"x","State":"restarting","Status":"Restarting (1) 5 seconds ago"}]"#;

/// Answers `n` connections with `answer(path)`; a missing answer leaves the client waiting.
fn engine(
    socket: &Path,
    n: usize,
    answer: fn(&str) -> Option<String>,
) -> std::thread::JoinHandle<()> {
    std::fs::create_dir_all(socket.parent().expect("a parent")).expect("made");
    let listener = UnixListener::bind(socket).expect("bound");
    std::thread::spawn(move || {
        for _ in 0..n {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let n = stream.read(&mut request).expect("a request");
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let path = request.split(' ').nth(1).expect("a path");
            match answer(path) {
                Some(text) => stream.write_all(text.as_bytes()).expect("written"),
                None => std::thread::sleep(PATIENCE + Duration::from_millis(300)),
            }
        }
    })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
}

fn healthy(path: &str) -> String {
    match path {
        "/_ping" => ok("OK"),
        "/info" => ok(INFO),
        "/containers/json?all=1" => ok(LIST),
        _ => "HTTP/1.0 404 Not Found\r\n\r\n{}".into(),
    }
}

fn look(root: &Root) -> Found {
    let context = super::super::tests::context(None);
    let look = Look {
        root,
        context: &context,
        now: hypriot_keys::time::Timestamp(1_700_000_000),
        uptime: 1.0,
    };
    probe(&look)
}

#[test]
fn living_engine_is_described_and_troubled_containers_are_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Root::new(dir.path());
    let engine = engine(&root.path(SOCKET), 3, |path| Some(healthy(path)));
    let found = look(&root);
    engine.join().expect("ended");
    let (_, docker) = &found.findings[0];
    assert_eq!(docker.status, Status::Pass);
    assert_eq!(docker.output, "engine 26.1.5, overlay2, cgroup v2");
    let (name, containers) = &found.findings[1];
    assert_eq!(name, "docker-containers");
    assert_eq!(containers.status, Status::Warn);
    assert!(
        !containers.output.contains("db"),
        "names are for the owner only"
    );
    let detail = containers.detail.as_deref().expect("names");
    assert!(detail.contains("db: ") && detail.contains("loop: ") && !detail.contains("web"));
    assert!(
        found
            .gauges
            .contains(&("docker_containers_troubled".into(), 2.0))
    );
}

#[test]
fn board_without_docker_has_no_such_check() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(look(&Root::new(dir.path())).findings.is_empty());
}

#[test]
fn dead_socket_installed_but_stopped_and_sick_engine_fail() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Root::new(dir.path());
    std::fs::create_dir_all(root.path("/usr/bin")).expect("made");
    std::fs::File::create(root.path("/usr/bin/dockerd")).expect("made");
    assert_eq!(look(&root).findings[0].1.status, Status::Fail);
    for answer in [
        (|_| Some("HTTP/1.0 500 Internal Server Error\r\n\r\n".into()))
            as fn(&str) -> Option<String>,
        |_| Some("SSH-2.0-hello\r\n".into()),
        |_| Some(String::new()),
        |path| {
            if path == "/info" {
                Some(ok("{\"Driver\":"))
            } else {
                Some(ok("OK"))
            }
        },
    ] {
        drop(std::fs::remove_file(root.path(SOCKET)));
        let _engine = engine(&root.path(SOCKET), 2, answer);
        let found = look(&root);
        assert_eq!(found.findings[0].1.status, Status::Fail);
        assert!(found.findings[0].1.detail.is_some());
    }
}

#[test]
fn silent_engine_costs_no_more_than_the_patience() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Root::new(dir.path());
    let engine = engine(&root.path(SOCKET), 1, |_| None);
    let asked = Instant::now();
    assert_eq!(look(&root).findings[0].1.status, Status::Fail);
    assert!(asked.elapsed() < PATIENCE + Duration::from_secs(1));
    engine.join().expect("ended");
}

#[test]
fn swarm_that_needs_its_owner_warns() {
    for (state, status) in [
        ("", None),
        ("inactive", None),
        ("active", Some(Status::Pass)),
        ("pending", Some(Status::Warn)),
        ("locked", Some(Status::Warn)),
        ("error", Some(Status::Warn)),
    ] {
        let swarm = Swarm {
            local_node_state: state.into(),
            error: "my-manager:2377".into(),
            ..Swarm::default()
        };
        let found = judge_swarm(&swarm);
        assert_eq!(found.as_ref().map(|f| f.status), status, "{state}");
        assert!(found.is_none_or(|f| !f.output.contains("my-manager")));
    }
}

#[test]
fn image_names_cannot_smuggle_requests() {
    let root = Root::new("/nowhere");
    for name in ["a b", "x\r\nPOST /", "a?b=c", "%2e"] {
        let error = has_image(&root, name).expect_err("refused").to_string();
        assert!(error.contains("no name of an image"), "{error}");
    }
}

#[test]
fn an_engine_of_which_nobody_can_say_anything_is_neither_well_nor_dead() {
    for (starting, status, knowledge) in [
        (Some(true), Status::Warn, Knowledge::Starting),
        (Some(false), Status::Fail, Knowledge::Known),
        (None, Status::Warn, Knowledge::Starting),
    ] {
        let finding = silent(starting);
        assert_eq!(
            (finding.status, finding.knowledge),
            (status, knowledge),
            "{starting:?}"
        );
    }
}
