//! Servers that lie, through the real installer and the real HTTP client: one row for each way, with the rule that it meets.
//! The rules stand in docs/src/explanation/updates.md, in the same order.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hypriot_keys::source::SourceErrorKind::{self, Missing, Refused, Temporary};
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsTime};
use hypriot_keys::source::pace::Pace;
use hypriot_keys::time::Timestamp;

use super::*;

/// A request: the how manieth, and the bytes that it asks for.
struct Asked {
    n: usize,
    from: usize,
    until: usize,
    ranged: bool,
}

type Answer = fn(&Asked, &[u8], &mut TcpStream) -> io::Result<()>;

/// What becomes of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The slot holds the release.
    Installed,
    /// The source is given up for this run, and why.
    Source(SourceErrorKind),
    /// It broke off again and again.
    Cut,
    /// The table, or the data of a segment, is not what was signed.
    Altered,
}
use End::{Altered, Cut, Installed};

fn send(to: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    to.write_all(body)
}

fn say(to: &mut TcpStream, status: &str, headers: &str) -> io::Result<()> {
    send(to, status, headers, b"")
}

/// What an honest server answers, with `tag` as its ETag.
fn tagged(asked: &Asked, file: &[u8], tag: &str, to: &mut TcpStream) -> io::Result<()> {
    let total = file.len();
    let until = asked.until.min(total);
    if !asked.ranged {
        return send(to, "200 OK", &format!("ETag: \"{tag}\"\r\n"), file);
    }
    let range = format!("bytes {}-{}/{total}", asked.from, until - 1);
    let headers = format!("ETag: \"{tag}\"\r\nContent-Range: {range}\r\n");
    send(
        to,
        "206 Partial Content",
        &headers,
        &file[asked.from..until],
    )
}

fn honest(asked: &Asked, file: &[u8], to: &mut TcpStream) -> io::Result<()> {
    tagged(asked, file, "a", to)
}

/// A part that says it is this one, whatever was asked for.
fn part(asked: &Asked, range: &str, file: &[u8], to: &mut TcpStream) -> io::Result<()> {
    let body = &file[asked.from..asked.until.min(file.len())];
    send(
        to,
        "206 Partial Content",
        &format!("Content-Range: {range}\r\n"),
        body,
    )
}

