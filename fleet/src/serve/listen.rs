//! Connections and their limits: how many, and for how long. Boards behind one router come from one address, so there is no limit
//! for one peer; what a request may cost is bounded everywhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Open connections.
const CONNECTIONS: usize = 4_096;
/// The head of a request must have arrived this long after the connection or the request before it.
const HEADERS: Duration = Duration::from_secs(30);
/// A connection ends after this time; a page asks again by itself.
const LIFE: Duration = Duration::from_mins(15);
const LAST_WORDS: Duration = Duration::from_secs(2);
const HEAD_BYTES: usize = 16 * 1024;

/// Binds.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}: if the address is in use, another program has it (ss -ltnp shows which); see --listen")
    })
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or a client that left already: neither may stop us nor make us spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            connection(stream, router).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, router: Router) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // However it ended: it is the peer's affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(LIFE) => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(LAST_WORDS, connection).await);
}
