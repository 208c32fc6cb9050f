//! Text: case, cutting, joining, encodings.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use sha2::Digest as _;

use super::super::funcs::{Called, exactly, percent, word};
use super::super::{OUTPUT, Value, printf};
use super::{bounded, count, int, one, texts, two};

/// RFC 4648, section 4. Go's decoder does not mind what the last sign has beyond the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_allow_trailing_bits(true),
);

pub(super) fn text(name: &str, args: &[Value]) -> Called {
    let blank = |c: char| c.is_whitespace();
    Some(match name {
        "upper" => one(args, str::to_uppercase),
        "lower" => one(args, str::to_lowercase),
        "trim" => one(args, |t| t.trim_matches(blank).into()),
        "title" => one(args, |t| capital(t, false)),
        "untitle" => one(args, |t| {
            let mut start = true;
            t.chars()
                .map(|c| {
                    let first = std::mem::replace(&mut start, c.is_whitespace());
                    if first {
                        c.to_lowercase().next().unwrap_or(c)
                    } else {
                        c
                    }
                })
                .collect()
        }),
        "swapcase" => one(args, |t| {
            let swap = |c: char| {
                if c.is_uppercase() {
                    c.to_lowercase().next()
                } else {
                    c.to_uppercase().next()
                }
            };
            t.chars().filter_map(swap).collect()
        }),
        "nospace" => one(args, |t| t.chars().filter(|c| !c.is_whitespace()).collect()),
        "initials" => one(args, |t| {
            t.split_whitespace()
                .filter_map(|w| w.chars().next())
                .collect()
        }),
        "snakecase" => one(args, |t| joined(t, '_')),
        "kebabcase" => one(args, |t| joined(t, '-')),
        "camelcase" => one(args, |t| capital(&joined(t, '_').replace('_', " "), true)),
        "trimAll" | "trimall" => two(args, |cut, t| t.trim_matches(|c| cut.contains(c)).into()),
        "trimPrefix" => two(args, |start, t| t.strip_prefix(start).unwrap_or(t).into()),
        "trimSuffix" => two(args, |end, t| t.strip_suffix(end).unwrap_or(t).into()),
        "contains" => two(args, |part, t| t.contains(part).into()),
        "hasPrefix" => two(args, |start, t| t.starts_with(start).into()),
        "hasSuffix" => two(args, |end, t| t.ends_with(end).into()),
        "replace" => exactly::<3>(args)
            .and_then(|[old, new, t]| bounded(word(t)?.replace(word(old)?, word(new)?))),
        "repeat" => exactly::<2>(args).and_then(|[n, t]| {
            let (n, t) = (count(n)?, word(t)?);
            if n.saturating_mul(t.len()) > OUTPUT {
                return Err("the result is too long".into());
            }
            Ok(t.repeat(n).into())
        }),
        "substr" => exactly::<3>(args).and_then(|[from, to, t]| {
            let (from, to, t) = (int(from)?, int(to)?, word(t)?);
            let start = usize::try_from(from).unwrap_or(0).min(t.len());
            let end = usize::try_from(to).map_or(t.len(), |to| to.min(t.len()));
            t.get(start..end.max(start))
                .map(Value::from)
                .ok_or_else(|| "the part cuts a character".into())
        }),
        "trunc" => exactly::<2>(args).and_then(|[n, t]| {
            let (n, t) = (int(n)?, word(t)?);
            let length = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
            let part = if n < 0 {
                t.get(t.len().saturating_sub(length)..)
            } else {
                t.get(..length.min(t.len()))
            };
            part.map(Value::from)
                .ok_or_else(|| "the part cuts a character".into())
        }),
        "abbrev" => exactly::<2>(args).and_then(|[n, t]| {
            let (n, t) = (count(n)?, word(t)?);
            if n < 4 || t.len() <= n {
                return Ok(t.into());
            }
            Ok(format!("{}...", t.get(..n - 3).unwrap_or(t)).into())
        }),
        "indent" | "nindent" => exactly::<2>(args).and_then(|[n, t]| {
            let pad = " ".repeat(count(n)?.min(1000));
            let start = if name == "nindent" { "\n" } else { "" };
            bounded(format!(
                "{start}{pad}{}",
                word(t)?.replace('\n', &format!("\n{pad}"))
            ))
        }),
        _ => return None,
    })
}

