//! What is refused before it is looked at: requests that are meant for somebody else ([`hypriot_updater::names`]).

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Version};
use hypriot_updater::names::{Asked, Meant, Names};

/// Status, kind and words of the refusal, if it is one.
pub(super) fn refuse(
    request: &Parts,
    names: &Names,
) -> Option<(StatusCode, &'static str, &'static str)> {
    let asked = Asked {
        target: request.uri.authority().map(Authority::host),
        fields: request
            .headers
            .get_all(HOST)
            .iter()
            .map(HeaderValue::as_bytes),
        old: request.version == Version::HTTP_10,
    };
    match names.meant(asked) {
        Meant::Us => None,
        Meant::Other => Some((
            StatusCode::MISDIRECTED_REQUEST,
            "wrong_host",
            "this server does not go by that name: use its address or host name, or start it with --host NAME",
        )),
        Meant::Unclear => Some((StatusCode::BAD_REQUEST, "bad_host", "one Host, please")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_elsewhere_cannot_make_a_browser_ask_us() {
        let names = Names::new("rack", &["fleet.example.org".into()]);
        for (hosts, expected) in [
            (&["rack.local:8088"][..], None),
            (&["10.0.0.1:8088"], None),
            (&["fleet.example.org."], None),
            (&["evil.example.org:8088"], Some(421)),
            (&["rack.evil.example.org"], Some(421)),
            (&["rack", "rack"], Some(400)),
            (&[], Some(400)),
        ] {
            let mut request = axum::http::Request::get("/");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            let status = refuse(&parts, &names).map(|(status, ..)| status.as_u16());
            assert_eq!(status, expected, "{hosts:?}");
        }
    }
}
