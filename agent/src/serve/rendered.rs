//! Every answer as bytes, made once for each report, so that a request is a look-up and a copy.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};

use super::health::{self, Depth, Document};
use super::history::History;
use super::openapi;
use crate::report::{Report, Status};
use crate::serve::metrics::{self, Format};
use crate::serve::page;

pub(super) const HEALTH_JSON: &str = "application/health+json";
pub(super) const JSON: &str = "application/json";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";
pub(super) use metrics::{CLASSIC, OPENMETRICS};

/// What goes out.
pub(super) type Reply = Response<Body>;

/// One answer, ready to be copied.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: StatusCode,
    kind: &'static str,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let fixed = [
            (CONTENT_TYPE, kind),
            // Whoever asks wants to know how it is now.
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
            (HeaderName::from_static("referrer-policy"), "no-referrer"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ];
        let mut headers: HeaderMap = fixed
            .into_iter()
            .map(|(k, v)| (k, HeaderValue::from_static(v)))
            .collect();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if status == StatusCode::OK {
            let tag = HeaderValue::try_from(tag(&body)).expect("digits in quotes");
            headers.insert(ETAG, tag);
        }
        Self {
            status,
            kind,
            headers,
            body,
        }
    }

    /// Adds a header to an answer that is made at start-up.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its entity tag, quotes included.
    pub(super) fn tag(&self) -> Option<&str> {
        self.headers.get(ETAG)?.to_str().ok()
    }

    pub(super) fn reply(&self) -> Reply {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// That the client has it already (RFC 9110, 15.4.5).
    pub(super) fn unchanged(&self) -> Reply {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in [ETAG, CACHE_CONTROL] {
            if let Some(value) = self.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// An entity tag (RFC 9110, 8.8.3): it only has to differ when the bytes do, nobody gains by making two alike.
fn tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// All answers for one report.
#[derive(Debug)]
pub(super) struct Rendered {
    /// For the answers that leave something out.
    pub(super) report: Option<(Report, Depth)>,
    pub(super) health: Answer,
    pub(super) health_page: Answer,
    pub(super) lines: Answer,
    pub(super) components: BTreeMap<String, Answer>,
    /// In the place of a component that is not there.
    pub(super) no_component: Answer,
    pub(super) livez: Answer,
    pub(super) readyz: Answer,
    pub(super) readyz_lines: Answer,
    pub(super) openmetrics: Answer,
    pub(super) classic: Answer,
    pub(super) page: Answer,
    pub(super) fixed: Fixed,
}

/// Answers that are the same whatever the board is like.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) style: Answer,
    /// In the order of [`Status::ALL`].
    pub(super) icons: [Answer; 3],
    pub(super) openapi: Answer,
    pub(super) missing: Answer,
}

impl Rendered {
    /// The answers that a fresh report gives. `host` is the board's own name.
    pub(super) fn of(report: Report, depth: Depth, host: &str, history: &History) -> Self {
        let status = code(report.status());
        let (ready, lines) = health::readiness(&report, &[]);
        let page = page::render(&report, host, history);
        let components = report.checks.iter().map(|(name, check)| {
            let document = health::component(&report, name, check, depth);
            (name.clone(), json(code(check.status), &document))
        });
        Self {
            health: json(status, &health::document(&report, depth)),
            health_page: Answer::new(status, HTML, page.clone()),
            lines: Answer::new(status, PLAIN, health::lines(&report)),
            components: components.collect(),
            no_component: missing(),
            livez: Answer::new(StatusCode::OK, PLAIN, "ok\n"),
            readyz: readyz(ready, lines.clone(), false),
            readyz_lines: readyz(ready, lines, true),
            openmetrics: Answer::new(
                StatusCode::OK,
                OPENMETRICS,
                metrics::render(&report, Format::OpenMetrics),
            ),
            classic: Answer::new(
                StatusCode::OK,
                CLASSIC,
                metrics::render(&report, Format::Classic),
            ),
            page: Answer::new(StatusCode::OK, HTML, page),
            fixed: Fixed::new(),
            report: Some((report, depth)),
        }
    }

    /// The answers when there is no fresh report. Absence is never green.
    pub(super) fn absent(why: &str, host: &str) -> Self {
        let bad = StatusCode::SERVICE_UNAVAILABLE;
        let lines = || Answer::new(bad, PLAIN, format!("[-]report failed: {why}\n"));
        let page = page::render_none(why, host);
        Self {
            report: None,
            health: json(bad, &health::absent(why)),
            health_page: Answer::new(bad, HTML, page.clone()),
            lines: lines(),
            components: BTreeMap::new(),
            no_component: json(bad, &health::absent(why)),
            livez: lines(),
            readyz: lines(),
            readyz_lines: lines(),
            openmetrics: Answer::new(
                StatusCode::OK,
                OPENMETRICS,
                metrics::render_none(Format::OpenMetrics),
            ),
            classic: Answer::new(
                StatusCode::OK,
                CLASSIC,
                metrics::render_none(Format::Classic),
            ),
            page: Answer::new(StatusCode::OK, HTML, page),
            fixed: Fixed::new(),
        }
    }
}

impl Fixed {
    fn new() -> Self {
        let kept = |kind, body: &'static str| {
            Answer::new(StatusCode::OK, kind, body).with(CACHE_CONTROL, "max-age=3600")
        };
        Self {
            style: kept(CSS, page::STYLE),
            icons: Status::ALL.map(|status| kept(SVG, page::icon(status))),
            openapi: kept(JSON, openapi::TEXT),
            missing: missing(),
        }
    }
}

/// `/health` without some of its checks. One request renders it anew, out of what is in memory.
pub(super) fn without(report: &Report, depth: Depth, excluded: &[&str], lines: bool) -> Answer {
    let (report, notes) = health::without(report, excluded);
    let status = code(report.status());
    if lines {
        let warned = notes
            .iter()
            .fold(String::new(), |all, note| all + "warn: " + note + "\n");
        return Answer::new(status, PLAIN, warned + &health::lines(&report));
    }
    let mut document = health::document(&report, depth);
    document.notes = notes;
    json(status, &document)
}

/// `/readyz` without some of its conditions.
pub(super) fn ready_without(report: &Report, excluded: &[&str], verbose: bool) -> Answer {
    let (ready, lines) = health::readiness(report, excluded);
    readyz(ready, lines, verbose)
}

fn readyz(ready: bool, lines: String, verbose: bool) -> Answer {
    match (ready, verbose) {
        (true, false) => Answer::new(StatusCode::OK, PLAIN, "ok\n"),
        (true, true) => Answer::new(StatusCode::OK, PLAIN, lines),
        (false, _) => Answer::new(StatusCode::SERVICE_UNAVAILABLE, PLAIN, lines),
    }
}

/// Section 3.1 of the draft: pass and warn MUST be 2xx or 3xx, fail MUST be 4xx or 5xx.
fn code(status: Status) -> StatusCode {
    match status {
        Status::Pass | Status::Warn => StatusCode::OK,
        Status::Fail => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn json(status: StatusCode, document: &Document<'_>) -> Answer {
    let mut text =
        serde_json::to_vec(document).expect("strings and numbers always have a JSON form");
    text.push(b'\n');
    Answer::new(status, HEALTH_JSON, text)
}

fn missing() -> Answer {
    let text = "not found: try /health, /health/<check>, /livez, /readyz?verbose, /metrics, /openapi.json\n";
    Answer::new(StatusCode::NOT_FOUND, PLAIN, text)
}
