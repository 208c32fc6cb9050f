//! YAML as a tree with line numbers, bounded: size, depth, number of nodes after aliases. A key that is there twice is
//! an error, because one of the two assertions would never be looked at.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// No file of tests is larger.
pub(super) const LIMIT: u64 = 1024 * 1024;
/// Nodes of one file, those that aliases repeat included.
const NODES: usize = 100_000;
/// Levels of one file.
const DEPTH: usize = 64;

/// One node, and the line where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) data: Data,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// A word; `plain` when it is not in quotes, so that it may mean a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) text: String,
}

/// What is wrong with a file, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

impl Problem {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            what: what.into(),
        }
    }
}

/// Reads one document. An empty one is an empty map.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    Ok(document(text)?.0)
}

/// The same, with the line where a second document begins, which is not read.
pub(super) fn document(text: &str) -> Result<(Node, Option<usize>), Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() as u64 > LIMIT {
        return Err(Problem::new(1, format!("larger than {LIMIT} bytes")));
    }
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        left: NODES,
    };
    let mut root = Node {
        line: 1,
        data: Data::Map(Vec::new()),
    };
    let mut documents = 0;
    loop {
        let (event, line) = builder.next()?;
        match event {
            Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok((root, None)),
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    // What is not read must not look as if it had been.
                    return Ok((root, Some(line)));
                }
                let (event, line) = builder.next()?;
                let node = builder.node(event, line, DEPTH)?;
                if !node.is_null() {
                    root = node;
                }
            }
            _ => return Err(Problem::new(line, "not a document")),
        }
    }
}

