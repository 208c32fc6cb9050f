//! goss's matchers: what a value is expected to be. A matcher that could never fail is refused when it is read.

use regex_lite::Regex;
use serde_json::Value;

use super::pattern::Pattern;
use super::yaml::{Data, Node, Problem};

/// What a bare list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text: each item is a pattern that some line must match (or none, with `!`).
    Text,
    /// Anything else: each item must be among the values.
    Value,
}

/// An expectation.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    /// A bare word, number or flag: equal after the value became one of the same kind.
    Is(Value),
    Equal(Value),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
    Substring(String),
    Length(u64),
    Patterns(Vec<Pattern>),
    Key(Box<Self>),
    Element(Box<Self>),
    Elements(Vec<Self>),
    Consists(Vec<Self>),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Order, f64),
    Semver(Vec<semver::VersionReq>, String),
    Json(Vec<(String, Self)>),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    AtLeast,
    Less,
    AtMost,
}

/// Reads an expectation.
pub(super) fn parse(node: &Node, shape: Shape) -> Result<Matcher, Problem> {
    match &node.data {
        Data::Scalar { .. } if node.is_null() => Err(Problem::new(
            node.line,
            "nothing is expected here: an empty value asserts nothing",
        )),
        Data::Scalar { .. } => Ok(Matcher::Is(node.value())),
        Data::List(_) if shape == Shape::Text => patterns(node),
        Data::List(_) => Ok(Matcher::Elements(some(node)?)),
        Data::Map(map) => match map.as_slice() {
            [(key, value)] => named(&key.text, value, key.line),
            [] => Err(Problem::new(node.line, "an empty map asserts nothing")),
            _ => Err(Problem::new(
                node.line,
                "only one matcher at a level; join several with `and`",
            )),
        },
    }
}

/// Whether this is the empty list, which `goss add` writes and which asserts nothing.
pub(super) fn is_empty_list(node: &Node) -> bool {
    matches!(&node.data, Data::List(list) if list.is_empty())
}

fn named(name: &str, node: &Node, line: usize) -> Result<Matcher, Problem> {
    let word = || {
        let text = node.text()?;
        if text.is_empty() {
            Err(Problem::new(
                line,
                format!("{name} with nothing asserts nothing"),
            ))
        } else {
            Ok(text.to_owned())
        }
    };
    let number = || {
        let text = node.text()?;
        text.parse::<f64>()
            .map_err(|e| Problem::new(line, format!("{name} needs a number, not {text:?}: {e}")))
    };
    let one = || Ok(Box::new(parse(node, Shape::Value)?));
    Ok(match name {
        "equal" => Matcher::Equal(node.value()),
        "have-prefix" => Matcher::Prefix(word()?),
        "have-suffix" => Matcher::Suffix(word()?),
        "contain-substring" => Matcher::Substring(word()?),
        "match-regexp" => Matcher::Regex(super::pattern::regex(&word()?, line)?),
        "have-len" => Matcher::Length(node.number()?),
        "have-patterns" => patterns(node)?,
        "have-key" => Matcher::Key(one()?),
        "contain-element" => Matcher::Element(one()?),
        "contain-elements" => Matcher::Elements(some(node)?),
        "consist-of" => Matcher::Consists(all(node)?),
        "not" => Matcher::Not(one()?),
        "and" => Matcher::All(some(node)?),
        "or" => Matcher::Any(some(node)?),
        "gt" => Matcher::Compare(Order::Greater, number()?),
        "ge" => Matcher::Compare(Order::AtLeast, number()?),
        "lt" => Matcher::Compare(Order::Less, number()?),
        "le" => Matcher::Compare(Order::AtMost, number()?),
        "semver-constraint" => Matcher::Semver(constraint(&word()?, line)?, word()?),
        "gjson" => {
            let paths = node.entries()?;
            if paths.is_empty() {
                return Err(Problem::new(line, "gjson without a path asserts nothing"));
            }
            let one = |(key, value): &(super::yaml::Key, Node)| {
                Ok((key.text.clone(), parse(value, Shape::Value)?))
            };
            Matcher::Json(paths.iter().map(one).collect::<Result<_, Problem>>()?)
        }
        "xml" => {
            return Err(Problem::new(
                line,
                "xml is not supported: use match-regexp, or a command with xmllint",
            ));
        }
        other => return Err(Problem::new(line, format!("there is no matcher {other:?}"))),
    })
}

fn all(node: &Node) -> Result<Vec<Matcher>, Problem> {
    node.items()?
        .iter()
        .map(|item| parse(item, Shape::Value))
        .collect()
}

fn some(node: &Node) -> Result<Vec<Matcher>, Problem> {
    let list = all(node)?;
    if list.is_empty() {
        return Err(Problem::new(node.line, "an empty list asserts nothing"));
    }
    Ok(list)
}

