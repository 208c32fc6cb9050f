//! The functions of Sprig that files for servers use. What makes keys, certificates or random words has no place in a test,
//! and is not here: the error names the function.

mod collections;
mod text;

use std::collections::BTreeMap;

use super::funcs::{Called, exactly, first, word};
use super::{OUTPUT, Value};
use crate::selftest::{regexp, version};

/// Items that one call may make.
const ITEMS: usize = 100_000;

type Made = Result<Value, String>;

pub(super) fn call(name: &str, args: &[Value]) -> Called {
    text::text(name, args)
        .or_else(|| text::words(name, args))
        .or_else(|| numbers(name, args))
        .or_else(|| collections::lists(name, args))
        .or_else(|| collections::maps(name, args))
        .or_else(|| general(name, args))
        .or_else(|| regexes(name, args))
}

fn one(args: &[Value], f: impl Fn(&str) -> String) -> Made {
    exactly::<1>(args).and_then(|[text]| Ok(f(word(text)?).into()))
}

fn two(args: &[Value], f: impl Fn(&str, &str) -> Value) -> Made {
    exactly::<2>(args).and_then(|[a, b]| Ok(f(word(a)?, word(b)?)))
}

/// Parameters of type int do not take anything else.
fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(n) => Ok(*n),
        other => Err(format!(
            "wrong type for value; expected int; got {}",
            other.kind()
        )),
    }
}

fn count(value: &Value) -> Result<usize, String> {
    Ok(usize::try_from(int(value)?).unwrap_or(0))
}

fn bounded(text: String) -> Made {
    if text.len() > OUTPUT {
        Err("the result is too long".into())
    } else {
        Ok(text.into())
    }
}

/// The items of a list as text, without those that are nothing.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::List(list) => list
            .iter()
            .filter(|v| **v != Value::Nil)
            .map(Value::strval)
            .collect(),
        Value::Nil => Vec::new(),
        other => vec![other.strval()],
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as Go's conversion does")]
fn numbers(name: &str, args: &[Value]) -> Called {
    let fold = |f: fn(i64, i64) -> i64, start: i64| {
        Ok(Value::Int(
            args.iter().fold(start, |sum, v| f(sum, v.int())),
        ))
    };
    let best = |f: fn(i64, i64) -> i64| {
        first(args)
            .map(|(one, rest)| Value::Int(rest.iter().fold(one.int(), |best, v| f(best, v.int()))))
    };
    let pair = |f: fn(i64, i64) -> Option<i64>| {
        exactly::<2>(args).and_then(|[a, b]| {
            f(a.int(), b.int())
                .map(Value::Int)
                .ok_or_else(|| "integer divide by zero or overflow".to_owned())
        })
    };
    let real = |f: fn(f64) -> f64| exactly::<1>(args).map(|[a]| Value::Float(f(a.float())));
    let reals = |f: fn(f64, f64) -> f64| {
        first(args).map(|(one, rest)| {
            Value::Float(rest.iter().fold(one.float(), |sum, v| f(sum, v.float())))
        })
    };
    Some(match name {
        "add" => fold(i64::wrapping_add, 0),
        "mul" => first(args).map(|(one, rest)| {
            Value::Int(rest.iter().fold(one.int(), |p, v| p.wrapping_mul(v.int())))
        }),
        "add1" => exactly::<1>(args).map(|[a]| Value::Int(a.int().wrapping_add(1))),
        "sub" => pair(|a, b| Some(a.wrapping_sub(b))),
        "div" => pair(i64::checked_div),
        "mod" => pair(i64::checked_rem),
        "max" | "biggest" => best(i64::max),
        "min" => best(i64::min),
        "ceil" => real(f64::ceil),
        "floor" => real(f64::floor),
        "addf" => reals(|a, b| a + b),
        "subf" => reals(|a, b| a - b),
        "mulf" => reals(|a, b| a * b),
        "divf" => reals(|a, b| a / b),
        "round" => first(args).map(|(v, rest)| {
            let factor = 10f64.powi(rest.first().map_or(0, Value::int).clamp(-15, 15) as i32);
            Value::Float((v.float() * factor).round() / factor)
        }),
        "int" | "int64" | "atoi" => exactly::<1>(args).map(|[v]| Value::Int(v.int())),
        "float64" => exactly::<1>(args).map(|[v]| Value::Float(v.float())),
        "toDecimal" => exactly::<1>(args)
            .map(|[v]| Value::Int(i64::from_str_radix(&v.strval(), 8).unwrap_or(0))),
        "until" => exactly::<1>(args).and_then(|[n]| {
            let n = int(n)?;
            steps(0, n, if n < 0 { -1 } else { 1 })
        }),
        "untilStep" => {
            exactly::<3>(args).and_then(|[a, b, step]| steps(int(a)?, int(b)?, int(step)?))
        }
        "seq" => sequence(args),
        _ => return None,
    })
}

