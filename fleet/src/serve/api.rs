//! Requests and answers over HTTP.
//!
//! FleetLock, version 1 (<https://coreos.github.io/zincati/development/fleetlock/protocol/>): `POST /v1/pre-reboot` and
//! `POST /v1/steady-state` with the header `fleet-lock-protocol: true`. 200 is yes, whatever the body; anything else is no, with
//! `{"kind": …, "value": …}`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hypriot_updater::names::Names;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::desk::Counter;
use super::token::Token;
use super::{guard, metrics, page, sd, view};
use crate::answer::clean;
use crate::lock::{Answer, Ask, Report, Settings, Who, Word, group_name};
use crate::rollout::plan::Plan;

/// A request of a board has about 500 bytes, a plan of a thousand boards 100 KiB.
const BODY: usize = 64 * 1024;
const PLAN: usize = 1024 * 1024;
/// From the head of a request to the head of its answer. etcd may take a few rounds to find a member that answers.
const REQUEST: Duration = Duration::from_mins(1);
/// Pages that are open at a time.
const PAGES: usize = 64;
/// News are told at most so often: a page of 1,000 boards is asked for again each time.
const NEWS: Duration = Duration::from_millis(500);

/// What all requests share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The way to the desk.
    pub counter: Counter,
    /// The operator's secret.
    pub token: Arc<Token>,
    /// Reading needs the secret as well.
    pub closed: bool,
    /// Names of this server.
    pub names: Arc<Names>,
    pages: Arc<Semaphore>,
}

impl Shared {
    /// For all requests.
    pub fn new(counter: Counter, token: Token, closed: bool, names: Names) -> Self {
        Self {
            counter,
            token: Arc::new(token),
            closed,
            names: Arc::new(names),
            pages: Arc::new(Semaphore::new(PAGES)),
        }
    }
}

/// Body of a FleetLock request. What a board says beside `client_params` is ours, and optional; what else is there is not for us.
#[derive(Debug, Deserialize)]
struct Lock {
    client_params: Client,
    #[serde(flatten)]
    board: Report,
}

#[derive(Debug, Deserialize)]
struct Client {
    id: String,
    group: String,
}

/// Body of an operator's word.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// Who.
    pub by: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The board, by its identity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub board: String,
    /// Settings of the group; beside a plan, in force with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The id of a run, and its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<(String, Box<Plan>)>,
}

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    kind: &'a str,
    value: &'a str,
}

/// All paths.
pub fn router(shared: Shared) -> Router {
    let reading = Router::new()
        .route("/v1/locks", get(locks))
        .route("/v1/state", get(state))
        .route("/v1/events", get(events))
        .route("/metrics", get(measured))
        .route("/sd", get(discovered))
        .layer(middleware::from_fn_with_state(shared.clone(), readers));
    Router::new()
        .route("/v1/pre-reboot", post(pre_reboot))
        .route("/v1/steady-state", post(steady_state))
        .route("/v1/failed", post(failed))
        .route(
            "/v1/groups/{group}/{word}",
            post(order).layer(DefaultBodyLimit::max(PLAN)),
        )
        .merge(reading)
        .route("/", get(page::html))
        .route("/fleet.css", get(page::css))
        .route("/fleet.js", get(page::js))
        .route("/icon.svg", get(page::icon))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(wrong_method)
        .fallback(missing)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), meant))
        .with_state(shared)
}

