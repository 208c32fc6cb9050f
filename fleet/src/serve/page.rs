//! The page: four files of our own, nothing from elsewhere. It asks `/v1/state` for what is there, and `/v1/events` when to ask again.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

/// Words of boards are only ever set as text; should that fail, nothing that they bring may run or be fetched.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> Response {
    (
        [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)],
        text,
    )
        .into_response()
}

pub(super) async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub(super) async fn css() -> Response {
    file("text/css; charset=utf-8", include_str!("page/fleet.css"))
}

pub(super) async fn js() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/fleet.js"),
    )
}

pub(super) async fn icon() -> Response {
    file("image/svg+xml", include_str!("page/icon.svg"))
}
