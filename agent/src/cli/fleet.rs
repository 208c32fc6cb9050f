//! What a fleet asks of a board over ssh: who works on it, and the commands that a restricted key may give.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::print;
use crate::exec::Cmd;
use crate::{files, identity};

/// Another run works on this board (sysexits.h, EX_TEMPFAIL).
const HELD: u8 = 75;
/// Gone with a restart: a run that is alive claims the board again.
const CLAIM: &str = "/run/hypriot/claim.json";
/// Longest word of a claim or a command.
const WORD: usize = 200;
/// Longest claim: a day.
const LONGEST: u64 = 86_400;

/// Who works on this board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    run: String,
    by: String,
    /// Until then, in seconds since boot: the wall clock may jump.
    until: u64,
}

/// By this a fleet knows the board.
pub(super) fn id() -> String {
    let Ok(text) = std::fs::read("/etc/machine-id") else {
        return String::new();
    };
    identity::fleet_id(text.trim_ascii())
}

pub(super) fn claim(run: &str, by: &str, seconds: u64, release: bool) -> anyhow::Result<ExitCode> {
    for word in [run, by] {
        ensure!(
            word.len() <= WORD && !word.chars().any(char::is_control),
            "a run and its operator are words of at most {WORD} bytes"
        );
    }
    let uptime = std::fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let now = uptime.split('.').next().unwrap_or_default().parse()?;
    let path = Path::new(CLAIM);
    let held = files::read(path, 4096)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
    match judge(held, run, now) {
        Err(other) => {
            let left = other.until.saturating_sub(now);
            print(&format!(
                "run {} of {}, for {left} s more\n",
                other.run, other.by
            ));
            return Ok(ExitCode::from(HELD));
        }
        Ok(true) if release => files::remove(path)?,
        Ok(_) if release => {}
        Ok(_) => {
            if let Some(directory) = path.parent() {
                files::make_directories(directory)?;
            }
            let claim = Claim {
                run: run.into(),
                by: by.into(),
                until: now + seconds.min(LONGEST),
            };
            files::replace(path, &serde_json::to_vec(&claim)?, 0o644)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether `run` may have the board: `Ok(true)` when it has it already, and whoever has it otherwise.
fn judge(held: Option<Claim>, run: &str, now: u64) -> Result<bool, Claim> {
    match held {
        Some(other) if other.run != run && other.until > now => Err(other),
        Some(own) => Ok(own.run == run),
        None => Ok(false),
    }
}

/// sshd leaves what the client asked for in the environment (sshd(8), `command=`).
pub(super) fn remote() -> anyhow::Result<ExitCode> {
    let asked = std::env::var("SSH_ORIGINAL_COMMAND")
        .context("this key is for hypriot-fleet: no shell is given to it")?;
    let words = allowed(&asked)?;
    let root = std::fs::metadata("/proc/self")
        .context("asking who I am")?
        .uid()
        == 0;
    let command = if root {
        Cmd::new("hypriot-agent").args(&words)
    } else {
        Cmd::new("sudo").args(["-n", "hypriot-agent"]).args(&words)
    };
    Err(command.become_it().into())
}

/// The words of a command, if it is one of those that a rollout needs.
fn allowed(text: &str) -> anyhow::Result<Vec<String>> {
    let words = words(text)?;
    let mut words: &[String] = &words;
    if let [sudo, n, rest @ ..] = words
        && sudo == "sudo"
        && n == "-n"
    {
        words = rest;
    }
    let [program, rest @ ..] = words else {
        bail!("no command")
    };
    let rest_words: Vec<&str> = rest.iter().map(String::as_str).collect();
    let word = |w: &str| !w.starts_with('-') && !w.is_empty();
    let source = |s: &[&str]| match s {
        [] => true,
        [url] => url.starts_with("https://") || url.starts_with("http://"),
        _ => false,
    };
    let good = program == "hypriot-agent"
        && match rest_words.as_slice() {
            ["status", "--json"] | ["rollback"] => true,
            ["check", "--json", rest @ ..] => source(rest),
            [
                "install",
                "--json",
                "--no-reboot",
                "--only",
                version,
                rest @ ..,
            ]
            | ["install", "--json", "--only", version, rest @ ..] => word(version) && source(rest),
            // what an index says is compared, and nothing of it is done
            ["measure", "--json", "--seconds", n]
            | ["measure", "--json", "--seconds", n, "--index", "-"] => word(n),
            ["claim", run, "--release"] => word(run),
            ["claim", run, "--by", by, "--for", seconds] => word(run) && word(by) && word(seconds),
            _ => false,
        };
    ensure!(
        good,
        "this key may not do that; it is for hypriot-fleet update and validate"
    );
    Ok(rest.to_vec())
}

/// Splits as a shell does, single quotes only: what hypriot-fleet writes.
fn words(text: &str) -> anyhow::Result<Vec<String>> {
    ensure!(text.len() <= 8 * WORD, "the command is too long");
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            '\\' if !quoted => word.extend(chars.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c if c.is_control() => bail!("the command has control characters"),
            c => word.push(c),
        }
    }
    ensure!(!quoted, "a quote is not closed");
    if any || !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_key_does_what_a_rollout_needs_and_nothing_else() {
        for good in [
            "sudo -n hypriot-agent status --json",
            "hypriot-agent rollback",
            "hypriot-agent check --json https://h/r/",
            "sudo -n hypriot-agent install --json --only 1.1.0",
            "hypriot-agent install --json --no-reboot --only 1.1.0 http://h/",
            "hypriot-agent claim r1 --by 'me on a laptop' --for 3600",
            "hypriot-agent claim r1 --release",
            "sudo -n hypriot-agent measure --json --seconds 10 --index -",
        ] {
            assert!(allowed(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "sh",
            "sudo -n sh",
            "hypriot-agent commit",
            "hypriot-agent forgive 123456",
            "hypriot-agent in-root / sh",
            "hypriot-agent install --json",
            "hypriot-agent install --json --only 1.1.0 /media/stick",
            "hypriot-agent install --json --only 1.1.0 https://h/ extra",
            "hypriot-agent status --json; sh",
            "hypriot-agent status --json\nsh",
            "hypriot-agent status '--json",
            "hypriot-agent claim -x --release",
            "hypriot-agent measure --json --seconds 10 --index /etc/shadow",
            "hypriot-agent selftest -g - validate -f json",
        ] {
            assert!(allowed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_second_operator_is_told_who_works_here() {
        let held = |until| {
            Some(Claim {
                run: "r1".into(),
                by: "alice@laptop".into(),
                until,
            })
        };
        assert_eq!(judge(None, "r2", 100), Ok(false));
        assert_eq!(judge(held(200), "r1", 100), Ok(true), "its own");
        assert_eq!(judge(held(100), "r2", 100), Ok(false), "its time is over");
        let other = judge(held(101), "r2", 100).expect_err("held");
        assert_eq!(other.by, "alice@laptop");
    }
}
