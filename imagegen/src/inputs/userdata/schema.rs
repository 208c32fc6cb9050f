//! Owns the check of a document against cloud-init's own JSON schema, which lies in every image that holds cloud-init: what is
//! known, and what is old, is said by the very version that will read the file.
//!
//! As much of JSON Schema (draft 4) as those files use. What it does not know it lets pass.

use serde_json::Value as Json;

use super::yaml::{At, Node, Value};
use crate::inputs::near::closest;

/// How an objection to a key that is in no schema begins.
pub(super) const UNKNOWN: &str = "cloud-init knows no key";
/// How deep references may lead.
const DEPTH: usize = 64;

/// Something the schema objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) at: At,
    pub(super) what: String,
    /// True where it is only old: it works for now.
    pub(super) old: bool,
}

/// A schema and the reader of it.
struct Reader<'a> {
    whole: &'a Json,
}

/// Everything in `node` that `schema` objects to, by place.
pub(super) fn check(schema: &Json, node: &Node) -> Vec<Objection> {
    let mut out = Vec::new();
    Reader { whole: schema }.node(schema, node, "", DEPTH, &mut out);
    out.sort_by_key(|o| (o.at, o.what.clone()));
    out.dedup();
    out
}

impl Reader<'_> {
    fn node(&self, schema: &Json, node: &Node, name: &str, depth: usize, out: &mut Vec<Objection>) {
        let (Some(depth), Some(rules)) = (depth.checked_sub(1), schema.as_object()) else {
            return;
        };
        if let Some(to) = rules.get("$ref").and_then(Json::as_str) {
            // RFC 6901; a reference leads into the same file (`#/$defs/…`).
            if let Some(found) = to.strip_prefix('#').and_then(|p| self.whole.pointer(p)) {
                self.node(found, node, name, depth, out);
            }
        }
        if rules.get("deprecated").is_some_and(|d| d == true) {
            let text = |key: &str| rules.get(key).and_then(Json::as_str);
            let why = text("deprecated_description").or(text("description"));
            out.push(Objection {
                at: node.at,
                what: format!("`{name}` is old: {}", brief(why.unwrap_or_default())),
                old: true,
            });
        }
        if let Some(wanted) = rules.get("type")
            && !types(wanted).any(|t| is_type(&node.value, t))
        {
            let wanted: Vec<&str> = types(wanted).map(words).collect();
            out.push(objection(
                node.at,
                format!(
                    "`{name}` must be {}, and is {}",
                    wanted.join(" or "),
                    kind(node)
                ),
            ));
            return;
        }
        if let Some(values) = rules.get("enum").and_then(Json::as_array)
            && !values.iter().any(|v| equals(v, node))
        {
            let list: Vec<String> = values.iter().map(ToString::to_string).collect();
            out.push(objection(
                node.at,
                format!("`{name}` must be one of {}", list.join(", ")),
            ));
        }
        Self::size(schema, node, name, out);
        self.map(schema, node, name, depth, out);
        self.list(schema, node, name, depth, out);
        for part in rules
            .get("allOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            self.node(part, node, name, depth, out);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(parts) = rules.get(choice).and_then(Json::as_array) {
                self.choice(parts, node, name, depth, out);
            }
        }
    }

    /// One of several must fit; if none does, what is said is what the nearest says.
    fn choice(
        &self,
        parts: &[Json],
        node: &Node,
        name: &str,
        depth: usize,
        out: &mut Vec<Objection>,
    ) {
        let mut nearest: Option<Vec<Objection>> = None;
        for part in parts {
            let mut said = Vec::new();
            self.node(part, node, name, depth, &mut said);
            if said.iter().all(|o| o.old) {
                out.extend(said);
                return;
            }
            // One that objects to the node itself was meant for something else.
            let weight = |said: &[Objection]| (said.iter().any(|o| o.at == node.at), said.len());
            if nearest.as_ref().is_none_or(|n| weight(&said) < weight(n)) {
                nearest = Some(said);
            }
        }
        out.extend(nearest.unwrap_or_default());
    }

    fn size(schema: &Json, node: &Node, name: &str, out: &mut Vec<Objection>) {
        let number = |key: &str| schema.get(key).and_then(Json::as_u64);
        let len = match &node.value {
            Value::List(list) => list.len() as u64,
            _ => u64::MAX,
        };
        let mut say = |what: String| out.push(objection(node.at, format!("`{name}` {what}")));
        if let Some(least) = number("minItems").filter(|least| len < *least) {
            say(format!("must have at least {least} parts"));
        }
        if let Some(most) = number("maxItems").filter(|most| len != u64::MAX && len > *most) {
            say(format!("must have at most {most} parts"));
        }
        if let Value::Map(map) = &node.value
            && let Some(least) = number("minProperties").filter(|l| (map.len() as u64) < *l)
        {
            say(format!("must have at least {least} keys"));
        }
        if let Value::Int(value) = node.value
            && let Some(least) = schema.get("minimum").and_then(Json::as_i64)
            && value < least
        {
            say(format!("must be at least {least}"));
        }
        if let Some(text) = node.text()
            && let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && let Some(false) = matches(pattern, text)
        {
            say(format!("must look like {pattern}"));
        }
    }

    fn map(&self, schema: &Json, node: &Node, name: &str, depth: usize, out: &mut Vec<Objection>) {
        let Value::Map(map) = &node.value else {
            return;
        };
        let known = schema.get("properties").and_then(Json::as_object);
        let patterns = schema.get("patternProperties").and_then(Json::as_object);
        let more = schema.get("additionalProperties");
        for (key, value) in map {
            let mut met = false;
            if let Some(rule) = known.and_then(|k| k.get(&key.text)) {
                met = true;
                self.node(rule, value, &key.text, depth, out);
            }
            for (pattern, rule) in patterns.into_iter().flatten() {
                if matches(pattern, &key.text).unwrap_or(true) {
                    met = true;
                    self.node(rule, value, &key.text, depth, out);
                }
            }
            match more {
                Some(Json::Bool(false)) if !met => {
                    let names = known.into_iter().flat_map(|k| k.keys().map(String::as_str));
                    let near = closest(&key.text, names)
                        .map_or_else(String::new, |n| format!(" (did you mean `{n}`?)"));
                    let place = if name.is_empty() {
                        String::new()
                    } else {
                        format!(" in `{name}`")
                    };
                    out.push(objection(
                        key.at,
                        format!("{UNKNOWN} `{}`{place}{near}", key.text),
                    ));
                }
                Some(rule @ Json::Object(_)) if !met => {
                    self.node(rule, value, &key.text, depth, out);
                }
                _ => {}
            }
        }
        let wanted = schema.get("required").and_then(Json::as_array);
        for key in wanted.into_iter().flatten().filter_map(Json::as_str) {
            if node.get(key).is_none() {
                let place = if name.is_empty() { "the file" } else { name };
                out.push(objection(node.at, format!("`{place}` has no `{key}`")));
            }
        }
    }

    fn list(&self, schema: &Json, node: &Node, name: &str, depth: usize, out: &mut Vec<Objection>) {
        let Value::List(list) = &node.value else {
            return;
        };
        let first = ["prefixItems", "items"]
            .iter()
            .find_map(|key| schema.get(*key)?.as_array());
        let rest = if schema.get("items").is_some_and(Json::is_object) {
            schema.get("items")
        } else {
            schema.get("additionalItems")
        };
        for (n, part) in list.iter().enumerate() {
            if let Some(rule) = first.and_then(|f| f.get(n)).or(rest) {
                self.node(rule, part, name, depth, out);
            }
        }
    }
}

