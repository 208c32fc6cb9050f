//! Users and groups, from the files of the root: they are the same for a running board and an image.

use anyhow::{Context as _, Result};

use crate::probe::Root;
use crate::selftest::run::{Found, Values};

fn lines(root: &Root, path: &str) -> Result<Vec<Vec<String>>> {
    let text = root.text(path)?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect();
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(fields)
        .collect())
}

/// The line whose field `at` is `value`.
fn line(root: &Root, path: &str, at: usize, value: &str) -> Result<Option<Vec<String>>> {
    Ok(lines(root, path)?
        .into_iter()
        .find(|fields| fields.get(at).is_some_and(|field| field == value)))
}

fn number(field: Option<&String>) -> Result<Found> {
    let field = field.context("the line is too short")?;
    Ok(field
        .parse::<u32>()
        .with_context(|| format!("{field:?} is no number"))?
        .into())
}

/// passwd(5).
pub(super) fn user(name: &str, root: &Root) -> Result<Values> {
    let Some(user) = line(root, "/etc/passwd", 0, name)? else {
        return Ok(Values::from([("exists", Ok(false.into()))]));
    };
    let word = |at: usize| Ok(user.get(at).cloned().unwrap_or_default().into());
    Ok(Values::from([
        ("exists", Ok(true.into())),
        ("uid", number(user.get(2))),
        ("gid", number(user.get(3))),
        ("home", word(5)),
        ("shell", word(6)),
        (
            "groups",
            groups(name, user.get(3).map_or("", String::as_str), root),
        ),
    ]))
}

/// The primary group and those that name the user.
fn groups(user: &str, primary: &str, root: &Root) -> Result<Found> {
    let member = |fields: &Vec<String>| {
        fields.get(2).is_some_and(|gid| gid == primary)
            || fields
                .get(3)
                .is_some_and(|list| list.split(',').any(|m| m == user))
    };
    let groups = lines(root, "/etc/group")?.into_iter().filter(member);
    Ok(groups
        .filter_map(|fields| fields.into_iter().next())
        .collect())
}

/// group(5).
pub(super) fn group(name: &str, root: &Root) -> Result<Values> {
    let group = line(root, "/etc/group", 0, name)?;
    Ok(match group {
        None => Values::from([("exists", Ok(false.into()))]),
        Some(group) => Values::from([("exists", Ok(true.into())), ("gid", number(group.get(2)))]),
    })
}

/// The home of `user`.
pub(super) fn home(user: &str, root: &Root) -> Result<String> {
    let fields = line(root, "/etc/passwd", 0, user)?
        .with_context(|| format!("there is no user {user:?}"))?;
    fields.into_iter().nth(5).context("the user has no home")
}

/// The name of user `uid`, or the number when it has none.
pub(super) fn user_name(uid: u32, root: &Root) -> Result<String> {
    name(uid, root, "/etc/passwd")
}

/// The name of group `gid`, or the number when it has none.
pub(super) fn group_name(gid: u32, root: &Root) -> Result<String> {
    name(gid, root, "/etc/group")
}

fn name(id: u32, root: &Root, path: &str) -> Result<String> {
    let id = id.to_string();
    let found = line(root, path, 2, &id)?.and_then(|fields| fields.into_iter().next());
    Ok(found.unwrap_or(id))
}
