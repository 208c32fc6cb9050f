//! Who can log in after a cloud-config, and what is wrong with the users in it.

use super::keys::public_key;
use super::schema::kind;
use super::yaml::{Node, Value};
use super::{Found, Image, Kind};

/// How somebody gets in, by the name of the user; what is wrong with a user is said.
pub(super) fn ways_in(root: &Node, image: Option<&dyn Image>, found: &mut Found) -> Vec<String> {
    let mut ways = Vec::new();
    let own_keys = keys(root, found);
    let has_default = match root.get("users") {
        None => true,
        Some(users) => users.list().iter().any(|u| u.text() == Some("default")),
    };
    if has_default
        && (own_keys || root.get("password").is_some() || root.get("ssh_import_id").is_some())
    {
        ways.push("default".to_owned());
    } else if own_keys {
        let at = root
            .entry("ssh_authorized_keys")
            .map_or(root.at, |(k, _)| k.at);
        found.at(
            Kind::Warning,
            at,
            "these keys are for the default user, which `users` leaves out; put them below a user",
        );
    }
    let changed = changed_passwords(root);
    for user in root.get("users").map_or(&[][..], Node::list) {
        let Some(name) = user.get("name") else {
            continue;
        };
        let Some(text) = name.text() else {
            found.at(
                Kind::Refused,
                name.at,
                format!("the name of a user must be text, and is {}", kind(name)),
            );
            continue;
        };
        if !is_user(text) {
            found.at(Kind::Refused, name.at, format!("`{text}` cannot be the name of a user: small letters, digits, - and _, at most 32"));
        }
        shell(user, image, found);
        let by_key = keys(user, found) || user.get("ssh_import_id").is_some();
        let by_word = by_password(user, changed.contains(&text), found);
        if by_key || by_word {
            ways.push(text.to_owned());
        }
    }
    ways
}

/// useradd(8), "CAVEATS".
fn is_user(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 32
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn shell(user: &Node, image: Option<&dyn Image>, found: &mut Found) {
    if let (Some(node), Some(image)) = (user.get("shell"), image)
        && let Some(path) = node.text()
        && !image.has(path.trim_start_matches('/'))
    {
        found.at(
            Kind::Refused,
            node.at,
            format!("there is no {path} in the image: this user could not log in"),
        );
    }
}

/// Whether there is at least one key. What is no key is refused.
fn keys(of: &Node, found: &mut Found) -> bool {
    let mut any = false;
    for name in ["ssh_authorized_keys", "ssh-authorized-keys"] {
        let Some(node) = of.get(name) else { continue };
        let all: Vec<&Node> = match &node.value {
            Value::List(list) => list.iter().collect(),
            Value::Text(_) => vec![node],
            Value::Null => Vec::new(),
            _ => {
                found.at(
                    Kind::Refused,
                    node.at,
                    format!("{name} must be a list of keys, and is {}", kind(node)),
                );
                continue;
            }
        };
        for key in all {
            match key.text().map(public_key) {
                Some(Ok(())) => any = true,
                Some(Err(why)) => found.at(Kind::Refused, key.at, why),
                None => found.at(
                    Kind::Refused,
                    key.at,
                    format!("a key must be text, and this is {}", kind(key)),
                ),
            }
        }
    }
    any
}

fn by_password(user: &Node, changed: bool, found: &mut Found) -> bool {
    let given = ["plain_text_passwd", "hashed_passwd", "passwd"]
        .iter()
        .find_map(|k| user.entry(k));
    let lock = user.get("lock_passwd").or_else(|| user.get("lock-passwd"));
    let open = lock.is_some_and(|l| matches!(l.value, Value::Bool(false)));
    if let Some((key, value)) = given {
        if key.text != "plain_text_passwd" && value.text().is_some_and(|t| !t.starts_with('$')) {
            let what = format!(
                "`{}` wants what `mkpasswd --method=yescrypt` prints (it begins with $); a plain password is `plain_text_passwd`",
                key.text
            );
            found.at(Kind::Refused, value.at, what);
        }
        if value.text().is_none() {
            found.at(
                Kind::Refused,
                value.at,
                format!(
                    "a password must be text, and this is {}; put it in quotes",
                    kind(value)
                ),
            );
        }
        if !open {
            found.at(
                Kind::Warning,
                key.at,
                "this password cannot be used without `lock_passwd: false`: cloud-init locks it",
            );
        }
    }
    (given.is_some() || changed) && open
}

/// Names of users whose password `chpasswd` sets.
fn changed_passwords(root: &Node) -> Vec<&str> {
    let Some(change) = root.get("chpasswd") else {
        return Vec::new();
    };
    let mut names: Vec<&str> = Vec::new();
    for user in change.get("users").map_or(&[][..], Node::list) {
        names.extend(user.get("name").and_then(Node::text));
    }
    let list = change.get("list");
    let lines = list.and_then(Node::text).into_iter().flat_map(str::lines);
    let lines = lines.chain(
        list.map_or(&[][..], Node::list)
            .iter()
            .filter_map(Node::text),
    );
    names.extend(lines.filter_map(|l| Some(l.split_once(':')?.0)));
    names
}
