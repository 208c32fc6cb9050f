//! Which boards: a list, a file, or both; each a name or address, with a port if it is not the usual one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, bail, ensure};

/// Where a board answers unless told otherwise.
pub const PORT: u16 = 8080;
/// Boards of one call: an upper bound against a wrong file.
pub const MOST: usize = 10_000;

/// One board, as its owner calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Name or address, without brackets.
    pub name: String,
    /// Port of `/health`.
    pub port: u16,
    /// Where it is, when that is not its name.
    pub address: Option<String>,
    /// The user at its ssh, when the client's own settings do not say.
    pub user: Option<String>,
    /// The port of its ssh, when the client's own settings do not say.
    pub ssh_port: Option<u16>,
    /// Shelf, switch or power supply that it shares with others.
    pub spread: Option<String>,
    /// It manages a Swarm (or is a server of k3s).
    pub manager: bool,
}

impl Host {
    /// The board at `name`, answering on `port`.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port,
            ..Self::default()
        }
    }

    /// Where to reach it.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.name)
    }

    /// It, as a line that [`parse`] reads.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let port = self.ssh_port.map(|p| p.to_string());
        for (key, value) in [
            ("address", self.address.as_deref()),
            ("user", self.user.as_deref()),
            ("ssh_port", port.as_deref()),
            ("spread", self.spread.as_deref()),
            ("manager", self.manager.then_some("yes")),
        ] {
            if let Some(value) = value {
                line.extend([" ", key, "=", value]);
            }
        }
        line
    }

    /// Sets what is said of it as `key=value`.
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "spread" => self.spread = Some(value.to_owned()),
            "manager" => {
                self.manager = match value {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    _ => bail!("manager is yes or no"),
                }
            }
            "user" => self.user = Some(name_of_user(value)?),
            "ssh_port" => self.ssh_port = Some(port(value)?),
            "address" => self.address = Some(host(value)?.name),
            _ => bail!("{key:?} is none of spread, manager, user, ssh_port, address"),
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (name.contains(':'), self.port) {
            (false, PORT) => f.write_str(name),
            (true, PORT) => write!(f, "[{name}]"),
            (false, port) => write!(f, "{name}:{port}"),
            (true, port) => write!(f, "[{name}]:{port}"),
        }
    }
}

/// Reads hosts separated by commas, blanks or lines; `#` begins a comment; `key=value` behind a host says more about it.
/// A host that is named twice is asked once. A byte order mark, as editors of Windows leave it, is passed over.
pub fn parse(text: &str) -> Result<Vec<Host>> {
    let mut seen = BTreeSet::new();
    let mut hosts: Vec<Host> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut last = None;
        for word in line
            .split([',', ' ', '\t', '\r'])
            .filter(|word| !word.is_empty())
        {
            let at = || format!("line {}: {word:?}", index + 1);
            if let Some((key, value)) = word.split_once('=') {
                let last: Option<&mut Host> = last.and_then(|n: usize| hosts.get_mut(n));
                let host = last
                    .context("a host must stand before it")
                    .with_context(at)?;
                host.set(key, value).with_context(at)?;
                continue;
            }
            let host = host(word).with_context(at)?;
            if seen.insert(host.to_string()) {
                hosts.push(host);
                last = Some(hosts.len() - 1);
            } else {
                last = hosts.iter().position(|h| h.to_string() == host.to_string());
            }
            ensure!(hosts.len() <= MOST, "more than {MOST} hosts");
        }
    }
    Ok(hosts)
}

fn port(text: &str) -> Result<u16> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .with_context(|| format!("{text:?} is no port"))
}

/// It becomes an argument of ssh.
fn name_of_user(text: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    ensure!(
        !text.is_empty() && !text.starts_with('-') && text.chars().all(good),
        "{text:?} is no name of a user"
    );
    Ok(text.to_owned())
}

fn host(word: &str) -> Result<Host> {
    let lower = word.to_ascii_lowercase();
    ensure!(
        !lower.starts_with("https://"),
        "boards answer over http, not https"
    );
    ensure!(
        !word.starts_with('[') || word.contains(':'),
        "this looks like an Ansible inventory; read it with --inventory FILE"
    );
    let word = if lower.starts_with("http://") {
        let rest = &word["http://".len()..];
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        ensure!(
            path.is_empty() || path.trim_end_matches('/') == "health",
            "the path {path:?} is not asked for; leave it away"
        );
        host
    } else {
        if let Some((network, bits)) = word.split_once('/')
            && bits.parse::<u8>().is_ok()
        {
            bail!("{network} with /{bits} is a network, not a board: name the boards");
        }
        word.trim_end_matches('/')
    };
    let (user, word) = match word.rsplit_once('@') {
        Some((user, rest)) => (Some(name_of_user(user)?), rest),
        None => (None, word),
    };
    let (name, of_port) = split(word)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) || name.starts_with('-') {
        bail!("not a host name or address");
    }
    Ok(Host {
        user,
        ..Host::new(name, of_port.map_or(Ok(PORT), port)?)
    })
}

/// Name and port.
fn split(word: &str) -> Result<(&str, Option<&str>)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').context("the bracket is not closed")?;
        name.parse::<Ipv6Addr>()
            .context("what stands in brackets is an IPv6 address")?;
        return match rest.strip_prefix(':') {
            None if !rest.is_empty() => bail!("only a port may follow the bracket"),
            port => Ok((name, port)),
        };
    }
    if word.parse::<Ipv6Addr>().is_ok() {
        return Ok((word, None));
    }
    Ok(match word.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (word, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_files_are_read() {
        let hosts = parse(
            "\u{feff}a,b:81 10.0.0.1\r\n# nobody\n [fe80::1]:82, ::1 # me\na\nHTTP://c.local:8080/\nhttp://d/health\n",
        )
        .expect("good");
        let shown: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "a",
                "b:81",
                "10.0.0.1",
                "[fe80::1]:82",
                "[::1]",
                "c.local",
                "d"
            ]
        );
        assert!(parse("").expect("empty").is_empty());
    }

    #[test]
    fn more_may_be_said_of_a_board() {
        let hosts = parse(
            "pirate@n1 spread=shelf-a manager=yes\nn2:81 user=root ssh_port=2222 address=10.0.0.2",
        )
        .expect("good");
        assert_eq!(
            (
                hosts[0].user.as_deref(),
                hosts[0].spread.as_deref(),
                hosts[0].manager
            ),
            (Some("pirate"), Some("shelf-a"), true)
        );
        assert_eq!(
            (
                hosts[1].address(),
                hosts[1].ssh_port,
                hosts[1].user.as_deref()
            ),
            ("10.0.0.2", Some(2222), Some("root"))
        );
        for host in &hosts {
            assert_eq!(
                parse(&host.line()).expect("its own line"),
                std::slice::from_ref(host)
            );
        }
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        for bad in [
            "a:0",
            "a:x",
            "a:70000",
            "[::1",
            "[a]",
            "a/b",
            "-rf",
            "ä",
            ":80",
            "[::1]x:1",
            "https://a",
            "10.0.0.0/24",
            "-oProxyCommand=x@a",
            "a$b@c",
            "[boards]",
            "spread=x",
            "a spred=x",
            "a manager=2",
        ] {
            let result = parse(&format!("ok\n{bad}\n"));
            let error = format!("{:#}", result.expect_err(bad));
            assert!(error.starts_with("line 2: "), "{error}");
        }
        let error = format!("{:#}", parse("[boards]\nn1\n").expect_err("inventory"));
        assert!(error.contains("--inventory"), "{error}");
    }
}
