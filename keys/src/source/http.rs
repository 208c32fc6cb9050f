//! A repository behind HTTP(S): one origin, bounded in time, resumable, and with no more trust than a stick found in the street.
//!
//! Do not make or drop a source inside an async task: the client below brings its own runtime thread and waits for it.

mod answer;
mod body;
mod tls;

pub use tls::TlsIdentity;

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::string::{String, ToString};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::{Url, redirect};

use self::answer::{Asked, Verdict, judge};
use super::{Source, SourceError, SourceErrorKind};
use crate::source::pace::Pace;
use crate::time::Timestamp;

/// Redirects followed for one file.
const MAX_REDIRECTS: usize = 5;

/// How patient the source is, and on whose behalf it asks.
#[derive(Clone)]
pub struct HttpOptions {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for an answer's head, and between two pieces of its body.
    pub stall: Duration,
    /// Bounds on one body as a whole.
    pub pace: Pace,
    /// How often a file is asked for when the answer is "later" or none.
    pub attempts: u32,
    /// First pause between two attempts; it doubles. `Retry-After` is heeded.
    pub pause: Duration,
    /// Longest time spent on pauses for one file.
    pub patience: Duration,
    /// The device's clock and time floor, for certificates. No clock is read here.
    pub time: TlsTime,
    /// A token for the base URL's origin; never sent to another one.
    pub bearer: Option<String>,
    /// Further origins (`https://host[:port]`) that a redirect may lead to.
    pub companions: Vec<String>,
    /// A proxy that the owner named. Environment variables are not looked at.
    pub proxy: Option<String>,
    /// Authorities of the owner's, and a certificate of the device's own.
    pub identity: TlsIdentity,
}

/// When it is, as far as the device knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsTime {
    /// The device's clock.
    pub clock: Timestamp,
    /// [`crate::client::Client::floor`].
    pub floor: Timestamp,
}

impl HttpOptions {
    /// The usual patience, at a time.
    pub fn at(time: TlsTime) -> Self {
        let pace = Pace {
            // A full image over a slow line may take a day; metadata has its own, shorter bound (`client::Limits`).
            total: Duration::from_hours(24),
            ..Pace::default()
        };
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            pace,
            attempts: 4,
            pause: Duration::from_secs(1),
            patience: Duration::from_mins(1),
            time,
            bearer: None,
            companions: Vec::new(),
            proxy: None,
            identity: TlsIdentity::default(),
        }
    }
}

impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token: options end up in logs.
        f.debug_struct("HttpOptions")
            .field("pace", &self.pace)
            .field("time", &self.time)
            .field("bearer", &self.bearer.is_some())
            .finish_non_exhaustive()
    }
}

/// TLS by the same rules, for another client of the same device.
pub fn tls_config(time: TlsTime, identity: &TlsIdentity) -> Result<rustls::ClientConfig, String> {
    tls::config(time, identity)
}

/// A base URL as a source.
#[derive(Debug)]
pub struct HttpSource {
    client: Client,
    base: Url,
    options: HttpOptions,
    /// Strong entity tags of files seen, so that a resumed transfer is of the same file (RFC 9110, 13.1.5).
    tags: Mutex<BTreeMap<String, String>>,
    /// Files of which the server sent the whole when a part was asked for.
    whole: Mutex<BTreeSet<String>>,
}