struct Builder<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    left: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Problem::new(error.marker().line(), error.to_string())),
            None => Err(Problem::new(1, "the file ends in the middle")),
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Problem> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Problem::new(line, format!("deeper than {DEPTH} levels")))?;
        self.spend(1, line)?;
        let (data, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (
                Data::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                },
                anchor,
            ),
            Event::SequenceStart(_, anchor, _) => (Data::List(self.list(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Data::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node =
                    node.ok_or_else(|| Problem::new(line, "an alias within what it stands for"))?;
                self.spend(node.size(), line)?;
                return Ok(node);
            }
            _ => return Err(Problem::new(line, "a value is missing")),
        };
        let node = Node { line, data };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut list = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(list);
            }
            list.push(self.node(event, line, depth)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Data::Scalar { text, .. } = self.node(event, line, depth)?.data else {
                return Err(Problem::new(line, "a key must be a word"));
            };
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line, depth)?;
            if text == "<<" {
                merged.push(value);
                continue;
            }
            if let Some(first) = lines.insert(text.clone(), line) {
                let what = format!(
                    "{text:?} is here twice (line {first} too): only one of them would count"
                );
                return Err(Problem::new(line, what));
            }
            map.push((Key { line, text }, value));
        }
        // The merge key of YAML 1.1: what is written here wins over what is merged.
        for value in merged {
            let maps = match value.data {
                Data::List(maps) => maps,
                data => vec![Node {
                    line: value.line,
                    data,
                }],
            };
            for node in maps {
                let Data::Map(entries) = node.data else {
                    return Err(Problem::new(node.line, "<< merges maps only"));
                };
                for (key, node) in entries {
                    if !lines.contains_key(&key.text) {
                        lines.insert(key.text.clone(), key.line);
                        map.push((key, node));
                    }
                }
            }
        }
        Ok(map)
    }

    fn spend(&mut self, nodes: usize, line: usize) -> Result<(), Problem> {
        let left = self.left.checked_sub(nodes);
        self.left = left.ok_or_else(|| {
            Problem::new(
                line,
                format!("more than {NODES} values; aliases count as often as they are used"),
            )
        })?;
        Ok(())
    }
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Scalar { .. } => 0,
            Data::List(list) => list.iter().map(Self::size).sum(),
            Data::Map(map) => map.iter().map(|(_, node)| 1 + node.size()).sum(),
        }
    }

    /// Whether nothing was written.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Result<&[(Key, Self)], Problem> {
        match &self.data {
            Data::Map(map) => Ok(map),
            _ if self.is_null() => Ok(&[]),
            _ => Err(Problem::new(self.line, "expected a map")),
        }
    }

    /// A word or number, as written.
    pub(super) fn text(&self) -> Result<&str, Problem> {
        match &self.data {
            Data::Scalar { text, .. } if !self.is_null() => Ok(text),
            _ => Err(Problem::new(self.line, "expected a word")),
        }
    }

    /// One word, or a list of words.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        match &self.data {
            Data::List(list) => list
                .iter()
                .map(|node| Ok(node.text()?.to_owned()))
                .collect(),
            _ => Ok(vec![self.text()?.to_owned()]),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, Problem> {
        match self.text()? {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            other => Err(Problem::new(
                self.line,
                format!("expected true or false, not {other:?}"),
            )),
        }
    }

    /// The value without its lines.
    pub(super) fn value(&self) -> Value {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => Value::Null,
            Data::Scalar { text, plain: true } => resolve(text),
            Data::Scalar { text, plain: false } => text.as_str().into(),
            Data::List(list) => list.iter().map(Self::value).collect(),
            Data::Map(map) => Value::Object(
                map.iter()
                    .map(|(key, node)| (key.text.clone(), node.value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// A plain word as Go's yaml.v3 resolves it, which goss reads with: `yes` is a word, `0644` and `0o644` are octal, digits may be
/// grouped with `_`.
fn resolve(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return text.into();
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |prefix: &str, radix| {
        let digits = digits
            .strip_prefix(prefix)
            .filter(|rest| rest.starts_with(|c: char| c.is_alphanumeric()))?;
        i64::from_str_radix(digits, radix).ok()
    };
    let whole = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)]
        .iter()
        .find_map(|(prefix, base)| radix(prefix, *base));
    let padded = digits.len() > 1 && digits.starts_with('0');
    let decimal = || {
        digits
            .parse::<i64>()
            .ok()
            .filter(|_| !padded && digits.starts_with(|c: char| c.is_ascii_digit()))
    };
    if let Some(number) = whole.or_else(decimal) {
        return if negative { -number } else { number }.into();
    }
    // Two dots are a version, letters other than an exponent a word.
    let float = digits
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float = float
        .then(|| plain.parse().ok().and_then(Number::from_f64))
        .flatten();
    float.map_or_else(|| text.into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_what_they_look_like() {
        let node = parse(
            "a: 1\nb: [x, '2', 0644, 0x1f, 1.5, 1.0.1, true, ~, -3, '', 1_000, 0b11, +5, 1e3, yes, 0o10, 0999, 1.2e, -0x10, .5]\nc:\n  d: |\n    text\n",
        )
        .expect("yaml");
        let expected = json!({"a": 1, "b": ["x", "2", 420, 31, 1.5, "1.0.1", true, null, -3, "", 1000, 3, 5, 1000.0, "yes", 8, 999.0, "1.2e", -16, 0.5], "c": {"d": "text\n"}});
        assert_eq!(node.value(), expected);
        for empty in ["", "---\n", "# nothing\n", "~"] {
            assert_eq!(parse(empty).expect("empty").value(), json!({}), "{empty:?}");
        }
    }

    #[test]
    fn aliases_and_merges_are_expanded() {
        let text = "base: &b {mode: '0644', owner: root}\none:\n  <<: *b\n  owner: me\ntwo: *b\n";
        let value = parse(text).expect("yaml").value();
        assert_eq!(value["one"], json!({"mode": "0644", "owner": "me"}));
        assert_eq!(value["two"]["owner"], "root");
    }

    #[test]
    fn every_danger_is_an_error_with_its_line() {
        let bomb: String = (1..9).fold(
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".into(),
            |text, n| {
                let refs = vec![format!("*a{}", n - 1); 10].join(", ");
                format!("{text}a{n}: &a{n} [{refs}]\n")
            },
        );
        let deep = format!("{}x{}", "[".repeat(100), "]".repeat(100));
        let long = format!("a: {}\n", "x".repeat(2_000_000));
        let table = [
            ("a: 1\nb: 2\na: 3\n", 3, "twice (line 1 too)"),
            ("file:\n  /x:\n    mode: '1'\n    mode: '2'\n", 4, "twice"),
            ("a: {b: 1, b: 2}\n", 1, "twice"),
            (bomb.as_str(), 5, "more than"),
            (deep.as_str(), 1, "deeper"),
            (long.as_str(), 1, "larger"),
            ("a: &x [*x]\n", 1, "alias within"),
            ("a: [1, 2\nb: 3\n", 0, ""),
            ("? [a]\n: b\n", 1, "key must be a word"),
            ("a: *missing\n", 1, ""),
            ("a:\n\tb: 1\n", 0, ""),
        ];
        for (text, line, what) in table {
            let problem = parse(text).expect_err(&text[..text.len().min(40)]);
            assert!(
                problem.what.contains(what),
                "{}: {}",
                &text[..text.len().min(40)],
                problem.what
            );
            assert!(
                line == 0 || problem.line == line,
                "{}: line {}",
                &text[..text.len().min(40)],
                problem.line
            );
        }
    }
}