fn steps(from: i64, to: i64, step: i64) -> Made {
    if step == 0 || (step > 0) != (to > from) {
        return Ok(Vec::new().into());
    }
    let total =
        (i128::from(to) - i128::from(from)).unsigned_abs() / u128::from(step.unsigned_abs());
    if total > ITEMS as u128 {
        return Err(format!("more than {ITEMS} items"));
    }
    let mut list = Vec::new();
    let mut at = from;
    while (step > 0 && at < to) || (step < 0 && at > to) {
        list.push(Value::Int(at));
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    Ok(list.into())
}

/// As seq(1) prints it.
fn sequence(args: &[Value]) -> Made {
    let all: Vec<i64> = args.iter().map(Value::int).collect();
    let (from, step, to) = match all.as_slice() {
        [to] => (1, if *to < 1 { -1 } else { 1 }, *to),
        [from, to] => (*from, if to < from { -1 } else { 1 }, *to),
        [from, step, to] => (*from, *step, *to),
        _ => return Ok("".into()),
    };
    let made = steps(from, to.saturating_add(step.signum()), step)?;
    Ok(texts(&made).join(" ").into())
}

fn general(name: &str, args: &[Value]) -> Called {
    Some(match name {
        "default" => first(args).map(|(default, given)| {
            given
                .first()
                .filter(|v| v.truth())
                .unwrap_or(default)
                .clone()
        }),
        "empty" => exactly::<1>(args).map(|[v]| (!v.truth()).into()),
        "coalesce" => Ok(args
            .iter()
            .find(|v| v.truth())
            .cloned()
            .unwrap_or(Value::Nil)),
        "all" => Ok(args.iter().all(Value::truth).into()),
        "any" => Ok(args.iter().any(Value::truth).into()),
        "ternary" => exactly::<3>(args).map(|[yes, no, test]| {
            if test.truth() {
                yes.clone()
            } else {
                no.clone()
            }
        }),
        "fail" => exactly::<1>(args).and_then(|[why]| Err(why.strval())),
        "required" => exactly::<2>(args).and_then(|[why, v]| {
            if *v == Value::Nil || *v == Value::from("") {
                Err(why.strval())
            } else {
                Ok(v.clone())
            }
        }),
        "kindOf" | "typeOf" => exactly::<1>(args).map(|[v]| {
            let kind = v.kind();
            let short = match v {
                Value::List(_) => "slice",
                Value::Map(_) => "map",
                Value::Nil => "invalid",
                _ => kind,
            };
            if name == "kindOf" { short } else { kind }.into()
        }),
        "kindIs" | "typeIs" => exactly::<2>(args).map(|[kind, v]| {
            let found = general(
                if name == "kindIs" { "kindOf" } else { "typeOf" },
                std::slice::from_ref(v),
            );
            (found == Some(Ok(kind.clone()))).into()
        }),
        "deepEqual" => exactly::<2>(args).map(|[a, b]| (a == b).into()),
        "toJson" | "mustToJson" | "toRawJson" | "mustToRawJson" => exactly::<1>(args).map(|[v]| {
            let text = v.to_json().to_string();
            let escaped = || {
                text.replace('<', "\\u003c")
                    .replace('>', "\\u003e")
                    .replace('&', "\\u0026")
            };
            if name.contains("Raw") {
                text
            } else {
                escaped()
            }
            .into()
        }),
        "toPrettyJson" | "mustToPrettyJson" => exactly::<1>(args).and_then(|[v]| {
            serde_json::to_string_pretty(&v.to_json())
                .map(Value::from)
                .map_err(|e| e.to_string())
        }),
        "fromJson" | "mustFromJson" => exactly::<1>(args).and_then(|[t]| {
            let parsed = serde_json::from_str(word(t)?);
            match parsed {
                Ok(value) => Ok(Value::from_json(&value)),
                Err(_) if name == "fromJson" => Ok(Value::Nil),
                Err(error) => Err(error.to_string()),
            }
        }),
        "semverCompare" => exactly::<2>(args)
            .and_then(|[range, v]| Ok(version::masterminds(word(range)?, word(v)?)?.into())),
        "semver" => exactly::<1>(args).and_then(|[v]| {
            let v = version::coerce(word(v)?).ok_or("Invalid Semantic Version")?;
            let map = BTreeMap::from([
                (
                    "Major".to_owned(),
                    Value::Int(i64::try_from(v.major).unwrap_or(i64::MAX)),
                ),
                (
                    "Minor".to_owned(),
                    Value::Int(i64::try_from(v.minor).unwrap_or(i64::MAX)),
                ),
                (
                    "Patch".to_owned(),
                    Value::Int(i64::try_from(v.patch).unwrap_or(i64::MAX)),
                ),
                ("Prerelease".to_owned(), v.pre.as_str().into()),
                ("Metadata".to_owned(), v.build.as_str().into()),
            ]);
            Ok(map.into())
        }),
        _ => return None,
    })
}

fn regexes(name: &str, args: &[Value]) -> Called {
    let compile = |pattern: &Value| regexp::compile(word(pattern)?);
    let plain = match name.strip_prefix("mustRegex") {
        Some(rest) => format!("regex{rest}"),
        None => name.to_owned(),
    };
    Some(match plain.as_str() {
        "regexMatch" => {
            exactly::<2>(args).and_then(|[p, t]| Ok(compile(p)?.is_match(word(t)?).into()))
        }
        "regexFind" => exactly::<2>(args)
            .and_then(|[p, t]| Ok(compile(p)?.find(word(t)?).map_or("", |m| m.as_str()).into())),
        "regexFindAll" => exactly::<3>(args).and_then(|[p, t, n]| {
            let limit = usize::try_from(int(n)?).unwrap_or(ITEMS);
            let regex = compile(p)?;
            let found = regex.find_iter(word(t)?).take(limit);
            Ok(found
                .map(|m| m.as_str().into())
                .collect::<Vec<Value>>()
                .into())
        }),
        "regexReplaceAll" => exactly::<3>(args).and_then(|[p, t, new]| {
            bounded(compile(p)?.replace_all(word(t)?, word(new)?).into_owned())
        }),
        "regexReplaceAllLiteral" => exactly::<3>(args).and_then(|[p, t, new]| {
            bounded(
                compile(p)?
                    .replace_all(word(t)?, regex_lite::NoExpand(word(new)?))
                    .into_owned(),
            )
        }),
        "regexSplit" => exactly::<3>(args).and_then(|[p, t, n]| {
            let limit = usize::try_from(int(n)?).unwrap_or(ITEMS);
            let regex = compile(p)?;
            Ok(regex
                .splitn(word(t)?, limit)
                .map(Value::from)
                .collect::<Vec<_>>()
                .into())
        }),
        "regexQuoteMeta" => one(args, regex_lite::escape),
        _ => return None,
    })
}
