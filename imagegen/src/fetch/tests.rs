//! Tests of [`super`]: a server that misbehaves.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::progress::Progress;
use crate::sha256::Sha256;

/// What the server does to the nth request.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Ends the connection after half of the body.
    Cut,
    /// Says the thing is gone.
    Gone,
    /// Says it is busy.
    Busy,
    /// Sends other bytes of the same length.
    Altered,
    /// Sends a file of another length: that of another version.
    Shorter,
    /// Ignores `Range`.
    NoRange,
    /// Sends a hundred bytes, and then nothing for longer than anybody waits.
    Drip,
}

struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

/// A server of one file. The nth request meets the nth fault, later ones the last.
fn serve(body: &'static [u8], faults: &'static [Fault]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let n = count.fetch_add(1, Ordering::SeqCst);
            let fault = faults[n.min(faults.len() - 1)];
            let mut from = 0;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap_or_default().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap_or(0);
                }
            }
            if matches!(fault, Fault::NoRange) {
                from = 0;
            }
            let rest = &body[from.min(body.len())..];
            let altered: Vec<u8> = rest.iter().map(|b| b ^ 1).collect();
            let (status, sent): (String, &[u8]) = match fault {
                Fault::Gone => ("404 Not Found".to_owned(), b""),
                Fault::Busy => ("503 Busy".to_owned(), b""),
                Fault::Altered => ("200 OK".to_owned(), &altered),
                Fault::Shorter => ("200 OK".to_owned(), &rest[..rest.len() - 9]),
                Fault::Cut => ("200 OK".to_owned(), &rest[..rest.len() / 2]),
                Fault::Drip => ("200 OK".to_owned(), &rest[..100]),
                _ => ("200 OK".to_owned(), rest),
            };
            let status = if from > 0 && status == "200 OK" {
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                    body.len() - 1,
                    body.len()
                )
            } else {
                status
            };
            let length = match fault {
                Fault::Gone | Fault::Busy => 0,
                Fault::Shorter => sent.len(),
                _ => rest.len(),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            drop(
                stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(sent)),
            );
            if matches!(fault, Fault::Drip) {
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(5));
                    drop(stream);
                });
            }
        }
    });
    Server { url, requests }
}

const BODY: &[u8] = &[7; 100_000];

fn run(faults: &'static [Fault]) -> (Result<PathBuf, FetchError>, usize, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let server = serve(BODY, faults);
    let wanted = Wanted {
        url: server.url.clone(),
        sha256: Sha256::of(BODY),
        size: BODY.len() as u64,
    };
    let result = Client::new(Duration::from_secs(5)).fetch(&store, &wanted, None);
    (result, server.requests.load(Ordering::SeqCst), dir)
}

#[test]
fn faults_that_pass_are_survived() {
    for (danger, faults, requests) in [
        ("none", &[Fault::None][..], 1),
        (
            "cut transfer goes on where it stopped",
            &[Fault::Cut, Fault::None],
            2,
        ),
        ("cut twice", &[Fault::Cut, Fault::Cut, Fault::None], 3),
        ("busy server", &[Fault::Busy, Fault::None], 2),
        (
            "server that cannot continue",
            &[Fault::Cut, Fault::NoRange],
            2,
        ),
        (
            "damage that a second transfer heals",
            &[Fault::Altered, Fault::None],
            2,
        ),
    ] {
        let (result, seen, dir) = run(faults);
        let path = result.unwrap_or_else(|e| panic!("{danger}: {e}"));
        assert_eq!(fs::read(path).unwrap(), BODY, "{danger}");
        assert_eq!(seen, requests, "{danger}");
        assert_eq!(
            fs::read_dir(dir.path().join("partial")).unwrap().count(),
            0,
            "{danger}: something stayed"
        );
    }
}

#[test]
fn faults_that_stay_are_explained() {
    let (result, seen, _dir) = run(&[Fault::Gone]);
    let e = result.unwrap_err();
    assert!(
        matches!(e, FetchError::NotFound { status: 404, .. }) && seen == 1,
        "{e}"
    );
    assert!(e.to_string().contains("lock"), "says what to do: {e}");

    let (result, seen, _dir) = run(&[Fault::Shorter]);
    let e = result.unwrap_err();
    assert!(
        matches!(e, FetchError::Mismatch { .. }) && seen == 1,
        "another version: {e}"
    );

    let (result, _, dir) = run(&[Fault::Altered]);
    let e = result.unwrap_err();
    assert!(matches!(e, FetchError::Mismatch { .. }), "{e}");
    assert!(
        !dir.path()
            .join("sha256")
            .join(&Sha256::of(BODY).to_string()[..2])
            .exists(),
        "nothing wrong is kept"
    );
}

#[test]
fn a_server_that_drips_does_not_hold_us_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let server = serve(BODY, &[Fault::Drip]);
    let wanted = Wanted {
        url: server.url,
        sha256: Sha256::of(BODY),
        size: BODY.len() as u64,
    };
    let begun = std::time::Instant::now();
    let e = Client::new(Duration::from_millis(100))
        .fetch(&store, &wanted, None)
        .unwrap_err();
    assert!(
        matches!(e, FetchError::Cut { attempts: ATTEMPTS, have, .. } if have > 0),
        "{e}"
    );
    assert!(e.to_string().contains("it will continue there"), "{e}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn unreachable_server_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // A port that was free a moment ago: nobody listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = Client::new(Duration::from_secs(1));
    let e = client
        .text(&format!("http://127.0.0.1:{port}/x"))
        .unwrap_err();
    assert!(
        matches!(e, FetchError::Unreachable { .. }) && e.to_string().contains("--mirror"),
        "{e}"
    );
    drop(store);
}

#[test]
fn download_that_was_killed_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let server = serve(BODY, &[Fault::None]);
    let wanted = Wanted {
        url: server.url,
        sha256: Sha256::of(BODY),
        size: BODY.len() as u64,
    };
    let partial = store.begin(wanted.sha256).unwrap();
    files::replace(&partial.path, &BODY[..60_000]).unwrap();
    drop(partial);
    let stage = Progress::Quiet.bytes("x", 0);
    Client::default()
        .fetch(&store, &wanted, Some(&stage))
        .unwrap();
    assert_eq!(
        stage.position(),
        40_000,
        "only the rest came over the network"
    );
}

#[test]
fn two_at_once_fetch_a_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let server = serve(BODY, &[Fault::None]);
    let wanted = Wanted {
        url: server.url,
        sha256: Sha256::of(BODY),
        size: BODY.len() as u64,
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Client::default().fetch(&store, &wanted, None).unwrap());
        }
    });
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}
