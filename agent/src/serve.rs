//! The HTTP half: answers what the newest report says. It reads one file and owns nothing else.
//!
//! * `rendered`: every answer as bytes, made once for each report
//! * `guard`: what is refused before it is looked at: other hosts, methods, bodies
//! * `health`: `application/health+json` and the lines of Kubernetes
//! * `listen`: connections and their limits

mod guard;
pub(crate) mod health;
mod listen;
pub mod metrics;
mod page;
mod rendered;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, AGE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::get;

use crate::files;
use crate::probe::Root;
use crate::report::{LIMIT, Report};
pub use health::Depth;
use rendered::{Answer, Rendered};

/// A report older than this is no report: the other half is stuck or dead.
const STALE: Duration = Duration::from_secs(30);
/// How often the file is looked at. A look is one `stat` while nothing changes.
const LOOK: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the report is.
    pub report: PathBuf,
    /// Names by which the board may be asked for, besides addresses, its host name and `localhost`.
    pub hosts: Vec<String>,
    /// How much a stranger is told.
    pub depth: Depth,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(listen::serve(options))
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    current: Arc<RwLock<Current>>,
}

/// The answers of this moment.
struct Current {
    rendered: Rendered,
    age: Option<HeaderValue>,
    names: guard::Names,
}

impl Shared {
    fn new(names: guard::Names) -> Self {
        let current = Current {
            rendered: Rendered::absent(
                "the agent has not looked at the board yet; ask again in a few seconds",
            ),
            age: None,
            names,
        };
        Self {
            current: Arc::new(RwLock::new(current)),
        }
    }

    /// Reads what `pick` wants. A poisoned lock cannot be: nothing that holds it can panic half-way.
    fn with<T>(&self, pick: impl FnOnce(&Current) -> T) -> T {
        pick(
            &self
                .current
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        change(
            &mut self
                .current
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    fn answer(&self, pick: impl FnOnce(&Rendered) -> &Answer) -> Response {
        self.with(|current| {
            let mut response = pick(&current.rendered).response();
            if let Some(age) = &current.age {
                response.headers_mut().insert(AGE, age.clone());
            }
            response
        })
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/style.css", get(style))
        .route("/health", get(board))
        // Where goss serves its health: probes that were made for it keep working.
        .route("/healthz", get(board))
        .route("/health/{check}", get(component))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(missing)
        .with_state(shared)
}

async fn page(State(shared): State<Shared>) -> Response {
    shared.answer(|r| &r.page)
}

async fn style(State(shared): State<Shared>) -> Response {
    shared.answer(|r| &r.style)
}

async fn board(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let accepts = |kind: &str| accepts(&headers, kind);
    shared.answer(|r| {
        if verbose(query.as_deref()) || accepts("text/plain") {
            &r.lines
        } else if accepts("text/html") {
            // A browser would offer health+json for download.
            &r.health_page
        } else {
            &r.health
        }
    })
}

async fn component(State(shared): State<Shared>, Path(check): Path<String>) -> Response {
    shared.answer(|r| r.components.get(&check).unwrap_or(&r.missing))
}

async fn livez(State(shared): State<Shared>) -> Response {
    shared.answer(|r| &r.livez)
}

async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    shared.answer(|r| {
        if verbose(query.as_deref()) {
            &r.readyz_lines
        } else {
            &r.readyz
        }
    })
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let open = accepts(&headers, "application/openmetrics-text");
    shared.answer(|r| if open { &r.openmetrics } else { &r.classic })
}

async fn missing(State(shared): State<Shared>) -> Response {
    shared.answer(|r| &r.missing)
}

fn verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    })
}

/// Whether the client named this media type. Weights are not compared: a client that names it wants it.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains(kind)))
}

/// Follows the report file and renders it anew when it changes or grows stale.
struct Follower {
    path: PathBuf,
    hosts: Vec<String>,
    depth: Depth,
    seen: Option<(std::time::SystemTime, u64, u64)>,
    uptime: Option<f64>,
    stale: bool,
}

impl Follower {
    fn new(options: &Options) -> Self {
        Self {
            path: options.report.clone(),
            hosts: options.hosts.clone(),
            depth: options.depth,
            seen: None,
            uptime: None,
            stale: false,
        }
    }

    fn names(&self) -> guard::Names {
        let host = Root::default()
            .text("/proc/sys/kernel/hostname")
            .unwrap_or_default();
        guard::Names::new(host.trim(), &self.hosts)
    }

    /// One look at the file. `uptime` is the time since boot, now.
    fn look(&mut self, shared: &Shared, uptime: f64) {
        use std::os::unix::fs::MetadataExt;
        let seen = std::fs::metadata(&self.path)
            .ok()
            .and_then(|meta| Some((meta.modified().ok()?, meta.ino(), meta.len())));
        if seen != self.seen {
            self.seen = seen;
            let read = files::read(&self.path, LIMIT)
                .map_err(Into::into)
                .and_then(|bytes| Report::parse(&bytes));
            self.uptime = read.as_ref().ok().map(|report| report.uptime);
            self.stale = false;
            let rendered = match read {
                Ok(report) => Rendered::of(&report, self.depth),
                Err(error) => {
                    // One line in the journal each time the file changes; sd-daemon(3): <4> is a warning.
                    eprintln!("<4>hypriot-agent serve: {error:#}");
                    Rendered::absent(
                        "there is no readable report: see journalctl -u hypriot-agent on the board",
                    )
                }
            };
            let names = self.names();
            shared.change(|current| (current.rendered, current.names) = (rendered, names));
        }
        let age = self.uptime.map(|then| uptime - then);
        // A report from the future is from another boot: /run was carried over, nobody writes it now.
        let stale = age.is_some_and(|age| age > STALE.as_secs_f64() || age < -1.0);
        if stale && !self.stale {
            self.stale = true;
            let why = "the last report is too old: the agent's other half is stuck or dead; \
                       see journalctl -u hypriot-agent on the board";
            shared.change(|current| current.rendered = Rendered::absent(why));
        }
        let age = age.map(|age| HeaderValue::from(whole_seconds(age)));
        shared.change(|current| current.age = age);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn whole_seconds(age: f64) -> u64 {
    age.clamp(0.0, 1e9) as u64
}

#[cfg(test)]
mod tests;