fn patterns(node: &Node) -> Result<Matcher, Problem> {
    let items = node.items()?;
    if items.is_empty() {
        return Err(Problem::new(node.line, "an empty list asserts nothing"));
    }
    let one = |item: &Node| Pattern::parse(item.text()?, item.line);
    Ok(Matcher::Patterns(
        items.iter().map(one).collect::<Result<_, _>>()?,
    ))
}

/// Ranges as goss writes them: parts joined by blanks or commas must all hold, `||` separates alternatives.
fn constraint(text: &str, line: usize) -> Result<Vec<semver::VersionReq>, Problem> {
    // `!=` is no operator of the semver crate; it is checked apart, see `allows`.
    let range = |part: &str| {
        let mut joined = Vec::new();
        let mut operator = String::new();
        for word in part.split([' ', ',']).filter(|word| !word.is_empty()) {
            operator += word;
            if word.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '*') {
                let one = std::mem::take(&mut operator);
                if !one.starts_with("!=") {
                    let bare = one.starts_with(|c: char| c.is_ascii_digit());
                    joined.push(if bare { format!("={one}") } else { one });
                }
            }
        }
        if joined.is_empty() {
            joined.push("*".into());
        }
        semver::VersionReq::parse(&joined.join(", "))
            .map_err(|e| Problem::new(line, format!("{part:?} is no range of versions: {e}")))
    };
    text.split("||").map(range).collect()
}

impl Matcher {
    /// Whether `found` is as expected; else why not, for people.
    pub(super) fn check(&self, found: &Value) -> Result<(), String> {
        if self.holds(found)? {
            return Ok(());
        }
        Err(format!(
            "expected {}, found {}",
            self.words(found),
            short(found)
        ))
    }

    fn holds(&self, found: &Value) -> Result<bool, String> {
        Ok(match self {
            Self::Is(Value::String(word)) => text(found) == *word,
            Self::Is(Value::Number(number)) => number.as_f64() == Some(float(found)?),
            Self::Is(value) | Self::Equal(value) => same(value, found),
            Self::Prefix(word) => text(found).starts_with(word),
            Self::Suffix(word) => text(found).ends_with(word),
            Self::Substring(word) => text(found).contains(word),
            Self::Regex(regex) => regex.is_match(&text(found)),
            Self::Length(length) => len(found)? == *length,
            Self::Patterns(patterns) => missing(patterns, &text(found)).is_empty(),
            Self::Key(key) => match found {
                Value::Object(map) => any(
                    key,
                    &map.keys().map(|k| k.as_str().into()).collect::<Vec<_>>(),
                ),
                other => return Err(format!("expected a map, found {}", short(other))),
            },
            Self::Element(one) => any(one, &elements(found)?),
            Self::Elements(all) => {
                let found = elements(found)?;
                all.iter().all(|one| any(one, &found))
            }
            Self::Consists(all) => consists(all, &elements(found)?),
            Self::Not(one) => !one.holds(found)?,
            Self::All(all) => {
                for one in all {
                    one.check(found)?;
                }
                true
            }
            Self::Any(all) => all.iter().any(|one| matches!(one.holds(found), Ok(true))),
            Self::Compare(order, limit) => {
                let number = float(found)?;
                match order {
                    Order::Greater => number > *limit,
                    Order::AtLeast => number >= *limit,
                    Order::Less => number < *limit,
                    Order::AtMost => number <= *limit,
                }
            }
            Self::Semver(ranges, raw) => {
                let versions = if found.is_array() {
                    elements(found)?
                } else {
                    vec![found.clone()]
                };
                !versions.is_empty()
                    && versions
                        .iter()
                        .all(|version| allows(ranges, raw, &text(version)))
            }
            Self::Json(paths) => {
                let parsed: Value = match found {
                    Value::String(raw) => serde_json::from_str(raw)
                        .map_err(|e| format!("expected JSON, found {}: {e}", short(found)))?,
                    other => other.clone(),
                };
                for (path, matcher) in paths {
                    let at = at(&parsed, path).ok_or_else(|| {
                        format!("expected JSON with {path}, found {}", short(found))
                    })?;
                    matcher.check(&at).map_err(|why| format!("{path}: {why}"))?;
                }
                true
            }
        })
    }

