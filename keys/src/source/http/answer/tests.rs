//! One row for every way in which a server lies about a transfer.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Asked, Verdict, judge};

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

#[test]
fn lies_about_ranges() {
    let body = |skip, length| Verdict::Body { skip, length };
    let etag = ("etag", "\"a\"");
    for (name, status, lines, from, expected) in [
        ("whole file", 200, vec![], 0, body(0, None)),
        ("range ignored", 200, vec![etag], 7, body(7, None)),
        (
            "another file, whole",
            200,
            vec![("etag", "\"b\"")],
            7,
            Verdict::Changed,
        ),
        ("another file, no tag", 200, vec![], 7, Verdict::Changed),
        (
            "the part",
            206,
            vec![("content-range", "bytes 7-9/10")],
            7,
            body(0, Some(3)),
        ),
        (
            "the part, total unknown",
            206,
            vec![("content-range", "bytes 7-9/*")],
            7,
            body(0, Some(3)),
        ),
        (
            "another file's part",
            206,
            vec![("etag", "\"b\""), ("content-range", "bytes 7-9/10")],
            7,
            Verdict::Changed,
        ),
        ("missing file", 404, vec![], 0, Verdict::Missing),
        ("forbidden file", 403, vec![], 0, Verdict::Missing),
        ("elsewhere", 302, vec![], 0, Verdict::Redirect),
    ] {
        let asked = Asked {
            from,
            until: None,
            tag: Some("\"a\""),
        };
        assert_eq!(judge(status, &headers(&lines), &asked), expected, "{name}");
    }
}

#[test]
fn refused_or_postponed() {
    for (name, status, lines, from) in [
        ("gzip", 200, vec![("content-encoding", "gzip")], 0),
        (
            "gzip part",
            206,
            vec![
                ("content-encoding", "gzip"),
                ("content-range", "bytes 7-9/10"),
            ],
            7,
        ),
        (
            "part without being asked",
            206,
            vec![("content-range", "bytes 0-9/10")],
            0,
        ),
        (
            "another part",
            206,
            vec![("content-range", "bytes 0-9/10")],
            7,
        ),
        ("part that does not say which", 206, vec![], 7),
        (
            "part that ends before it begins",
            206,
            vec![("content-range", "bytes 7-6/10")],
            7,
        ),
        (
            "part beyond the end",
            206,
            vec![("content-range", "bytes 7-10/10")],
            7,
        ),
        (
            "part without an end",
            206,
            vec![("content-range", "bytes 7-18446744073709551615/*")],
            7,
        ),
        (
            "part in other units",
            206,
            vec![("content-range", "lines 7-9/10")],
            7,
        ),
        (
            "many parts",
            206,
            vec![("content-type", "multipart/byteranges; boundary=x")],
            7,
        ),
        ("nothing there", 416, vec![], 7),
        ("no content", 204, vec![], 0),
        ("forbidden to us", 401, vec![], 0),
        ("not modified", 304, vec![], 0),
    ] {
        let verdict = judge(
            status,
            &headers(&lines),
            &Asked {
                from,
                until: None,
                tag: None,
            },
        );
        assert!(
            matches!(verdict, Verdict::Refused(_)),
            "{name}: {verdict:?}"
        );
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let verdict = judge(
            status,
            &HeaderMap::new(),
            &Asked {
                from: 0,
                until: None,
                tag: None,
            },
        );
        assert!(
            matches!(verdict, Verdict::Later(_)),
            "{status}: {verdict:?}"
        );
    }
}