/// Danger, answer, end, and how many requests are made at most.
const ROWS: [(&str, Answer, End, usize); 29] = [
    ("an honest server", honest, Installed, 3),
    (
        "200 instead of 206: the front is dropped",
        |_, file, to| send(to, "200 OK", "", file),
        Installed,
        3,
    ),
    (
        "206 of another range",
        |a, file, to| {
            part(
                a,
                &format!("bytes {}-{}/*", a.from + 1, a.until - 1),
                file,
                to,
            )
        },
        End::Source(Refused),
        1,
    ),
    (
        "206 that does not say which part it is",
        |a, file, to| send(to, "206 Partial Content", "", &file[a.from..a.until]),
        End::Source(Refused),
        1,
    ),
    (
        "206 that ends behind the end of the file",
        |a, file, to| part(a, &format!("bytes {}-{}/5", a.from, a.until - 1), file, to),
        End::Source(Refused),
        1,
    ),
    (
        "206 of more than was asked for",
        |a, file, to| part(a, &format!("bytes {}-{}/*", a.from, a.until + 9), file, to),
        End::Source(Refused),
        1,
    ),
    (
        "206 of less than was asked for: the rest is asked for",
        |a, file, to| {
            let until = a.until.min(a.from + 500_000);
            tagged(&Asked { until, ..*a }, file, "a", to)
        },
        Installed,
        20,
    ),
    (
        "several parts in one body",
        |_, _, to| {
            let kind = "Content-Type: multipart/byteranges; boundary=x\r\n";
            send(to, "206 Partial Content", kind, b"--x\r\n")
        },
        End::Source(Refused),
        1,
    ),
    (
        "an ETag that changes: another file has the name now",
        |a, file, to| tagged(a, file, if a.n == 0 { "a" } else { "b" }, to),
        End::Source(Refused),
        2,
    ),
    (
        "a Content-Length that is longer than the body",
        |a, file, to| {
            let (from, until) = (a.from, a.until);
            let range = format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                until - 1,
                file.len()
            );
            let length = until - from;
            write!(
                to,
                "HTTP/1.1 206 x\r\nConnection: close\r\nContent-Length: {length}\r\n{range}\r\n"
            )?;
            to.write_all(&file[from..until.min(from + 300_000)])
        },
        Installed,
        30,
    ),
    (
        "a body that drips a little and ends, again and again",
        |a, file, to| {
            let until = a.until.min(a.from + 9);
            tagged(&Asked { until, ..*a }, file, "a", to)
        },
        Cut,
        6,
    ),
    (
        "a file that is shorter than its index says",
        |a, file, to| {
            let short = &file[..file.len() - 9];
            if a.from >= short.len() {
                return say(to, "416 Range Not Satisfiable", "");
            }
            honest(a, short, to)
        },
        End::Source(Refused),
        5,
    ),
    (
        "a body in a coding that nobody asked for",
        |a, file, to| {
            let headers = format!(
                "Content-Encoding: gzip\r\nContent-Range: bytes {}-{}/*\r\n",
                a.from,
                a.until - 1
            );
            send(to, "206 Partial Content", &headers, &file[a.from..a.until])
        },
        End::Source(Refused),
        1,
    ),
    (
        "404",
        |_, _, to| say(to, "404 Not Found", ""),
        End::Source(Missing),
        1,
    ),
    (
        "403, as object stores say it",
        |_, _, to| say(to, "403 Forbidden", ""),
        End::Source(Missing),
        1,
    ),
    (
        "410",
        |_, _, to| say(to, "410 Gone", ""),
        End::Source(Missing),
        1,
    ),
    (
        "401",
        |_, _, to| say(to, "401 Unauthorized", ""),
        End::Source(Refused),
        1,
    ),
    (
        "204",
        |_, _, to| say(to, "204 No Content", ""),
        End::Source(Refused),
        1,
    ),
    (
        "416",
        |_, _, to| say(to, "416 Range Not Satisfiable", ""),
        End::Source(Refused),
        1,
    ),
    (
        "429 with a Retry-After that can be waited for",
        |a, file, to| match a.n {
            0 => say(to, "429 Too Many Requests", "Retry-After: 0\r\n"),
            _ => honest(a, file, to),
        },
        Installed,
        4,
    ),
    (
        "503 with a Retry-After of a day: not waited for, the update loop comes back",
        |_, _, to| say(to, "503 Service Unavailable", "Retry-After: 86400\r\n"),
        End::Source(Temporary),
        1,
    ),
    (
        "503 for ever",
        |_, _, to| say(to, "503 Service Unavailable", ""),
        End::Source(Temporary),
        4,
    ),
    (
        "a redirect within the origin",
        |a, file, to| match a.n {
            0 => say(to, "302 Found", "Location: /elsewhere/p.full\r\n"),
            _ => honest(a, file, to),
        },
        Installed,
        4,
    ),
    (
        "a redirect to itself",
        |_, _, to| say(to, "302 Found", "Location: p.full\r\n"),
        End::Source(Refused),
        6,
    ),
    (
        "a captive portal that redirects to its own page",
        |_, _, to| say(to, "302 Found", "Location: http://portal.invalid/login\r\n"),
        End::Source(Refused),
        1,
    ),
    (
        "a captive portal that answers everything with its page",
        |_, _, to| {
            let page = "<html>please log in</html>".repeat(1000);
            send(to, "200 OK", "Content-Type: text/html\r\n", page.as_bytes())
        },
        Altered,
        1,
    ),
    (
        "bytes that are others, at the right place and length",
        |a, file, to| {
            let mut other = file.to_vec();
            *other.last_mut().expect("not empty") ^= 1;
            honest(a, &other, to)
        },
        Altered,
        3,
    ),
    (
        "a server that stops sending, each time",
        |a, file, to| {
            let range = format!(
                "Content-Range: bytes {}-{}/{}\r\n",
                a.from,
                a.until - 1,
                file.len()
            );
            let length = a.until - a.from;
            write!(
                to,
                "HTTP/1.1 206 x\r\nContent-Length: {length}\r\n{range}\r\n"
            )?;
            std::thread::sleep(STALL * 3);
            Ok(())
        },
        Cut,
        5,
    ),
    (
        "no HTTP at all",
        |_, _, to| to.write_all(b"SSH-2.0-OpenSSH\r\n"),
        End::Source(Temporary),
        4,
    ),
];

