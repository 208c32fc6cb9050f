//! Sets of characters, and how they are written for the engine.

use std::iter::Peekable;
use std::str::Chars;

/// `\s` of RE2 has no vertical tab in it.
pub(super) fn perl(c: char) -> &'static str {
    match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\x0C\\r ]",
        'S' => "[^\\t\\n\\x0C\\r ]",
        'w' => "[0-9A-Za-z_]",
        _ => "[^0-9A-Za-z_]",
    }
}

pub(super) fn perl_inside(c: char) -> &'static str {
    match c {
        'd' => "0-9",
        'D' => "\\D",
        's' => "\\t\\n\\x0C\\r\\x20",
        'S' => "\\S\\x0B",
        'w' => "0-9A-Za-z_",
        _ => "\\W",
    }
}

pub(super) fn point(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        c.to_string()
    } else {
        format!("\\x{{{:X}}}", u32::from(c))
    }
}

/// A set of characters.
#[derive(Default)]
pub(super) struct Class {
    pub(super) ranges: Vec<(char, char)>,
    /// Classes that the engine knows by itself.
    pub(super) raw: String,
}

impl Class {
    pub(super) fn add(&mut self, low: char, high: char, fold: bool) {
        self.ranges.push((low, high));
        // Long ranges hold both cases already, or are nothing with case.
        if fold && u32::from(high) - u32::from(low) < 256 {
            for c in low..=high {
                let others = c.to_lowercase().chain(c.to_uppercase()).filter(|o| *o != c);
                // Only what is one character in both.
                let others: Vec<char> = others.collect();
                if let [other] = others.as_slice() {
                    self.ranges.push((*other, *other));
                }
            }
        }
    }

    pub(super) fn text(&self, negated: bool) -> String {
        let sign = if negated { "^" } else { "" };
        let ranges: String = self
            .ranges
            .iter()
            .map(|(low, high)| {
                if low == high {
                    point(*low)
                } else {
                    format!("{}-{}", point(*low), point(*high))
                }
            })
            .collect();
        format!("[{sign}{}{ranges}]", self.raw)
    }

    pub(super) fn posix(&mut self, name: &str) -> Result<(), String> {
        let (negated, bare) = name
            .strip_prefix('^')
            .map_or((false, name), |bare| (true, bare));
        let ranges: &[(char, char)] = match bare {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\u{7f}')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
            "digit" => &[('0', '9')],
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => &[('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')],
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return Err(format!("invalid character class range: `[:{name}:]`")),
        };
        if negated {
            self.ranges.extend(complement(ranges));
        } else {
            self.ranges.extend(ranges);
        }
        Ok(())
    }

    /// `pL`, `p{Lu}`, `P{^N}`; `rest` stands at the letter p.
    pub(super) fn property(&mut self, rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
        let mut negated = rest.next() == Some('P');
        let mut name = String::new();
        match rest.next() {
            Some('{') => {
                let mut closed = false;
                for c in rest.by_ref() {
                    if c == '}' {
                        closed = true;
                        break;
                    }
                    name.push(c);
                }
                if !closed {
                    return Err("invalid character class range: `\\p{`".into());
                }
            }
            Some(c) => name.push(c),
            None => return Err("invalid character class range: `\\p`".into()),
        }
        if let Some(bare) = name.strip_prefix('^') {
            negated = !negated;
            name = bare.to_owned();
        }
        let ranges = unicode(&name)
            .ok_or_else(|| format!("invalid character class range: `\\p{{{name}}}` (known are L, Lu, Ll, N, Z, C, Any, Latin, Greek, Cyrillic, Han)"))?;
        self.ranges
            .extend(if negated { complement(&ranges) } else { ranges });
        Ok(())
    }
}

fn unicode(name: &str) -> Option<Vec<(char, char)>> {
    let blocks = |blocks: &[(u32, u32)], test: fn(char) -> bool| {
        let chars = blocks
            .iter()
            .flat_map(|(low, high)| (*low..=*high).filter_map(char::from_u32));
        ranges(chars.filter(|c| test(*c)))
    };
    let any = |test: fn(char) -> bool| ranges(('\0'..=char::MAX).filter(|c| test(*c)));
    Some(match name {
        "Any" => vec![('\0', char::MAX)],
        "L" => any(|c| c.is_alphabetic() && !c.is_numeric()),
        "Lu" => any(|c| c.is_uppercase() && !c.is_numeric()),
        "Ll" => any(|c| c.is_lowercase() && !c.is_numeric()),
        "N" => any(char::is_numeric),
        "Z" => any(|c| c.is_whitespace() && !c.is_control()),
        "Cc" | "C" => any(char::is_control),
        "Latin" => blocks(
            &[
                (0x41, 0x5a),
                (0x61, 0x7a),
                (0xaa, 0x24f),
                (0x1e00, 0x1eff),
                (0x2c60, 0x2c7f),
                (0xa722, 0xa7ff),
            ],
            char::is_alphabetic,
        ),
        "Greek" => blocks(&[(0x370, 0x3ff), (0x1f00, 0x1fff)], char::is_alphabetic),
        "Cyrillic" => blocks(
            &[
                (0x400, 0x52f),
                (0x1c80, 0x1c8f),
                (0x2de0, 0x2dff),
                (0xa640, 0xa69f),
            ],
            char::is_alphabetic,
        ),
        "Han" => blocks(
            &[
                (0x2e80, 0x2fd5),
                (0x3005, 0x3007),
                (0x3021, 0x3029),
                (0x3400, 0x4dbf),
                (0x4e00, 0x9fff),
                (0xf900, 0xfaff),
                (0x20000, 0x3ffff),
            ],
            |c| c.is_alphabetic() || !c.is_ascii(),
        ),
        _ => return None,
    })
}

/// Neighbours become ranges.
fn ranges(chars: impl Iterator<Item = char>) -> Vec<(char, char)> {
    let mut found: Vec<(char, char)> = Vec::new();
    for c in chars {
        match found.last_mut() {
            Some((_, high)) if u32::from(*high) + 1 == u32::from(c) => *high = c,
            _ => found.push((c, c)),
        }
    }
    found
}

fn complement(ranges: &[(char, char)]) -> Vec<(char, char)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut found = Vec::new();
    let mut next = Some('\0');
    for (low, high) in sorted {
        if let Some(from) = next
            && from < low
            && let Some(to) = (from..low).next_back()
        {
            found.push((from, to));
        }
        let after = (high..=char::MAX).nth(1);
        next = next.and_then(|from| after.map(|after| after.max(from)));
    }
    if let Some(from) = next {
        found.push((from, char::MAX));
    }
    found
}
