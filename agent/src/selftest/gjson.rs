//! gjson's path language (github.com/tidwall/gjson, its page on syntax), which goss's matcher `gjson` speaks.
//!
//! The crate `gjson` has seen no release for years and lacks `@keys`, `@values`, `@tostr` and more; this is small, and keeps
//! the order of keys, which wildcards depend on.

mod modify;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::glob;

/// Paths within paths.
const DEPTH: usize = 64;

/// JSON whose keys are in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
                Ok(Json::Bool(flag))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
                Ok(Json::Number(n.into()))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
                Ok(Json::Number(n.into()))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Json, E> {
                Ok(serde_json::Number::from_f64(n).map_or(Json::Null, Json::Number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Json::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Json {
    /// The same, without the order.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Number(n) => Value::Number(n.clone()),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Self::value).collect(),
            // The first of two equal keys is the one that a path finds.
            Self::Map(map) => Value::Object(
                map.iter()
                    .rev()
                    .map(|(k, v)| (k.clone(), v.value()))
                    .collect(),
            ),
        }
    }

    /// As text of JSON.
    fn raw(&self) -> String {
        match self {
            Self::List(list) => format!(
                "[{}]",
                list.iter().map(Self::raw).collect::<Vec<_>>().join(",")
            ),
            Self::Map(map) => {
                let entry =
                    |(k, v): &(String, Self)| format!("{}:{}", Value::from(k.as_str()), v.raw());
                format!(
                    "{{{}}}",
                    map.iter().map(entry).collect::<Vec<_>>().join(",")
                )
            }
            other => other.value().to_string(),
        }
    }
}

/// Reads JSON.
pub(super) fn parse(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("Invalid json: {error}"))
}

/// What is at `path`, if anything is.
pub(super) fn get(json: &Json, path: &str) -> Option<Json> {
    at(json, path, DEPTH)
}

fn at(json: &Json, path: &str, depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    if let Some(rest) = path.strip_prefix("..") {
        // Lines of JSON, of which a valid document is one.
        return at(
            &Json::List(vec![json.clone()]),
            rest.strip_prefix('.').unwrap_or(rest),
            depth,
        );
    }
    match path.chars().next()? {
        '@' => {
            if let Some(found) = modify::modified(json, path, depth) {
                return found;
            }
        }
        '[' | '{' => return multi(json, path, depth),
        '!' => {
            let (literal, rest) = cut(&path[1..]);
            return onward(parse(literal).ok()?, rest, depth);
        }
        '#' => {
            if let Json::List(list) = json {
                return hash(list, path, depth);
            }
        }
        _ => {}
    }
    let (name, rest) = component(path);
    let found = match json {
        Json::Map(map) if name.wild => map
            .iter()
            .find(|(key, _)| glob::like(&name.pattern, key))
            .map(|(_, v)| v),
        Json::Map(map) => map
            .iter()
            .find(|(key, _)| *key == name.text)
            .map(|(_, v)| v),
        Json::List(list) => name
            .text
            .parse::<usize>()
            .ok()
            .and_then(|index| list.get(index)),
        _ => None,
    }?;
    onward(found.clone(), rest, depth)
}

/// Goes on with what stands after a `.` or `|`.
fn onward(json: Json, rest: &str, depth: usize) -> Option<Json> {
    match rest.strip_prefix(['.', '|']) {
        Some(rest) if !rest.is_empty() => at(&json, rest, depth),
        _ => Some(json),
    }
}

struct Name {
    text: String,
    pattern: String,
    wild: bool,
}

/// The first name of a path, and what follows it with its sign.
fn component(path: &str) -> (Name, &str) {
    let mut name = Name {
        text: String::new(),
        pattern: String::new(),
        wild: false,
    };
    let mut chars = path.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '.' | '|' => return (name, &path[index..]),
            '\\' => {
                if let Some((_, c)) = chars.next() {
                    name.text.push(c);
                    name.pattern.push('\\');
                    name.pattern.push(c);
                }
            }
            c => {
                name.wild |= matches!(c, '*' | '?');
                name.text.push(c);
                if c == '[' {
                    name.pattern.push('\\');
                }
                name.pattern.push(c);
            }
        }
    }
    (name, "")
}

/// Up to the sign that ends this part: quotes and brackets hold together.
fn cut(path: &str) -> (&str, &str) {
    let mut level = 0usize;
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in path.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => level += 1,
            ')' | ']' | '}' if level > 0 => level -= 1,
            '.' | '|' if level == 0 => return path.split_at(index),
            _ => {}
        }
    }
    (path, "")
}

/// `#`, `#.name`, `#(query)`, `#(query)#`
fn hash(list: &[Json], path: &str, depth: usize) -> Option<Json> {
    let (head, rest) = cut(path);
    // What follows a dot is asked of each; what follows a pipe, of the list.
    let each = |items: Vec<&Json>| {
        let Some(rest) = rest.strip_prefix('.') else {
            let all = Json::List(items.into_iter().cloned().collect());
            return onward(all, rest, depth);
        };
        let (inner, piped) = pipe(rest);
        let found = items
            .into_iter()
            .filter_map(|item| at(item, inner, depth))
            .collect();
        onward(Json::List(found), piped, depth)
    };
    if head == "#" {
        if rest.starts_with('.') {
            return each(list.iter().collect());
        }
        return onward(Json::Number(list.len().into()), rest, depth);
    }
    let (query, all) = match head.strip_suffix('#') {
        Some(query) => (query, true),
        None => (head, false),
    };
    let query = query.strip_prefix("#(")?.strip_suffix(')')?;
    let mut hits = list.iter().filter(|item| holds(item, query, depth));
    if all {
        each(hits.collect())
    } else {
        onward(hits.next()?.clone(), rest, depth)
    }
}

