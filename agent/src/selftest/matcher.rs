//! goss's matchers: what a value is expected to be.
//!
//! [`Matcher::holds`] only looks: `Ok(false)` is a value that is not as expected, `Err` one of a kind that the matcher cannot
//! look at. Under `not` the two must stay apart, or what was never looked at would count as well.

mod read;

use std::io::BufReader;

use regex_lite::Regex;
use serde_json::Value;

use super::gjson;
use super::pattern::{self, Pattern};
use super::version::{self, Range};
pub(super) use read::parse;

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
    /// A bare word: the value as text.
    Word(String),
    /// A bare number: the value as a number.
    Number(f64),
    /// A bare flag, or `equal`: the same value of the same kind.
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
    Semver(Range),
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

/// Why a value is not as expected.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Mismatch {
    /// The matcher could not look at it, for this reason.
    pub(super) error: Option<String>,
    /// `to equal`, as goss says it.
    pub(super) message: String,
    /// What was found.
    pub(super) actual: Value,
    /// What was expected.
    pub(super) expected: Value,
    /// Which of several expected things were not there.
    pub(super) missing: Vec<Value>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(error) = &self.error {
            f.write_str(error)
        } else {
            write!(f, "expected {} {}", self.message, short(&self.expected))?;
            if !self.missing.is_empty() {
                let missing: Vec<String> = self.missing.iter().map(short).collect();
                write!(f, ", missing {}", missing.join(", "))?;
            }
            write!(f, ", found {}", short(&self.actual))
        }
    }
}