const STALL: Duration = Duration::from_millis(250);
/// A row that takes longer hangs.
const BOUND: Duration = Duration::from_secs(20);

/// Serves `file` with `answer` on a port of its own until the test's process ends.
fn serve(file: Arc<Vec<u8>>, answer: Answer) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (file, n) = (Arc::clone(&file), counted.fetch_add(1, Ordering::SeqCst));
            std::thread::spawn(move || {
                let mut head = String::new();
                let mut lines = BufReader::new(&stream);
                while lines.read_line(&mut head).is_ok_and(|n| n > 2) {}
                let asked = asked(n, &head.to_lowercase(), file.len());
                // a client that has enough goes away
                drop(answer(&asked, &file, &mut stream));
            });
        }
    });
    (base, count)
}

fn asked(n: usize, head: &str, len: usize) -> Asked {
    let range = head.lines().find_map(|l| l.strip_prefix("range: bytes="));
    let (from, last) = range.and_then(|r| r.split_once('-')).unwrap_or(("0", ""));
    Asked {
        n,
        from: from.trim().parse().unwrap_or(0),
        until: last.trim().parse().map_or(len, |last: usize| last + 1),
        ranged: range.is_some(),
    }
}

fn options() -> HttpOptions {
    let time = TlsTime {
        clock: Timestamp(0),
        floor: Timestamp(0),
    };
    HttpOptions {
        connect: Duration::from_secs(5),
        stall: STALL,
        pace: Pace {
            total: BOUND,
            ..Pace::default()
        },
        pause: Duration::from_millis(10),
        patience: Duration::from_secs(1),
        ..HttpOptions::at(time)
    }
}

fn end_of(done: &Result<Summary, InstallError>) -> End {
    match done {
        Ok(_) => Installed,
        Err(InstallError::Source { source, .. }) => End::Source(source.kind),
        Err(InstallError::Cut { .. }) => Cut,
        Err(
            InstallError::Altered { .. }
            | InstallError::Payload {
                source: PayloadError::Altered,
                ..
            },
        ) => Altered,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_lying_server_meets_the_rule_for_its_lie() {
    let (index, images, payload) = release(7);
    let payload = Arc::new(payload);
    let mut wrong = Vec::new();
    for (danger, answer, expected, most) in ROWS {
        let (base, requests) = serve(Arc::clone(&payload), answer);
        let source = HttpSource::new(&base, options()).unwrap();
        let slot = slot();
        let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
        let begun = Instant::now();
        let done = install(&index, &source, None, None, &mut disks, &mut |_| ());
        let asked = requests.load(Ordering::SeqCst);
        // whatever was said: nothing but bytes that belong there, and the broken first sector
        let strange = slot.iter().zip(&images).any(|(disk, image)| {
            let belongs = |(at, bytes): &(usize, Vec<u8>)| {
                let right = image.get(*at..at + bytes.len()) == Some(&bytes[..]);
                right || (*at == 0 && bytes[..] == [0; 512])
            };
            !disk.written().iter().all(belongs)
        });
        let rule = end_of(&done) == expected
            && asked <= most
            && begun.elapsed() < BOUND
            && holds(&slot, &images) == (expected == Installed)
            && !strange;
        if !rule {
            wrong.push(format!(
                "{danger}: {done:?}, not {expected:?}; asked {asked} times of {most}; {:?}; strange bytes: {strange}",
                begun.elapsed()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn after_a_lie_an_honest_run_goes_on_where_it_stopped() {
    let (index, images, payload) = release(7);
    let payload = Arc::new(payload);
    let slot = slot();
    let run = |answer: Answer| {
        let (base, _) = serve(Arc::clone(&payload), answer);
        let source = HttpSource::new(&base, options()).unwrap();
        let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
        install(&index, &source, None, None, &mut disks, &mut |_| ())
    };
    // the last byte is another one: all segments but the last arrive
    let lied = run(|a, file, to| {
        let mut other = file.to_vec();
        *other.last_mut().expect("not empty") ^= 1;
        honest(a, &other, to)
    });
    assert!(
        matches!(lied, Err(InstallError::Altered { .. })),
        "{lied:?}"
    );
    let done = run(honest).unwrap();
    assert!(done.written < 5, "{done:?}: begun anew");
    assert!(holds(&slot, &images));
}
