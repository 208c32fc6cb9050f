//! Modifiers: `@reverse`, `@flatten:{"deep":true}`.

use super::{DEPTH, Json, at, cut, get, onward, parse};

/// `@name:argument`; `None` when there is no such modifier: then it is the name of a key.
#[expect(
    clippy::option_option,
    reason = "no modifier, and a modifier that finds nothing, are two things"
)]
pub(super) fn modified(json: &Json, path: &str, depth: usize) -> Option<Option<Json>> {
    let (head, rest) = cut(path);
    let (name, argument) = head[1..].split_once(':').unwrap_or((&head[1..], ""));
    let option =
        |name: &str| parse(argument).ok().and_then(|a| get(&a, name)) == Some(Json::Bool(true));
    let made = match (name, json) {
        ("this" | "valid" | "ugly" | "pretty", _) => json.clone(),
        ("reverse", Json::List(list)) => Json::List(list.iter().rev().cloned().collect()),
        ("reverse", Json::Map(map)) => Json::Map(map.iter().rev().cloned().collect()),
        ("flatten", Json::List(list)) => Json::List(flat(list, option("deep"), DEPTH)),
        ("join", Json::List(list)) => {
            let mut all: Vec<(String, Json)> = Vec::new();
            for (key, value) in list
                .iter()
                .filter_map(|i| if let Json::Map(m) = i { Some(m) } else { None })
                .flatten()
            {
                match all.iter_mut().find(|(known, _)| known == key) {
                    Some((_, old)) if !option("preserve") => *old = value.clone(),
                    _ => all.push((key.clone(), value.clone())),
                }
            }
            Json::Map(all)
        }
        ("keys", Json::Map(map)) => {
            Json::List(map.iter().map(|(k, _)| Json::Text(k.clone())).collect())
        }
        ("values", Json::Map(map)) => Json::List(map.iter().map(|(_, v)| v.clone()).collect()),
        ("values", Json::List(list)) => Json::List(list.clone()),
        ("keys", Json::List(list)) => Json::List(list.iter().map(|_| Json::Null).collect()),
        ("keys" | "values", other) => Json::List(vec![other.clone()]),
        ("tostr", other) => Json::Text(other.raw()),
        ("fromstr", Json::Text(text)) => match parse(text) {
            Ok(json) => json,
            Err(_) => return Some(None),
        },
        ("fromstr", _) => return Some(None),
        ("group", Json::Map(map)) => group(map),
        ("dig", _) => {
            let mut found = Vec::new();
            dig(json, argument, &mut found, depth);
            Json::List(found)
        }
        ("reverse" | "flatten" | "join" | "group", other) => other.clone(),
        _ => return None,
    };
    Some(onward(made, rest, depth))
}

fn flat(list: &[Json], deep: bool, depth: usize) -> Vec<Json> {
    let mut all = Vec::new();
    for item in list {
        match item {
            Json::List(inner) if deep && depth > 0 => all.extend(flat(inner, true, depth - 1)),
            Json::List(inner) => all.extend(inner.iter().cloned()),
            other => all.push(other.clone()),
        }
    }
    all
}

fn group(map: &[(String, Json)]) -> Json {
    let mut rows: Vec<Vec<(String, Json)>> = Vec::new();
    for (key, value) in map {
        let Json::List(list) = value else { continue };
        for (index, item) in list.iter().enumerate() {
            if rows.len() <= index {
                rows.push(Vec::new());
            }
            rows[index].push((key.clone(), item.clone()));
        }
    }
    Json::List(rows.into_iter().map(Json::Map).collect())
}

fn dig(json: &Json, path: &str, found: &mut Vec<Json>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    found.extend(at(json, path, depth));
    match json {
        Json::List(list) => list.iter().for_each(|item| dig(item, path, found, depth)),
        Json::Map(map) => map
            .iter()
            .for_each(|(_, item)| dig(item, path, found, depth)),
        _ => {}
    }
}