impl HttpSource {
    /// A source under `base`, for example `https://github.com/you/images/releases/latest/download`.
    pub fn new(base: &str, options: HttpOptions) -> Result<Self, SourceError> {
        let mut url = Url::parse(base).map_err(|e| refused(base, &e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused(base, "not an http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // They would be shown in every log line and error.
            return Err(refused(
                &origin(&url),
                "a name or password in the URL; use the option for a token instead",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused(base, "a base URL has no ? and no #"));
        }
        if !url.path().ends_with('/') {
            let path = std::format!("{}/", url.path());
            url.set_path(&path);
        }
        let failed = |e: String| refused(base, &e);
        let mut builder = Client::builder()
            .tls_backend_preconfigured(
                tls::config(options.time, &options.identity).map_err(failed)?,
            )
            .user_agent(concat!("hypriot-keys/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect)
            .timeout(options.stall)
            .pool_max_idle_per_host(1);
        builder = match &options.proxy {
            Some(proxy) => {
                builder.proxy(reqwest::Proxy::all(proxy).map_err(|e| failed(e.to_string()))?)
            }
            None => builder.no_proxy(),
        };
        Ok(Self {
            client: builder.build().map_err(|e| failed(e.to_string()))?,
            base: url,
            options,
            tags: Mutex::default(),
            whole: Mutex::default(),
        })
    }

    /// Asks once, following redirects.
    fn ask(&self, name: &str, from: u64, until: Option<u64>) -> Result<body::Body, Failure> {
        let mut url = self.url(name)?;
        let tag = self.tag(name);
        for _ in 0..=MAX_REDIRECTS {
            let asked = Asked {
                from,
                until,
                tag: tag.as_deref(),
            };
            let response = self.send(&url, &asked)?;
            let headers = response.headers();
            match judge(response.status().as_u16(), headers, &asked) {
                Verdict::Redirect => url = self.redirected(&url, headers)?,
                Verdict::Refused(why) => return Err(refused(url.as_str(), &why).into()),
                Verdict::Missing => {
                    let why = std::format!("{url}: not there ({})", response.status().as_u16());
                    return Err(error(SourceErrorKind::Missing, why).into());
                }
                Verdict::Later(why) => {
                    return Err(Failure {
                        error: error(SourceErrorKind::Temporary, std::format!("{url}: {why}")),
                        after: retry_after(headers),
                    });
                }
                Verdict::Changed => {
                    self.remember(name, None);
                    let why = std::format!("{url}: changed since the transfer began; start again");
                    return Err(error(SourceErrorKind::Refused, why).into());
                }
                Verdict::Body { skip, length } => {
                    self.remember(name, strong_tag(headers));
                    if asked.is_part() && length.is_none() {
                        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
                        whole.insert(name.into());
                    }
                    return Ok(body::Body::new(response, skip, length, self.options.pace));
                }
            }
        }
        Err(refused(name, "too many redirects").into())
    }

    fn send(&self, url: &Url, asked: &Asked<'_>) -> Result<Response, Failure> {
        // A body in another coding would be counted, resumed and hashed wrongly.
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if asked.is_part() {
            // RFC 9110, 14.1.2: both ends are included
            let last = asked.until.map(|u| u.saturating_sub(1).to_string());
            let range = std::format!("bytes={}-{}", asked.from, last.unwrap_or_default());
            request = request.header(RANGE, range);
            if let (Some(tag), true) = (asked.tag, asked.from > 0) {
                request = request.header(IF_RANGE, tag);
            }
        }
        if let (Some(token), true) = (&self.options.bearer, url.origin() == self.base.origin()) {
            let mut value = HeaderValue::try_from(std::format!("Bearer {token}")).map_err(|e| {
                refused(url.as_str(), &std::format!("the token cannot be sent: {e}"))
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.send().map_err(|e| {
            let why = std::format!("{url}: {}", chain(&e.without_url()));
            error(SourceErrorKind::Temporary, why).into()
        })
    }

    /// Where a redirect leads, if it may.
    fn redirected(&self, from: &Url, headers: &HeaderMap) -> Result<Url, SourceError> {
        let to = headers
            .get(LOCATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| from.join(v).ok())
            .ok_or_else(|| refused(from.as_str(), "a redirect without a usable Location"))?;
        let allowed = to.origin() == self.base.origin()
            || self.options.companions.iter().any(|c| *c == origin(&to))
            || companions_of(&self.base).contains(&origin(&to).as_str());
        if allowed {
            return Ok(to);
        }
        let hint = if to.host() == self.base.host() && to.scheme() == "https" {
            "configure the https URL instead"
        } else {
            "if that is meant, configure it as a companion origin"
        };
        Err(refused(
            from.as_str(),
            &std::format!("redirects to another origin, {}; {hint}", origin(&to)),
        ))
    }

    /// Only names that [`crate::names`] can make: they cannot leave the base URL.
    fn url(&self, name: &str) -> Result<Url, SourceError> {
        let plain = |s: &str| {
            !matches!(s, "" | "." | "..")
                && !s
                    .to_ascii_lowercase()
                    .replace("%2e", ".")
                    .chars()
                    .all(|c| c == '.')
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b))
        };
        if !name.split('/').all(plain) {
            return Err(refused(
                &std::format!("{name:?}"),
                "not a name that a repository has",
            ));
        }
        let mut url = self.base.clone();
        url.set_path(&std::format!("{}{name}", self.base.path()));
        Ok(url)
    }

    fn tag(&self, name: &str) -> Option<String> {
        self.tags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    fn remember(&self, name: &str, tag: Option<String>) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        match tag {
            Some(tag) => tags.insert(name.into(), tag),
            None => tags.remove(name),
        };
    }
}

impl HttpSource {
    fn patiently(
        &self,
        name: &str,
        from: u64,
        until: Option<u64>,
    ) -> Result<Box<dyn Read + '_>, SourceError> {
        if from == 0 {
            // From the beginning is another transfer: whatever file is there now is fine.
            self.remember(name, None);
        }
        let start = Instant::now();
        let mut pause = self.options.pause;
        let mut attempt = 1;
        loop {
            let failure = match self.ask(name, from, until) {
                Ok(body) => return Ok(Box::new(body)),
                Err(failure) => failure,
            };
            let wait = failure.after.unwrap_or(pause);
            let spent = start.elapsed().saturating_add(wait);
            let over = attempt >= self.options.attempts || spent > self.options.patience;
            if failure.error.kind != SourceErrorKind::Temporary || over {
                return Err(failure.error);
            }
            std::thread::sleep(wait);
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }
}

impl Source for HttpSource {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        self.patiently(name, from, None)
    }

    fn open_part(
        &self,
        name: &str,
        from: u64,
        until: u64,
    ) -> Result<Box<dyn Read + '_>, SourceError> {
        self.patiently(name, from, Some(until))
    }

    fn has_parts(&self, name: &str) -> bool {
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        !whole.contains(name)
    }
}

/// Why an attempt failed, and when the server wants to be asked again.
struct Failure {
    error: SourceError,
    after: Option<Duration>,
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self { error, after: None }
    }
}

/// Origins that belong to one that everybody knows: the assets of a GitHub release are served from these hosts.
fn companions_of(base: &Url) -> &'static [&'static str] {
    if origin(base) == "https://github.com" {
        &[
            "https://objects.githubusercontent.com",
            "https://release-assets.githubusercontent.com",
        ]
    } else {
        &[]
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    tag.starts_with('"').then(|| tag.into())
}

/// RFC 9110, 10.2.3, in its form of seconds; the form with a date needs a clock that is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with its causes: reqwest's first line alone says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn error(kind: SourceErrorKind, what: String) -> SourceError {
    SourceError { kind, what }
}

fn refused(what: &str, why: &str) -> SourceError {
    error(SourceErrorKind::Refused, std::format!("{what}: {why}"))
}

#[cfg(test)]
mod tests;