async fn meant(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Some((status, kind, text)) = guard::refuse(&parts, &shared.names) {
        return refused(status, kind, text);
    }
    // a body that trickles in must not hold a place for long; a board whose answer is lost asks again
    let answer = tokio::time::timeout(REQUEST, next.run(Request::from_parts(parts, body))).await;
    let mut response = answer.unwrap_or_else(|_| {
        refused(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "it took longer than a minute",
        )
    });
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn readers(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if shared.closed && !authorized(&shared, request.headers()) {
        return unauthorized();
    }
    next.run(request).await
}

fn authorized(shared: &Shared, headers: &HeaderMap) -> bool {
    let said = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    said.is_some_and(|s| shared.token.opens(s))
}

fn unauthorized() -> Response {
    let text = "this needs the operator's token: Authorization: Bearer …";
    let mut response = refused(StatusCode::UNAUTHORIZED, "unauthorized", text);
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(status: StatusCode, kind: &str, value: &str) -> Response {
    json(status, &Refusal { kind, value })
}

async fn missing() -> Response {
    refused(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such path; / is the page",
    )
}

async fn wrong_method(request: Request) -> Response {
    let post = ["/v1/pre-reboot", "/v1/steady-state", "/v1/failed"].contains(&request.uri().path());
    let (allow, text) = if post {
        ("POST", "FleetLock is spoken with POST")
    } else {
        ("GET, HEAD", "another method, please")
    };
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn answered(answer: &Answer) -> Response {
    let Answer::Refused { kind, value, again } = answer else {
        return json(StatusCode::OK, &serde_json::json!({}));
    };
    let status = match *kind {
        "invalid_client_identity" | "unknown_group" | "bad_request" => StatusCode::BAD_REQUEST,
        "unknown_board" => StatusCode::NOT_FOUND,
        "identity_in_use" | "not_steady" | "not_failed" | "plan_runs" | "no_plan" => {
            StatusCode::CONFLICT
        }
        "failed_store" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::LOCKED,
    };
    let mut response = refused(status, kind, value);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(*again));
    response
}

/// Reads a FleetLock request, or says what is wrong with it.
fn lock(headers: &HeaderMap, body: &[u8]) -> Result<Who, Box<Response>> {
    let wrong = |kind, text: &str| Box::new(refused(StatusCode::BAD_REQUEST, kind, text));
    // So that neither a redirect nor a form of some page is taken for a board.
    if headers
        .get("fleet-lock-protocol")
        .is_none_or(|v| v != "true")
    {
        return Err(wrong(
            "missing_header",
            "the header `fleet-lock-protocol: true` is missing",
        ));
    }
    let lock: Lock = serde_json::from_slice(body).map_err(|e| {
        wrong(
            "decode_error",
            &format!(
                "the body is not what FleetLock says: {}",
                clean(&e.to_string())
            ),
        )
    })?;
    let id = lock.client_params.id;
    if id.is_empty() || id.len() > 256 || id.chars().any(char::is_control) {
        return Err(wrong(
            "invalid_client_identity",
            "client_params.id: 1 to 256 visible characters",
        ));
    }
    let group = lock.client_params.group;
    if !group_name(&group) {
        return Err(wrong(
            "invalid_client_group",
            "client_params.group: 1 to 64 of letters, digits, `.` and `-`",
        ));
    }
    Ok(Who {
        group,
        board: id,
        report: lock.board.cleaned(),
    })
}

async fn pre_reboot(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    match lock(&headers, &body) {
        Ok(who) => answered(&shared.counter.ask(Ask::Lock(who)).await),
        Err(response) => *response,
    }
}

async fn steady_state(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    match lock(&headers, &body) {
        Ok(who) => answered(&shared.counter.ask(Ask::Steady(who)).await),
        Err(response) => *response,
    }
}

/// Not FleetLock's: a server that does not know it says 404, and nothing has changed there.
async fn failed(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    match lock(&headers, &body) {
        Ok(who) => answered(&shared.counter.ask(Ask::Failed(who)).await),
        Err(response) => *response,
    }
}

async fn order(
    State(shared): State<Shared>,
    Path((group, word)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !authorized(&shared, &headers) {
        return unauthorized();
    }
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(e) => {
            return refused(
                StatusCode::BAD_REQUEST,
                "decode_error",
                &clean(&e.to_string()),
            );
        }
    };
    let by = if order.by.is_empty() {
        "an operator".to_owned()
    } else {
        clean(&order.by)
    };
    let board = || Some(order.board.clone()).filter(|b| !b.is_empty());
    let word = match word.as_str() {
        "set" => order.settings.map(Word::Set),
        "pause" => Some(Word::Pause(clean(&order.reason))),
        "resume" => Some(Word::Resume),
        "clear" => board().map(Word::Clear),
        "forget" => board().map(Word::Forget),
        "plan" => {
            let settings = order.settings;
            let plan = |(run, plan): (String, _)| Word::Plan(clean(&run), plan, settings);
            order.plan.map(plan)
        }
        "abort" => Some(Word::Abort),
        _ => return missing().await,
    };
    match word {
        Some(word) => answered(&shared.counter.ask(Ask::Operator { group, by, word }).await),
        None => refused(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the body does not say for what",
        ),
    }
}

async fn locks(State(shared): State<Shared>) -> Response {
    json(StatusCode::OK, &view::locks(&shared.counter.shown()))
}

async fn state(State(shared): State<Shared>) -> Response {
    json(StatusCode::OK, &view::state(&shared.counter.shown()))
}

async fn measured(State(shared): State<Shared>) -> Response {
    let text = metrics::text(&shared.counter.shown());
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn discovered(State(shared): State<Shared>) -> Response {
    json(StatusCode::OK, &sd::targets(&shared.counter.shown()))
}

async fn ready(State(shared): State<Shared>) -> Response {
    match &shared.counter.shown().trouble {
        None => "ok\n".into_response(),
        Some(why) => refused(StatusCode::SERVICE_UNAVAILABLE, "failed_store", why),
    }
}

/// Tells a page that there is something new; it asks for what.
async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = Arc::clone(&shared.pages).try_acquire_owned() else {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_pages",
            "too many pages are open",
        );
    };
    let watch = shared.counter.watch();
    let news = futures_util::stream::unfold(
        (watch, place, None),
        |(mut watch, place, last)| async move {
            loop {
                let shown = Arc::clone(&watch.borrow_and_update());
                let now = (shown.seq, shown.trouble.is_some());
                if last != Some(now) {
                    let event = Event::default().event("news").data(shown.seq.to_string());
                    return Some((Ok::<_, Infallible>(event), (watch, place, Some(now))));
                }
                tokio::time::sleep(NEWS).await;
                watch.changed().await.ok()?;
            }
        },
    );
    Sse::new(news)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}
