//! goss's patterns for lines: a word that some line contains, `!` for none, `/…/` for a regular expression.

use std::io::BufRead;

use regex_lite::Regex;

use super::regexp;

/// The longest line that is looked at, as in goss.
const LINE: u64 = 1024 * 1024;

/// One pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    raw: String,
    kind: Kind,
    negated: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Word(String),
    Regex(Regex),
}

impl Pattern {
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        let (negated, body) = match raw.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, raw),
        };
        // A single slash is both ends of nothing.
        let inner = body.strip_prefix('/').and_then(|_| {
            let body = body.strip_prefix('/')?;
            Some(body.strip_suffix('/').unwrap_or(body)).filter(|_| raw.ends_with('/'))
        });
        let kind = match inner {
            Some(expression) => Kind::Regex(regexp::compile(expression)?),
            // A word that itself begins with `!` or `/` is written with a backslash before it.
            None => Kind::Word(raw.trim_start_matches(['\\', '/', '!']).to_owned()),
        };
        Ok(Self {
            raw: raw.to_owned(),
            kind,
            negated,
        })
    }

    /// As it was written.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    fn matches(&self, line: &str) -> bool {
        match &self.kind {
            Kind::Word(word) => line.contains(word.as_str()),
            Kind::Regex(regex) => regex.is_match(line),
        }
    }
}

/// The patterns that do not hold for the lines of `text`. It is read once, a line at a time, and no further than needed.
pub(super) fn missing(patterns: &[Pattern], mut text: impl BufRead) -> Result<Vec<String>, String> {
    let mut open: Vec<&Pattern> = patterns.iter().collect();
    let mut violated = Vec::new();
    let mut line = Vec::new();
    while !open.is_empty() {
        line.clear();
        let read = std::io::Read::take(&mut text, LINE + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| format!("reading: {error}"))? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 > LINE {
            return Err(format!("a line is longer than {LINE} bytes"));
        }
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let words = String::from_utf8_lossy(end.strip_suffix(b"\r").unwrap_or(end));
        open.retain(|pattern| {
            let hit = pattern.matches(&words);
            if hit && pattern.negated {
                violated.push(pattern.raw.clone());
            }
            !hit
        });
    }
    // An empty pattern holds also where there is no line.
    let lacking = open.into_iter().filter(|p| !p.negated && !p.raw.is_empty());
    violated.extend(lacking.map(|pattern| pattern.raw.clone()));
    // In the order in which they were written.
    Ok(patterns
        .iter()
        .filter(|p| violated.contains(&p.raw))
        .map(|p| p.raw.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, text: &str) -> bool {
        let patterns = [Pattern::parse(pattern).expect(pattern)];
        missing(&patterns, text.as_bytes())
            .expect("short lines")
            .is_empty()
    }

    #[test]
    fn patterns_mean_what_goss_means() {
        for (pattern, text, expected) in [
            ("root", "x\nroot:x", true),
            ("!root", "x\nroot:x", false),
            ("!root", "", true),
            ("/^root:/", "x\nroot:x", true),
            ("/^x$/", "xx\n", false),
            ("/^x$/", "x\r\n", true),
            ("!/^root:/", "toor:x", true),
            ("\\!bang", "a !bang", true),
            ("\\!bang", "a bang", true),
            ("/var/log", "var/log", true),
            ("a/", "a/", true),
            ("", "", true),
            ("", "x", true),
            ("//", "x", true),
            ("//", "", false),
            ("!", "x", false),
            ("!//", "x", false),
        ] {
            assert_eq!(holds(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_stands_far_down_is_seen_and_a_line_without_an_end_is_an_error() {
        let long = format!("{}kernel error\n", "a line\n".repeat(400_000));
        assert!(!holds("!/kernel error/", &long) && holds("kernel", &long));
        let endless = "x".repeat(2 * 1024 * 1024);
        let patterns = [Pattern::parse("!y").expect("a word")];
        assert!(
            missing(&patterns, endless.as_bytes())
                .expect_err("too long")
                .contains("longer")
        );
    }
}
