//! Changes that `flash` makes to a `user-data` for its owner, where they stand in the text: everything else, comments too, stays.

use super::yaml::{self, Node, Value};
use super::{HEADER, host_name, public_key};

/// Why a text cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EditError(String);

fn error(text: impl Into<String>) -> EditError {
    EditError(text.into())
}

fn parse(text: &str) -> Result<Node, EditError> {
    if !text.trim_start().to_lowercase().starts_with(HEADER) {
        return Err(error(
            "the user-data is no cloud-config (`#cloud-config`), and only such a one can be changed here",
        ));
    }
    let document =
        yaml::parse(text).map_err(|e| error(format!("line {}: {}", e.at.line, e.what)))?;
    Ok(document.root)
}

/// Text in quotes that every YAML reader takes as text.
pub(crate) fn quoted(text: &str) -> String {
    // JSON's strings are YAML's (YAML 1.2, 1.3).
    serde_json::Value::from(text).to_string()
}

/// The text with this host name.
pub fn set_host_name(text: &str, name: &str) -> Result<String, EditError> {
    host_name(name).map_err(error)?;
    let root = parse(text)?;
    let Some((key, value)) = root.entry("hostname") else {
        return Ok(with_line(text, &format!("hostname: {name}")));
    };
    if let Value::List(_) | Value::Map(_) = value.value {
        return Err(error(format!("line {}: hostname is not text", key.at.line)));
    }
    let end = text[key.at.byte..]
        .find('\n')
        .map_or(text.len(), |n| key.at.byte + n);
    Ok(format!(
        "{}hostname: {name}{}",
        &text[..key.at.byte],
        &text[end..]
    ))
}

/// The text with this public key for its first user.
pub fn add_key(text: &str, key: &str) -> Result<String, EditError> {
    let key = key.trim();
    public_key(key).map_err(error)?;
    let root = parse(text)?;
    let users = root.get("users").map_or(&[][..], Node::list);
    let Some(user) = users.iter().find(|u| u.get("name").is_some()) else {
        return match root.get("ssh_authorized_keys") {
            None => Ok(with_line(
                text,
                &format!("ssh_authorized_keys: [{}]", quoted(key)),
            )),
            Some(list) => into_list(text, list, key),
        };
    };
    if let Some(list) = user.get("ssh_authorized_keys") {
        return into_list(text, list, key);
    }
    let (name, value) = user
        .entry("name")
        .ok_or_else(|| error("a user without a name"))?;
    if text[..name.at.byte].ends_with('{') || text[user.at.byte..].starts_with('{') {
        let at = user.at.byte + 1;
        return Ok(format!(
            "{}ssh_authorized_keys: [{}], {}",
            &text[..at],
            quoted(key),
            &text[at..]
        ));
    }
    let indent = " ".repeat(name.at.column - 1);
    let line = format!("{indent}ssh_authorized_keys: [{}]\n", quoted(key));
    let from = value.at.byte.max(name.at.byte);
    let end = text[from..].find('\n').map(|n| from + n + 1);
    Ok(match end {
        Some(end) => format!("{}{line}{}", &text[..end], &text[end..]),
        None => format!("{text}\n{line}"),
    })
}

/// The text with one more part at the beginning of a list.
fn into_list(text: &str, list: &Node, part: &str) -> Result<String, EditError> {
    let at = list.at.byte;
    if text[at..].starts_with('[') {
        let more = if list.list().is_empty() { "" } else { ", " };
        return Ok(format!(
            "{}{}{more}{}",
            &text[..=at],
            quoted(part),
            &text[at + 1..]
        ));
    }
    match list.list().first() {
        Some(_) if text[at..].starts_with('-') => {
            let indent = " ".repeat(list.at.column - 1);
            Ok(format!(
                "{}- {}\n{indent}{}",
                &text[..at],
                quoted(part),
                &text[at..]
            ))
        }
        _ => Err(error(format!(
            "line {}: this list cannot be added to; write the key into it yourself",
            list.at.line
        ))),
    }
}

fn with_line(text: &str, line: &str) -> String {
    let gap = if text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{line}\n")
}

/// A Wi-Fi network that a board may join.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Its name.
    pub ssid: String,
    /// Its password; none for an open one.
    pub password: Option<String>,
    /// It does not tell its name.
    pub hidden: bool,
    /// It takes WPA3 alone (SAE), not WPA2.
    pub wpa3: bool,
}

/// A `network-config` for these Wi-Fi networks: the board joins one that it hears.
pub fn wifi(networks: &[Network], country: Option<&str>) -> String {
    let country = country.map(|c| format!("    regulatory-domain: {}\n", quoted(c)));
    let points: Vec<String> = networks.iter().map(point).collect();
    format!(
        "version: 2\nwifis:\n  wlan0:\n    dhcp4: true\n    optional: true\n{}    access-points:\n{}",
        country.unwrap_or_default(),
        points.concat()
    )
}

fn point(network: &Network) -> String {
    let hidden = if network.hidden {
        "        hidden: true\n"
    } else {
        ""
    };
    let secret = match network.password.as_deref().map(quoted) {
        Some(password) if network.wpa3 => {
            format!(
                "        auth:\n          key-management: sae\n          password: {password}\n"
            )
        }
        Some(password) => format!("        password: {password}\n"),
        None => String::new(),
    };
    let gap = if hidden.is_empty() && secret.is_empty() {
        " {}"
    } else {
        ""
    };
    format!("      {}:{gap}\n{hidden}{secret}", quoted(&network.ssid))
}
