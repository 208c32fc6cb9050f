//! Connections and their limits: how many, from whom, for how long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::{Follower, LOOK, Options, Shared, guard, router};
use crate::probe;

/// Open connections of all peers. More of them wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Open connections of one peer: nobody can take them all.
const OF_ONE_PEER: usize = 32;
/// A request must have arrived this long after the connection or the request before it.
const HEADERS: Duration = Duration::from_secs(10);
/// A connection is closed after this time, whatever it does: also one that never reads its answers.
const LIFE: Duration = Duration::from_mins(2);
/// Then its last answer may take this long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The whole head of a request. Ours are 200 bytes.
const HEAD_BYTES: usize = 16 * 1024;

pub(super) async fn serve(options: &Options) -> Result<()> {
    let listener = bind(options.listen).await.with_context(|| {
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
            tokio::select! {
                () = accept(&listener, &shared) => {}
                () = following => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// Binds; a kernel without IPv6 gets all of IPv4 instead of all of both.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let error = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let no_ipv6 = matches!(
        error.raw_os_error(),
        Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL)
    );
    if no_ipv6 && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
    }
    Err(error)
}

async fn accept(listener: &TcpListener, shared: &Shared) {
    let router = router(shared.clone());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Peers::default();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
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
            drop((place, slot));
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
        let refused = shared.with(|current| guard::refuse(&parts, &current.names));
        let answer = match refused {
            Some(answer) => Err(answer),
            None => Ok(tower.call(Request::from_parts(parts, body))),
        };
        async move {
            match answer {
                Ok(response) => response.await,
                Err(refusal) => Ok::<Response, Infallible>(refusal.response()),
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
struct Peers(Rc<RefCell<HashMap<IpAddr, usize>>>);

/// One connection of one peer, counted until it is dropped.
struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    fn enter(&self, peer: IpAddr) -> Option<Place> {
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(peer).or_default();
        if *count >= OF_ONE_PEER {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: self.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
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
        assert!(peers.0.borrow().is_empty(), "nobody is remembered");
    }
}