/// Splits at the first pipe outside of brackets and quotes.
fn pipe(path: &str) -> (&str, &str) {
    let mut start = 0;
    loop {
        let (_, rest) = cut(&path[start..]);
        let index = path.len() - rest.len();
        if rest.is_empty() || rest.starts_with('|') {
            return path.split_at(index);
        }
        start = index + 1;
    }
}

fn holds(item: &Json, query: &str, depth: usize) -> bool {
    const OPERATORS: [&str; 9] = ["==", "!=", "<=", ">=", "!%", "=", "<", ">", "%"];
    let found = outside(query).find_map(|(index, _)| {
        let operator = OPERATORS.iter().find(|o| query[index..].starts_with(**o))?;
        Some((index, *operator))
    });
    let (path, operator, wanted) = match found {
        Some((index, operator)) => (
            query[..index].trim(),
            operator,
            query[index + operator.len()..].trim(),
        ),
        None => (query.trim(), "", ""),
    };
    let value = if path.is_empty() {
        Some(item.clone())
    } else {
        at(item, path, depth)
    };
    if let Some(kind) = wanted.strip_prefix('~') {
        let truth = match &value {
            Some(Json::Bool(flag)) => *flag,
            Some(Json::Number(n)) => n.as_f64() != Some(0.0),
            Some(Json::Text(text)) => matches!(text.to_lowercase().as_str(), "true" | "1" | "t"),
            _ => false,
        };
        let is = match kind {
            "true" => truth,
            "false" => !truth,
            "null" => matches!(value, None | Some(Json::Null)),
            "*" => value.is_some(),
            _ => false,
        };
        return if operator.starts_with('!') { !is } else { is };
    }
    value.is_some_and(|value| operator.is_empty() || compare(&value, operator, wanted))
}

fn compare(value: &Json, operator: &str, wanted: &str) -> bool {
    let word = match parse(wanted) {
        Ok(Json::Text(text)) if wanted.starts_with('"') => text,
        _ => wanted.to_owned(),
    };
    let by = |order: std::cmp::Ordering| match operator {
        "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => false,
    };
    match value {
        Json::Text(text) => match operator {
            "%" => glob::like(&word, text),
            "!%" => !glob::like(&word, text),
            _ => by(text.as_str().cmp(&word)),
        },
        Json::Number(n) => {
            let number = n.as_f64().unwrap_or(f64::NAN);
            number
                .partial_cmp(&word.parse().unwrap_or(0.0))
                .is_some_and(by)
        }
        Json::Bool(flag) => match operator {
            "=" | "==" => word == flag.to_string(),
            "!=" => word != flag.to_string(),
            ">" => *flag && word == "false",
            ">=" => *flag || word == "false",
            "<" => !*flag && word == "true",
            "<=" => !*flag || word == "true",
            _ => false,
        },
        Json::Null => {
            matches!(operator, "=" | "==") && word == "null" || operator == "!=" && word != "null"
        }
        _ => false,
    }
}

/// `{a,b}` and `[a,b]`: several paths at once.
fn multi(json: &Json, path: &str, depth: usize) -> Option<Json> {
    let (head, rest) = cut(path);
    let listed = head.starts_with('[');
    let inner = head.get(1..head.len().checked_sub(1)?)?;
    let (mut list, mut map) = (Vec::new(), Vec::new());
    for part in commas(inner) {
        let (name, part) = match part.strip_prefix('"').and_then(|p| p.split_once("\":")) {
            Some((name, part)) => (name.to_owned(), part),
            None => (cut_last(part), part),
        };
        if let Some(found) = at(json, part, depth) {
            list.push(found.clone());
            map.push((name, found));
        }
    }
    onward(
        if listed {
            Json::List(list)
        } else {
            Json::Map(map)
        },
        rest,
        depth,
    )
}

fn cut_last(path: &str) -> String {
    let mut rest = path;
    loop {
        let (head, more) = cut(rest);
        if let Some(more) = more.get(1..).filter(|more| !more.is_empty()) {
            rest = more;
        } else {
            let plain = head.chars().all(|c| c.is_alphanumeric() || c == '_');
            return if plain { head.to_owned() } else { "_".into() };
        }
    }
}

fn commas(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (index, _) in outside(text).filter(|(_, c)| *c == ',') {
        parts.push(&text[start..index]);
        start = index + 1;
    }
    parts.push(&text[start..]);
    parts
}

/// The characters that stand outside of quotes and brackets, with their places.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let (mut level, mut quoted) = (0usize, false);
    text.char_indices().filter(move |(_, c)| {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => level += 1,
            ')' | ']' | '}' => level = level.saturating_sub(1),
            _ => return level == 0,
        }
        false
    })
}

#[cfg(test)]
mod tests;
