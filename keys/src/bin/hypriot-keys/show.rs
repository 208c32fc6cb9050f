//! Metadata in words.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use hypriot_keys::repo::RoleStatus;
use hypriot_keys::signed::Signed;
use hypriot_keys::time::Timestamp;
use serde_json::Value;

/// Prints an outcome: as JSON, or as text.
pub(crate) fn done(json: bool, value: &Value, text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// The files of a repository, and who has still to sign.
pub(crate) fn status(status: &[RoleStatus], now: Timestamp) -> String {
    let mut text = String::from("role          state      version  signed  expires\n");
    for role in status {
        let signed = format!("{}/{}", role.signatures, role.threshold);
        line(
            &mut text,
            &format!(
                "{:<13} {:<10} {:>7}  {signed:>6}  {}{}",
                printable(&role.role),
                role.state,
                role.version,
                role.expires,
                age(role.expires, now)
            ),
        );
        if role.signatures < role.threshold {
            for id in &role.missing {
                line(&mut text, &format!("              waits for key {id}"));
            }
        }
    }
    text
}

/// One metadata file. Nothing is checked here, and the text says so.
pub(crate) fn metadata(file: &Signed, now: Timestamp) -> String {
    let signed = &file.signed;
    let field = |name: &str| signed.get(name).and_then(Value::as_str).unwrap_or("?");
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{} version {} (not verified)",
            printable(field("_type")),
            number(signed.get("version"))
        ),
    );
    let expires = field("expires");
    let note = Timestamp::parse(expires).map_or("", |at| age(at, now));
    line(
        &mut text,
        &format!("  expires {}{note}", printable(expires)),
    );
    for (role, keys) in object(signed.get("roles")) {
        let ids = keys
            .get("keyids")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        line(
            &mut text,
            &format!(
                "  role {}: {} of {ids} keys",
                printable(role),
                number(keys.get("threshold"))
            ),
        );
    }
    for (name, listed) in object(signed.get("meta")) {
        line(
            &mut text,
            &format!(
                "  lists {} version {}",
                printable(name),
                number(listed.get("version"))
            ),
        );
    }
    for (name, target) in object(signed.get("targets")) {
        line(
            &mut text,
            &format!(
                "  target {} ({} bytes)",
                printable(name),
                number(target.get("length"))
            ),
        );
        if let Some(custom) = target.get("custom") {
            line(&mut text, &format!("    {custom}"));
        }
    }
    let delegated = signed
        .pointer("/delegations/roles")
        .and_then(Value::as_array);
    for role in delegated.into_iter().flatten() {
        let names = role
            .get("paths")
            .or_else(|| role.get("path_hash_prefixes"))
            .unwrap_or(&Value::Null);
        let name = role.get("name").and_then(Value::as_str).unwrap_or("?");
        line(
            &mut text,
            &format!("  delegates to {} for {names}", printable(name)),
        );
    }
    for signature in &file.signatures {
        line(
            &mut text,
            &format!("  signature of {}", printable(&signature.keyid)),
        );
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{line}").expect("a String takes everything");
}

fn age(expires: Timestamp, now: Timestamp) -> &'static str {
    if expires > now { "" } else { "  EXPIRED" }
}

fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or_default()
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// Names come from files that nobody has verified: control characters must not reach the terminal.
fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}
