//! What is refused before it is looked at.
//!
//! Any web page can make a visitor's browser ask a device in his own network (DNS rebinding). The answer is to serve
//! only requests that name this board: by an address, by its host name, or by a name that the owner configured.

use std::net::IpAddr;

use axum::http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Version};

use super::rendered::{Answer, PLAIN};

/// Names of this board, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn new(hostname: &str, configured: &[String]) -> Self {
        let hostname = hostname.to_ascii_lowercase();
        let mut names = vec!["localhost".to_owned()];
        if !hostname.is_empty() {
            names.push(format!("{hostname}.local"));
            names.push(hostname);
        }
        names.extend(configured.iter().map(|name| name.to_ascii_lowercase()));
        Self(names)
    }

    /// Whether a request for `host` (without port) is meant for this board.
    fn allow(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if bare.parse::<IpAddr>().is_ok() {
            return true;
        }
        // A trailing dot only says that the name is complete (RFC 3986, section 3.2.2).
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Why this request gets no other answer, if so.
pub(super) fn refuse(request: &Parts, names: &Names) -> Option<Answer> {
    if request.method != Method::GET && request.method != Method::HEAD {
        let answer = Answer::new(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET and HEAD: nothing can be changed here\n",
        );
        return Some(answer.with(ALLOW, "GET, HEAD").with(CONNECTION, "close"));
    }
    let length = request.headers.get(CONTENT_LENGTH);
    if request.headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
    {
        let answer = Answer::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            PLAIN,
            "a request here has no body\n",
        );
        return Some(answer.with(CONNECTION, "close"));
    }
    match host(request) {
        Host::Named(name) if names.allow(name) => None,
        Host::Old => None,
        Host::Named(_) => {
            // RFC 9110, section 15.5.20.
            let text = "this board does not go by that name: use its address or host name, or add --host NAME to hypriot-agent serve\n";
            Some(Answer::new(StatusCode::MISDIRECTED_REQUEST, PLAIN, text))
        }
        Host::Bad => {
            // RFC 9112, section 3.2: a request without exactly one valid Host MUST be answered 400.
            let answer = Answer::new(StatusCode::BAD_REQUEST, PLAIN, "one Host, please\n");
            Some(answer.with(CONNECTION, "close"))
        }
    }
}

enum Host<'a> {
    Named(&'a str),
    /// HTTP/1.0 knows no Host; no browser speaks it.
    Old,
    Bad,
}

fn host(request: &Parts) -> Host<'_> {
    // RFC 9112, section 3.2.2: the host of an absolute target wins over the field.
    if let Some(authority) = request.uri.authority() {
        return Host::Named(authority.host());
    }
    let mut fields = request.headers.get_all(HOST).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => match field.to_str().ok().and_then(without_port) {
            Some(name) => Host::Named(name),
            None => Host::Bad,
        },
        (None, _) if request.version == Version::HTTP_10 => Host::Old,
        _ => Host::Bad,
    }
}

fn without_port(field: &str) -> Option<&str> {
    let colon = match field.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (field.len() > end).then_some(end)
        }
        None => field.find(':'),
    };
    let Some(colon) = colon else {
        return (!field.is_empty()).then_some(field);
    };
    let (name, port) = field.split_at(colon);
    let port = port.strip_prefix(':')?;
    (!name.is_empty() && port.bytes().all(|c| c.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn status(request: axum::http::request::Builder) -> u16 {
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let names = Names::new("Black-Pearl", &["pearl.example.org".into()]);
        refuse(&parts, &names).map_or(200, |answer| answer.reply().status().as_u16())
    }

    #[test]
    fn only_requests_that_name_this_board_are_served() {
        for (host, expected) in [
            ("192.168.1.7", 200),
            ("192.168.1.7:8080", 200),
            ("[fe80::1]:8080", 200),
            ("[::1]", 200),
            ("black-pearl", 200),
            ("BLACK-PEARL.local:8080", 200),
            ("black-pearl.local.:8080", 200),
            ("pearl.example.org", 200),
            ("localhost:8080", 200),
            ("evil.example", 421),
            ("black-pearl.evil.example", 421),
            ("192.168.1.7.evil.example", 421),
            ("local", 421),
            ("black-pearl:80:80", 400),
            ("black-pearl:x", 400),
            ("[::1", 400),
            ("[::1]x", 400),
            (":8080", 400),
            ("", 400),
        ] {
            assert_eq!(
                status(Request::get("/health").header(HOST, host)),
                expected,
                "{host:?}"
            );
        }
    }

    #[test]
    fn absolute_target_decides_and_missing_host_is_only_for_the_old() {
        let request = || Request::get("http://evil.example/health").header(HOST, "localhost");
        assert_eq!(status(request()), 421);
        assert_eq!(status(Request::get("/")), 400);
        assert_eq!(status(Request::get("/").version(Version::HTTP_10)), 200);
        assert_eq!(
            status(
                Request::get("/")
                    .header(HOST, "localhost")
                    .header(HOST, "localhost")
            ),
            400
        );
    }

    #[test]
    fn bodies_and_other_methods_are_refused() {
        let with = |name, value| {
            status(
                Request::get("/")
                    .header(HOST, "localhost")
                    .header(name, value),
            )
        };
        assert_eq!(with("content-length", "0"), 200);
        assert_eq!(with("content-length", "1"), 413);
        assert_eq!(with("transfer-encoding", "chunked"), 413);
        for method in [
            "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO",
        ] {
            assert_eq!(
                status(
                    Request::builder()
                        .method(method)
                        .uri("/")
                        .header(HOST, "localhost")
                ),
                405,
                "{method}"
            );
        }
        assert_eq!(status(Request::head("/").header(HOST, "localhost")), 200);
    }
}
