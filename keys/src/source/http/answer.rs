//! What an answer's head means for a transfer, decided from values alone.

use std::format;
use std::string::String;

use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName};

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) from: u64,
    /// Where the part ends that was asked for; none asks for all the rest.
    pub(super) until: Option<u64>,
    pub(super) tag: Option<&'a str>,
}

impl Asked<'_> {
    /// Whether less than the whole file was asked for.
    pub(super) const fn is_part(&self) -> bool {
        self.from > 0 || self.until.is_some()
    }
}

/// What to do with the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Read the body: drop `skip` bytes of it, and take no more than `length` then.
    Body { skip: u64, length: Option<u64> },
    /// Look at `Location`.
    Redirect,
    /// There is no such file.
    Missing,
    /// Another file has its name now.
    Changed,
    /// Ask again later.
    Later(String),
    /// Do not ask again.
    Refused(String),
}

/// Judges status and headers.
pub(super) fn judge(status: u16, headers: &HeaderMap, asked: &Asked<'_>) -> Verdict {
    match status {
        200 => coded(headers).unwrap_or_else(|| whole(headers, asked)),
        206 => coded(headers).unwrap_or_else(|| part(headers, asked)),
        301 | 302 | 303 | 307 | 308 => Verdict::Redirect,
        // 403: object stores answer so for what is not there when listing is forbidden; python-tuf reads it the same way.
        403 | 404 | 410 => Verdict::Missing,
        408 | 425 | 429 | 500..=599 => Verdict::Later(format!("the server says {status}")),
        416 => Verdict::Refused(format!("there is nothing from byte {} on", asked.from)),
        _ => Verdict::Refused(format!("the server says {status}")),
    }
}

/// "identity" was asked for; a coded body could be a bomb, and is never what was hashed.
fn coded(headers: &HeaderMap) -> Option<Verdict> {
    let coding = text(headers, &CONTENT_ENCODING)?;
    (!coding.eq_ignore_ascii_case("identity")).then(|| {
        Verdict::Refused(format!(
            "a body in coding {coding:?}, which was not asked for"
        ))
    })
}

/// RFC 9110, 14.2: a server may ignore Range. Then the front is read and dropped; unless the file is another one now, which
/// is why it was sent whole (13.1.5).
fn whole(headers: &HeaderMap, asked: &Asked<'_>) -> Verdict {
    let now = text(headers, &ETAG);
    if asked.from > 0 && asked.tag.is_some() && now != asked.tag {
        return Verdict::Changed;
    }
    Verdict::Body {
        skip: asked.from,
        length: None,
    }
}

/// RFC 9110, 14.4: a part must say which part it is, and be the one that was asked for.
fn part(headers: &HeaderMap, asked: &Asked<'_>) -> Verdict {
    if !asked.is_part() {
        return Verdict::Refused("a part, though the whole was asked for".into());
    }
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with("multipart/") {
        return Verdict::Refused("several parts, though one was asked for".into());
    }
    if let (Some(before), Some(now)) = (asked.tag, text(headers, &ETAG))
        && before != now
    {
        return Verdict::Changed;
    }
    match text(headers, &CONTENT_RANGE).and_then(range) {
        Some((first, last))
            if first == asked.from
                && last >= first
                && asked.until.is_none_or(|until| last < until) =>
        {
            Verdict::Body {
                skip: 0,
                length: Some(last - first + 1),
            }
        }
        _ => Verdict::Refused(format!(
            "a part that is not the one from byte {} on ({:?})",
            asked.from,
            text(headers, &CONTENT_RANGE).unwrap_or_default()
        )),
    }
}

/// `bytes first-last/total`
fn range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok()?);
    let fits = total == "*" || total.parse::<u64>().is_ok_and(|total| last < total);
    (fits && last < u64::MAX).then_some((first, last))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
