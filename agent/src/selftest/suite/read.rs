//! One file's text as tests. Only what is no YAML at all is refused as a whole: a mistake in one resource is that
//! test's failure, and the others run.

use std::time::Duration;

use serde_json::Value;

use super::{Assert, Test, Wait};
use crate::report::Severity;
use crate::selftest::gjson::{self, Json};
use crate::selftest::matcher;
use crate::selftest::schema::{self, Kind, Schema};
use crate::selftest::yaml::{self, Data, Key, Node, Problem};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) tests: Vec<Test>,
    pub(super) includes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn parse(text: &str, json: bool) -> Result<Read, Problem> {
    let (root, second) = match yaml::document(text) {
        // Tabs that JSON has and YAML has not.
        Err(problem) if json => (
            from_json(&gjson::parse(text).map_err(|_json| problem)?)?,
            None,
        ),
        read => read?,
    };
    let mut read = Read::default();
    if let Some(line) = second {
        let what = "a second document begins here: as in goss only the first one is read, make it a file of its own";
        read.warnings.push(format!("line {line}: {what}"));
    }
    for (kind, resources) in root.entries()? {
        if kind.text == "gossfile" {
            read.includes.extend(gossfiles(resources)?);
        } else if let Some(schema) = schema::find(&kind.text) {
            for (key, node) in resources.entries()? {
                let (one, warnings) = test(schema, key, node);
                read.warnings.extend(
                    warnings
                        .into_iter()
                        .map(|w| format!("line {}: {w}", key.line)),
                );
                read.tests.push(one);
            }
        } else {
            let known: Vec<&str> = schema::KINDS.iter().map(|schema| schema.name).collect();
            let what = format!(
                "there is no resource {:?}: what stands here is not tested; known are gossfile, {}",
                kind.text,
                known.join(", ")
            );
            read.warnings.push(format!("line {}: {what}", kind.line));
        }
    }
    Ok(read)
}

/// JSON has no lines here; keys that are there twice are an error all the same.
fn from_json(json: &Json) -> Result<Node, Problem> {
    let data = match json {
        Json::List(list) => Data::List(list.iter().map(from_json).collect::<Result<_, _>>()?),
        Json::Map(map) => {
            let mut entries: Vec<(Key, Node)> = Vec::new();
            for (key, value) in map {
                if entries.iter().any(|(known, _)| known.text == *key) {
                    return Err(Problem::new(
                        1,
                        format!("{key:?} is here twice: only one of them would count"),
                    ));
                }
                entries.push((
                    Key {
                        line: 1,
                        text: key.clone(),
                    },
                    from_json(value)?,
                ));
            }
            Data::Map(entries)
        }
        Json::Text(text) => Data::Scalar {
            text: text.clone(),
            plain: false,
        },
        other => Data::Scalar {
            text: other.value().to_string(),
            plain: true,
        },
    };
    Ok(Node { line: 1, data })
}

fn gossfiles(node: &Node) -> Result<Vec<String>, Problem> {
    let mut files = Vec::new();
    for (key, node) in node.entries()? {
        let (mut file, mut skip) = (key.text.clone(), false);
        for (name, value) in node.entries()? {
            match name.text.as_str() {
                _ if value.is_null() => {}
                "file" => value.text()?.clone_into(&mut file),
                "skip" => skip = value.flag()?,
                "title" | "meta" => {}
                other => {
                    return Err(Problem::new(
                        name.line,
                        format!("gossfile has no {other:?}"),
                    ));
                }
            }
        }
        if !skip {
            files.push(file);
        }
    }
    Ok(files)
}

fn test(schema: &'static Schema, key: &Key, node: &Node) -> (Test, Vec<String>) {
    let mut test = Test::new(schema, &key.text);
    let mut warnings = Vec::new();
    let problem = match node.entries() {
        Ok(entries) => entries
            .iter()
            .find_map(|(name, value)| attribute(&mut test, name, value, &mut warnings).err()),
        Err(problem) => Some(problem),
    };
    if schema.kind == Kind::Matching && test.flag("as-reader") {
        // A reader is text: only now is it known what a list means.
        for assert in &mut test.asserts {
            assert.matcher = matcher::parse(&assert.expected, matcher::Shape::Text);
        }
    }
    let problem = problem.or_else(|| retries(&mut test, key.line).err());
    test.broken = problem.map(|p| format!("line {}: {}", p.line, p.what));
    let required = schema.required;
    if node.is_null() && test.broken.is_none() {
        test.broken = Some(format!("line {}: nothing is said of it", key.line));
    }
    // Nothing to fail at is no reason to pass.
    let first = if required.is_empty() {
        schema.properties[0].0
    } else {
        required
    };
    let lacks = !required.is_empty() && !test.wants(required);
    if lacks || (test.asserts.is_empty() && (test.broken.is_some() || schema.kind != Kind::Service))
    {
        let why = format!("Missing required attribute: {first}");
        test.asserts.push(Assert {
            property: first,
            expected: Value::Null,
            matcher: Err(why),
        });
    }
    // The main property first: when it does not hold, the others are not looked at.
    test.asserts
        .sort_by_key(|assert| assert.property != schema.main);
    (test, warnings)
}

/// Null and, of text, an empty list are what `goss add` and `goss render` write for what was not set.
fn unset(value: &Node, shape: matcher::Shape) -> bool {
    value.is_null()
        || (shape == matcher::Shape::Text
            && matches!(&value.data, Data::List(list) if list.is_empty()))
}

