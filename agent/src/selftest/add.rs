//! `selftest add` and `autoadd`: what is on this board now becomes what is expected of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::emit::{Fields, block};
use super::matcher::Shape;
use super::run::{Found, Setting, Values};
use super::schema::{self, Kind, Schema};
use super::suite::{Assert, Test};
use super::{edit, glob, matcher, resource, yaml};
use crate::files;

/// What is to be added, and where to.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Kind of resource, as files name it; `goss` is an include.
    pub kind: String,
    /// What to look at.
    pub keys: Vec<String>,
    /// The file.
    pub file: PathBuf,
    /// Properties that are left out; patterns.
    pub exclude: Vec<String>,
    /// Settings of the resource, by name.
    pub settings: BTreeMap<&'static str, Value>,
}

/// Lines that a command or a page may have to become patterns.
const LINES: usize = 200;
/// How long to look at one resource.
const PATIENCE: Duration = Duration::from_secs(30);

/// Adds every key, and gives what is to be printed.
pub fn add(wish: &Wish, setting: &Setting) -> Result<String> {
    let mut said = String::new();
    for key in &wish.keys {
        if wish.kind == "goss" {
            said += &write(&wish.file, "gossfile", "Gossfile", key, &Fields::new())?;
            continue;
        }
        let schema = schema::find(&wish.kind)
            .with_context(|| format!("there is no kind of resource {:?}", wish.kind))?;
        let fields = found(schema, key, wish, setting)?;
        let key = if schema.kind == Kind::Port && !key.contains(':') {
            format!("tcp:{key}")
        } else {
            key.clone()
        };
        said += &write(&wish.file, schema.name, schema.name, &key, &fields)?;
    }
    Ok(said)
}

/// Adds whatever is called so here: a file, a group, a package, a port, a process, a service, a user.
pub fn autoadd(wish: &Wish, setting: &Setting) -> Result<String> {
    let mut said = String::new();
    for key in &wish.keys {
        let before = said.len();
        for kind in [
            "file", "group", "package", "port", "process", "service", "user",
        ] {
            if (kind == "file") != key.contains('/') {
                continue;
            }
            let schema = schema::find(kind).context("a kind of ours")?;
            let Ok(fields) = found(schema, key, wish, setting) else {
                continue;
            };
            // What is there says yes to something; what is not says no to everything.
            if fields.iter().any(|(_, value)| *value == true) {
                let one = Wish {
                    kind: kind.to_owned(),
                    keys: vec![key.clone()],
                    ..wish.clone()
                };
                said += &add(&one, setting)?;
            }
        }
        if said.len() == before {
            bail!(
                "{key}: no file, group, package, port, process, service or user here is called so"
            );
        }
    }
    Ok(said)
}

fn found(schema: &'static Schema, key: &str, wish: &Wish, setting: &Setting) -> Result<Fields> {
    let any = matcher::parse(&Value::Bool(true), Shape::Value);
    let assert = |(property, _): &(&'static str, Shape)| Assert {
        property,
        expected: Value::Null,
        matcher: any.clone(),
    };
    let shown = properties(schema.kind, schema);
    let test = Test {
        asserts: schema.properties.iter().map(assert).collect(),
        settings: wish.settings.clone(),
        ..Test::new(schema, key)
    };
    let looked = resource::look(&test, setting, PATIENCE)
        .with_context(|| format!("{} {key}", schema.name))?;
    let mut values = looked.context("only a running board can be asked that")?;
    let mut fields = Fields::new();
    for property in shown {
        if wish
            .exclude
            .iter()
            .any(|pattern| glob::like(pattern, property))
        {
            continue;
        }
        if let Some(value) = value(&mut values, property, schema.kind)? {
            fields.push((property.to_owned(), value));
        }
    }
    let settings = wish.settings.iter();
    fields.extend(settings.map(|(name, value)| ((*name).to_owned(), value.clone())));
    Ok(fields)
}

/// What goss writes of each kind: not what changes by itself (sizes, usage), nor what says the same twice (ids beside names).
fn properties(kind: Kind, schema: &'static Schema) -> Vec<&'static str> {
    match kind {
        Kind::File => vec!["exists", "mode", "owner", "group", "filetype", "linked-to"],
        Kind::Mount => vec!["exists", "opts", "vfs-opts", "source", "filesystem"],
        Kind::Service => vec!["enabled", "running"],
        Kind::Http => vec!["status"],
        Kind::Clock => vec!["synchronized", "after-build"],
        _ => schema.properties.iter().map(|(name, _)| *name).collect(),
    }
}

/// What it is now. What could not be found out is not asserted.
fn value(values: &mut Values, property: &str, kind: Kind) -> Result<Option<Value>> {
    let value = match values.remove(property) {
        None | Some(Err(_)) => return Ok(None),
        Some(Ok(found @ Found::Text(_))) => lines(found)?,
        Some(Ok(Found::Value(value))) => value,
    };
    // Where nothing listens there is nothing to list.
    let nothing = kind == Kind::Port && value.as_array().is_some_and(Vec::is_empty);
    Ok((!nothing).then_some(value))
}

/// Text as patterns, each a line; `""` says that there is none.
fn lines(found: Found) -> Result<Value> {
    let text = found.value().map_err(anyhow::Error::msg)?;
    let text = text.as_str().unwrap_or_default();
    if text.is_empty() {
        return Ok("".into());
    }
    // At its beginning these would mean something else.
    let pattern = |line: &str| match line.chars().next() {
        Some('!' | '/') => format!("\\{line}"),
        _ => line.to_owned(),
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines.take(LINES).map(pattern).map(Value::from).collect())
}

/// Writes it into the file, whole or not at all.
fn write(file: &Path, section: &str, kind: &str, key: &str, fields: &Fields) -> Result<String> {
    let extension = file.extension().and_then(|e| e.to_str());
    let json = match extension {
        Some("yaml" | "yml") => false,
        Some("json") => true,
        _ => bail!(
            "{}: a file of tests is called .yaml, .yml or .json",
            file.display()
        ),
    };
    let text = if file.exists() {
        files::read_text(file, yaml::LIMIT)?
    } else {
        String::new()
    };
    let after = edit::put(&text, json, section, key, fields)
        .map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
    files::replace(file, after.as_bytes(), 0o644)?;
    let mut said = String::new();
    writeln!(said, "Adding {kind} to '{}':\n", file.display())?;
    for line in block(key, fields).lines() {
        writeln!(said, "{}", line.strip_prefix("    ").unwrap_or(line))?;
    }
    Ok(said + "\n\n")
}
