//! What the owner wants, by name: the one thing that outlasts every release. Versioned and read forward.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::files;

/// The format that this agent writes.
const FORMAT: u32 = 1;
/// A longer list is none.
const LIMIT: u64 = 256 * 1024;
/// More names are a mistake: they would not fit on a command line of apt's.
const MOST: usize = 500;
const LONGEST: usize = 128;

/// A package as the owner names it: `nginx`, `nginx=1.26.3-3`, `libc6-dbg:armhf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no package's name: lower case letters, digits, + . and -, as in nginx or nginx=1.26.3-3"
)]
pub struct NoName(String);

impl Name {
    /// Without version.
    pub fn package(&self) -> &str {
        self.0.split('=').next().unwrap_or_default()
    }

    /// As apt-get takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NoName;

    /// Debian Policy 5.6.1 and 5.6.12. A name that ends in a hyphen would tell apt-get to remove, one that begins with it is an option.
    fn from_str(text: &str) -> Result<Self, NoName> {
        let (package, version) = match text.split_once('=') {
            Some((package, version)) => (package, Some(version)),
            None => (text, None),
        };
        let (name, arch) = match package.split_once(':') {
            Some((name, arch)) => (name, Some(arch)),
            None => (package, None),
        };
        let begins = |t: &str| {
            t.bytes()
                .next()
                .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let all = |t: &str, more: &[u8]| {
            t.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
        };
        let good = text.len() <= LONGEST
            && name.len() > 1
            && begins(name)
            && all(name, b"+.-")
            && !name.ends_with('-')
            && arch.is_none_or(|a| begins(a) && all(a, b"-"))
            && version.is_none_or(|v| {
                v.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                    && v.bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b".+~:-".contains(&b))
            });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NoName;

    fn try_from(text: String) -> Result<Self, NoName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    format: u32,
    packages: Vec<Name>,
    /// What a newer agent of the same format wrote besides: kept.
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            format: FORMAT,
            packages: Vec::new(),
            more: BTreeMap::new(),
        }
    }
}

impl Wanted {
    /// The names, sorted.
    pub fn names(&self) -> &[Name] {
        &self.packages
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Adds names; of the same package in two versions the new one counts.
    pub fn add(&mut self, names: &[Name]) {
        for name in names {
            self.packages.retain(|n| n.package() != name.package());
            self.packages.push(name.clone());
        }
        self.packages.sort();
    }

    /// Removes them, and gives those that were not there.
    pub fn remove(&mut self, names: &[Name]) -> Vec<Name> {
        let (there, not): (Vec<_>, Vec<_>) = names
            .iter()
            .cloned()
            .partition(|name| self.packages.iter().any(|n| n.package() == name.package()));
        self.packages
            .retain(|n| !there.iter().any(|t| t.package() == n.package()));
        not
    }
}

/// Reads a list.
pub fn parse(text: &str) -> anyhow::Result<Wanted> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_str(text).context("it is no list of packages")?;
    ensure!(
        head.format == FORMAT,
        "its format is {}, and this agent reads {FORMAT}: a newer agent wrote it, and it is left alone",
        head.format
    );
    let mut wanted: Wanted = serde_json::from_str(text).context("it is no list of packages")?;
    ensure!(
        wanted.packages.len() <= MOST,
        "it names more than {MOST} packages"
    );
    wanted.packages.sort();
    wanted.packages.dedup_by(|a, b| a.package() == b.package());
    Ok(wanted)
}

/// The list as it lies there; where there is none, nothing is wanted.
pub fn load(store: &Store) -> anyhow::Result<Wanted> {
    let path = store.wanted();
    let text = match files::read_text(&path, LIMIT) {
        Ok(text) => text,
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Ok(Wanted::default()),
        Err(e) => return Err(e.into()),
    };
    parse(&text).with_context(|| format!("reading {}", path.display()))
}

/// Writes it down. Durable on return. A list with nothing in it is none: its board has nothing to do at its next start.
pub fn save(store: &Store, wanted: &Wanted) -> anyhow::Result<()> {
    if *wanted == Wanted::default() {
        return Ok(files::remove(&store.wanted())?);
    }
    ensure!(wanted.packages.len() <= MOST, "more than {MOST} packages");
    let mut text = serde_json::to_vec_pretty(wanted)?;
    text.push(b'\n');
    Ok(files::replace(&store.wanted(), &text, 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_take_for_something_else_is_no_name() {
        for good in [
            "nginx",
            "g++",
            "libstdc++6",
            "0ad",
            "nginx=1:1.26.3-3~deb13u1",
            "libc6-dbg:armhf",
            "a2ps=4",
        ] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "x",
            "-y",
            "--purge",
            "nginx-",
            "Nginx",
            "nginx ",
            "ng inx",
            "./nginx.deb",
            "/tmp/x.deb",
            "nginx=",
            "nginx=-1",
            "nginx/stable",
            "task^",
            "nginx;reboot",
            "nginx:",
            "nginx:-x",
            &"n".repeat(129),
            "*",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_read_forward_and_one_of_another_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert!(load(&store).unwrap().is_empty());
        let newer = r#"{"format": 1, "packages": ["htop", "nginx=1"], "since": {"htop": "2027"}}"#;
        files::replace(&store.wanted(), newer.as_bytes(), 0o600).unwrap();
        let mut wanted = load(&store).unwrap();
        wanted.add(&["nginx=2".parse().unwrap(), "vim".parse().unwrap()]);
        let not = wanted.remove(&["htop".parse().unwrap(), "gone".parse().unwrap()]);
        assert_eq!(not, ["gone".parse().unwrap()]);
        save(&store, &wanted).unwrap();
        let text = std::fs::read_to_string(store.wanted()).unwrap();
        assert!(
            text.contains("2027"),
            "what a newer agent wrote is kept: {text}"
        );
        let names: Vec<String> = load(&store)
            .unwrap()
            .names()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["nginx=2", "vim"]);

        for (danger, text, says) in [
            (
                "of a later agent",
                r#"{"format": 2, "packages": {"x": 1}}"#,
                "newer agent",
            ),
            ("cut short", r#"{"format": 1, "packages": ["#, "no list"),
            ("empty", "", "no list"),
            (
                "an option as a name",
                r#"{"format": 1, "packages": ["--purge"]}"#,
                "no list",
            ),
            ("zeros of a power cut", "\0\0\0\0", "no list"),
        ] {
            files::replace(&store.wanted(), text.as_bytes(), 0o600).unwrap();
            let why = format!("{:#}", load(&store).unwrap_err());
            assert!(why.contains(says), "{danger}: {why}");
        }
        files::replace(&store.wanted(), &vec![b' '; 300 * 1024], 0o600).unwrap();
        assert!(load(&store).is_err(), "larger than a list can be");
    }
}
