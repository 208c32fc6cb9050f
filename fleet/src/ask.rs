//! One question to one board, bounded in time and size; all boards side by side.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::hosts::Host;

/// A board's document has about 4 KiB.
const LIMIT: usize = 256 * 1024;
/// Boards asked at a time.
const SIDE_BY_SIDE: usize = 64;
const STACK: usize = 128 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Asks every host for `path`, each for at most `patience`. Results are in the order of the hosts.
pub fn all(hosts: &[Host], path: &str, patience: Duration) -> Vec<Result<Reply>> {
    let next = Mutex::new(hosts.iter().enumerate());
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(hosts.len()) {
            let (next, tell) = (&next, tell.clone());
            let work = move || {
                loop {
                    let one = next.lock().ok().and_then(|mut hosts| hosts.next());
                    let Some((index, host)) = one else { return };
                    // The receiver lives as long as this scope.
                    drop(tell.send((index, one_host(host, path, patience))));
                }
            };
            // A thread that cannot be started leaves its work to the others.
            drop(
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, work),
            );
        }
        drop(tell);
    });
    let mut replies: Vec<_> = told.into_iter().collect();
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

fn one_host(host: &Host, path: &str, patience: Duration) -> Result<Reply> {
    let deadline = Instant::now() + patience;
    let mut last = None;
    for address in resolve(host, patience)? {
        match exchange(address, path, deadline) {
            Ok(reply) => return Ok(reply),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("the name has no address")))
}

/// The system's resolver cannot be told how long it may take: it is left alone when it takes longer.
fn resolve(host: &Host, patience: Duration) -> Result<Vec<SocketAddr>> {
    let (tell, told) = mpsc::channel();
    let (name, port) = (host.name.clone(), host.port);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // Nobody listens any more when it took too long.
            drop(tell.send(found));
        })?;
    let found = told
        .recv_timeout(patience)
        .context("the name could not be resolved in time")?;
    found.context("the name cannot be resolved")
}

fn exchange(address: SocketAddr, path: &str, deadline: Instant) -> Result<Reply> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer in time");
        Ok(left)
    };
    let mut stream =
        TcpStream::connect_timeout(&address, left()?).map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => anyhow::anyhow!(
                "it is there, but nothing listens on port {}",
                address.port()
            ),
            ErrorKind::TimedOut => anyhow::anyhow!("no answer in time"),
            _ => anyhow::anyhow!(error).context("it cannot be reached"),
        })?;
    stream.set_write_timeout(Some(left()?))?;
    // The address as Host: a board always goes by it, whatever its owner calls it here.
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/health+json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            // The time is up: left() says so in words.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
                ) => {}
            Err(e) => return Err(e).context("reading the answer"),
        }
        ensure!(
            answer.len() <= LIMIT,
            "the answer is larger than {LIMIT} bytes"
        );
    }
    split(&answer).context("what answers there does not speak HTTP")
}

/// HTTP/1.0 (RFC 1945): the body ends with the connection.
fn split(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Reply {
        status,
        body: answer[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn server(answer: &'static [u8], hold: Duration) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 1024];
                drop(stream.read(&mut request));
                drop(stream.write_all(answer));
                std::thread::sleep(hold);
            }
        });
        Host {
            name: "127.0.0.1".into(),
            port,
        }
    }

    #[test]
    fn replies_keep_the_order_of_the_hosts() {
        let hosts: Vec<Host> = (0..20u8)
            .map(|n| {
                if n % 2 == 0 {
                    server(b"HTTP/1.0 200 OK\r\n\r\neven", Duration::ZERO)
                } else {
                    server(b"HTTP/1.1 503 No\r\n\r\nodd", Duration::ZERO)
                }
            })
            .collect();
        let replies = all(&hosts, "/health", Duration::from_secs(5));
        assert_eq!(replies.len(), 20);
        for (index, reply) in replies.into_iter().enumerate() {
            let expected = if index % 2 == 0 {
                (200, &b"even"[..])
            } else {
                (503, &b"odd"[..])
            };
            let reply = reply.expect("answered");
            assert_eq!((reply.status, reply.body.as_slice()), expected);
        }
    }

    #[test]
    fn silent_slow_foreign_and_absent_hosts_are_errors_in_time() {
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let hosts = [
            (
                Host {
                    name: "127.0.0.1".into(),
                    port: free,
                },
                "nothing listens",
            ),
            (server(b"", Duration::from_secs(30)), "no answer in time"),
            (
                server(b"HTTP/1.0 200 OK\r\n\r\n{", Duration::from_secs(30)),
                "no answer in time",
            ),
            (
                server(b"SSH-2.0-x\r\n", Duration::ZERO),
                "does not speak HTTP",
            ),
            (
                Host {
                    name: "no-such-host.invalid".into(),
                    port: 1,
                },
                "resolved",
            ),
        ];
        let names: Vec<Host> = hosts.iter().map(|(host, _)| host.clone()).collect();
        let started = Instant::now();
        let replies = all(&names, "/health", Duration::from_secs(1));
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
        for ((host, why), reply) in hosts.iter().zip(replies) {
            let error = format!("{:#}", reply.expect_err(why));
            assert!(error.contains(why), "{host}: {error}");
        }
    }

    #[test]
    fn endless_answer_is_cut_off() {
        let huge: &'static [u8] = Box::leak(vec![b'x'; LIMIT + 100_000].into_boxed_slice());
        let error = all(&[server(huge, Duration::ZERO)], "/", Duration::from_secs(5))
            .remove(0)
            .expect_err("too large");
        assert!(format!("{error:#}").contains("larger"), "{error:#}");
    }
}
