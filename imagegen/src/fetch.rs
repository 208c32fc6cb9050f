//! Owns the network: downloads that resume, that are checked before they count, and that end in a plain explanation.

pub mod store;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::fetch::store::{Partial, Store};
use crate::files;
use crate::progress::Stage;
use crate::sha256::Sha256;

/// Attempts in a row that bring next to nothing before we give up.
const ATTEMPTS: u32 = 5;
/// Attempts in all, however much each of them brings.
const MAX_ATTEMPTS: u32 = 200;
/// One attempt may last so many times the client's patience; the next continues where it stopped.
const ATTEMPT_LIMIT: u32 = 9;
/// An attempt that brings less counts as none: a server that drips must not hold us for ever.
const LEAST: u64 = 64 << 10;
/// Largest text file (a release file) we take.
const MAX_TEXT: u64 = 16 << 20;
/// Downloads at once: enough to hide latency, few enough to be polite.
const PARALLEL: usize = 6;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server is not there or does not answer.
    #[error(
        "cannot reach {url}: {reason}; check the network, or name another mirror with --mirror or HYPRIOT_MIRROR"
    )]
    Unreachable {
        /// The file.
        url: String,
        /// What happened last.
        reason: String,
    },
    /// The server does not have it.
    #[error("{url} is not there (HTTP {status}){}", gone_hint(*.status))]
    NotFound {
        /// The file.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The bytes are others than were promised.
    #[error(
        "{url} is not what was promised: {what} is {got}, expected {expected}; the mirror is broken or somebody changed it on the way"
    )]
    Mismatch {
        /// The file.
        url: String,
        /// Hash or size.
        what: &'static str,
        /// What came.
        got: String,
        /// What was promised.
        expected: String,
    },
    /// The connection broke again and again.
    #[error(
        "{url}: the transfer stopped {attempts} times at byte {have} of {size} ({reason}); start again later, it will continue there"
    )]
    Cut {
        /// The file.
        url: String,
        /// How often.
        attempts: u32,
        /// Bytes there.
        have: u64,
        /// Bytes in all.
        size: u64,
        /// What happened last.
        reason: String,
    },
    /// A file of ours cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn gone_hint(status: u16) -> &'static str {
    match status {
        404 | 410 => {
            ": the mirror has moved on since the lock was made, or is in the middle of an update; run `hypriot-imagegen lock` again, or use another mirror"
        }
        _ => "",
    }
}

/// A file to fetch: where it is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub url: String,
    /// SHA-256 it must have.
    pub sha256: Sha256,
    /// Length it must have.
    pub size: u64,
}

/// A proxy and who set it, without a password that its URL may hold.
fn named(proxy: &ureq::Proxy, whose: &str) -> String {
    format!("{}:{} ({whose})", proxy.host(), proxy.port())
}

/// An HTTP client with sane limits.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    patience: Duration,
    /// The proxy, as errors name it.
    proxy: Option<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Duration::from_secs(20))
    }
}

enum Attempt {
    Complete,
    /// It broke off; so many bytes came, and why.
    Broke(u64, String),
}

impl Client {
    /// A client that waits so long for a connection and for an answer to begin, and goes through the environment's proxy.
    pub fn new(patience: Duration) -> Self {
        let proxy = ureq::Proxy::try_from_env();
        let named = proxy.as_ref().map(|p| named(p, "of the environment"));
        Self::with(patience, proxy, named)
    }

    /// The same client through this proxy, which `whose` setting names. What that cannot mean goes through none.
    #[must_use]
    pub fn through(&self, proxy: &str, whose: &str) -> Self {
        let proxy = ureq::Proxy::new(proxy).ok();
        let named = proxy.as_ref().map(|p| named(p, whose));
        Self::with(self.patience, proxy, named)
    }

