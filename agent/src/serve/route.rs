//! What is served where: the table of paths, which is also the interface's description, and the answer to one request.

use std::borrow::Cow;
use std::future::ready;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AGE, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use axum::http::request::Parts;
use axum::routing::any;

use super::rendered::{
    self, Answer, CLASSIC, CSS, HEALTH_JSON, HTML, JSON, OPENMETRICS, PLAIN, Rendered, Reply, SVG,
};
use super::{Current, Shared, accept};
use crate::report::Status;

/// What is behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Page,
    Style,
    Icon(Status),
    Health,
    Check,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
}

/// One path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// As in OpenAPI: `{check}` stands for one part.
    pub(super) path: &'static str,
    pub(super) endpoint: Endpoint,
    pub(super) summary: &'static str,
    /// The forms in which there is an answer; the first one unless the client likes another better.
    pub(super) kinds: &'static [&'static str],
    /// Status codes besides 304, 400 and 421, which every path may answer.
    pub(super) codes: &'static [u16],
    /// What may stand behind the question mark.
    pub(super) query: &'static [Query],
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Verbose,
    Exclude,
    Refresh,
}

const HEALTH_KINDS: &[&str] = &[HEALTH_JSON, JSON, PLAIN, HTML];
const BOTH: &[Query] = &[Query::Verbose, Query::Exclude];

/// Every path there is.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/",
        endpoint: Endpoint::Page,
        summary: "The board at a glance, for people",
        kinds: &[HTML],
        codes: &[200],
        query: &[Query::Refresh],
    },
    Route {
        path: "/health",
        endpoint: Endpoint::Health,
        summary: "How the board is, and each of its checks",
        kinds: HEALTH_KINDS,
        codes: &[200, 503],
        query: BOTH,
    },
    Route {
        path: "/healthz",
        endpoint: Endpoint::Health,
        summary: "The same, where goss serves it",
        kinds: HEALTH_KINDS,
        codes: &[200, 503],
        query: BOTH,
    },
    Route {
        path: "/health/{check}",
        endpoint: Endpoint::Check,
        summary: "One check",
        kinds: &[HEALTH_JSON, JSON],
        codes: &[200, 404, 503],
        query: &[],
    },
    Route {
        path: "/livez",
        endpoint: Endpoint::Livez,
        summary: "Whether the agent lives: 200 while there is a fresh report, whatever it says",
        kinds: &[PLAIN],
        codes: &[200, 503],
        query: &[],
    },
    Route {
        path: "/readyz",
        endpoint: Endpoint::Readyz,
        summary: "Whether the board may take work: no required check fails or is starting, nothing is on trial",
        kinds: &[PLAIN],
        codes: &[200, 503],
        query: BOTH,
    },
    Route {
        path: "/metrics",
        endpoint: Endpoint::Metrics,
        summary: "Numbers for Prometheus",
        kinds: &[CLASSIC, OPENMETRICS],
        codes: &[200],
        query: &[],
    },
    Route {
        path: "/openapi.json",
        endpoint: Endpoint::OpenApi,
        summary: "This description",
        kinds: &[JSON],
        codes: &[200],
        query: &[],
    },
    Route {
        path: "/style.css",
        endpoint: Endpoint::Style,
        summary: "The page's style sheet",
        kinds: &[CSS],
        codes: &[200],
        query: &[],
    },
    Route {
        path: "/icon-pass.svg",
        endpoint: Endpoint::Icon(Status::Pass),
        summary: "The page's icon when all is well",
        kinds: &[SVG],
        codes: &[200],
        query: &[],
    },
    Route {
        path: "/icon-warn.svg",
        endpoint: Endpoint::Icon(Status::Warn),
        summary: "The page's icon when something is worth a look",
        kinds: &[SVG],
        codes: &[200],
        query: &[],
    },
    Route {
        path: "/icon-fail.svg",
        endpoint: Endpoint::Icon(Status::Fail),
        summary: "The page's icon when something is bad",
        kinds: &[SVG],
        codes: &[200],
        query: &[],
    },
];

