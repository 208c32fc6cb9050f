//! Running a template, with its bounds.

use std::time::Instant;

use super::lex;
use super::parse::{Command, Node, Pipe, Tree, Word};
use super::{DEPTH, Error, OUTPUT, STEPS, TIME, Value, Vars, funcs};

/// What a piece did besides writing.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) fn run(source: &str, tree: &Tree, vars: &Vars) -> Result<String, Error> {
    let dot = Value::from(std::collections::BTreeMap::from([
        ("Vars".to_owned(), Value::from(vars.values.clone())),
        ("Env".to_owned(), environment()),
    ]));
    let mut run = Run {
        source,
        tree,
        out: String::new(),
        steps: 0,
        depth: 0,
        since: Instant::now(),
        names: vec![("$".into(), dot.clone())],
    };
    run.nodes(&tree[""], &dot)?;
    Ok(run.out)
}

/// `.Env`
fn environment() -> Value {
    let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
    let map: std::collections::BTreeMap<String, Value> = std::env::vars_os()
        .map(|(name, value)| (text(name), text(value).into()))
        .collect();
    map.into()
}

struct Run<'a> {
    source: &'a str,
    tree: &'a Tree,
    out: String,
    steps: usize,
    depth: usize,
    since: Instant,
    /// Variables, innermost last.
    names: Vec<(String, Value)>,
}

