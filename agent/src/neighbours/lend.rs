//! The server: segments by their hash, and maps of what there is, to neighbours and nobody else.
//!
//! It is the part of the agent that strangers talk to and that sees bytes of the card, so it has nothing else: no rights, no device,
//! no file that it could write; systemd opens the partitions of both slots for it, to be read (`OpenFile=`). What it lends anybody
//! on the network may have. It lends so much in a second and no more ([`rate`]), since the board has its own work, and so many
//! at a time; who comes too often is told to come later.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as Listener};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request as Asked;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use self::rate::Rate;
use self::stock::Stock;
use super::links::{self, Link};
use super::wire::{PORT, Request};
use crate::serve::peers::{Limits, Peers};

mod rate;
mod stock;

/// Each holds a segment in memory while it is sent.
const LIMITS: Limits = Limits {
    strangers: 24,
    one: 6,
    ourselves: 6,
};
/// A question must have arrived by then; it has 150 bytes.
const QUESTION: Duration = Duration::from_secs(5);
/// And its answer must be gone by then, also one that waits for its turn.
const LIFE: Duration = Duration::from_secs(20);
/// The whole head of a question; hyper knows no less.
const HEAD: usize = 8192;
/// How old what is known of our own networks may be.
const LOOK: Duration = Duration::from_secs(10);
/// How many threads read and hash.
const READERS: usize = 2;

/// Where all boards lend: every address, since who is no neighbour is refused.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT);

/// How to lend.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The shelf.
    pub shelf: PathBuf,
}

/// Lends until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<()> {
    let listener = listen(options.listen)
        .with_context(|| format!("listening on {} for neighbours", options.listen))?;
    serve(listener, &options.shelf)
}

fn listen(address: SocketAddr) -> std::io::Result<Listener> {
    match Listener::bind(address) {
        // a kernel without IPv6
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            Listener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        other => other,
    }
}

/// The same, on a socket that is open.
pub(crate) fn serve(listener: Listener, shelf: &Path) -> Result<()> {
    listener.set_nonblocking(true)?;
    let stock = Stock::open(shelf);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .context("starting the runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::select! {
            () = accept(listener, Rc::new(Lender::new(stock))) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// What all connections share.
struct Lender {
    stock: RefCell<Stock>,
    rate: RefCell<Rate>,
    links: RefCell<(Option<Instant>, Vec<Link>)>,
}

async fn accept(listener: TcpListener, lender: Rc<Lender>) {
    let peers = Peers::new(LIMITS);
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Out of file descriptors, or a client that left already: neither may stop us nor make us spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if !lender.knows(address) {
            continue;
        }
        let Some(place) = peers.enter(address.ip()) else {
            continue;
        };
        let lender = Rc::clone(&lender);
        tokio::task::spawn_local(async move {
            // However it ended: it is the peer's affair.
            drop(tokio::time::timeout(LIFE, connection(stream, lender)).await);
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, lender: Rc<Lender>) {
    let service = service_fn(move |asked: Asked<Incoming>| {
        let lender = Rc::clone(&lender);
        async move { Ok::<Response, Infallible>(lender.answer(&asked).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION)
        .max_buf_size(HEAD)
        .max_headers(32)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}

impl Lender {
    fn new(stock: Stock) -> Self {
        Self {
            stock: RefCell::new(stock),
            rate: RefCell::default(),
            links: RefCell::default(),
        }
    }

    /// Whether this is a neighbour.
    fn knows(&self, address: SocketAddr) -> bool {
        let mut links = self.links.borrow_mut();
        if links.0.is_none_or(|at| at.elapsed() > LOOK) {
            *links = (Some(Instant::now()), links::all());
        }
        links::is_neighbour(&links.1, address.ip())
    }

    async fn answer(&self, asked: &Asked<Incoming>) -> Response {
        if asked.method() != Method::GET {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        match Request::parse(asked.uri().path()) {
            Some(Request::Map(content)) => match self.stock.borrow_mut().map(&content) {
                Some(bytes) => full(bytes),
                None => empty(StatusCode::NOT_FOUND),
            },
            Some(Request::Segment(hash)) => {
                let place = self.stock.borrow_mut().find(&hash);
                match place {
                    Some(place) => self.lend(place).await,
                    None => empty(StatusCode::NOT_FOUND),
                }
            }
            None => empty(StatusCode::NOT_FOUND),
        }
    }

    /// When its turn has come: reads, hashes, gives.
    async fn lend(&self, place: stock::Place) -> Response {
        let turn = self.rate.borrow_mut().take(place.len(), Instant::now());
        match turn {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => return later(wait),
        }
        let read = tokio::task::spawn_blocking(move || place.read()).await;
        match read {
            Ok(Some(bytes)) => full(bytes),
            // what lies there is something else by now
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

fn full(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let kind = axum::http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// RFC 9110, 10.2.3: whole seconds.
fn later(wait: Duration) -> Response {
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    let seconds = wait.as_secs().clamp(1, 5);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

#[cfg(test)]
mod tests;