fn attribute(
    test: &mut Test,
    name: &Key,
    value: &Node,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    // The old spelling.
    let attribute = match name.text.as_str() {
        "resolveable" if test.schema.kind == Kind::Dns => "resolvable",
        other => other,
    };
    if let Some((property, shape)) = test
        .schema
        .properties
        .iter()
        .find(|(property, _)| *property == attribute)
    {
        if !unset(value, *shape) && !test.wants(property) {
            let expected = expected(test.schema, property, value);
            if vacuous(&expected) {
                warnings.push(format!(
                    "{}: {}: {property}: this asserts nothing",
                    test.schema.name, test.key
                ));
            }
            let matcher = matcher::parse(&expected, *shape)
                .map_err(|why| format!("line {}: {why}", value.line));
            test.asserts.push(Assert {
                property,
                expected,
                matcher,
            });
        }
        return Ok(());
    }
    if value.is_null() {
        return Ok(());
    }
    if let Some(setting) = test
        .schema
        .settings
        .iter()
        .find(|setting| **setting == attribute)
    {
        test.settings
            .insert(setting, setting_value(attribute, value)?);
    } else if attribute == test.schema.alias {
        value.text()?.clone_into(&mut test.name);
    } else if !common(test, name, value)? {
        let known: Vec<&str> = test.schema.properties.iter().map(|p| p.0).collect();
        let what = format!(
            "{} has no {attribute:?}; it has {}",
            test.schema.name,
            known.join(", ")
        );
        return Err(Problem::new(name.line, what));
    }
    Ok(())
}

/// What is written, and what it means; `mode: 0644` without quotes is what its author sees, not the number 420.
fn expected(schema: &Schema, property: &str, value: &Node) -> Value {
    match &value.data {
        Data::Scalar { text, plain: true }
            if schema.kind == Kind::File && property == "mode" && text.starts_with('0') =>
        {
            text.as_str().into()
        }
        // These are numbers, also in quotes (goss calls it deprecated).
        Data::Scalar { text, plain: false }
            if matches!(property, "uid" | "gid" | "exit-status") && schema.kind != Kind::File =>
        {
            text.parse::<i64>()
                .map_or_else(|_| value.value(), Into::into)
        }
        _ => value.value(),
    }
}

/// Passes whatever is found.
fn vacuous(expected: &Value) -> bool {
    match expected {
        Value::Array(list) => list.is_empty() || list.iter().all(|item| item == ""),
        Value::Object(map) => map.iter().any(|(name, value)| {
            let empty = value == ""
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            empty && !matches!(name.as_str(), "equal" | "consist-of" | "or" | "not")
        }),
        _ => false,
    }
}

fn setting_value(setting: &str, value: &Node) -> Result<Value, Problem> {
    Ok(match setting {
        "timeout" => match value.value() {
            Value::Number(n) if n.is_u64() => Value::Number(n),
            _ => {
                return Err(Problem::new(
                    value.line,
                    "timeout is a number of milliseconds",
                ));
            }
        },
        "allow-insecure" | "no-follow-redirects" | "as-reader" => value.flag()?.into(),
        "request-headers" => value.texts()?.into(),
        "content" | "retry_count" | "retry_delay" => value.value(),
        _ => value.text()?.into(),
    })
}

fn common(test: &mut Test, name: &Key, value: &Node) -> Result<bool, Problem> {
    match name.text.as_str() {
        "title" => test.title = Some(value.text()?.to_owned()),
        "meta" => test.meta = value.value(),
        "skip" => test.skip = value.flag()?,
        "severity" => {
            let word = value.text()?;
            test.severity = Severity::parse(word).ok_or_else(|| {
                let what = format!("severity is required, wanted or info, not {word:?}");
                Problem::new(value.line, what)
            })?;
        }
        "boards" => test.boards = value.texts()?,
        "wait-for" => test.wait = Some(wait(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn wait(node: &Node) -> Result<Wait, Problem> {
    let mut wait = Wait {
        timeout: Duration::ZERO,
        interval: Duration::from_secs(2),
    };
    if node.entries().is_err() {
        wait.timeout = duration(node.text()?, node.line)?;
        return Ok(wait);
    }
    for (name, value) in node.entries()? {
        match name.text.as_str() {
            "timeout" => wait.timeout = duration(value.text()?, value.line)?,
            "interval" => {
                wait.interval =
                    duration(value.text()?, value.line)?.max(Duration::from_millis(100));
            }
            other => {
                return Err(Problem::new(
                    name.line,
                    format!("wait-for has timeout and interval, not {other:?}"),
                ));
            }
        }
    }
    if wait.timeout.is_zero() {
        return Err(Problem::new(
            node.line,
            "wait-for needs a timeout, such as 60s",
        ));
    }
    Ok(wait)
}

/// goss's own retries, as a wait: `retry_count` more attempts, `retry_delay` apart.
fn retries(test: &mut Test, line: usize) -> Result<(), Problem> {
    let Some(count) = test.settings.get("retry_count") else {
        return Ok(());
    };
    let count = count
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= 1000);
    let count = count.ok_or_else(|| Problem::new(line, "retry_count is a number up to 1000"))?;
    let interval = match test.settings.get("retry_delay") {
        None => Duration::from_secs(1),
        // goss: bare numbers are milliseconds here.
        Some(Value::Number(n)) => Duration::from_millis(n.as_u64().unwrap_or(1000)),
        Some(other) => duration(other.as_str().unwrap_or_default(), line)?,
    };
    let interval = interval.max(Duration::from_millis(10));
    test.wait.get_or_insert(Wait {
        timeout: interval * count,
        interval,
    });
    Ok(())
}

/// `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str, line: usize) -> Result<Duration, Problem> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| (1..=86_400_000).contains(n));
    millis.map(Duration::from_millis).ok_or_else(|| {
        Problem::new(
            line,
            format!("expected a time such as 500ms, 5s or 2m, at most a day, not {text:?}"),
        )
    })
}
