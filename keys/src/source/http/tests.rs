//! Which URLs are asked and where redirects may lead; the transfers themselves are in `tests/http.rs`.

use super::*;

fn source(base: &str) -> Result<HttpSource, SourceError> {
    let time = TlsTime {
        clock: Timestamp(0),
        floor: Timestamp(1_795_435_200),
    };
    HttpSource::new(base, HttpOptions::at(time))
}

#[test]
fn base_urls() {
    for base in ["http://h", "https://h/a", "https://h:8443/a/b/"] {
        assert!(source(base).is_ok(), "{base}");
    }
    for base in [
        "",
        "h",
        "ftp://h/",
        "file:///etc/",
        "https://",
        "https://me:secret@h/",
        "https://h/?a",
        "https://h/#a",
    ] {
        let refused = source(base).unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Refused, "{base}");
        assert!(!refused.what.contains("secret"), "{refused}");
    }
}

#[test]
fn names_stay_below_the_base() {
    let source = source("https://h/a/b").unwrap();
    let url = |name: &str| source.url(name).map(|u| u.to_string());
    assert_eq!(
        url("timestamp.json").unwrap(),
        "https://h/a/b/timestamp.json"
    );
    assert_eq!(
        url("1.%2Fx%20y.json").unwrap(),
        "https://h/a/b/1.%2Fx%20y.json"
    );
    assert_eq!(url("dir/aa.file").unwrap(), "https://h/a/b/dir/aa.file");
    for name in [
        "",
        "..",
        "../x",
        "a/../x",
        "%2e%2e/x",
        ".%2E/x",
        "/x",
        "//evil/x",
        "https://evil/x",
        "a?b",
        "a#b",
        "a b",
        "a//b",
        "\\x",
    ] {
        assert!(url(name).is_err(), "{name}");
    }
}

#[test]
fn redirects() {
    for (base, to, allowed) in [
        ("https://h/a", "/b/timestamp.json", true),
        ("https://h/a", "https://h/b", true),
        ("https://h/a", "https://h:443/b", true),
        ("https://h/a", "https://h:444/b", false),
        ("https://h/a", "http://h/b", false),
        ("http://h/a", "https://h/b", false),
        ("https://h/a", "https://h.evil/b", false),
        ("https://h/a", "//evil/b", false),
        ("https://h/a", "https://h@evil/b", false),
        ("https://h/a", "file:///etc/passwd", false),
        ("https://h/a", "https://friend/b", true),
        ("https://h/a", "http://friend/b", false),
        (
            "https://github.com/o/r/releases/latest/download",
            "https://release-assets.githubusercontent.com/x",
            true,
        ),
        (
            "https://h/a",
            "https://release-assets.githubusercontent.com/x",
            false,
        ),
    ] {
        let mut source = source(base).unwrap();
        source.options.companions = std::vec!["https://friend".into()];
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(to).unwrap());
        let from = source.url("timestamp.json").unwrap();
        let result = source.redirected(&from, &headers);
        assert_eq!(result.is_ok(), allowed, "{base} to {to}: {result:?}");
    }
}
