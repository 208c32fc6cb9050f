//! One question to one neighbour, over a connection of its own. How much comes is known before: another length, or any other word
//! of HTTP than ours, is no answer. So is one that takes too long, however it comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::wire::{Map, Request};

/// On a local network a connection takes milliseconds.
const CONNECT: Duration = Duration::from_secs(1);
/// The head of an answer is no longer.
const HEAD: usize = 4096;
/// How long a read blocks before it is seen that nobody wants the answer any more.
const GLANCE: Duration = Duration::from_millis(100);
/// Nobody is let alone for longer, whatever a neighbour says.
const LONGEST_REST: Duration = Duration::from_secs(5);
const SHORTEST_REST: Duration = Duration::from_millis(300);

/// What a neighbour says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// What was asked for.
    Here(T),
    /// That it has not got it.
    NotHere,
    /// That it has lent enough for now.
    Later(Duration),
}

/// How long an answer may take, and who may end it before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// From the first byte of the connection to the last of the answer.
    pub(crate) within: Duration,
    /// Nobody wants to know any more.
    pub(crate) stop: &'a AtomicBool,
}

/// What it holds of a release of so many segments.
pub(crate) fn map(
    to: SocketAddr,
    request: Request,
    segments: usize,
    bounds: Bounds<'_>,
) -> io::Result<Answer<Map>> {
    let mut bytes = vec![0; Map::len(segments)];
    Ok(match ask(to, request, &mut bytes, bounds)? {
        Answer::Here(()) => match Map::parse(&bytes, segments) {
            Some(map) => Answer::Here(map),
            None => return Err(wrong("its map is none of this release")),
        },
        Answer::NotHere => Answer::NotHere,
        Answer::Later(rest) => Answer::Later(rest),
    })
}

/// Fills `into` with what is asked for.
pub(crate) fn ask(
    to: SocketAddr,
    request: Request,
    into: &mut [u8],
    bounds: Bounds<'_>,
) -> io::Result<Answer<()>> {
    let deadline = Instant::now() + bounds.within;
    let mut stream = TcpStream::connect_timeout(&to, CONNECT.min(bounds.within))?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(CONNECT))?;
    stream.set_read_timeout(Some(GLANCE))?;
    let path = request.path();
    // RFC 9112, 3.2: Host may be empty where there is no name
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reading = Reading {
        stream,
        deadline,
        stop: bounds.stop,
        came: 0,
    };
    let (head, body) = match reading.head() {
        // without a word: it has as many connections as it wants
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && reading.came == 0 => {
            return Ok(Answer::Later(Duration::from_secs(1)));
        }
        head => head?,
    };
    let (status, length, rest) = parse(&head)?;
    match status {
        200 if length == Some(into.len() as u64) && body.len() <= into.len() => {
            let (front, back) = into.split_at_mut(body.len());
            front.copy_from_slice(&body);
            reading.fill(back)?;
            Ok(Answer::Here(()))
        }
        200 => Err(wrong("what it sends has another length")),
        404 => Ok(Answer::NotHere),
        429 | 503 => Ok(Answer::Later(rest)),
        _ => Err(wrong("it says what no neighbour says")),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Reading<'a> {
    stream: TcpStream,
    deadline: Instant,
    stop: &'a AtomicBool,
    /// Bytes that came.
    came: usize,
}

impl Reading<'_> {
    /// The head of the answer, and what came of its body along with it.
    fn head(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut bytes, mut filled) = (vec![0; HEAD], 0);
        while filled < HEAD {
            filled += self.some(&mut bytes[filled..])?;
            let end = bytes[..filled].windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(end) = end {
                bytes.truncate(filled);
                let body = bytes.split_off(end + 4);
                return Ok((bytes, body));
            }
        }
        Err(wrong("the head of its answer has no end"))
    }

    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            filled += self.some(&mut into[filled..])?;
        }
        Ok(())
    }

    /// At least a byte.
    fn some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.stream.read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.came += read;
                    return Ok(read);
                }
                // a connection that is closed before its question was read
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset && self.came == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => (),
                    _ => return Err(e),
                },
            }
        }
    }
}

