//! One question to one board, bounded in time and size; all boards side by side.

use std::error::Error as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::sync::Semaphore;

use crate::hosts::Host;

/// A board's document has about 4 KiB.
const LIMIT: usize = 256 * 1024;
/// Boards asked at a time.
const SIDE_BY_SIDE: usize = 64;
/// Stands in URLs for addresses that a URL cannot hold (RFC 6874 is implemented nowhere).
const STAND_IN: &str = "board.invalid";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Asks boards; keeps connections.
#[derive(Debug, Clone)]
pub struct Asker {
    client: Client,
    side_by_side: Arc<Semaphore>,
}

impl Asker {
    /// A board is asked directly, whatever proxy is set for the web, and answers itself or not at all.
    pub fn new() -> Result<Self> {
        Ok(Self {
            client: client(None)?,
            side_by_side: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
        })
    }

    /// Asks `host` for `path`, for at most `patience` from when it is its turn.
    pub async fn ask(&self, host: &Host, path: &str, patience: Duration) -> Result<Reply> {
        let _turn = self.side_by_side.acquire().await?;
        tokio::time::timeout(patience, self.exchange(host, path))
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer in time")))
    }

    async fn exchange(&self, host: &Host, path: &str) -> Result<Reply> {
        let found = tokio::net::lookup_host((host.address(), host.port)).await;
        let addresses: Vec<SocketAddr> = found.context("the name cannot be resolved")?.collect();
        let mut last = anyhow!("the name has no address");
        for address in addresses {
            match self.one_address(address, path).await {
                Ok(reply) => return Ok(reply),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn one_address(&self, address: SocketAddr, path: &str) -> Result<Reply> {
        let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        // The address as Host: a board always goes by it, whatever its owner calls it here.
        let request = if scoped {
            client(Some(address))?.get(format!("http://{STAND_IN}:{}{path}", address.port()))
        } else {
            self.client.get(format!("http://{address}{path}"))
        };
        let sent = request.header("accept", "application/health+json").send();
        let mut response = sent.await.map_err(|error| in_words(&error, address))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.context("reading the answer")? {
            ensure!(
                body.len() + chunk.len() <= LIMIT,
                "the answer is larger than {LIMIT} bytes"
            );
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, body })
    }
}

fn client(to: Option<SocketAddr>) -> Result<Client> {
    // Boards speak plain HTTP, but a client of reqwest is made with TLS in it as soon as another program of the workspace asks
    // for that, and then it wants to know whose. That it is chosen already is fine.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder().no_proxy().redirect(Policy::none());
    if let Some(address) = to {
        builder = builder.resolve(STAND_IN, address);
    }
    builder.build().context("making an HTTP client")
}

fn in_words(error: &reqwest::Error, address: SocketAddr) -> anyhow::Error {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                ErrorKind::ConnectionRefused => anyhow!(
                    "it is there, but nothing listens on port {}",
                    address.port()
                ),
                ErrorKind::TimedOut => anyhow!("no answer in time"),
                _ => anyhow!("it cannot be reached: {io}"),
            };
        }
        cause = inner.source();
    }
    if error.is_connect() {
        anyhow!("it cannot be reached: {error}")
    } else {
        anyhow!("what answers there does not speak HTTP")
    }
}

/// Asks every host for `path`, each for at most `patience`. Results are in the order of the hosts.
pub fn all(hosts: &[Host], path: &str, patience: Duration) -> Result<Vec<Result<Reply>>> {
    runtime()?.block_on(async {
        let asker = Asker::new()?;
        let mut set = tokio::task::JoinSet::new();
        for (index, host) in hosts.iter().cloned().enumerate() {
            let (asker, path) = (asker.clone(), path.to_owned());
            set.spawn(async move { (index, asker.ask(&host, &path, patience).await) });
        }
        let mut replies = set.join_all().await;
        replies.sort_by_key(|(index, _)| *index);
        Ok(replies.into_iter().map(|(_, reply)| reply).collect())
    })
}

/// Everything waits most of the time: one thread is enough.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Instant;

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
        Host::new("127.0.0.1", port)
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
        let replies = all(&hosts, "/health", Duration::from_secs(5)).expect("asked");
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
            (Host::new("127.0.0.1", free), "nothing listens"),
            (server(b"", Duration::from_secs(30)), "no answer in time"),
            (
                server(b"HTTP/1.0 200 OK\r\n\r\n{", Duration::from_secs(30)),
                "no answer in time",
            ),
            (
                server(b"SSH-2.0-x\r\n", Duration::ZERO),
                "does not speak HTTP",
            ),
            (Host::new("no-such-host.invalid", 1), "resolved"),
        ];
        let names: Vec<Host> = hosts.iter().map(|(host, _)| host.clone()).collect();
        let started = Instant::now();
        let replies = all(&names, "/health", Duration::from_secs(1)).expect("asked");
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
        let huge: &'static [u8] = Box::leak(
            [
                &b"HTTP/1.0 200 OK\r\n\r\n"[..],
                &vec![b'x'; LIMIT + 100_000],
            ]
            .concat()
            .into_boxed_slice(),
        );
        let error = all(&[server(huge, Duration::ZERO)], "/", Duration::from_secs(5))
            .expect("asked")
            .remove(0)
            .expect_err("too large");
        assert!(format!("{error:#}").contains("larger"), "{error:#}");
    }
}
