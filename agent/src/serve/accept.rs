//! Which form of an answer a client wants (RFC 9110, 12.5.1), and whether it has it already (13.1.2).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderName, IF_NONE_MATCH};

/// The offer that the client likes best: its index. The first one where nothing is said, where it is all the same, or where nothing
/// suits: an answer in another form is worth more than none.
pub(super) fn best(headers: &HeaderMap, offers: &[&str]) -> usize {
    let ranges: Vec<(&str, u32)> = lists(headers, &ACCEPT).filter_map(range).collect();
    let mut best = (0, (0, 0));
    for (index, offer) in offers.iter().enumerate() {
        let liked = liked(&ranges, offer);
        // What is named is wanted more than what is merely taken.
        if liked.0 > 0 && liked > best.1 {
            best = (index, liked);
        }
    }
    best.0
}

/// Whether `If-None-Match` names this tag, weakly compared as the RFC wants it.
pub(super) fn has(headers: &HeaderMap, tag: &str) -> bool {
    lists(headers, &IF_NONE_MATCH).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// A media range without its parameters, and its weight in thousandths.
fn range(text: &str) -> Option<(&str, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = match q.map(str::parse::<f32>) {
        None => 1000,
        Some(Ok(q)) if (0.0..=1.0).contains(&q) => thousandths(q),
        Some(_) => return None,
    };
    Some((range, weight))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 1000"
)]
fn thousandths(q: f32) -> u32 {
    (q * 1000.0).round() as u32
}

/// The weight of an offer, and how exactly it is named: the most specific range decides, whatever the others say.
fn liked(ranges: &[(&str, u32)], offer: &str) -> (u32, u8) {
    let kind = offer.split(';').next().unwrap_or(offer);
    let family = kind.split('/').next().unwrap_or(kind);
    let fits = |range: &str| {
        if range.eq_ignore_ascii_case(kind) {
            3
        } else if range
            .strip_suffix("/*")
            .is_some_and(|f| f.eq_ignore_ascii_case(family))
        {
            2
        } else {
            u8::from(range == "*/*")
        }
    };
    let fitting = ranges.iter().map(|(range, weight)| (fits(range), *weight));
    let best = fitting.filter(|(fits, _)| *fits > 0).max();
    best.map_or((0, 0), |(fits, weight)| (weight, fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::HeaderValue;

    #[test]
    fn the_form_that_is_liked_best_is_sent() {
        let offers = [
            "application/health+json",
            "text/plain; charset=utf-8",
            "text/html",
        ];
        for (accept, index) in [
            ("", 0),
            ("*/*", 0),
            ("text/plain", 1),
            ("TEXT/PLAIN", 1),
            ("text/*", 1),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                2,
            ),
            ("text/html;q=0.5, text/plain;q=0.8", 1),
            ("text/html;level=1;q=0.5, application/health+json;q=0.4", 2),
            ("text/html;q=0, */*", 0),
            ("application/health+json;q=0, */*;q=0.1", 1),
            ("text/html, */*", 2),
            ("image/png", 0),
            ("text/html;q=7, text/plain;q=0.1", 1),
            ("garbage, ;;,", 0),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(best(&headers, &offers), index, "{accept:?}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for (sent, has_it) in [
            ("\"a1\"", true),
            ("W/\"a1\"", true),
            ("\"b\", \"a1\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a1", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(sent));
            assert_eq!(has(&headers, "\"a1\""), has_it, "{sent}");
        }
    }
}
