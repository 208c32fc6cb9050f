//! Go's text/template as goss uses it: the language, goss's functions, and those of Sprig that owners' files use.
//!
//! No crate of the field has Go's semantics (`gtmpl` has not been touched for years, and knows neither `break`, assignment,
//! nor Sprig), so this is a small interpreter. It is bounded in time, depth and output: a template that loops ends with an
//! error, and the board goes on.
//!
//! * `lex`, `parse`: text to a tree; `eval`: a tree to text; `funcs`, `sprig`: functions; `printf`: Go's verbs; `value`: what flows

mod eval;
mod funcs;
mod lex;
mod parse;
mod printf;
mod sprig;
mod value;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use value::Value;

/// Bytes that one file may become.
const OUTPUT: usize = 4 * 1024 * 1024;
/// Steps of one file: nodes visited and functions called.
const STEPS: usize = 1_000_000;
/// Templates within templates, and values within values.
const DEPTH: usize = 100;
/// How long one file may take.
const TIME: Duration = Duration::from_secs(10);

/// What a template sees.
#[derive(Debug, Clone, Default)]
pub struct Vars {
    /// `.Vars`
    values: BTreeMap<String, Value>,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.what
        )
    }
}

impl Vars {
    /// From `--vars` (a YAML or JSON text) and `--vars-inline`, which wins. Each is a map.
    pub fn new(file: Option<&str>, inline: Option<&str>) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for text in [file, inline].into_iter().flatten() {
            let node =
                super::yaml::parse(text).map_err(|p| format!("line {}: {}", p.line, p.what))?;
            // JSON has one kind of number, and goss reads a file as JSON when it can (store.go).
            let json = serde_json::from_str::<serde_json::Value>(text).is_ok();
            match Value::from_node(&node, json) {
                Value::Map(map) => values.extend(map.iter().map(|(k, v)| (k.clone(), v.clone()))),
                _ => return Err("variables are a map of names".into()),
            }
        }
        Ok(Self { values })
    }

    /// These, with those of `other`, which win.
    #[must_use]
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.values.extend(
            other
                .values
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        self
    }
}

/// The text that `source` becomes.
pub(super) fn render(source: &str, vars: &Vars) -> Result<String, Error> {
    if !source.contains("{{") {
        return Ok(source.to_owned());
    }
    let tree = parse::parse(source)?;
    eval::run(source, &tree, vars)
}

#[cfg(test)]
mod tests;
