//! Who asks not to restart the board to try a release: systemd's block inhibitors, and files in two directories.
//!
//! A file is for who has no process to keep an inhibitor of systemd: a backup job of another machine, a person. It names its
//! owner, a reason and an end. One that cannot be read inhibits: somebody meant something by it. None of them is heard when a
//! slot that failed goes back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hypriot_keys::time::Timestamp;
use serde::Deserialize;

use crate::exec::Cmd;
use crate::files;

/// Gone with the next restart.
pub const RUN: &str = "/run/hypriot/inhibit.d";
/// Kept over restarts and updates.
pub const KEPT: &str = "/data/hypriot/inhibit.d";
/// No file is longer.
const LIMIT: u64 = 4096;
/// More are not looked at: the first ones inhibit already.
const MOST: usize = 64;
/// Longest text of a file that is shown.
const SHOWN: usize = 200;

/// One file. What is unknown in it is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Inhibitor {
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until then, by the wall clock; without it, until it is removed.
    pub until: Option<Timestamp>,
    /// Until so many seconds after boot: for what a restart removes, whatever the clock does.
    pub until_uptime: Option<u64>,
}

impl Inhibitor {
    fn is_over(&self, now: Timestamp, uptime: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
            || self.until_uptime.is_some_and(|until| until <= uptime)
    }
}

/// All who inhibit, in words.
pub fn all(now: Timestamp, uptime: u64) -> Vec<String> {
    let mut who = systemd();
    for directory in [RUN, KEPT] {
        who.extend(in_directory(Path::new(directory), now, uptime));
    }
    who
}

/// Those of the files in `directory`, by name.
fn in_directory(directory: &Path, now: Timestamp, uptime: u64) -> Vec<String> {
    let mut names: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![format!("{}: cannot be read: {e}", directory.display())],
    };
    // temporary files of our own begin with a dot
    names.retain(|p| !name(p).starts_with('.'));
    names.sort();
    names.truncate(MOST);
    names
        .iter()
        .filter_map(|path| {
            let read = files::read(path, LIMIT)
                .map_err(anyhow::Error::from)
                .and_then(|text| Ok(toml::from_slice::<Inhibitor>(&text)?));
            match read {
                Ok(one) if one.is_over(now, uptime) => None,
                Ok(one) => Some(words(path, &one)),
                // removed meanwhile
                Err(_) if !path.exists() => None,
                Err(error) => Some(plain(&format!(
                    "{}: cannot be read: {error:#}",
                    path.display()
                ))),
            }
        })
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn words(path: &Path, one: &Inhibitor) -> String {
    let owner = if one.owner.is_empty() {
        name(path)
    } else {
        one.owner.clone()
    };
    let until = one
        .until
        .map_or_else(String::new, |t| format!(" (until {t})"));
    plain(&format!("{owner}: {}{until}", one.reason))
}

fn plain(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).take(SHOWN).collect()
}

/// Leaves a file `name` in `directory`. Durable on return.
pub fn put(directory: &Path, name: &str, one: &Inhibitor) -> anyhow::Result<PathBuf> {
    let path = path(directory, name)?;
    files::make_directories(directory)?;
    files::replace(&path, text(one)?.as_bytes(), 0o644)?;
    Ok(path)
}

/// As TOML. A string of JSON is one of TOML, too, if it has no DEL (toml.io/en/v1.0.0#string).
fn text(one: &Inhibitor) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for (key, word) in [("owner", &one.owner), ("reason", &one.reason)] {
        ensure!(
            !word.chars().any(char::is_control),
            "{key} has control characters"
        );
        lines.push(format!("{key} = {}", serde_json::to_string(word)?));
    }
    lines.extend(one.until.map(|t| format!("until = \"{t}\"")));
    lines.extend(one.until_uptime.map(|s| format!("until_uptime = {s}")));
    Ok(lines.join("\n") + "\n")
}

/// Removes the file `name`; says whether there was one.
pub fn remove(directory: &Path, name: &str) -> anyhow::Result<bool> {
    let path = path(directory, name)?;
    let there = path.exists();
    files::remove(&path)?;
    Ok(there)
}

fn path(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    ensure!(
        !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(plain),
        "a name is made of letters, digits, hyphens, dots and underscores, not {name:?}"
    );
    Ok(directory.join(name))
}

