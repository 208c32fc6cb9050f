//! Orders to boards over the owner's own ssh: OpenSSH with its settings, agent and known hosts; nothing of ours in between.
//!
//! One control connection for each board (ssh_config(5), ControlMaster), so that a run of many orders logs in once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::answer::clean;
use crate::exec::{self, Ended};
use crate::hosts::Host;

/// Exit code of ssh itself (ssh(1)).
const OF_SSH: i32 = 255;
/// Exit code of a shell that does not find a program (POSIX, 2.8.2).
const NOT_FOUND: i32 = 127;

/// How to reach boards.
#[derive(Debug)]
pub struct Ssh {
    /// The program; `ssh`.
    pub program: String,
    /// Handed to it as they are.
    pub options: Vec<String>,
    /// Whether the agent is called through sudo, unless the user is root.
    pub sudo: bool,
    sockets: tempfile::TempDir,
}

/// Why a board could not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It may go better next time.
    Passing(String),
    /// It will not, until somebody does what stands there.
    Lasting(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passing(why) | Self::Lasting(why) => f.write_str(why),
        }
    }
}

impl Ssh {
    /// With the options that the owner gave.
    pub fn new(options: Vec<String>, sudo: bool) -> Result<Self> {
        // short: a socket's path has 108 bytes at most (unix(7)); %C alone has 40
        let sockets = tempfile::Builder::new().prefix("hf-").tempdir();
        Ok(Self {
            program: "ssh".into(),
            options,
            sudo,
            sockets: sockets.context("making a folder for ssh's control sockets")?,
        })
    }

    /// Runs `hypriot-agent` with `arguments` on `host`. Lines of its output are told as they come.
    pub async fn agent(
        &self,
        host: &Host,
        arguments: &[&str],
        limit: Duration,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Ended, Refusal> {
        self.agent_with(host, arguments, &[], limit, tell).await
    }

    /// The same, with something on its standard input.
    pub async fn agent_with(
        &self,
        host: &Host,
        arguments: &[&str],
        input: &[u8],
        limit: Duration,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Ended, Refusal> {
        let mut words = Vec::new();
        if self.sudo && host.user.as_deref() != Some("root") {
            words.extend(["sudo", "-n"]);
        }
        words.push("hypriot-agent");
        words.extend(arguments);
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        let arguments = self.arguments(host, &quoted.join(" "));
        let ended = exec::run(&self.program, &arguments, input, limit, tell).await;
        judge(host, ended.map_err(|e| Refusal::Passing(format!("{e:#}")))?)
    }

    fn arguments(&self, host: &Host, command: &str) -> Vec<String> {
        let socket = Path::join(self.sockets.path(), "%C");
        let mut list: Vec<String> = vec!["-T".into()];
        let mut option = |o: String| list.extend(["-o".to_owned(), o]);
        for own in &self.options {
            option(own.clone());
        }
        // the first value that ssh meets wins, so what the owner says wins
        option("BatchMode=yes".into());
        option("ConnectTimeout=10".into());
        option("ServerAliveInterval=10".into());
        option("ServerAliveCountMax=3".into());
        option("ControlMaster=auto".into());
        option(format!("ControlPath={}", socket.display()));
        option("ControlPersist=20".into());
        if let Some(user) = &host.user {
            list.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = host.ssh_port {
            list.extend(["-p".to_owned(), port.to_string()]);
        }
        list.extend([
            "--".to_owned(),
            host.address().to_owned(),
            command.to_owned(),
        ]);
        list
    }
}

/// A word as a POSIX shell reads it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:=@+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn judge(host: &Host, ended: Ended) -> Result<Ended, Refusal> {
    let words = ended.words.as_str();
    let name = host.address();
    let port = host.ssh_port.map_or_else(String::new, |p| format!(":{p}"));
    let known = if port.is_empty() {
        name.to_owned()
    } else {
        format!("'[{name}]{port}'")
    };
    let said = |text: &str| words.contains(text);
    if ended.code == Some(OF_SSH) {
        return Err(if said("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            Refusal::Lasting(format!(
                "its ssh host key is not the one that is known: it was flashed anew, or something else answers there. \
                 Nothing was told to it. If it was flashed: ssh-keygen -R {known}; ssh {name}, and compare the key with \
                 the one on its screen"
            ))
        } else if said("Host key verification failed") {
            Refusal::Lasting(format!(
                "its ssh host key is not known yet: ssh {name} once, compare the key, and say yes"
            ))
        } else if said("Permission denied") {
            Refusal::Lasting(format!(
                "it does not let you in: ssh-copy-id {name}, or put the line of `hypriot-fleet authorize` into its \
                 authorized_keys ({})",
                last_line(words)
            ))
        } else {
            Refusal::Passing(format!("ssh: {}", last_line(words)))
        });
    }
    if said("a password is required") || said("a terminal is required") {
        return Err(Refusal::Lasting(
            "its sudo asks for a password: allow hypriot-agent without one in /etc/sudoers.d, or use a key of \
             `hypriot-fleet authorize`"
                .into(),
        ));
    }
    if ended.code == Some(NOT_FOUND) {
        return Err(Refusal::Lasting(
            "has no hypriot-agent (or no sudo): it is no HypriotOS of ours".into(),
        ));
    }
    Ok(ended)
}

