//! Lists and maps.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::funcs::{Called, exactly, first, word};
use super::super::{DEPTH, Value};
use super::{ITEMS, Made, count};

pub(super) fn lists(name: &str, args: &[Value]) -> Called {
    let of =
        |f: &dyn Fn(&[Value]) -> Value| exactly::<1>(args).and_then(|[list]| Ok(f(&list.list()?)));
    let with = |f: &dyn Fn(Vec<Value>, &Value) -> Value| {
        exactly::<2>(args).and_then(|[list, item]| Ok(f(list.list()?.to_vec(), item)))
    };
    Some(
        match name
            .strip_prefix("must")
            .map(lower)
            .as_deref()
            .unwrap_or(name)
        {
            "list" | "tuple" => Ok(args.to_vec().into()),
            "first" => of(&|list| list.first().cloned().unwrap_or(Value::Nil)),
            "last" => of(&|list| list.last().cloned().unwrap_or(Value::Nil)),
            "rest" => of(&|list| list.get(1..).unwrap_or_default().to_vec().into()),
            "initial" => of(&|list| {
                list.split_last()
                    .map_or(&[][..], |(_, list)| list)
                    .to_vec()
                    .into()
            }),
            "reverse" => of(&|list| list.iter().rev().cloned().collect::<Vec<_>>().into()),
            "uniq" => of(&|list| {
                let mut seen: Vec<Value> = Vec::new();
                for item in list {
                    if !seen.contains(item) {
                        seen.push(item.clone());
                    }
                }
                seen.into()
            }),
            "compact" => of(&|list| {
                list.iter()
                    .filter(|v| v.truth())
                    .cloned()
                    .collect::<Vec<_>>()
                    .into()
            }),
            "append" | "push" => with(&|mut list, item| {
                list.push(item.clone());
                list.into()
            }),
            "prepend" => with(&|mut list, item| {
                list.insert(0, item.clone());
                list.into()
            }),
            "without" => first(args).and_then(|(list, gone)| {
                Ok(list
                    .list()?
                    .iter()
                    .filter(|v| !gone.contains(v))
                    .cloned()
                    .collect::<Vec<_>>()
                    .into())
            }),
            "has" => {
                exactly::<2>(args).and_then(|[item, list]| Ok(list.list()?.contains(item).into()))
            }
            "concat" => {
                let all: Result<Vec<_>, _> = args.iter().map(Value::list).collect();
                all.and_then(|all| {
                    if all.iter().map(|list| list.len()).sum::<usize>() > ITEMS {
                        return Err(format!("more than {ITEMS} items"));
                    }
                    Ok(all
                        .iter()
                        .flat_map(|list| list.iter().cloned())
                        .collect::<Vec<_>>()
                        .into())
                })
            }
            "chunk" => exactly::<2>(args).and_then(|[n, list]| {
                let size = count(n)?.max(1);
                Ok(list
                    .list()?
                    .chunks(size)
                    .map(|part| part.to_vec().into())
                    .collect::<Vec<Value>>()
                    .into())
            }),
            _ => return None,
        },
    )
}

fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| {
        c.to_ascii_lowercase().to_string() + chars.as_str()
    })
}

pub(super) fn maps(name: &str, args: &[Value]) -> Called {
    let merged = |keep: bool| {
        first(args).and_then(|(into, others)| {
            let mut map = (*into.map()?).clone();
            for other in others {
                merge(&mut map, &*other.map()?, keep, 0)?;
            }
            Ok(map.into())
        })
    };
    Some(match name {
        "dict" => {
            let pairs = args.chunks(2).map(|pair| {
                (
                    pair[0].strval(),
                    pair.get(1).cloned().unwrap_or_else(|| "".into()),
                )
            });
            Ok(pairs.collect::<BTreeMap<_, _>>().into())
        }
        "get" => exactly::<2>(args).and_then(|[map, key]| {
            Ok(map
                .map()?
                .get(word(key)?)
                .cloned()
                .unwrap_or_else(|| "".into()))
        }),
        "set" => exactly::<3>(args).and_then(|[map, key, value]| {
            let mut map = (*map.map()?).clone();
            map.insert(word(key)?.to_owned(), value.clone());
            Ok(map.into())
        }),
        "unset" => exactly::<2>(args).and_then(|[map, key]| {
            let mut map = (*map.map()?).clone();
            map.remove(word(key)?);
            Ok(map.into())
        }),
        "hasKey" => {
            exactly::<2>(args).and_then(|[map, key]| Ok(map.map()?.contains_key(word(key)?).into()))
        }
        "keys" => {
            let all: Result<Vec<_>, _> = args.iter().map(Value::map).collect();
            all.map(|all| {
                all.iter()
                    .flat_map(|m| m.keys().map(|k| k.as_str().into()))
                    .collect::<Vec<Value>>()
                    .into()
            })
        }
        "values" => exactly::<1>(args)
            .and_then(|[map]| Ok(map.map()?.values().cloned().collect::<Vec<_>>().into())),
        "pick" | "omit" => first(args).and_then(|(map, names)| {
            let listed = |key: &String| names.iter().any(|name| name.strval() == *key);
            let kept = map
                .map()?
                .iter()
                .filter(|(k, _)| listed(k) == (name == "pick"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<BTreeMap<_, _>>();
            Ok(kept.into())
        }),
        "pluck" => first(args).and_then(|(key, all)| {
            let mut found = Vec::new();
            for map in all {
                found.extend(map.map()?.get(word(key)?).cloned());
            }
            Ok(found.into())
        }),
        "dig" => dig(args),
        "merge" | "mustMerge" => merged(true),
        "mergeOverwrite" | "mustMergeOverwrite" => merged(false),
        "deepCopy" | "mustDeepCopy" => exactly::<1>(args).map(|[v]| v.clone()),
        _ => return None,
    })
}

fn merge(
    into: &mut BTreeMap<String, Value>,
    from: &BTreeMap<String, Value>,
    keep: bool,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH {
        return Err("maps within maps, too deep".into());
    }
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                merge(Rc::make_mut(old), new, keep, depth + 1)?;
            }
            (Some(old), _) if keep && old.truth() => {}
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// `dig "a" "b" default map`
fn dig(args: &[Value]) -> Made {
    let [path @ .., default, map] = args else {
        return Err("dig needs at least three arguments".into());
    };
    let mut here = map.clone();
    for key in path {
        let next = here.map()?.get(word(key)?).cloned();
        match next {
            Some(next) => here = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(here)
}
