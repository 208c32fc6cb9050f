//! What is refused before it is looked at.
//!
//! Any web page can make a visitor's browser ask a server in his own network (DNS rebinding): only requests that name this
//! server are served, by an address, its host name, or a name that the owner configured.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::request::Parts;

/// Names of this server, in lower case.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// This machine's, and those that the owner added.
    pub fn new(hostname: &str, configured: &[String]) -> Self {
        let hostname = hostname.trim().to_ascii_lowercase();
        let mut names = vec!["localhost".to_owned()];
        if !hostname.is_empty() {
            names.push(format!("{hostname}.local"));
            names.push(hostname);
        }
        names.extend(configured.iter().map(|n| n.to_ascii_lowercase()));
        Self(names)
    }

    /// Whether the request is meant for this server. HTTP/1.1 has exactly one Host (RFC 9112, section 3.2).
    pub fn meant(&self, request: &Parts) -> bool {
        let mut fields = request.headers.get_all(HOST).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return false;
        };
        let Some(host) = field.to_str().ok().map(without_port) else {
            return false;
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if bare.parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn without_port(field: &str) -> &str {
    match field.rfind(':') {
        Some(colon) if !field[colon..].contains(']') => &field[..colon],
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_elsewhere_cannot_make_a_browser_ask_us() {
        let names = Names::new("rack\n", &["fleet.example.org".into()]);
        for (host, expected) in [
            ("rack:8088", true),
            ("RACK.local", true),
            ("10.0.0.1:8088", true),
            ("[fe80::1]:8088", true),
            ("[::1]", true),
            ("localhost:1", true),
            ("fleet.example.org.", true),
            ("evil.example.org", false),
            ("evil.example.org:8088", false),
            ("rack.evil.example.org", false),
            ("", false),
        ] {
            let request = axum::http::Request::get("/")
                .header(HOST, host)
                .body(())
                .expect("a request");
            assert_eq!(names.meant(&request.into_parts().0), expected, "{host}");
        }
        let twice = axum::http::Request::get("/")
            .header(HOST, "rack")
            .header(HOST, "rack")
            .body(());
        assert!(!names.meant(&twice.expect("a request").into_parts().0));
    }
}
