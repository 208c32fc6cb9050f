//! The functions of text/template and of goss. Sprig's are in [`super::sprig`].

use std::cmp::Ordering;
use std::path::Path;

use super::printf::printf;
use super::{OUTPUT, Value, sprig};
use crate::files;
use crate::selftest::regexp;

/// The result, or why there is none; `None` when there is no such function.
pub(super) type Called = Option<Result<Value, String>>;

/// Calls `name`.
pub(super) fn call(name: &str, args: &[Value]) -> Called {
    builtin(name, args)
        .or_else(|| goss(name, args))
        .or_else(|| sprig::call(name, args))
}

/// How many arguments there must be.
pub(super) fn exactly<const N: usize>(args: &[Value]) -> Result<&[Value; N], String> {
    args.try_into()
        .map_err(|_length| format!("wrong number of args: want {N} got {}", args.len()))
}

/// The first argument, which must be there, and the others.
pub(super) fn first(args: &[Value]) -> Result<(&Value, &[Value]), String> {
    args.split_first()
        .ok_or_else(|| "wrong number of args: want at least 1 got 0".into())
}

/// Text, as a parameter of type string takes it.
pub(super) fn word(value: &Value) -> Result<&str, String> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(format!(
            "wrong type for value; expected string; got {}",
            other.kind()
        )),
    }
}

fn builtin(name: &str, args: &[Value]) -> Called {
    Some(match name {
        "not" => exactly::<1>(args).map(|[one]| (!one.truth()).into()),
        "eq" => equal(args),
        "ne" => exactly::<2>(args).and_then(|[a, b]| Ok((!basic_equal(a, b)?).into())),
        "lt" => order(args, |o| o == Ordering::Less),
        "le" => order(args, |o| o != Ordering::Greater),
        "gt" => order(args, |o| o == Ordering::Greater),
        "ge" => order(args, |o| o != Ordering::Less),
        "len" => exactly::<1>(args).and_then(|[one]| match one {
            Value::Str(text) => Ok(text.len().into()),
            Value::List(list) => Ok(list.len().into()),
            Value::Map(map) => Ok(map.len().into()),
            other => Err(format!("len of type {}", other.kind())),
        }),
        "index" => index(args),
        "slice" => slice(args),
        "print" => Ok(print(args).into()),
        "println" => Ok((args.iter().map(Value::text).collect::<Vec<_>>().join(" ") + "\n").into()),
        "printf" => first(args).and_then(|(format, rest)| {
            let text = printf(word(format)?, rest);
            if text.len() > OUTPUT {
                Err("too long".into())
            } else {
                Ok(text.into())
            }
        }),
        "html" => Ok(escape(&print(args)).into()),
        "urlquery" => Ok(percent(&print(args)).into()),
        "js" => Ok(print(args)
            .replace('\\', "\\\\")
            .replace('\'', "\\'")
            .replace('"', "\\\"")
            .replace('\n', "\\u000A")
            .into()),
        "call" => Err("there are no functions in variables".into()),
        _ => return None,
    })
}

/// `fmt.Sprint`: a blank between two that are both no text.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in args.iter().enumerate() {
        let text = matches!(value, Value::Str(_));
        if at > 0 && !text && !matches!(args[at - 1], Value::Str(_)) {
            out.push(' ');
        }
        out += &value.text();
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => {
                out.push('%');
                out += &hex::encode_upper([other]);
            }
        }
    }
    out
}

fn equal(args: &[Value]) -> Result<Value, String> {
    let (one, others) = first(args)?;
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if basic_equal(one, other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn basic_equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, _) | (_, Value::Nil) => Ok(a == b),
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            Err("non-comparable type: it is a list or a map".into())
        }
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err(format!(
            "incompatible types for comparison: {} and {}",
            a.kind(),
            b.kind()
        )),
    }
}

fn order(args: &[Value], holds: impl Fn(Ordering) -> bool) -> Result<Value, String> {
    let [a, b] = exactly::<2>(args)?;
    let found = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ => {
            return Err(format!(
                "incompatible types for comparison: {} and {}",
                a.kind(),
                b.kind()
            ));
        }
    };
    Ok(found.is_some_and(holds).into())
}

fn position(value: &Value, length: usize) -> Result<usize, String> {
    match value {
        Value::Int(n) => usize::try_from(*n)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| format!("index out of range: {n}")),
        Value::Nil => Err("cannot index slice/array with nil".into()),
        other => Err(format!(
            "cannot index slice/array with type {}",
            other.kind()
        )),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (value, path) = first(args)?;
    let mut here = value.clone();
    for step in path {
        here = match &here {
            Value::List(list) => list[position(step, list.len())?].clone(),
            // Of a map of anything, what is missing is nothing.
            Value::Map(map) => map.get(word(step)?).cloned().unwrap_or(Value::Nil),
            Value::Str(text) => {
                let at = position(step, text.len())?;
                Value::Int(i64::from(text.as_bytes()[at]))
            }
            Value::Nil => return Err("index of untyped nil".into()),
            other => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(here)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (value, bounds) = first(args)?;
    // Sprig's, which takes the place of the language's own: of lists only.
    let Value::List(list) = value else {
        return Err(format!(
            "list should be type of slice or array but {}",
            value.kind()
        ));
    };
    let length = list.len();
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(value) => position(value, length + 1),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(list[from..to].to_vec().into())
}

/// goss's own (template.go).
fn goss(name: &str, args: &[Value]) -> Called {
    Some(match name {
        "mkSlice" => Ok(args.to_vec().into()),
        "readFile" => exactly::<1>(args).and_then(|[path]| {
            let text = files::read_text(Path::new(word(path)?), OUTPUT as u64)
                .map_err(|e| e.to_string())?;
            Ok(text.trim().into())
        }),
        "getEnv" => first(args).and_then(|(name, rest)| {
            let value = std::env::var_os(word(name)?)
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match rest.first() {
                Some(default) if value.is_empty() => Ok(default.clone()),
                _ => Ok(value.into()),
            }
        }),
        "regexMatch" => exactly::<2>(args).and_then(|[pattern, text]| {
            Ok(regexp::compile(word(pattern)?)?
                .is_match(word(text)?)
                .into())
        }),
        "toUpper" => exactly::<1>(args).and_then(|[text]| Ok(word(text)?.to_uppercase().into())),
        "toLower" => exactly::<1>(args).and_then(|[text]| Ok(word(text)?.to_lowercase().into())),
        "findStringSubmatch" => {
            exactly::<2>(args).and_then(|[pattern, text]| submatch(word(pattern)?, word(text)?))
        }
        _ => return None,
    })
}

/// Groups by name, or by number when none has a name.
fn submatch(pattern: &str, text: &str) -> Result<Value, String> {
    let regex = regexp::compile(pattern)?;
    let (mut named, mut numbered) = (
        std::collections::BTreeMap::new(),
        std::collections::BTreeMap::new(),
    );
    if let Some(found) = regex.captures(text) {
        for (at, name) in regex.capture_names().enumerate() {
            let part = found.get(at).map_or("", |part| part.as_str());
            numbered.insert(at.to_string(), Value::from(part));
            if let Some(name) = name {
                named.insert(name.to_owned(), Value::from(part));
            }
        }
    }
    Ok(if named.is_empty() { numbered } else { named }.into())
}
