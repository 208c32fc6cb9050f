//! Transfers from servers that lie, stall, drip and point elsewhere.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hypriot_keys::Error;
use hypriot_keys::client::{Client, Limits};
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsTime};
use hypriot_keys::source::pace::Pace;
use hypriot_keys::source::{Source, SourceErrorKind};
use hypriot_keys::time::Timestamp;

/// A server on a port of its own: an answer for every request, and what it was asked. It ends with the test's process.
struct Server {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = String::new();
                let mut lines = BufReader::new(&stream);
                while lines.read_line(&mut head).is_ok_and(|n| n > 2) {}
                let n = {
                    let mut log = log.lock().unwrap();
                    log.push(head.to_lowercase());
                    log.len() - 1
                };
                answer(n, &head.to_lowercase(), &mut stream);
            }
        });
        Self { base, asked }
    }

    /// The same bytes for every request.
    fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |_, _, stream| drop(stream.write_all(&answer)))
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn source(&self) -> HttpSource {
        HttpSource::new(&self.base, options()).unwrap()
    }
}

fn options() -> HttpOptions {
    let time = TlsTime {
        clock: Timestamp(0),
        floor: Timestamp(0),
    };
    HttpOptions {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(400),
        pace: Pace {
            total: Duration::from_secs(5),
            grace: Duration::from_millis(900),
            least: 1000,
        },
        pause: Duration::from_millis(10),
        patience: Duration::from_secs(1),
        ..HttpOptions::at(time)
    }
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn status(line: &str, headers: &str) -> String {
    format!("HTTP/1.1 {line}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n")
}

/// The body, or the words of the failure, whether it came at the head or in the body.
fn get(source: &HttpSource, from: u64) -> Result<String, String> {
    let mut text = String::new();
    let mut body = source
        .open("f", from)
        .map_err(|e| format!("{:?} {e}", e.kind))?;
    body.read_to_string(&mut text)
        .map_err(|e| format!("{:?} {e}", e.kind()))?;
    Ok(text)
}

#[test]
fn an_honest_server() {
    let server = Server::fixed(ok("", "hello"));
    assert_eq!(get(&server.source(), 0).unwrap(), "hello");
    let head = server.asked.lock().unwrap()[0].clone();
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(
        !head.contains("authorization") && !head.contains("referer"),
        "{head}"
    );
}

#[test]
fn resuming() {
    let part = |range: &str| {
        format!(
            "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: 3\r\nETag: \"a\"\r\nContent-Range: {range}\r\n\r\n789"
        )
    };
    let right = Server::fixed(part("bytes 7-9/10"));
    assert_eq!(get(&right.source(), 7).unwrap(), "789");
    assert!(right.asked.lock().unwrap()[0].contains("range: bytes=7-"));
    let wrong = Server::fixed(part("bytes 0-2/10"));
    assert!(get(&wrong.source(), 7).unwrap_err().starts_with("Refused"));
    let ignored = Server::fixed(ok("", "0123456789"));
    assert_eq!(get(&ignored.source(), 7).unwrap(), "789");
    let shorter = Server::fixed(ok("", "012"));
    assert!(
        get(&shorter.source(), 7)
            .unwrap_err()
            .starts_with("UnexpectedEof")
    );
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let server = Server::new(|n, head, stream| {
        let tag = if n == 0 { "a" } else { "b" };
        assert_eq!(n > 0, head.contains("if-range: \"a\""), "{head}");
        drop(stream.write_all(ok(&format!("ETag: \"{tag}\"\r\n"), "0123456789").as_bytes()));
    });
    let source = server.source();
    assert_eq!(get(&source, 0).unwrap(), "0123456789");
    let changed = get(&source, 7).unwrap_err();
    assert!(
        changed.contains("changed since the transfer began"),
        "{changed}"
    );
}

#[test]
fn answers_that_end_at_once() {
    for (name, answer, kind, requests) in [
        (
            "not there",
            status("404 Not Found", ""),
            SourceErrorKind::Missing,
            1,
        ),
        (
            "nothing from there on",
            status("416 Range Not Satisfiable", ""),
            SourceErrorKind::Refused,
            1,
        ),
        (
            "a coding nobody asked for",
            ok("Content-Encoding: gzip\r\n", "x"),
            SourceErrorKind::Refused,
            1,
        ),
        (
            "a redirect to nowhere",
            status("302 Found", ""),
            SourceErrorKind::Refused,
            1,
        ),
        (
            "a redirect to itself",
            status("302 Found", "Location: f\r\n"),
            SourceErrorKind::Refused,
            6,
        ),
        (
            "a server that is always busy",
            status("503 Busy", ""),
            SourceErrorKind::Temporary,
            4,
        ),
        (
            "come back tomorrow",
            status("429 Too Many", "Retry-After: 86400\r\n"),
            SourceErrorKind::Temporary,
            1,
        ),
        (
            "no HTTP at all",
            "SSH-2.0-OpenSSH\r\n".into(),
            SourceErrorKind::Temporary,
            4,
        ),
        ("a hang-up", String::new(), SourceErrorKind::Temporary, 4),
    ] {
        let server = Server::fixed(answer);
        let start = Instant::now();
        let error = server.source().open("f", 5).err().unwrap();
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert_eq!(server.requests(), requests, "{name}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::new(|n, _, stream| {
        let answer = if n < 2 {
            status("503 Busy", "Retry-After: 0\r\n")
        } else {
            ok("", "hello")
        };
        drop(stream.write_all(answer.as_bytes()));
    });
    assert_eq!(get(&server.source(), 0).unwrap(), "hello");
    assert_eq!(server.requests(), 3);
}

#[test]
fn another_origin_is_not_asked_and_never_gets_the_token() {
    let other = Server::fixed(ok("", "theirs"));
    let server = Server::fixed(status(
        "302 Found",
        &format!("Location: {}/f\r\n", other.base),
    ));
    let with = |companions: Vec<String>| {
        let options = HttpOptions {
            bearer: Some("secret".into()),
            companions,
            ..options()
        };
        HttpSource::new(&server.base, options).unwrap()
    };
    let refused = get(&with(vec![]), 0).unwrap_err();
    assert!(
        refused.starts_with("Refused") && refused.contains("another origin"),
        "{refused}"
    );
    assert_eq!(other.requests(), 0);
    assert_eq!(get(&with(vec![other.base.clone()]), 0).unwrap(), "theirs");
    assert!(server.asked.lock().unwrap()[0].contains("authorization: bearer secret"));
    assert!(!other.asked.lock().unwrap()[0].contains("secret"));
    let shown = format!(
        "{:?}",
        HttpOptions {
            bearer: Some("secret".into()),
            ..options()
        }
    );
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_transfer_that_is_cut_is_no_short_file() {
    let server = Server::fixed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
    assert!(get(&server.source(), 0).is_err());
}

#[test]
fn slow_servers_are_left() {
    let drip = |head: &'static str| {
        Server::new(move |_, _, stream| {
            drop(stream.write_all(head.as_bytes()));
            // A byte now and then, for longer than the test waits.
            for _ in 0..200 {
                if stream.write_all(b" ").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let body = drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    let start = Instant::now();
    let slow = get(&body.source(), 0).unwrap_err();
    assert!(slow.contains("too slowly"), "{slow}");
    assert!(start.elapsed() < Duration::from_secs(4));
    let silent = Server::new(|_, _, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"));
        std::thread::sleep(Duration::from_secs(5));
    });
    let slow = get(&silent.source(), 0).unwrap_err();
    assert!(slow.starts_with("TimedOut"), "{slow}");
    let head = drip("HTTP/1.1 200 OK\r\nX:");
    let start = Instant::now();
    let options = HttpOptions {
        attempts: 1,
        ..options()
    };
    let slow = get(&HttpSource::new(&head.base, options).unwrap(), 0).unwrap_err();
    assert!(slow.starts_with("Temporary"), "{slow}");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn the_client_over_a_slow_and_over_an_endless_server() {
    let root = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/attacks/honest/1.root.json"
    ))
    .unwrap();
    let refresh = |server: &Server, pace: Pace| {
        let place = tempfile::tempdir().unwrap();
        let limits = Limits {
            pace,
            ..Limits::default()
        };
        let client = Client::open(place.path(), &root, Timestamp(0)).unwrap();
        client
            .with_limits(limits)
            .refresh(&server.source(), Timestamp(1_795_435_200))
    };
    let patient = Pace {
        total: Duration::from_mins(1),
        grace: Duration::from_mins(1),
        least: 1,
    };
    let slow = Server::new(|_, head, stream| {
        if head.contains("root.json") {
            drop(stream.write_all(status("404 Not Found", "").as_bytes()));
            return;
        }
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"));
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let refused = refresh(&slow, patient).unwrap_err();
    assert!(
        matches!(&refused, Error::TooSlow { file, .. } if file == "timestamp.json"),
        "{refused}"
    );
    let endless = Server::new(|_, _, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
        while stream.write_all(b"1000\r\n").is_ok()
            && stream.write_all(&[b' '; 0x1000]).is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {}
    });
    let refused = refresh(&endless, patient).unwrap_err();
    assert!(
        matches!(&refused, Error::TooLong { file, .. } if file == "2.root.json"),
        "{refused}"
    );
}
