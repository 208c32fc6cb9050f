//! Connections and their limits: how many, from whom, for how long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
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

use super::{Follower, LOOK, Options, Shared, guard, route};
use crate::probe;

/// Open connections of the network. More of them are closed at once: one that waited in the kernel's queue would keep those
/// behind it waiting, the board's own among them.
const CONNECTIONS: usize = 64;
/// Open connections of one peer: nobody can take them all.
const OF_ONE_PEER: usize = 32;
/// Open connections of the board itself, in places of their own: a trial is judged by `/livez`, and whoever fills the others
/// must not be able to refuse an update.
const OF_OURSELVES: usize = 32;
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
            let peers = Peers::default();
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

/// How many connections each peer has.
#[derive(Clone, Default)]
struct Peers(Rc<RefCell<Counts>>);

#[derive(Default)]
struct Counts {
    of: HashMap<Peer, usize>,
    /// Of all but ourselves.
    strangers: usize,
}

/// Who counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    Ourselves,
    V4(Ipv4Addr),
    /// The first 64 bits: one host may use any address below them (RFC 4291, 2.5.1; RFC 8981).
    V6(u64),
}

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            ip if ip.is_loopback() => Self::Ourselves,
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// One connection of one peer, counted until it is dropped.
struct Place {
    peers: Peers,
    peer: Peer,
}

impl Peers {
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let peer = Peer::of(address);
        let mut counts = self.0.borrow_mut();
        let most = if peer == Peer::Ourselves {
            OF_OURSELVES
        } else if counts.strangers < CONNECTIONS {
            OF_ONE_PEER
        } else {
            return None;
        };
        let count = counts.of.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        counts.strangers += usize::from(peer != Peer::Ourselves);
        Some(Place {
            peers: self.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.borrow_mut();
        counts.strangers -= usize::from(self.peer != Peer::Ourselves);
        if let Some(count) = counts.of.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&self.peer);
            }
        }
    }
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

    #[test]
    fn one_peer_cannot_take_all_connections() {
        let peers = Peers::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let places: Vec<_> = (0..OF_ONE_PEER)
            .map(|_| peers.enter(one).expect("room"))
            .collect();
        assert!(peers.enter(one).is_none());
        assert!(peers.enter(other).is_some());
        drop(places);
        assert!(peers.enter(one).is_some());
        let counts = peers.0.borrow();
        assert!(
            counts.of.is_empty() && counts.strangers == 0,
            "nobody is remembered"
        );
    }

    #[test]
    fn all_the_network_together_cannot_keep_the_board_from_asking_itself() {
        let peers = Peers::default();
        let neighbours = (0..=u8::MAX).map(|n| IpAddr::from([10, 0, 0, n]));
        let taken: Vec<_> = neighbours.filter_map(|ip| peers.enter(ip)).collect();
        assert_eq!(taken.len(), CONNECTIONS);
        let ourselves = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        let ours: Vec<_> = ourselves
            .iter()
            .map(|ip| peers.enter(ip.parse().expect("an address")).expect("room"))
            .collect();
        assert_eq!(ours.len(), ourselves.len());
    }

    #[test]
    fn a_host_with_all_addresses_of_its_network_is_one_peer() {
        let peers = Peers::default();
        let address = |net: u16, n: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, n]);
        let taken: Vec<_> = (0..200)
            .filter_map(|n| peers.enter(address(1, n)))
            .collect();
        assert_eq!(taken.len(), OF_ONE_PEER);
        assert!(
            peers.enter(address(2, 0)).is_some(),
            "its neighbour is another"
        );
    }
}
