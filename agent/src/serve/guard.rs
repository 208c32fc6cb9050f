//! What is refused before it is looked at: bodies, methods, and requests that are meant for somebody else
//! ([`hypriot_updater::names`]).

use axum::http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, Version};
use hypriot_updater::names::{Asked, Meant, Names};

use super::rendered::{Answer, PLAIN};

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
    let meant = names.meant(Asked {
        target: request.uri.authority().map(Authority::host),
        fields: request
            .headers
            .get_all(HOST)
            .iter()
            .map(HeaderValue::as_bytes),
        old: request.version == Version::HTTP_10,
    });
    match meant {
        Meant::Us => None,
        Meant::Other => {
            let text = "this board does not go by that name: use its address or host name, or add --host NAME to hypriot-agent serve\n";
            Some(Answer::new(StatusCode::MISDIRECTED_REQUEST, PLAIN, text))
        }
        Meant::Unclear => {
            let answer = Answer::new(StatusCode::BAD_REQUEST, PLAIN, "one Host, please\n");
            Some(answer.with(CONNECTION, "close"))
        }
    }
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
            ("192.168.1.7:8080", 200),
            ("BLACK-PEARL.local:8080", 200),
            ("pearl.example.org", 200),
            ("evil.example", 421),
            ("black-pearl.evil.example", 421),
            ("black-pearl:x", 400),
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
