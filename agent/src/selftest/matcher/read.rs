//! Reading matchers: from what a file says to [`Matcher`].

use serde_json::Value;

use super::{Matcher, Order, Shape, short};
use crate::selftest::pattern::Pattern;
use crate::selftest::regexp;
use crate::selftest::version::Range;

/// Matchers within matchers.
const DEPTH: usize = 32;

/// Reads an expectation.
pub(in crate::selftest) fn parse(value: &Value, shape: Shape) -> Result<Matcher, String> {
    read(value, shape, DEPTH)
}

fn read(value: &Value, shape: Shape, depth: usize) -> Result<Matcher, String> {
    let depth = depth
        .checked_sub(1)
        .ok_or("matchers within matchers, too deep")?;
    match value {
        Value::Null => Err("Missing required attribute: nothing is expected here".into()),
        Value::Bool(_) => Ok(Matcher::Equal(value.clone())),
        Value::Number(n) => Ok(Matcher::Number(n.as_f64().unwrap_or(f64::NAN))),
        Value::String(word) => Ok(Matcher::Word(word.clone())),
        Value::Array(_) if shape == Shape::Text => patterns(value),
        Value::Array(list) => Ok(Matcher::Elements(all(list, depth)?)),
        Value::Object(map) => {
            let mut entries = map.iter();
            match (entries.next(), entries.next()) {
                (Some((name, value)), None) => named(name, value, depth),
                (None, _) => Err("an empty map asserts nothing".into()),
                _ => {
                    let names: Vec<&str> = map.keys().map(String::as_str).collect();
                    Err(format!(
                        "only one matcher at a level, found {}; join several with `and`",
                        names.join(", ")
                    ))
                }
            }
        }
    }
}

fn named(name: &str, value: &Value, depth: usize) -> Result<Matcher, String> {
    let wrong = |wanted: &str| format!("{name} takes {wanted}, not {}", short(value));
    let word = || {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| wrong("text"))
    };
    let number = || value.as_f64().ok_or_else(|| wrong("a number"));
    let list = || all(value.as_array().ok_or_else(|| wrong("a list"))?, depth);
    let one = || Ok::<_, String>(Box::new(read(value, Shape::Value, depth)?));
    Ok(match name {
        "equal" => Matcher::Equal(value.clone()),
        "have-prefix" => Matcher::Prefix(word()?),
        "have-suffix" => Matcher::Suffix(word()?),
        "contain-substring" => Matcher::Substring(word()?),
        "match-regexp" => Matcher::Regex(regexp::compile(&word()?)?),
        "have-len" => Matcher::Length(value.as_u64().ok_or_else(|| wrong("a whole number"))?),
        "have-patterns" => patterns(value)?,
        "have-key" => Matcher::Key(one()?),
        "contain-element" if value.is_array() || value.is_boolean() => {
            return Err(wrong("a matcher, text or a number"));
        }
        "contain-element" => Matcher::Element(one()?),
        "contain-elements" => Matcher::Elements(list()?),
        "consist-of" => Matcher::Consists(list()?),
        "not" => Matcher::Not(one()?),
        "and" => Matcher::All(list()?),
        "or" => Matcher::Any(list()?),
        "gt" => Matcher::Compare(Order::Greater, number()?),
        "ge" => Matcher::Compare(Order::AtLeast, number()?),
        "lt" => Matcher::Compare(Order::Less, number()?),
        "le" => Matcher::Compare(Order::AtMost, number()?),
        "semver-constraint" => {
            let text = word()?;
            Matcher::Semver(Range::parse(&text).ok_or_else(|| {
                format!("{text:?} is no range of versions, such as \">=1.2.0 <2.0.0\" (all three numbers, or 1.x)")
            })?)
        }
        "gjson" => {
            let paths = value.as_object().ok_or_else(|| wrong("a map of paths"))?;
            let one = |(path, value): (&String, &Value)| {
                Ok((path.clone(), read(value, Shape::Value, depth)?))
            };
            Matcher::Json(paths.iter().map(one).collect::<Result<_, String>>()?)
        }
        "xml" | "xpath" => {
            return Err(format!(
                "{name} is not supported: use match-regexp, or a command with xmllint"
            ));
        }
        other => return Err(format!("Unknown matcher: {other}")),
    })
}

fn all(list: &[Value], depth: usize) -> Result<Vec<Matcher>, String> {
    list.iter()
        .map(|item| read(item, Shape::Value, depth))
        .collect()
}

fn patterns(value: &Value) -> Result<Matcher, String> {
    let items = value
        .as_array()
        .ok_or_else(|| format!("patterns are a list, not {}", short(value)))?;
    let one = |item: &Value| {
        let word = item
            .as_str()
            .ok_or_else(|| format!("a pattern is text in quotes, not {}", short(item)))?;
        Pattern::parse(word)
    };
    Ok(Matcher::Patterns(
        items.iter().map(one).collect::<Result<_, _>>()?,
    ))
}
