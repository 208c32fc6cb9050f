//! The HTTP half: answers what the newest report says. It reads one file and owns nothing else.
//!
//! * `rendered`: every answer as bytes, made once for each report
//! * `guard`: what is refused before it is looked at: other hosts, methods, bodies
//! * `route`: what is served where; `accept`: in which form
//! * `health`: `application/health+json` and the lines of Kubernetes
//! * `page`: the page for people; `history`: the curves of a day on it
//! * `openapi`: the description of all that, written by the code
//! * `listen`: connections, their life and end; `peers`: how many of whom

mod accept;
mod guard;
pub(crate) mod health;
mod history;
mod listen;
pub mod metrics;
pub mod openapi;
mod page;
pub(crate) mod peers;
mod rendered;
mod route;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::HeaderValue;
use hypriot_updater::names::Names;

use crate::files;
use crate::probe::Root;
use crate::report::{LIMIT, Report};
pub use health::Depth;
use history::History;
use rendered::Rendered;

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
    names: Names,
}

impl Shared {
    fn new(names: Names) -> Self {
        let why = "the agent has not looked at the board yet; ask again in a few seconds";
        let current = Current {
            rendered: Rendered::absent(why, ""),
            age: None,
            names,
        };
        Self {
            current: Arc::new(RwLock::new(current)),
        }
    }

    /// Reads what `pick` wants. A poisoned lock cannot be: nothing that holds it can panic half-way.
    fn with<T>(&self, pick: impl FnOnce(&Current) -> T) -> T {
        pick(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Follows the report file and renders it anew when it changes or grows stale.
struct Follower {
    path: PathBuf,
    hosts: Vec<String>,
    depth: Depth,
    seen: Option<(std::time::SystemTime, u64, u64)>,
    uptime: Option<f64>,
    stale: bool,
    history: History,
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
            history: History::default(),
        }
    }

    fn names(&self) -> Names {
        Names::new(&host(), &self.hosts)
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
                Ok(report) => {
                    self.history.add(&report);
                    Rendered::of(report, self.depth, &host(), &self.history)
                }
                Err(error) => {
                    // One line in the journal each time the file changes; sd-daemon(3): <4> is a warning.
                    eprintln!("<4>hypriot-agent serve: {error:#}");
                    Rendered::absent(
                        "there is no readable report: see journalctl -u hypriot-agent on the board",
                        &host(),
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
            shared.change(|current| current.rendered = Rendered::absent(why, &host()));
        }
        let age = age.map(|age| HeaderValue::from(whole_seconds(age)));
        shared.change(|current| current.age = age);
    }
}

/// The board's own name.
fn host() -> String {
    let name = Root::default().text("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
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
