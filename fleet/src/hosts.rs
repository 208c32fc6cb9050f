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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Name or address, without brackets.
    pub name: String,
    /// Port.
    pub port: u16,
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

/// Reads hosts separated by commas, blanks or lines; `#` begins a comment. A host that is named twice is asked once.
pub fn parse(text: &str) -> Result<Vec<Host>> {
    let mut seen = BTreeSet::new();
    let mut hosts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line
            .split([',', ' ', '\t', '\r'])
            .filter(|word| !word.is_empty())
        {
            let host = host(word).with_context(|| format!("line {}: {word:?}", index + 1))?;
            if seen.insert(host.clone()) {
                hosts.push(host);
            }
            ensure!(hosts.len() <= MOST, "more than {MOST} hosts");
        }
    }
    Ok(hosts)
}

fn host(word: &str) -> Result<Host> {
    let word = word
        .strip_prefix("http://")
        .unwrap_or(word)
        .trim_end_matches('/');
    let (name, port) = if let Some(rest) = word.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').context("the bracket is not closed")?;
        name.parse::<Ipv6Addr>()
            .context("what stands in brackets is an IPv6 address")?;
        match rest.strip_prefix(':') {
            None if !rest.is_empty() => bail!("only a port may follow the bracket"),
            port => (name, port),
        }
    } else if word.parse::<Ipv6Addr>().is_ok() {
        (word, None)
    } else {
        match word.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (word, None),
        }
    };
    let port = match port {
        None => PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .with_context(|| format!("{port:?} is no port"))?,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) || name.starts_with('-') {
        bail!("not a host name or address");
    }
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_files_are_read() {
        let hosts =
            parse("a,b:81 10.0.0.1\n# nobody\n [fe80::1]:82, ::1 # me\na\nhttp://c.local:8080/\n")
                .expect("good");
        let shown: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["a", "b:81", "10.0.0.1", "[fe80::1]:82", "[::1]", "c.local"]
        );
        assert!(parse("").expect("empty").is_empty());
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        for bad in [
            "a:0", "a:x", "a:70000", "[::1", "[a]", "a/b", "-rf", "a@b", "ä", ":80", "[::1]x:1",
        ] {
            let result = parse(&format!("ok\n{bad}\n"));
            let error = format!("{:#}", result.expect_err(bad));
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