/// All of them, for requests that [`super::guard`] let through.
pub(super) fn router(shared: Shared) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let answer =
            move |State(shared): State<Shared>, rest: Option<Path<String>>, request: Request| {
                let rest = rest.map_or_else(String::new, |Path(rest)| rest);
                let (request, _) = request.into_parts();
                ready(shared.with(|current| respond(route, &rest, &request, current)))
            };
        router = router.route(route.path, any(answer));
    }
    let missing = |State(shared): State<Shared>| {
        ready(shared.with(|current| current.rendered.fixed.missing.reply()))
    };
    router.fallback(missing).with_state(shared)
}

/// The answer to one request.
fn respond(route: &Route, rest: &str, request: &Parts, current: &Current) -> Reply {
    let rendered = &current.rendered;
    let wanted = route.kinds[accept::best(&request.headers, route.kinds)];
    let answer = pick(route, rest, wanted, request, rendered);
    if answer.status() == StatusCode::OK
        && answer
            .tag()
            .is_some_and(|tag| accept::has(&request.headers, tag))
    {
        let mut reply = answer.unchanged();
        decorate(&mut reply, route, current);
        return reply;
    }
    let mut reply = answer.reply();
    if wanted == JSON && route.endpoint != Endpoint::OpenApi && answer.kind() == HEALTH_JSON {
        // The same words, called by the name that the client knows.
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    if route.endpoint == Endpoint::Page
        && is_asked(request.uri.query().unwrap_or_default(), "refresh")
    {
        // Only for who asks for it: a page that changes by itself is hard to read for some (WCAG 2.2, 2.2.1).
        let name = HeaderName::from_static("refresh");
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static("10"));
    }
    decorate(&mut reply, route, current);
    reply
}

fn decorate(reply: &mut Reply, route: &Route, current: &Current) {
    if let Some(age) = &current.age {
        reply.headers_mut().insert(AGE, age.clone());
    }
    if route.kinds.len() > 1 {
        reply
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("accept"));
    }
}

fn pick<'a>(
    route: &Route,
    rest: &str,
    wanted: &str,
    request: &Parts,
    rendered: &'a Rendered,
) -> Cow<'a, Answer> {
    let query = request.uri.query().unwrap_or_default();
    let excluded = || parameters(query, "exclude");
    let kept = match route.endpoint {
        Endpoint::Page => &rendered.page,
        Endpoint::Style => &rendered.fixed.style,
        Endpoint::Icon(status) => &rendered.fixed.icons[status as usize],
        Endpoint::OpenApi => &rendered.fixed.openapi,
        Endpoint::Livez => &rendered.livez,
        Endpoint::Metrics if wanted == OPENMETRICS => &rendered.openmetrics,
        Endpoint::Metrics => &rendered.classic,
        Endpoint::Check => rendered
            .components
            .get(rest)
            .unwrap_or(&rendered.no_component),
        Endpoint::Health => {
            let lines = is_asked(query, "verbose") || wanted == PLAIN;
            match &rendered.report {
                Some((report, depth)) if is_asked(query, "exclude") => {
                    let answer = rendered::without(report, *depth, &excluded(), lines);
                    return Cow::Owned(answer);
                }
                _ if lines => &rendered.lines,
                // A browser would offer health+json for download.
                _ if wanted == HTML => &rendered.health_page,
                _ => &rendered.health,
            }
        }
        Endpoint::Readyz => {
            let verbose = is_asked(query, "verbose");
            match &rendered.report {
                Some((report, _)) if is_asked(query, "exclude") => {
                    return Cow::Owned(rendered::ready_without(report, &excluded(), verbose));
                }
                _ if verbose => &rendered.readyz_lines,
                _ => &rendered.readyz,
            }
        }
    };
    Cow::Borrowed(kept)
}

fn is_asked(query: &str, name: &str) -> bool {
    query
        .split('&')
        .any(|part| part.split('=').next() == Some(name))
}

/// The values of a parameter. Names of checks need no `%`; one that has it is none.
fn parameters<'a>(query: &'a str, name: &str) -> Vec<&'a str> {
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    parts
        .filter(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_by_whole_names() {
        assert!(is_asked("verbose", "verbose") && is_asked("a=1&verbose=", "verbose"));
        assert!(!is_asked("verbosely", "verbose") && !is_asked("", "verbose"));
        let query = "exclude=a&x=y&exclude=b&exclude=&exclude";
        assert_eq!(parameters(query, "exclude"), ["a", "b"]);
    }
}