fn capital(text: &str, glue: bool) -> String {
    let mut start = true;
    let mut out = String::new();
    for c in text.chars() {
        if c.is_whitespace() {
            start = true;
            if !glue {
                out.push(c);
            }
        } else if std::mem::replace(&mut start, false) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// `FirstName` and `first name` become `first_name`.
fn joined(text: &str, sign: char) -> String {
    let mut out = String::new();
    let mut before = sign;
    for c in text.chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_numeric()) {
            out.push(sign);
        }
        if c.is_whitespace() || matches!(c, '_' | '-') {
            out.push(sign);
        } else {
            out.extend(c.to_lowercase());
        }
        before = c;
    }
    out
}

pub(super) fn words(name: &str, args: &[Value]) -> Called {
    Some(match name {
        "quote" | "squote" => {
            let shown = args
                .iter()
                .filter(|v| **v != Value::Nil)
                .map(|v| match name {
                    "quote" => printf::quoted(&v.strval()),
                    _ => format!("'{}'", v.strval()),
                });
            Ok(shown.collect::<Vec<_>>().join(" ").into())
        }
        "cat" => {
            let shown: Vec<String> = args
                .iter()
                .filter(|v| **v != Value::Nil)
                .map(Value::text)
                .collect();
            Ok(shown.join(" ").into())
        }
        "toString" => exactly::<1>(args).map(|[v]| v.strval().into()),
        "toStrings" => exactly::<1>(args).map(|[v]| {
            texts(v)
                .into_iter()
                .map(Value::from)
                .collect::<Vec<_>>()
                .into()
        }),
        "join" => {
            exactly::<2>(args).and_then(|[sign, list]| bounded(texts(list).join(word(sign)?)))
        }
        "sortAlpha" => exactly::<1>(args).map(|[list]| {
            let mut all = texts(list);
            all.sort();
            all.into_iter().map(Value::from).collect::<Vec<_>>().into()
        }),
        "split" => exactly::<2>(args).and_then(|[sign, t]| {
            let parts = word(t)?.split(word(sign)?);
            let map: BTreeMap<String, Value> = parts
                .enumerate()
                .map(|(i, part)| (format!("_{i}"), part.into()))
                .collect();
            Ok(map.into())
        }),
        "splitList" => {
            exactly::<2>(args).and_then(|[sign, t]| Ok(pieces(word(t)?, word(sign)?).into()))
        }
        "splitn" => exactly::<3>(args).and_then(|[sign, n, t]| {
            let parts = word(t)?.splitn(count(n)?.max(1), word(sign)?);
            let map: BTreeMap<String, Value> = parts
                .enumerate()
                .map(|(i, part)| (format!("_{i}"), part.into()))
                .collect();
            Ok(map.into())
        }),
        "plural" => exactly::<3>(args).map(|[one, many, n]| {
            if n.int() == 1 {
                one.clone()
            } else {
                many.clone()
            }
        }),
        "b64enc" => one(args, |t| BASE64.encode(t)),
        "b64dec" => exactly::<1>(args).and_then(|[t]| {
            // As Go reads it: line ends are nothing.
            let text = word(t)?.replace(['\r', '\n'], "");
            let bytes = BASE64
                .decode(text)
                .map_err(|_cause| "illegal base64 data")?;
            Ok(String::from_utf8_lossy(&bytes).into_owned().into())
        }),
        "sha256sum" => one(args, |t| hex::encode(sha2::Sha256::digest(t.as_bytes()))),
        "sha512sum" => one(args, |t| hex::encode(sha2::Sha512::digest(t.as_bytes()))),
        "urlquery" => one(args, percent),
        "base" => one(args, |t| {
            t.trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .into()
        }),
        "dir" => one(args, |t| match t.rsplit_once('/') {
            Some(("", _)) => "/".into(),
            Some((dir, _)) => dir.into(),
            None => ".".into(),
        }),
        "ext" => one(args, |t| {
            let base = t.rsplit('/').next().unwrap_or_default();
            base.rfind('.')
                .map_or_else(String::new, |at| base[at..].into())
        }),
        "isAbs" => exactly::<1>(args).and_then(|[t]| Ok(word(t)?.starts_with('/').into())),
        "env" => one(args, |t| {
            std::env::var_os(t)
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        }),
        _ => return None,
    })
}

fn pieces(text: &str, sign: &str) -> Vec<Value> {
    if sign.is_empty() {
        return text.chars().map(|c| c.to_string().into()).collect();
    }
    text.split(sign).map(Value::from).collect()
}
