//! Names as file names: which target and role names are safe, how a repository calls its files, and which names a
//! delegation covers.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::schema::{DelegatedRole, Target};

/// Longest name of one file that every file system takes, less room for `<sha512>.` and `<version>.`.
const MAX_SEGMENT: usize = 120;
/// Longest name of a target.
pub const MAX_TARGET: usize = 1024;

/// Whether a target's name is a relative path that stays where it is put and shows what it is.
pub fn is_safe_target(name: &str) -> bool {
    name.len() <= MAX_TARGET
        && name
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.len() <= MAX_SEGMENT)
        && !name
            .chars()
            .any(|c| c.is_control() || c == '\\' || deceives(c))
}

/// Characters that change how the text around them looks (Unicode UAX #9: bidirectional controls), and invisible ones.
fn deceives(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether a role's name can be a file name once it is encoded.
pub fn is_good_role(name: &str) -> bool {
    !name.is_empty() && encode(name).len() <= MAX_SEGMENT && !name.chars().any(char::is_control)
}

/// Percent-encodes everything but RFC 3986's unreserved characters, so that any text is one harmless path segment.
pub fn encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// A role's file as the repository calls it: `3.targets.json`, or `targets.json` without consistent snapshots (section 6.2).
pub fn metadata(role: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => alloc::format!("{version}.{}.json", encode(role)),
        None => alloc::format!("{}.json", encode(role)),
    }
}

/// A target's file as the repository calls it; `None` when it has no hash that we know.
///
/// With consistent snapshots the hash stands before the last segment: `dir/<hash>.file` (section 5.7.3).
pub fn target(name: &str, target: &Target, consistent: bool) -> Option<String> {
    let hash = target
        .hashes
        .get("sha256")
        .or_else(|| target.hashes.get("sha512"))?;
    let (directory, last) = name.rsplit_once('/').map_or(("", name), |(d, l)| (d, l));
    let mut out = String::new();
    for segment in directory.split('/').filter(|s| !s.is_empty()) {
        out.push_str(&encode(segment));
        out.push('/');
    }
    if consistent {
        out.push_str(hash);
        out.push('.');
    }
    out.push_str(&encode(last));
    Some(out)
}

/// Whether a delegation covers a target's name (section 4.5).
pub fn covers(role: &DelegatedRole, name: &str) -> bool {
    if let Some(prefixes) = &role.path_hash_prefixes {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        return prefixes.iter().any(|p| hash.starts_with(p.as_str()));
    }
    role.paths
        .iter()
        .flatten()
        .any(|pattern| path_matches(pattern, name))
}

/// PATHPATTERN: shell wildcards, where "a path separator in a path SHOULD NOT be matched by a wildcard".
fn path_matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut segments) = (pattern.split('/'), name.split('/'));
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if segment_matches(p, s) => {}
            _ => return false,
        }
    }
}

/// fnmatch without `/`: `*`, `?`, `[a-z]`, `[!a-z]`. Time is at most the product of both lengths.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Behind the last `]` no bracket closes; known at once, else a row of `[` would be searched again for each of them.
    let closes = pattern.iter().rposition(|c| *c == ']').unwrap_or(0);
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*` took one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if let Some(width) = one_matches(&pattern[p..], p < closes, text[t]) {
            p += width;
            t += 1;
            continue;
        }
        let Some((after, taken)) = retry else {
            return false;
        };
        (p, t) = (after, taken + 1);
        retry = Some((after, taken + 1));
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How many characters of the pattern match `c`; `None` when they do not.
fn one_matches(pattern: &[char], may_close: bool, c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match may_close.then(|| set(pattern)).flatten() {
            Some((width, negated, members)) => (in_set(members, c) != negated).then_some(width),
            // As fnmatch does: a bracket that does not close is itself.
            None => (c == '[').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

/// Splits `[...]` off: width, negated, members.
fn set(pattern: &[char]) -> Option<(usize, bool, &[char])> {
    let negated = pattern.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    // A `]` that comes first is a member.
    let end = (start + 1..pattern.len()).find(|i| pattern[*i] == ']')?;
    Some((end + 1, negated, &pattern[start..end]))
}

fn in_set(members: &[char], c: char) -> bool {
    let mut rest = members;
    loop {
        match rest {
            [from, '-', to, after @ ..] => {
                if (*from..=*to).contains(&c) {
                    return true;
                }
                rest = after;
            }
            [one, after @ ..] => {
                if *one == c {
                    return true;
                }
                rest = after;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests;