/// Status, length of the body, and how long to leave it alone.
fn parse(head: &[u8]) -> io::Result<(u16, Option<u64>, Duration)> {
    let text = std::str::from_utf8(head).map_err(|_binary| wrong("no HTTP"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| {
        let code = line.strip_prefix("HTTP/1.1 ")?.get(..3)?;
        code.parse().ok()
    });
    let status = status.ok_or_else(|| wrong("no HTTP/1.1"))?;
    let (mut length, mut rest) = (None, SHORTEST_REST);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            // RFC 9112, 6.3: two of them are a trick
            if length.is_some() {
                return Err(wrong("its length is said twice"));
            }
            length = Some(value.parse().map_err(|_none| wrong("no length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(wrong("its length is not said"));
        } else if name.eq_ignore_ascii_case("retry-after")
            && let Ok(seconds) = value.parse()
        {
            rest = Duration::from_secs(seconds).clamp(SHORTEST_REST, LONGEST_REST);
        }
    }
    Ok((status, length, rest))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use hypriot_updater::index::SegmentHash;

    use super::*;

    /// A neighbour that says these pieces, with pauses between.
    fn says(pieces: Vec<Vec<u8>>, pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            drop(stream.read(&mut [0; 1024]));
            for piece in pieces {
                // who asked may have gone
                drop(stream.write_all(&piece));
                thread::sleep(pause);
            }
        });
        address
    }

    fn asked(pieces: &[&[u8]], pause: Duration) -> (io::Result<Answer<()>>, Duration, Vec<u8>) {
        let (to, mut into) = (
            says(pieces.iter().map(|p| p.to_vec()).collect(), pause),
            vec![0; 5],
        );
        let bounds = Bounds {
            within: Duration::from_millis(700),
            stop: &AtomicBool::new(false),
        };
        let begun = Instant::now();
        let request = Request::Segment(SegmentHash([1; 32]));
        let answer = ask(to, request, &mut into, bounds);
        (answer, begun.elapsed(), into)
    }

    #[test]
    fn only_an_answer_of_the_length_that_was_asked_for_is_one() {
        let none = Duration::ZERO;
        let good = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for pieces in [
            &[&good[..], b"hello"][..],
            &[&good[..20], &good[20..], b"he", b"llo"],
            &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
        ] {
            let (answer, _, into) = asked(pieces, none);
            assert_eq!(answer.expect("an answer"), Answer::Here(()));
            assert_eq!(into, b"hello");
        }
        let huge = vec![b'x'; HEAD + 1];
        for (danger, pieces) in [
            ("short", &[&good[..], b"hell"][..]),
            ("empty", &[&good[..]]),
            ("too long for what was asked", &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello!"]),
            ("a huge length", &[b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"]),
            ("no number", &[b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"]),
            ("no length", &[b"HTTP/1.1 200 OK\r\n\r\nhello"]),
            ("two lengths", &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"]),
            ("chunked", &[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]),
            ("a redirect", &[b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n"]),
            ("a head without end", &[&huge]),
            ("no HTTP", &[b"SSH-2.0-OpenSSH_9.9\r\n\r\n"]),
            ("bytes", &[&[0xff; 64][..], b"\r\n\r\n"]),
        ] {
            let (answer, took, _) = asked(pieces, none);
            assert!(answer.is_err(), "{danger}: {answer:?}");
            assert!(took < Duration::from_secs(3), "{danger}: {took:?}");
        }
    }

    #[test]
    fn later_and_not_here_are_told_apart_and_a_rest_has_bounds() {
        for (text, expected) in [
            ("404 Not Found\r\n", Answer::NotHere),
            (
                "503 x\r\nRetry-After: 1\r\n",
                Answer::Later(Duration::from_secs(1)),
            ),
            (
                "429 x\r\nretry-after: 86400\r\n",
                Answer::Later(LONGEST_REST),
            ),
            ("429 x\r\nretry-after: 0\r\n", Answer::Later(SHORTEST_REST)),
            (
                "503 x\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
                Answer::Later(SHORTEST_REST),
            ),
        ] {
            let whole = format!("HTTP/1.1 {text}content-length: 0\r\n\r\n");
            let (answer, _, _) = asked(&[whole.as_bytes()], Duration::ZERO);
            assert_eq!(answer.expect("an answer"), expected, "{text}");
        }
    }

    #[test]
    fn who_closes_a_connection_without_a_word_has_too_many_of_them() {
        let (answer, _, _) = asked(&[], Duration::ZERO);
        let expected = Answer::Later(Duration::from_secs(1));
        assert_eq!(answer.expect("an answer"), expected);
    }

    #[test]
    fn who_drips_or_says_nothing_is_given_up_in_time_and_at_once_when_nobody_wants_to_know() {
        let drip: Vec<&[u8]> = vec![b"H"; 200];
        let silence: Vec<&[u8]> = vec![b""; 40];
        for pieces in [drip, silence] {
            let (answer, took, _) = asked(&pieces, Duration::from_millis(50));
            assert!(answer.is_err());
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let bounds = Bounds {
            within: Duration::from_mins(1),
            stop: &AtomicBool::new(true),
        };
        let to = silent.local_addr().expect("an address");
        let begun = Instant::now();
        let request = Request::Map(SegmentHash([1; 32]));
        assert!(map(to, request, 6, bounds).is_err());
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}