    fn with(patience: Duration, proxy: Option<ureq::Proxy>, named: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_recv_body(Some(patience * ATTEMPT_LIMIT))
            .http_status_as_error(false)
            .proxy(proxy)
            .user_agent(concat!("hypriot-imagegen/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            patience,
            proxy: named,
        }
    }

    /// How long it waits.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Fetches a small text file whose hash nobody knows beforehand.
    pub fn text(&self, url: &str) -> Result<String, FetchError> {
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS.min(3) {
            self.pause(attempt);
            match self.agent.get(url).call() {
                Ok(mut answer) => match answer.status().as_u16() {
                    200 => match answer
                        .body_mut()
                        .with_config()
                        .limit(MAX_TEXT)
                        .read_to_string()
                    {
                        Ok(text) => return Ok(text),
                        Err(e) => reason = e.to_string(),
                    },
                    status @ (500..=599 | 408 | 429) => reason = format!("HTTP {status}"),
                    status => {
                        return Err(FetchError::NotFound {
                            url: url.to_owned(),
                            status,
                        });
                    }
                },
                Err(e) => reason = e.to_string(),
            }
        }
        Err(FetchError::Unreachable {
            url: url.to_owned(),
            reason: self.by_way(reason),
        })
    }

    /// What happened, with the proxy it happened behind: that is what most often has to be mended.
    fn by_way(&self, reason: String) -> String {
        match &self.proxy {
            Some(proxy) => format!("{reason}, through the proxy {proxy}"),
            None => reason,
        }
    }

    /// Brings a file into the store, unless it is there. Continues what an earlier attempt or process left behind.
    pub fn fetch(
        &self,
        store: &Store,
        wanted: &Wanted,
        stage: Option<&Stage>,
    ) -> Result<PathBuf, FetchError> {
        let partial = match store.get(wanted.sha256, wanted.size) {
            Some(path) => return Ok(path),
            None => store.begin(wanted.sha256)?,
        };
        // Another process may have finished it while we waited for the right to begin.
        if let Some(path) = store.get(wanted.sha256, wanted.size) {
            return Ok(path);
        }
        let mut idle = 0;
        let mut started_over = false;
        for _ in 0..MAX_ATTEMPTS {
            let outcome = self.attempt(wanted, &partial, stage)?;
            let reason = match outcome {
                Attempt::Complete => match check(wanted, &partial) {
                    Ok(()) => return Ok(store.keep(partial, wanted.sha256)?),
                    // What an earlier run left may be damaged: once, begin from nothing before blaming the mirror.
                    Err(FetchError::Mismatch { .. }) if !started_over => {
                        started_over = true;
                        fs::remove_file(&partial.path)?;
                        continue;
                    }
                    Err(e) => {
                        fs::remove_file(&partial.path)?;
                        return Err(e);
                    }
                },
                Attempt::Broke(got, reason) => {
                    idle = if got < LEAST { idle + 1 } else { 1 };
                    reason
                }
            };
            if idle >= ATTEMPTS {
                let have = length(&partial);
                let url = wanted.url.clone();
                return Err(match have {
                    0 => FetchError::Unreachable {
                        url,
                        reason: self.by_way(reason),
                    },
                    _ => FetchError::Cut {
                        url,
                        attempts: idle,
                        have,
                        size: wanted.size,
                        reason,
                    },
                });
            }
            self.pause(idle);
        }
        let url = wanted.url.clone();
        let have = length(&partial);
        let reason = "it never came to its end".to_owned();
        Err(FetchError::Cut {
            url,
            attempts: MAX_ATTEMPTS,
            have,
            size: wanted.size,
            reason,
        })
    }

    /// Fetches many files, several at once; the first failure ends it.
    pub fn fetch_all(
        &self,
        store: &Store,
        wanted: &[Wanted],
        stage: &Stage,
    ) -> Result<(), FetchError> {
        let queue = Mutex::new(wanted.iter());
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(wanted.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().ok().and_then(|mut q| q.next());
                        let Some(item) = next else { return };
                        if failure.lock().map_or(true, |f| f.is_some()) {
                            return;
                        }
                        if let Err(e) = self.fetch(store, item, Some(stage))
                            && let Ok(mut slot) = failure.lock()
                        {
                            slot.get_or_insert(e);
                        }
                    }
                });
            }
        });
        failure.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    /// Waits longer from attempt to attempt: half a second and doubling, with the usual patience.
    fn pause(&self, attempt: u32) {
        if attempt > 0 {
            std::thread::sleep(self.patience / 80 * 2u32.pow(attempt.min(4)));
        }
    }

    fn attempt(
        &self,
        wanted: &Wanted,
        partial: &Partial,
        stage: Option<&Stage>,
    ) -> Result<Attempt, FetchError> {
        let mut have = length(partial);
        if have > wanted.size {
            fs::remove_file(&partial.path)?;
            have = 0;
        }
        if have == wanted.size && have > 0 {
            return Ok(Attempt::Complete);
        }
        let mut request = self.agent.get(&wanted.url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let mut answer = match request.call() {
            Ok(answer) => answer,
            Err(e) => return Ok(Attempt::Broke(0, e.to_string())),
        };
        let append = match answer.status().as_u16() {
            200 => false,
            206 if resumes_at(answer.headers(), have) => true,
            // The server cannot continue there: begin from nothing the next time.
            206 | 416 => {
                fs::remove_file(&partial.path)?;
                return Ok(Attempt::Broke(
                    0,
                    "the server cannot continue a transfer".to_owned(),
                ));
            }
            status @ (500..=599 | 408 | 429) => {
                return Ok(Attempt::Broke(0, format!("HTTP {status}")));
            }
            status => {
                return Err(FetchError::NotFound {
                    url: wanted.url.clone(),
                    status,
                });
            }
        };
        // A file of another length is another file: no use in fetching it again and again.
        if let Some(whole) = whole_length(answer.headers(), append)
            && whole != wanted.size
        {
            return Err(FetchError::Mismatch {
                url: wanted.url.clone(),
                what: "its size",
                got: whole.to_string(),
                expected: wanted.size.to_string(),
            });
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(append)
            .write(true)
            .truncate(!append)
            .open(&partial.path)
            .map_err(|e| files::named(&partial.path, &e))?;
        let left = wanted.size - if append { have } else { 0 };
        // One byte more than promised is read so that a longer file is noticed.
        let mut body = answer.body_mut().as_reader().take(left + 1);
        let mut buf = vec![0; 1 << 16];
        let mut got = 0;
        loop {
            match body.read(&mut buf) {
                Ok(0) if got < left => {
                    return Ok(Attempt::Broke(got, "the connection ended early".to_owned()));
                }
                Ok(0) => return Ok(Attempt::Complete),
                Ok(n) => {
                    file.write_all(&buf[..n])
                        .map_err(|e| files::named(&partial.path, &e))?;
                    got += n as u64;
                    if let Some(stage) = stage {
                        stage.add(n as u64);
                    }
                }
                Err(e) => return Ok(Attempt::Broke(got, e.to_string())),
            }
        }
    }
}

fn resumes_at(headers: &ureq::http::HeaderMap, have: u64) -> bool {
    // RFC 9110, 14.4: Content-Range: bytes FIRST-LAST/LENGTH
    headers
        .get("content-range")
        .and_then(|v| v.to_str().ok())
        .and_then(|v| {
            v.strip_prefix("bytes ")?
                .split('-')
                .next()?
                .trim()
                .parse()
                .ok()
        })
        .is_some_and(|first: u64| first == have)
}

/// The length of the whole file, as the server says it.
fn whole_length(headers: &ureq::http::HeaderMap, part: bool) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let number = if part {
        text("content-range")?.rsplit('/').next()?
    } else {
        text("content-length")?
    };
    number.trim().parse().ok()
}

fn length(partial: &Partial) -> u64 {
    fs::metadata(&partial.path).map_or(0, |m| m.len())
}

fn check(wanted: &Wanted, partial: &Partial) -> Result<(), FetchError> {
    let mismatch = |what, got: String, expected: String| FetchError::Mismatch {
        url: wanted.url.clone(),
        what,
        got,
        expected,
    };
    let (sha256, size) = Sha256::of_file(&partial.path)?;
    if size != wanted.size {
        return Err(mismatch(
            "its size",
            size.to_string(),
            wanted.size.to_string(),
        ));
    }
    if sha256 != wanted.sha256 {
        return Err(mismatch(
            "its SHA-256",
            sha256.to_string(),
            wanted.sha256.to_string(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
