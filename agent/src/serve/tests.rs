//! Tests of [`super`] over real connections on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path as FsPath;

use super::*;
use crate::report::tests::example;
use crate::report::{Check, Severity, Status};

/// A server of its own for one test, ended with it.
struct Server {
    address: SocketAddr,
    report: PathBuf,
    _dir: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        drop(self.stop.take());
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn uptime() -> f64 {
    crate::probe::uptime(&Root::default()).expect("a kernel")
}

fn fresh() -> Report {
    Report {
        uptime: uptime(),
        ..example()
    }
}

fn server(report: Option<&Report>) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    if let Some(report) = report {
        report.store(&path).expect("stored");
    }
    // Port 0 cannot be asked for through Options: take one that is free now.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let options = Options {
        listen: free,
        report: path.clone(),
        hosts: vec!["pearl".into()],
        depth: Depth::Open,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                result = listen::serve(&options) => result.expect("serving"),
                _ = stopped => {}
            }
        });
    });
    for _ in 0..200 {
        if TcpStream::connect(free).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Server {
        address: free,
        report: path,
        _dir: dir,
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Server {
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = Vec::new();
        // A reset after the answer (we had not read all of a body) is fine: what came is looked at.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8(answer).expect("text")
    }

    fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let answer = self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        ));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (
            head[9..12].parse().expect("a status"),
            head.to_ascii_lowercase(),
            body.to_owned(),
        )
    }
}

fn failing() -> Report {
    let mut report = fresh();
    let check = Check {
        status: Status::Fail,
        severity: Severity::Required,
        output: "the engine does not answer".into(),
        detail: Some("secret-container".into()),
        fix: Some("look".into()),
        ..report.checks["memory"].clone()
    };
    report.checks.insert("docker".into(), check);
    report
}

#[test]
fn healthy_board_answers_on_every_path() {
    let server = server(Some(&fresh()));
    for (path, accept, status, kind) in [
        ("/health", "", 200, "application/health+json"),
        ("/healthz", "", 200, "application/health+json"),
        ("/health/memory", "", 200, "application/health+json"),
        ("/health?verbose", "", 200, "text/plain"),
        ("/health", "Accept: text/plain\r\n", 200, "text/plain"),
        ("/health", "Accept: text/html,*/*\r\n", 200, "text/html"),
        ("/livez", "", 200, "text/plain"),
        ("/readyz", "", 200, "text/plain"),
        ("/readyz?verbose", "", 200, "text/plain"),
        ("/metrics", "", 200, "text/plain; version=0.0.4"),
        (
            "/metrics",
            "Accept: application/openmetrics-text;version=1.0.0\r\n",
            200,
            "application/openmetrics-text",
        ),
        ("/", "", 200, "text/html"),
        ("/style.css", "", 200, "text/css"),
        ("/openapi.json", "", 200, "application/json"),
        ("/icon-pass.svg", "", 200, "image/svg+xml"),
        (
            "/health",
            "Accept: application/json\r\n",
            200,
            "application/json",
        ),
        ("/health/nothing", "", 404, "text/plain"),
        ("/health/", "", 404, "text/plain"),
        ("/health/memory/more", "", 404, "text/plain"),
        ("/healthy", "", 404, "text/plain"),
        ("//health", "", 404, "text/plain"),
        ("/../../etc/passwd", "", 404, "text/plain"),
        ("/report.json", "", 404, "text/plain"),
    ] {
        let (found, head, _) = server.get(path, accept);
        assert_eq!(found, status, "{path}");
        assert!(
            head.contains(&format!("content-type: {kind}")),
            "{path}: {head}"
        );
        assert!(
            head.contains("x-content-type-options: nosniff"),
            "{path}: {head}"
        );
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{path}: {head}"
        );
    }
}

#[test]
fn what_is_left_out_does_not_count_and_what_is_there_already_is_not_sent_again() {
    let server = server(Some(&failing()));
    let (status, head, body) = server.get("/health?exclude=docker", "");
    assert_eq!(status, 200, "{head}");
    assert!(!body.contains("the engine does not answer"), "{body}");
    assert_eq!(server.get("/health?exclude=memory", "").0, 503);
    assert_eq!(server.get("/readyz?exclude=docker", "").0, 200);

    let (_, head, body) = server.get("/style.css", "");
    let tag = head.lines().find_map(|l| l.strip_prefix("etag: "));
    let tag = tag.expect("a tag").trim();
    for (given, status) in [(tag, 304), ("*", 304), ("\"another\"", 200)] {
        let (found, _, again) = server.get("/style.css", &format!("If-None-Match: {given}\r\n"));
        assert_eq!(found, status, "{given}");
        assert_eq!(again.is_empty(), status == 304, "{given}");
    }
    assert!(!body.is_empty());
}

#[test]
fn document_follows_the_draft() {
    let server = server(Some(&fresh()));
    let (_, head, body) = server.get("/health", "");
    assert!(
        body.starts_with("{\"status\":\"pass\",\"version\":\"1.2.3\""),
        "{body}"
    );
    assert!(head.contains("age: 0") || head.contains("age: 1"), "{head}");
    let json: serde_json::Value = serde_json::from_str(&body).expect("json");
    let memory = &json["checks"]["memory:utilization"][0];
    assert_eq!(memory["componentId"], "memory");
    assert_eq!(memory["observedValue"], 40.0);
    assert_eq!(json["update"]["lastAttempt"]["outcome"], "failed");
    // Section 3.5 and 4.8: no output where all is well; and no reasons for strangers.
    assert!(json.get("output").is_none() && memory.get("output").is_none());
    assert!(!body.contains("/etc/hostname"));
}