impl Run<'_> {
    fn error(&self, at: usize, what: impl Into<String>) -> Error {
        lex::error(self.source, at, what)
    }

    fn step(&mut self, at: usize) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(self.error(
                at,
                format!("the template takes more than {STEPS} steps: does it loop?"),
            ));
        }
        if self.steps.is_multiple_of(1024) && self.since.elapsed() > TIME {
            return Err(self.error(
                at,
                format!("the template takes longer than {} s", TIME.as_secs()),
            ));
        }
        if self.out.len() > OUTPUT {
            return Err(self.error(at, format!("the template makes more than {OUTPUT} bytes")));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Error> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Nodes with variables of their own.
    fn scope(&mut self, nodes: &[Node], dot: &Value, mark: usize) -> Result<Flow, Error> {
        let flow = self.nodes(nodes, dot);
        self.names.truncate(mark);
        flow
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => {
                self.step(0)?;
                self.out += text;
            }
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.names.is_empty() {
                    self.out += &value.printed();
                }
            }
            Node::If(arms, otherwise) => {
                let mark = self.names.len();
                for (pipe, body) in arms {
                    if self.pipe(pipe, dot)?.truth() {
                        return self.scope(body, dot, mark);
                    }
                }
                return self.scope(otherwise, dot, mark);
            }
            Node::With(arms, otherwise) => {
                let mark = self.names.len();
                for (pipe, body) in arms {
                    let value = self.pipe(pipe, dot)?;
                    if value.truth() {
                        return self.scope(body, &value, mark);
                    }
                }
                return self.scope(otherwise, dot, mark);
            }
            Node::Range(pipe, body, otherwise) => return self.range(pipe, body, otherwise, dot),
            Node::Template(at, name, pipe) => {
                self.step(*at)?;
                let value = pipe
                    .as_ref()
                    .map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                let tree = self.tree;
                let body = tree
                    .get(name)
                    .filter(|_| !name.is_empty())
                    .ok_or_else(|| self.error(*at, format!("template {name:?} not defined")))?;
                if self.depth >= DEPTH {
                    return Err(self.error(
                        *at,
                        format!("templates within templates, more than {DEPTH}"),
                    ));
                }
                self.depth += 1;
                let outer = std::mem::replace(&mut self.names, vec![("$".into(), value.clone())]);
                self.nodes(body, &value)?;
                self.names = outer;
                self.depth -= 1;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Error> {
        let mark = self.names.len();
        let value = self.commands(pipe, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::List(list) => list
                .iter()
                .enumerate()
                .map(|(i, item)| (i.into(), item.clone()))
                .collect(),
            Value::Map(map) => map
                .iter()
                .map(|(key, item)| (key.as_str().into(), item.clone()))
                .collect(),
            Value::Nil => Vec::new(),
            // A whole number counts up to itself (Go 1.22).
            Value::Int(n) => {
                let count = usize::try_from(*n).unwrap_or(0);
                if count > STEPS {
                    return Err(self.error(pipe.at, "range over too large a number"));
                }
                (0..count).map(|i| (i.into(), i.into())).collect()
            }
            other => {
                return Err(self.error(
                    pipe.at,
                    format!("range can't iterate over {}", other.text()),
                ));
            }
        };
        if items.is_empty() {
            return self.scope(otherwise, dot, mark);
        }
        for (key, item) in items {
            self.step(pipe.at)?;
            match pipe.names.as_slice() {
                [] => {}
                [one] if pipe.assigns => self.assign(pipe.at, one, item.clone())?,
                [one] => self.names.push((one.clone(), item.clone())),
                [first, second, ..] if pipe.assigns => {
                    self.assign(pipe.at, first, key)?;
                    self.assign(pipe.at, second, item.clone())?;
                }
                [first, second, ..] => {
                    self.names.push((first.clone(), key));
                    self.names.push((second.clone(), item.clone()));
                }
            }
            if self.scope(body, &item, mark)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn assign(&mut self, at: usize, name: &str, value: Value) -> Result<(), Error> {
        let place = self.names.iter_mut().rev().find(|(known, _)| known == name);
        match place {
            Some((_, old)) => *old = value,
            None => return Err(self.error(at, format!("undefined variable {name:?}"))),
        }
        Ok(())
    }

    /// The value of a pipe; its variables live until the scope ends.
    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let value = self.commands(pipe, dot)?;
        if let Some(name) = pipe.names.last() {
            if pipe.assigns {
                self.assign(pipe.at, name, value.clone())?;
            } else {
                self.names.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        self.step(command.at)?;
        let Some((Word::Function(at, name), words)) = command.words.split_first() else {
            if command.words.len() > 1 || last.is_some() {
                return Err(self.error(command.at, "can't give argument to non-function"));
            }
            return self.word(&command.words[0], dot);
        };
        // These look at their arguments one by one, and no further than they need to.
        if matches!(name.as_str(), "and" | "or") {
            let until = name == "or";
            let mut value = Value::Nil;
            for word in words {
                value = self.word(word, dot)?;
                if value.truth() == until {
                    return Ok(value);
                }
            }
            if words.is_empty() && last.is_none() {
                return Err(self.error(*at, format!("{name} needs at least one argument")));
            }
            return Ok(last.unwrap_or(value));
        }
        let mut args = words
            .iter()
            .map(|word| self.word(word, dot))
            .collect::<Result<Vec<_>, _>>()?;
        args.extend(last);
        self.call(*at, name, &args)
    }

    fn call(&mut self, at: usize, name: &str, args: &[Value]) -> Result<Value, Error> {
        match funcs::call(name, args) {
            Some(Ok(value)) => {
                // A list may be made of a list may be made of a list: what is large counts as work.
                self.steps += size(&value) / 64;
                Ok(value)
            }
            Some(Err(what)) => Err(self.error(at, format!("{name}: {what}"))),
            None => Err(self.error(at, format!("function {name:?} not defined"))),
        }
    }

    fn word(&mut self, word: &Word, dot: &Value) -> Result<Value, Error> {
        match word {
            Word::Dot => Ok(dot.clone()),
            Word::Nil => Ok(Value::Nil),
            Word::Literal(value) => Ok(value.clone()),
            Word::Function(at, name) => self.call(*at, name, &[]),
            Word::Variable(at, name) => {
                let found = self.names.iter().rev().find(|(known, _)| known == name);
                found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| self.error(*at, format!("undefined variable {name:?}")))
            }
            Word::Pipe(pipe) => self.pipe(pipe, dot),
            Word::Fields(base, names) => {
                let mut value = self.word(base, dot)?;
                for (at, name) in names {
                    value = self.field(*at, &value, name)?;
                }
                Ok(value)
            }
        }
    }

    /// goss sets `missingkey=error`.
    fn field(&self, at: usize, value: &Value, name: &str) -> Result<Value, Error> {
        match value {
            Value::Map(map) => map
                .get(name)
                .cloned()
                .ok_or_else(|| self.error(at, format!("map has no entry for key {name:?}"))),
            Value::Nil => {
                Err(self.error(at, format!("nil pointer evaluating interface {{}}.{name}")))
            }
            other => Err(self.error(
                at,
                format!("can't evaluate field {name} in type {}", other.kind()),
            )),
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => 0,
    }
}