    /// What is expected, in words.
    fn words(&self, found: &Value) -> String {
        let list = |all: &[Self]| {
            all.iter()
                .map(|one| one.words(found))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Is(value) => short(value),
            Self::Equal(value) => format!("exactly {}", short(value)),
            Self::Prefix(word) => format!("something that begins with {word:?}"),
            Self::Suffix(word) => format!("something that ends with {word:?}"),
            Self::Substring(word) => format!("something with {word:?} in it"),
            Self::Regex(regex) => format!("something like /{regex}/"),
            Self::Length(length) => format!("{length} of them"),
            Self::Patterns(patterns) => {
                format!("lines like {}", missing(patterns, &text(found)).join(", "))
            }
            Self::Key(key) => format!("a key {}", key.words(found)),
            Self::Element(one) => format!("among the values {}", one.words(found)),
            Self::Elements(all) => format!("among the values {}", list(all)),
            Self::Consists(all) => format!("just these in any order: {}", list(all)),
            Self::Not(one) => format!("not {}", one.words(found)),
            Self::All(all) => format!("all of {}", list(all)),
            Self::Any(all) => format!("any of {}", list(all)),
            Self::Compare(order, limit) => match order {
                Order::Greater => format!("more than {limit}"),
                Order::AtLeast => format!("{limit} or more"),
                Order::Less => format!("less than {limit}"),
                Order::AtMost => format!("{limit} or less"),
            },
            Self::Semver(_, raw) => format!("a version {raw}"),
            Self::Json(paths) => format!(
                "JSON with {}",
                paths
                    .iter()
                    .map(|(path, _)| path.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
}

/// A value for people, cut short.
pub(super) fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 300 {
        let end = (0..=300)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn any(matcher: &Matcher, values: &[Value]) -> bool {
    values
        .iter()
        .any(|value| matches!(matcher.holds(value), Ok(true)))
}

/// Whether the values can be paired with the matchers one to one. Greedy is not enough: a matcher for anything
/// may take the value that another one needs.
fn consists(matchers: &[Matcher], values: &[Value]) -> bool {
    fn pair(
        matcher: usize,
        fits: &[Vec<usize>],
        tried: &mut [bool],
        taken: &mut [Option<usize>],
    ) -> bool {
        for &value in &fits[matcher] {
            if std::mem::replace(&mut tried[value], true) {
                continue;
            }
            if taken[value].is_none_or(|other| pair(other, fits, tried, taken)) {
                taken[value] = Some(matcher);
                return true;
            }
        }
        false
    }
    if matchers.len() != values.len() {
        return false;
    }
    let fit = |m: &Matcher| {
        (0..values.len())
            .filter(|v| matches!(m.holds(&values[*v]), Ok(true)))
            .collect()
    };
    let fits: Vec<Vec<usize>> = matchers.iter().map(fit).collect();
    let mut taken = vec![None; values.len()];
    (0..matchers.len())
        .all(|matcher| pair(matcher, &fits, &mut vec![false; values.len()], &mut taken))
}

fn missing(patterns: &[Pattern], text: &str) -> Vec<String> {
    patterns
        .iter()
        .filter(|pattern| !pattern.holds(text))
        .map(|pattern| format!("{:?}", pattern.raw()))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

fn float(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(list) if list.len() == 1 => return float(&list[0]),
        _ => None,
    };
    number.ok_or_else(|| format!("expected a number, found {}", short(value)))
}

fn elements(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(list) => Ok(list.clone()),
        Value::String(text) => Ok(text.split('\n').map(Into::into).collect()),
        other => Err(format!("expected a list, found {}", short(other))),
    }
}

fn len(value: &Value) -> Result<u64, String> {
    match value {
        Value::Array(list) => Ok(list.len() as u64),
        Value::Object(map) => Ok(map.len() as u64),
        Value::String(text) => Ok(text.len() as u64),
        other => Err(format!(
            "expected something with a length, found {}",
            short(other)
        )),
    }
}

/// Equal, where 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

fn allows(ranges: &[semver::VersionReq], raw: &str, version: &str) -> bool {
    let Some(version) = version_of(version) else {
        return false;
    };
    ranges.iter().zip(raw.split("||")).any(|(range, part)| {
        let excluded = part
            .split([' ', ','])
            .filter_map(|word| version_of(word.strip_prefix("!=")?))
            .any(|excluded| excluded == version);
        range.matches(&version) && !excluded
    })
}

/// A version that may lack its last parts.
fn version_of(text: &str) -> Option<semver::Version> {
    let text = text.trim().trim_start_matches('v');
    let core = text.split(['-', '+']).next().unwrap_or(text);
    let lacking = 2usize.saturating_sub(core.matches('.').count());
    let full = format!("{core}{}{}", ".0".repeat(lacking), &text[core.len()..]);
    semver::Version::parse(&full).ok()
}

/// The part of gjson's paths that owners use: names, indexes, `#` for the length, `\.` for a dot in a name.
fn at(value: &Value, path: &str) -> Option<Value> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for c in path.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' if !escaped => names.push(String::new()),
            c => {
                names.last_mut()?.push(c);
                escaped = false;
            }
        }
    }
    let mut here = value;
    for (depth, name) in names.iter().enumerate() {
        here = match here {
            Value::Object(map) => map.get(name)?,
            Value::Array(list) if name == "#" && depth + 1 == names.len() => {
                return Some(list.len().into());
            }
            Value::Array(list) if name == "#" => {
                let rest = names[depth + 1..].join(".");
                return Some(list.iter().filter_map(|item| at(item, &rest)).collect());
            }
            Value::Array(list) => list.get(name.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(here.clone())
}

#[cfg(test)]
mod tests;