/// The last words of a program, fit to be shown.
pub fn last_line(words: &str) -> String {
    let line = words.lines().rev().map(str::trim).find(|l| !l.is_empty());
    clean(line.unwrap_or("no words"))
}

/// The line for a board's `authorized_keys` that lets `key` do what a rollout needs, and nothing else.
pub fn authorize(key: &str) -> Result<String> {
    let key = key.trim();
    let mut words = key.split_whitespace();
    let kind = words.next().context("the key file is empty")?;
    let body = words
        .next()
        .context("this is no public key: take the file that ends in .pub")?;
    let kinds = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let good = kinds.iter().any(|k| kind.starts_with(k))
        && body.starts_with("AAAA")
        && body
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
        && key.lines().count() == 1
        && !key.chars().any(char::is_control);
    anyhow::ensure!(
        good,
        "this is no public key: take the file that ends in .pub"
    );
    // restrict: no terminal, no forwarding of anything (sshd(8), AUTHORIZED_KEYS FILE FORMAT)
    Ok(format!("restrict,command=\"hypriot-agent remote\" {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i32, words: &str) -> Refusal {
        let ended = Ended {
            code: Some(code),
            last: String::new(),
            words: words.into(),
        };
        judge(&Host::new("n1", 8080), ended).expect_err(words)
    }

    #[test]
    fn what_ssh_refuses_is_said_with_what_to_do() {
        for (danger, code, words, lasting, expected) in [
            (
                "changed key",
                255,
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                true,
                "ssh-keygen -R n1",
            ),
            (
                "unknown key",
                255,
                "Host key verification failed.",
                true,
                "ssh n1 once",
            ),
            (
                "no way in",
                255,
                "pirate@n1: Permission denied (publickey).",
                true,
                "authorize",
            ),
            ("sudo", 1, "sudo: a password is required", true, "sudoers"),
            (
                "no agent",
                127,
                "sh: 1: hypriot-agent: not found",
                true,
                "no hypriot-agent",
            ),
            (
                "reboots",
                255,
                "ssh: connect to host n1 port 22: No route to host",
                false,
                "No route",
            ),
            (
                "hostile",
                255,
                "x\u{1b}]0;evil\u{7}",
                false,
                "ssh: x ]0;evil ",
            ),
        ] {
            let found = refusal(code, words);
            assert_eq!(matches!(found, Refusal::Lasting(_)), lasting, "{danger}");
            assert!(found.to_string().contains(expected), "{danger}: {found}");
        }
    }

    #[test]
    fn words_reach_the_board_as_they_are() {
        for (word, quoted) in [
            ("install", "install"),
            ("https://h/r/", "https://h/r/"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn only_public_keys_are_authorized() {
        let line = authorize("ssh-ed25519 AAAAC3Nz me@laptop\n").expect("a key");
        assert_eq!(
            line,
            "restrict,command=\"hypriot-agent remote\" ssh-ed25519 AAAAC3Nz me@laptop"
        );
        for wrong in [
            "",
            "ssh-ed25519",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-rsa AAAA\nssh-rsa AAAB",
            "x AAAA",
        ] {
            assert!(authorize(wrong).is_err(), "{wrong:?}");
        }
    }
}
