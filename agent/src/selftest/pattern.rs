//! goss's patterns for lines: a word that some line contains, `!` for none, `/…/` for a regular expression.

use regex_lite::Regex;

use super::yaml::Problem;

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
    pub(super) fn parse(raw: &str, line: usize) -> Result<Self, Problem> {
        let (negated, body) = match raw.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, raw),
        };
        let inner = body
            .strip_prefix('/')
            .and_then(|body| body.strip_suffix('/'));
        let kind = match inner {
            Some(expression) if !expression.is_empty() => Kind::Regex(regex(expression, line)?),
            // A word that itself begins with `!` or `/` is written with a backslash before it.
            _ => Kind::Word(body.trim_start_matches(['\\', '/', '!']).to_owned()),
        };
        match &kind {
            Kind::Word(word) if word.is_empty() => Err(Problem::new(
                line,
                format!("the pattern {raw:?} asserts nothing"),
            )),
            _ => Ok(Self {
                raw: raw.to_owned(),
                kind,
                negated,
            }),
        }
    }

    /// As it was written.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether some line of `text` matches, or none does for a negated one.
    pub(super) fn holds(&self, text: &str) -> bool {
        let hit = text.lines().any(|line| match &self.kind {
            Kind::Word(word) => line.contains(word.as_str()),
            Kind::Regex(regex) => regex.is_match(line),
        });
        hit != self.negated
    }
}

/// A regular expression of a test; it takes time linear in the text, whatever it is.
pub(super) fn regex(expression: &str, line: usize) -> Result<Regex, Problem> {
    Regex::new(expression).map_err(|e| {
        Problem::new(
            line,
            format!("{expression:?} is no regular expression: {e}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_goss_means() {
        for (pattern, text, holds) in [
            ("root", "x\nroot:x", true),
            ("!root", "x\nroot:x", false),
            ("!root", "", true),
            ("/^root:/", "x\nroot:x", true),
            ("/^x$/", "xx\n", false),
            ("!/^root:/", "toor:x", true),
            ("\\!bang", "a !bang", true),
            ("\\!bang", "a bang", true),
            ("/var/log", "var/log", true),
            ("a/", "a/", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern, 1).expect(pattern).holds(text),
                holds,
                "{pattern} on {text:?}"
            );
        }
    }
}