fn objection(at: At, what: String) -> Objection {
    Objection {
        at,
        what,
        old: false,
    }
}

/// The first sentence: descriptions are long.
fn brief(text: &str) -> String {
    let text = text.replace("``", "`");
    let end = text.find(". ").map_or(text.len(), |n| n + 1);
    text[..end].to_owned()
}

/// `None` for a pattern that this machine's engine does not know: what cannot be judged passes.
fn matches(pattern: &str, text: &str) -> Option<bool> {
    Some(regex_lite::Regex::new(pattern).ok()?.is_match(text))
}

fn types(wanted: &Json) -> impl Iterator<Item = &str> {
    let one = wanted.as_str().into_iter();
    one.chain(
        wanted
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str),
    )
}

fn is_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => matches!(value, Value::Text(_)),
        "integer" => matches!(value, Value::Int(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float),
        "boolean" => matches!(value, Value::Bool(_)),
        "array" => matches!(value, Value::List(_)),
        "object" => matches!(value, Value::Map(_)),
        "null" => matches!(value, Value::Null),
        _ => true,
    }
}

/// A type in words.
fn words(wanted: &str) -> &str {
    match wanted {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map of keys",
        "null" => "empty",
        other => other,
    }
}

/// What a node is, in words.
pub(super) fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false (in quotes it would be text)",
        Value::Int(_) => "a number (in quotes it would be text)",
        Value::Float => "a number with a point (in quotes it would be text)",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map of keys",
    }
}

fn equals(json: &Json, node: &Node) -> bool {
    match (&node.value, json) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Int(a), Json::Number(b)) => b.as_i64() == Some(*a),
        (Value::Text(a), Json::String(b)) => a == b,
        _ => false,
    }
}