impl Matcher {
    /// Whether `found` is as expected; else why not.
    pub(super) fn check(&self, found: &Value) -> Result<(), Box<Mismatch>> {
        match self.holds(found) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Box::new(self.mismatch(found, false))),
            Err(error) => Err(Box::new(Mismatch {
                error: Some(error),
                actual: found.clone(),
                ..Mismatch::default()
            })),
        }
    }

    /// `Err` when `found` is of a kind that cannot be looked at.
    fn holds(&self, found: &Value) -> Result<bool, String> {
        Ok(match self {
            Self::Word(word) => text(found) == *word,
            Self::Number(number) => float(found)?.total_cmp(&(*number + 0.0)).is_eq(),
            Self::Equal(value) => same(value, found),
            Self::Prefix(word) => text(found).starts_with(word),
            Self::Suffix(word) => text(found).ends_with(word),
            Self::Substring(word) => text(found).contains(word),
            Self::Regex(regex) => regex.is_match(&text(found)),
            Self::Length(length) => len(found)? == *length,
            Self::Patterns(patterns) => {
                pattern::missing(patterns, BufReader::new(text(found).as_bytes()))?.is_empty()
            }
            Self::Key(key) => match found {
                Value::Object(map) => some(key, map.keys().map(|k| Value::from(k.as_str())))?,
                other => return Err(format!("expected a map, found {}", short(other))),
            },
            Self::Element(one) => some(one, elements(found)?.into_iter())?,
            Self::Elements(all) => fits(all, &elements(found)?) == all.len(),
            Self::Consists(all) => {
                let found = elements(found)?;
                all.len() == found.len() && fits(all, &found) == all.len()
            }
            Self::Not(one) => !one.holds(found)?,
            Self::All(all) => {
                for one in all {
                    if !one.holds(found)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(all) => {
                for one in all {
                    if one.holds(found)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Compare(order, limit) => {
                let number = float(found)?;
                match order {
                    Order::Greater => number > *limit,
                    Order::AtLeast => number >= *limit,
                    Order::Less => number < *limit,
                    Order::AtMost => number <= *limit,
                }
            }
            Self::Semver(range) => {
                let list = found
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![found.clone()]);
                let version = |value: &Value| value.as_str().and_then(version::parse);
                let versions: Option<Vec<_>> = list.iter().map(version).collect();
                let versions = versions.filter(|versions| !versions.is_empty());
                let versions = versions.ok_or_else(|| {
                    format!("expected one or several versions such as 1.2.3 or 7.88.1-10+deb12u5, found {}", short(found))
                })?;
                versions.iter().all(|version| range.has(version))
            }
            Self::Json(paths) => {
                for (path, matcher) in paths {
                    if !matcher.holds(&at(found, path)?)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }

    /// How many patterns of text are to be seen, when this is just a list of them.
    pub(super) fn patterns(&self) -> Option<&[Pattern]> {
        if let Self::Patterns(patterns) = self {
            Some(patterns)
        } else {
            None
        }
    }

    /// In goss's words, for a value for which this does not hold (or, negated, does).
    fn mismatch(&self, found: &Value, negated: bool) -> Mismatch {
        match self {
            Self::Not(one) => return one.mismatch(found, !negated),
            Self::All(all) if !negated => {
                if let Some(first) = all.iter().find(|one| one.holds(found) != Ok(true)) {
                    return first.mismatch(found, false);
                }
            }
            Self::Any(all) if negated => {
                if let Some(first) = all.iter().find(|one| one.holds(found) == Ok(true)) {
                    return first.mismatch(found, true);
                }
            }
            Self::Json(paths) => {
                for (path, matcher) in paths {
                    if let Ok(inner) = at(found, path)
                        && (negated || matcher.holds(&inner) != Ok(true))
                    {
                        let mut mismatch = matcher.mismatch(&inner, negated);
                        mismatch.message = format!("{path} {}", mismatch.message);
                        return mismatch;
                    }
                }
            }
            _ => {}
        }
        let missing = match self {
            Self::Elements(all) | Self::Consists(all) if !negated => {
                let values = elements(found).unwrap_or_default();
                let lacking = all
                    .iter()
                    .filter(|m| !values.iter().any(|v| m.holds(v) == Ok(true)));
                lacking.map(Self::expected).collect()
            }
            Self::Patterns(patterns) if !negated => {
                let text = text(found);
                let lacking = pattern::missing(patterns, text.as_bytes()).unwrap_or_default();
                lacking.into_iter().map(Value::from).collect()
            }
            _ => Vec::new(),
        };
        let not = if negated { "not " } else { "" };
        Mismatch {
            error: None,
            message: format!("{not}{}", self.verb()),
            actual: found.clone(),
            expected: self.expected(),
            missing,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Word(_) | Self::Equal(_) => "to equal",
            Self::Number(_) => "to be numerically eq",
            Self::Prefix(_) => "to have prefix",
            Self::Suffix(_) => "to have suffix",
            Self::Regex(_) => "to match regular expression",
            Self::Substring(_) => "to contain substring",
            Self::Length(_) => "to have length",
            Self::Patterns(_) => "to have patterns",
            Self::Key(_) => "to have key matching",
            Self::Element(_) => "to contain element matching",
            Self::Elements(_) => "to contain elements matching",
            Self::Consists(_) => "to consist of",
            Self::Not(_) => "not",
            Self::All(_) => "to satisfy all of these matchers",
            Self::Any(_) => "to satisfy at least one of these matchers",
            Self::Compare(Order::Greater, _) => "to be numerically gt",
            Self::Compare(Order::AtLeast, _) => "to be numerically ge",
            Self::Compare(Order::Less, _) => "to be numerically lt",
            Self::Compare(Order::AtMost, _) => "to be numerically le",
            Self::Semver(_) => "to satisfy semver constraint",
            Self::Json(_) => "to have JSON",
        }
    }

    /// What was written, as far as it is kept.
    fn expected(&self) -> Value {
        let list = |all: &[Self]| all.iter().map(Self::expected).collect::<Value>();
        match self {
            Self::Word(word) | Self::Prefix(word) | Self::Suffix(word) | Self::Substring(word) => {
                word.as_str().into()
            }
            Self::Number(n) | Self::Compare(_, n) => number(*n),
            Self::Equal(value) => value.clone(),
            Self::Regex(regex) => regex.as_str().into(),
            Self::Length(n) => (*n).into(),
            Self::Patterns(patterns) => patterns.iter().map(|p| Value::from(p.raw())).collect(),
            Self::Key(one) | Self::Element(one) => one.expected(),
            Self::Not(one) => serde_json::json!({"not": one.expected()}),
            Self::Elements(all) | Self::Consists(all) | Self::All(all) | Self::Any(all) => {
                list(all)
            }
            Self::Semver(range) => range.text().into(),
            Self::Json(paths) => paths
                .iter()
                .map(|(path, m)| (path.clone(), m.expected()))
                .collect(),
        }
    }
}

/// A whole number stays one.
fn number(n: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and small, see the condition"
    )]
    if n.fract() == 0.0 && n.abs() < 1e15 {
        Value::from(n as i64)
    } else {
        Value::from(n)
    }
}

/// A value for people, cut short.
pub(super) fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 300 {
        let end = text.floor_char_boundary(300);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Whether one of the values fits. One that cannot be looked at only matters when no other fits.
fn some(matcher: &Matcher, values: impl Iterator<Item = Value>) -> Result<bool, String> {
    let mut error = None;
    for value in values {
        match matcher.holds(&value) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => error = Some(why),
        }
    }
    error.map_or(Ok(false), Err)
}

/// How many matchers can be paired with values one to one: each of two equal ones needs a value of its own. Greedy is not
/// enough, because a matcher for anything may take the value that another one needs.
fn fits(matchers: &[Matcher], values: &[Value]) -> usize {
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
    let fit = |m: &Matcher| {
        (0..values.len())
            .filter(|v| m.holds(&values[*v]) == Ok(true))
            .collect()
    };
    let fits: Vec<Vec<usize>> = matchers.iter().map(fit).collect();
    let mut taken = vec![None; values.len()];
    (0..matchers.len())
        .filter(|m| pair(*m, &fits, &mut vec![false; values.len()], &mut taken))
        .count()
}

/// Go's `%v`. Numbers keep their digits.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(word).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", word(v)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Number(n) => match n.as_f64().map(number) {
            Some(Value::Number(whole)) => whole.to_string(),
            _ => n.to_string(),
        },
        Value::Bool(flag) => flag.to_string(),
    }
}

/// The same, with lists as lines.
fn text(value: &Value) -> String {
    match value {
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join("\n"),
        other => word(other),
    }
}

fn float(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        // Values of a resource are text; another list is no number to goss.
        Value::Array(list) if list.iter().all(Value::is_string) => text(value).trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("expected a number, found {}", short(value)))
}

fn elements(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(list) => Ok(list.clone()),
        // The documentation of goss says that text is its lines.
        Value::String(text) => Ok(text.split('\n').map(Into::into).collect()),
        Value::Object(map) => Ok(map.values().cloned().collect()),
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
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// What is at `path` in a text that is JSON.
fn at(found: &Value, path: &str) -> Result<Value, String> {
    let text = found
        .as_str()
        .ok_or_else(|| format!("expected text that is JSON, found {}", short(found)))?;
    let json = gjson::parse(text)?;
    let found = gjson::get(&json, path).ok_or_else(|| format!("Path not found: {path}"))?;
    Ok(found.value())
}

#[cfg(test)]
mod tests;
