//! Connections and their limits: how many, from whom, for how long.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use super::peers::{Limits, Peers};
use super::{Follower, LOOK, Options, Shared, guard, route};
use crate::probe;

/// More connections of the network are closed at once: one that waited in the kernel's queue would keep those behind it
/// waiting, the board's own among them. A trial is judged by `/livez`, and whoever fills the places of others must not be able to
/// refuse an update.
const LIMITS: Limits = Limits {
    strangers: 64,
    one: 32,
    ourselves: 32,
};
/// Connections that wait to be looked at, on each socket.
const QUEUE: u32 = 1024;
/// A request must have arrived this long after the connection or the request before it.
const HEADERS: Duration = Duration::from_secs(10);
/// A connection is closed after this time, whatever it does: also one that never reads its answers.
const LIFE: Duration = Duration::from_mins(2);
/// Then its last answer may take this long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The whole head of a request. Ours are 200 bytes.
const HEAD_BYTES: usize = 16 * 1024;

pub(super) async fn serve(options: &Options) -> Result<()> {
    let doors = bind(options.listen).with_context(|| {
        format!(
            "listening on {}: if the address is in use, a container or another program has taken the port \
             (ss -ltnp shows which); choose another one with --listen",
            options.listen
        )
    })?;
    let mut follower = Follower::new(options);
    let shared = Shared::new(follower.names());
    follower.look(&shared, uptime());
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let following = async {
        loop {
            tokio::time::sleep(LOOK).await;
            follower.look(&shared, uptime());
        }
    };
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let peers = Peers::new(LIMITS);
            for door in doors {
                tokio::task::spawn_local(accept(door, peers.clone(), shared.clone()));
            }
            tokio::select! {
                () = following => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// The sockets that connections come through. Where all addresses are listened on, the board's own get one each besides: the
/// kernel gives a connection to the socket that names its address, so whoever fills the queue of the others, with
/// handshakes that he never ends for one, is not before the board in any queue.
fn bind(address: SocketAddr) -> std::io::Result<Vec<TcpListener>> {
    let no_ipv6 = |error: &std::io::Error| {
        matches!(
            error.raw_os_error(),
            Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL)
        )
    };
    let all = address.ip().is_unspecified();
    let everybodys = match listen(address, all) {
        // a kernel without IPv6 gets all of IPv4 instead of all of both
        Err(error) if no_ipv6(&error) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into(), all)?
        }
        other => other?,
    };
    let port = everybodys.local_addr()?.port();
    let mut doors = vec![everybodys];
    if all {
        let ours: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        // one that cannot be had is reached through the first
        let ours = ours.map(|ip| listen((ip, port).into(), all).ok());
        doors.extend(ours.into_iter().flatten());
    }
    Ok(doors)
}

fn listen(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // of an earlier process of ours, connections may still be closing
    socket.set_reuseaddr(true)?;
    // socket(7): only sockets of the same user may share a port, and this one has a user of its own
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

async fn accept(listener: TcpListener, peers: Peers, shared: Shared) {
    let router = route::router(shared.clone());
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Out of file descriptors, or a client that left already: neither may stop us nor make us spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(place) = peers.enter(address.ip()) else {
            continue;
        };
        let (router, shared) = (router.clone(), shared.clone());
        tokio::task::spawn_local(async move {
            connection(stream, router, shared).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, router: Router, shared: Shared) {
    // Answers are whole when written: waiting for more to send only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let tower = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let answer = match shared.with(|current| guard::refuse(&parts, &current.names)) {
            // A body is refused, not read.
            Some(refusal) => Err(refusal.reply()),
            None => Ok(tower.call(Request::from_parts(parts, body))),
        };
        async move {
            match answer {
                Ok(reply) => reply.await,
                Err(refusal) => Ok::<Response, Infallible>(refusal),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // However it ended: it is the peer's affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(LIFE) => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(LAST_WORDS, connection).await);
}

/// Time since boot, by the clock that the report also uses.
fn uptime() -> f64 {
    probe::uptime(&probe::Root::default()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_asks_itself_through_a_socket_of_its_own() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let doors = bind(all).expect("sockets");
            let port = doors[0].local_addr().expect("an address").port();
            let own = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            let _own = own.await.expect("connected");
            let (_stream, peer) = doors[1].accept().await.expect("through its own");
            assert!(peer.ip().is_loopback());
            let other = doors[0].accept();
            let other = tokio::time::timeout(Duration::from_millis(50), other);
            assert!(other.await.is_err(), "it came through everybody's");
            // an address that the owner named is the only one
            let named = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 0));
            assert_eq!(bind(named).expect("a socket").len(), 1);
        });
    }
}