/// `90`, `90s`, `15m`, `2h`, `3d` as a time.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => bail!("{other:?} is no unit: s, m, h or d"),
    };
    let n: u64 = digits
        .parse()
        .with_context(|| format!("{text:?} is no time like 15m or 2h"))?;
    let seconds = n.checked_mul(factor).filter(|s| *s <= 10 * 366 * 86_400);
    Ok(Duration::from_secs(seconds.context("more than ten years")?))
}

/// Who asks systemd not to shut down. Where systemd cannot be asked nobody does.
fn systemd() -> Vec<String> {
    let listed = Cmd::new("busctl")
        .args([
            "call",
            "--json=short",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.login1.Manager",
            "ListInhibitors",
        ])
        .timeout(Duration::from_secs(5))
        .run();
    listed.map_or_else(|_| Vec::new(), |out| blockers(&out.stdout))
}

/// Those of logind's answer that block a shutdown: `a(ssssuu)`, which is what, who, why, mode, uid, pid
/// (org.freedesktop.login1(5)).
fn blockers(json: &[u8]) -> Vec<String> {
    type Row = (String, String, String, String, u32, u32);
    #[derive(Deserialize)]
    struct Listed {
        data: (Vec<Row>,),
    }
    let Ok(Listed { data: (rows,) }) = serde_json::from_slice(json) else {
        return Vec::new();
    };
    rows.into_iter()
        .filter(|(what, _, _, mode, ..)| {
            what.split(':').any(|w| w == "shutdown") && mode.starts_with("block")
        })
        .map(|(_, who, why, ..)| plain(&format!("{who}: {why}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inhibitor_of_sleep_or_a_delay_blocks_no_restart() {
        let said = br#"{"type":"a(ssssuu)","data":[[
            ["sleep","lid","x","block",0,1],
            ["shutdown:sleep","unattended-upgrades","Stop ongoing upgrades","delay",0,2],
            ["shutdown:idle","backup","copies the\ndata","block",1000,3]]]}"#;
        assert_eq!(blockers(said), ["backup: copies the data"]);
        assert!(blockers(b"not json").is_empty());
    }

    #[test]
    fn a_file_inhibits_until_its_end_and_one_that_cannot_be_read_always() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("inhibit.d");
        let all = |now: u64, uptime: u64| in_directory(&dir, Timestamp(now), uptime);
        assert!(all(0, 0).is_empty(), "no directory");
        let one = Inhibitor {
            owner: "alice".into(),
            reason: "copies the data".into(),
            until: Some(Timestamp(86_400)),
            ..Inhibitor::default()
        };
        put(&dir, "backup", &one).unwrap();
        assert_eq!(
            all(86_399, 0),
            ["alice: copies the data (until 1970-01-02T00:00:00Z)"]
        );
        assert!(all(86_400, 0).is_empty(), "over");
        // by the time since boot, whatever the clock does meanwhile
        let soon = Inhibitor {
            until_uptime: Some(100),
            ..Inhibitor::default()
        };
        put(&dir, "soon", &soon).unwrap();
        assert_eq!(all(u64::MAX, 99), ["soon: "]);
        assert!(all(u64::MAX, 100).is_empty());
        assert!(remove(&dir, "soon").unwrap() && !remove(&dir, "soon").unwrap());
        // what somebody wrote by hand, and half of it
        for (text, expected) in [
            ("until = 'tomorrow'", "cannot be read"),
            ("\u{0}\u{1}", "cannot be read"),
            ("", "by-hand: "),
            ("owner = \"a\\u001b[2J\"\nnew = 1", "a [2J: "),
        ] {
            files::replace(&dir.join("by-hand"), text.as_bytes(), 0o644).unwrap();
            let said = all(u64::MAX, u64::MAX);
            assert!(
                said.len() == 1 && said[0].contains(expected),
                "{text:?}: {said:?}"
            );
        }
        for wrong in ["", ".x", "../x", "a/b", "a b"] {
            assert!(put(&dir, wrong, &one).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("3d", 259_200),
        ] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for wrong in [
            "",
            "h",
            "2w",
            "-1",
            "1.5h",
            "99999999999999999999",
            "99999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
