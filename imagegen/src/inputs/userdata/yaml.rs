//! Owns YAML as cloud-init's reader sees it: a tree of values with the place of each, by YAML 1.1's words (`yes` is true, `0644`
//! is a number), bounded in size, depth and number of nodes.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// Nodes of one file, those that aliases repeat included.
const NODES: usize = 100_000;
/// Levels of one file.
const DEPTH: usize = 64;

/// A place in a file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
    /// Byte in the text.
    pub(super) byte: usize,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) at: At,
    pub(super) text: String,
}

/// What a node is to PyYAML's `safe_load`.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// What is wrong, and where.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) at: At,
    pub(super) what: String,
}

impl Node {
    /// The value of a key; of two with one name the last, as PyYAML takes it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// A key and its value.
    pub(super) fn entry(&self, key: &str) -> Option<(&Key, &Self)> {
        let Value::Map(map) = &self.value else {
            return None;
        };
        let found = map.iter().rev().find(|(k, _)| k.text == key);
        found.map(|(k, node)| (k, node))
    }

    /// Its text, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its parts, if it is a list.
    pub(super) fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// Its keys, if it is a map.
    pub(super) fn map(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(map) => map,
            _ => &[],
        }
    }

    /// Whether it says yes.
    pub(super) fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true))
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::List(list) => 1 + list.iter().map(Self::size).sum::<usize>(),
            Value::Map(map) => 1 + map.iter().map(|(_, n)| 1 + n.size()).sum::<usize>(),
            _ => 1,
        }
    }
}

/// A document, and every key of it that is there twice: PyYAML takes the last one without a word.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    pub(super) twice: Vec<(Key, At)>,
}

/// Reads a file of one document. An empty one is `Null`.
pub(super) fn parse(text: &str) -> Result<Document, Problem> {
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        text,
        anchors: HashMap::new(),
        left: NODES,
        twice: Vec::new(),
    };
    let mut root = Node {
        at: At::default(),
        value: Value::Null,
    };
    let mut documents = 0;
    loop {
        let (event, at) = builder.next()?;
        match event {
            Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => {
                return Ok(Document {
                    root,
                    twice: builder.twice,
                });
            }
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(problem(
                        at,
                        "a second document begins here (`---`); cloud-init reads one",
                    ));
                }
                let (event, at) = builder.next()?;
                root = builder.node(event, at, DEPTH)?;
            }
            _ => return Err(problem(at, "this is no YAML document")),
        }
    }
}

fn problem(at: At, what: impl Into<String>) -> Problem {
    Problem {
        at,
        what: what.into(),
    }
}

struct Builder<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
    anchors: HashMap<usize, Node>,
    left: usize,
    twice: Vec<(Key, At)>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, At), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, place(&span.start))),
            Some(Err(error)) => Err(self.explained(place(error.marker()), &error.to_string())),
            None => Err(problem(At::default(), "the file ends in the middle")),
        }
    }

    /// A parser's words, with what most often is behind them.
    fn explained(&self, at: At, what: &str) -> Problem {
        let lines = self.text.lines().enumerate().take(at.line.max(1) + 1);
        let tab = lines.filter(|(n, _)| n + 2 >= at.line).find(|(_, l)| {
            let blanks = l.len() - l.trim_start().len();
            l[..blanks].contains('\t')
        });
        match tab {
            Some((n, _)) => problem(
                At {
                    line: n + 1,
                    column: 1,
                    byte: 0,
                },
                "a tab stands at the beginning of the line; YAML wants spaces there",
            ),
            None => problem(at, what),
        }
    }

    fn node(&mut self, event: Event<'a>, at: At, depth: usize) -> Result<Node, Problem> {
        let deep = || problem(at, format!("deeper than {DEPTH} levels"));
        let depth = depth.checked_sub(1).ok_or_else(deep)?;
        self.spend(1, at)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if plain {
                    resolve(&text)
                } else {
                    Value::Text(text.into_owned())
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Value::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| problem(at, "an alias within what it stands for"))?;
                self.spend(node.size(), at)?;
                return Ok(Node { at, ..node });
            }
            _ => return Err(problem(at, "a value is missing")),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, at: At) -> Result<(), Problem> {
        let left = self.left.checked_sub(nodes);
        self.left = left.ok_or_else(|| problem(at, format!("more than {NODES} values")))?;
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut list = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(list);
            }
            list.push(self.node(event, at, depth)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let text = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(problem(at, "a key must be a word")),
            };
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth)?;
            if text == "<<" {
                merged.push(value);
                continue;
            }
            let key = Key { at, text };
            if let Some((first, _)) = map.iter().find(|(k, _)| k.text == key.text) {
                self.twice.push((key.clone(), first.at));
            }
            map.push((key, value));
        }
        // The merge key of YAML 1.1: what is written here wins over what is merged.
        for value in merged {
            let maps = match value.value {
                Value::List(maps) => maps,
                value => vec![Node {
                    at: At::default(),
                    value,
                }],
            };
            for (key, node) in maps.iter().flat_map(Node::map) {
                if !map.iter().any(|(k, _)| k.text == key.text) {
                    map.push((key.clone(), node.clone()));
                }
            }
        }
        Ok(map)
    }
}

fn place(mark: &granit_parser::Marker) -> At {
    At {
        line: mark.line(),
        column: mark.col() + 1,
        byte: mark.byte_offset().unwrap_or(0),
    }
}

/// What a word without quotes means (PyYAML, `resolver.py`: YAML 1.1).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if let Some(number) = int(text) {
        return Value::Int(number);
    }
    let digits = text.trim_start_matches(['-', '+']);
    let is_float = digits.contains('.')
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.len() > 1
        && digits.replace('_', "").parse::<f64>().is_ok();
    if is_float || [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&digits) {
        return Value::Float;
    }
    Value::Text(text.to_owned())
}

/// A whole number: decimal, `0x`, `0b`, octal with a leading 0, or to the base of 60 (`22:30`).
fn int(text: &str) -> Option<i64> {
    let (minus, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let number = if let Some(hex) = plain.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()?
    } else if let Some(binary) = plain.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()?
    } else if plain.len() > 1 && plain.starts_with('0') {
        i64::from_str_radix(&plain[1..], 8).ok()?
    } else if plain.contains(':') {
        let mut sum = 0_i64;
        for (n, part) in plain.split(':').enumerate() {
            let part: i64 = part.parse().ok()?;
            if n > 0 && part > 59 {
                return None;
            }
            sum = sum.checked_mul(60)?.checked_add(part)?;
        }
        sum
    } else {
        plain.parse().ok()?
    };
    Some(if minus { -number } else { number })
}
