//! Every answer as bytes, made once for each report, so that a request is a look-up and a copy.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::health::{self, Depth, Document};
use crate::report::{Report, Status};
use crate::serve::metrics::{self, Format};
use crate::serve::page;

const HEALTH_JSON: &str = "application/health+json";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// One answer, ready to be copied.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let fixed = [
            (CONTENT_TYPE, kind),
            // Whoever asks wants to know how it is now.
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
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
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    /// Adds a header to an answer that is made at start-up.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(super) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// All answers for one report.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) health: Answer,
    pub(super) health_page: Answer,
    pub(super) lines: Answer,
    pub(super) components: BTreeMap<String, Answer>,
    pub(super) livez: Answer,
    pub(super) readyz: Answer,
    pub(super) readyz_lines: Answer,
    pub(super) openmetrics: Answer,
    pub(super) classic: Answer,
    pub(super) page: Answer,
    pub(super) style: Answer,
    pub(super) missing: Answer,
}

impl Rendered {
    /// The answers that a fresh report gives.
    pub(super) fn of(report: &Report, depth: Depth) -> Self {
        let status = code(report.status());
        let (ready, lines) = health::readiness(report);
        let ready = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let page = page::render(report);
        let components = report.checks.iter().map(|(name, check)| {
            let document = health::component(report, name, check, depth);
            (name.clone(), json(code(check.status), &document))
        });
        Self {
            health: json(status, &health::document(report, depth)),
            health_page: Answer::new(status, HTML, page.clone()),
            lines: Answer::new(status, PLAIN, health::lines(report)),
            components: components.collect(),
            livez: Answer::new(StatusCode::OK, PLAIN, "ok\n"),
            readyz: Answer::new(
                ready,
                PLAIN,
                if ready == StatusCode::OK {
                    "ok\n".to_owned()
                } else {
                    lines.clone()
                },
            ),
            readyz_lines: Answer::new(ready, PLAIN, lines),
            openmetrics: Answer::new(
                StatusCode::OK,
                metrics::OPENMETRICS,
                metrics::render(report, Format::OpenMetrics),
            ),
            classic: Answer::new(
                StatusCode::OK,
                metrics::CLASSIC,
                metrics::render(report, Format::Classic),
            ),
            page: Answer::new(StatusCode::OK, HTML, page),
            style: style(),
            missing: missing(),
        }
    }

    /// The answers when there is no fresh report. Absence is never green.
    pub(super) fn absent(why: &str) -> Self {
        let bad = StatusCode::SERVICE_UNAVAILABLE;
        let lines = || Answer::new(bad, PLAIN, format!("[-]report failed: {why}\n"));
        let page = page::render_none(why);
        Self {
            health: json(bad, &health::absent(why)),
            health_page: Answer::new(bad, HTML, page.clone()),
            lines: lines(),
            components: BTreeMap::new(),
            livez: lines(),
            readyz: lines(),
            readyz_lines: lines(),
            openmetrics: Answer::new(
                StatusCode::OK,
                metrics::OPENMETRICS,
                metrics::render_none(Format::OpenMetrics),
            ),
            classic: Answer::new(
                StatusCode::OK,
                metrics::CLASSIC,
                metrics::render_none(Format::Classic),
            ),
            page: Answer::new(StatusCode::OK, HTML, page),
            style: style(),
            missing: missing(),
        }
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

fn style() -> Answer {
    Answer::new(StatusCode::OK, "text/css; charset=utf-8", page::STYLE)
        .with(CACHE_CONTROL, "max-age=3600")
}

fn missing() -> Answer {
    let text = "not found: try /health, /health/<check>, /livez, /readyz?verbose, /metrics\n";
    Answer::new(StatusCode::NOT_FOUND, PLAIN, text)
}