#[test]
fn failed_required_check_is_503_everywhere_it_matters() {
    let server = server(Some(&failing()));
    for (path, status) in [
        ("/health", 503),
        ("/health/docker", 503),
        ("/health/memory", 200),
        ("/readyz", 503),
        ("/livez", 200),
        ("/metrics", 200),
        ("/", 200),
    ] {
        assert_eq!(server.get(path, "").0, status, "{path}");
    }
    let (_, _, body) = server.get("/readyz?verbose", "");
    assert!(
        body.contains("[-]docker failed: the engine does not answer\n"),
        "{body}"
    );
    assert!(
        body.contains("[+]disk-data ok\n") && body.ends_with("readyz check failed\n"),
        "{body}"
    );
    let all: String = ["/health", "/health?verbose", "/", "/metrics", "/readyz"]
        .iter()
        .map(|p| server.get(p, "").2)
        .collect();
    assert!(!all.contains("secret"), "details are for the owner");
}

#[test]
fn board_on_trial_is_healthy_but_not_ready() {
    let mut report = fresh();
    report.update.trial = Some(crate::report::TrialView {
        slot: "b".into(),
        version: "1.2.3".into(),
        state: "trying".into(),
        deadline_seconds: 900,
    });
    let server = server(Some(&report));
    assert_eq!(server.get("/health", "").0, 200);
    assert_eq!(server.get("/readyz", "").0, 503);
}

#[test]
fn missing_stale_foreign_and_broken_reports_are_never_green() {
    let old = Report {
        uptime: uptime() - 31.0,
        ..example()
    };
    let future = Report {
        uptime: uptime() + 500.0,
        ..example()
    };
    for report in [None, Some(&old), Some(&future)] {
        let server = server(report);
        for path in ["/health", "/livez", "/readyz", "/health?verbose"] {
            let (status, head, _) = server.get(path, "");
            assert_eq!(status, 503, "{path}");
            assert!(head.contains("retry-after: 5"), "{head}");
        }
        assert!(
            server
                .get("/metrics", "")
                .2
                .contains("hypriot_report_present 0\n")
        );
    }
    let server = server(Some(&fresh()));
    files::replace(&server.report, b"{\"schema\":1", 0o644).expect("written");
    until(|| server.get("/health", "").0 == 503);
    fresh().store(&server.report).expect("stored");
    until(|| server.get("/health", "").0 == 200);
    std::fs::remove_file(&server.report).expect("removed");
    until(|| server.get("/livez", "").0 == 503);
}

fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..100 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not happen within 5 s");
}

#[test]
fn head_has_the_length_but_no_body() {
    let server = server(Some(&fresh()));
    let get = server.get("/health", "").2.len();
    let answer =
        server.raw("HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("content-length: {get}")), "{head}");
    assert_eq!(body, "");
}

#[test]
fn strangers_are_turned_away_before_anything_is_said() {
    let server = server(Some(&fresh()));
    for (request, status) in [
        (
            "GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "421",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: pearl:8080\r\nConnection: close\r\n\r\n",
            "200",
        ),
        ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /health HTTP/1.0\r\n\r\n", "200"),
        (
            "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            "405",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            "413",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "413",
        ),
        ("garbage\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
    ] {
        let answer = server.raw(request);
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
        assert_eq!(
            status == "200",
            answer.contains("qemu-arm64"),
            "{request:?}"
        );
    }
}

#[test]
fn oversized_heads_are_refused() {
    let server = server(Some(&fresh()));
    let long = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    assert_eq!(server.raw(&long).get(9..12), Some("431"));
    let many = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    assert_eq!(server.raw(&many).get(9..12), Some("431"));
    assert_eq!(server.get("/health", "").0, 200);
}

#[test]
fn slow_and_idle_connections_are_closed() {
    let server = server(Some(&fresh()));
    let started = std::time::Instant::now();
    // Half a head, and a whole request that keeps the connection: neither may stay.
    let half = "GET /health HTTP/1.1\r\nHost: loc";
    let idle = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answers = std::thread::scope(|scope| {
        let both = [half, idle].map(|request| {
            let server = &server;
            scope.spawn(move || server.raw(request))
        });
        both.map(|thread| thread.join().expect("read to its end"))
    });
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert!(answers[1].contains("200 OK"));
}

#[test]
fn crowd_of_one_peer_is_bounded_and_leaves_room_afterwards() {
    let server = server(Some(&fresh()));
    let crowd: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(server.address).expect("connected"))
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    // The server closed those that were too many.
    let mut closed = 0;
    for mut stream in crowd {
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("set");
        if matches!(stream.read(&mut [0; 1]), Ok(0)) {
            closed += 1;
        }
    }
    assert!(closed >= 8, "{closed}");
    until(|| TcpStream::connect(server.address).is_ok() && server.get("/livez", "").0 == 200);
}

#[test]
fn taken_port_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let options = Options {
        listen: taken.local_addr().expect("an address"),
        report: FsPath::new("/nowhere").into(),
        hosts: Vec::new(),
        depth: Depth::Open,
    };
    let text = format!("{:#}", run(&options).expect_err("taken"));
    assert!(
        text.contains("--listen") && text.contains("ss -ltnp"),
        "{text}"
    );
}
