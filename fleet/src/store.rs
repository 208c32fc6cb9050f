//! Where the lock service keeps its log: numbered entries, of which the next is written by whoever is first.
//!
//! An entry is only ever written behind the one that its writer knows: two servers that decide at the same time from the same
//! past cannot both be right, and the second learns that it is not. That is all that several servers need to never let more
//! boards go than allowed; who leads, and who is alive, does not matter.
//!
//! * [`embedded`]: a file, for one server
//! * [`etcd`]: etcd's own API, for several

pub mod embedded;
pub mod etcd;
#[cfg(test)]
pub(crate) mod memory;

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::Result;

pub use embedded::Embedded;
pub use etcd::Etcd;

/// Entries behind a summary that are kept: who reads the log while it is summed up must not lose his place.
const KEEP: u64 = 2_000;

/// One entry: its number, counted from 1, and its bytes.
pub type Entry = (u64, Vec<u8>);

/// All that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The sum of all entries up to a number.
    pub summary: Option<Entry>,
    /// The entries after it.
    pub entries: Vec<Entry>,
}

/// The port.
pub trait Store: Send + 'static {
    /// Others may write to it.
    const SHARED: bool;

    /// All that is kept; nothing, when there was never anything.
    fn load(&mut self) -> impl Future<Output = Result<Kept>> + Send;

    /// The entries after one. It is what was written by all who had an answer before this was called.
    fn read(&mut self, after: u64) -> impl Future<Output = Result<Vec<Entry>>> + Send;

    /// Writes the entry behind `after`. False: somebody else has. With an error it may be written or not.
    fn append(&mut self, after: u64, entry: Vec<u8>) -> impl Future<Output = Result<bool>> + Send;

    /// Keeps the sum of the entries up to `at`, and lets old ones go.
    fn sum_up(&mut self, at: u64, summary: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

/// What `--store` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// Members of an etcd, as URLs.
    Etcd(Vec<String>),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        for (scheme, web) in [("etcd://", "http"), ("etcds://", "https")] {
            let Some(list) = text.strip_prefix(scheme) else {
                continue;
            };
            let member = |m: &str| {
                let colon = m.rfind(':').filter(|at| !m[*at..].contains(']'));
                let port = if colon.is_some() { "" } else { ":2379" };
                format!("{web}://{m}{port}")
            };
            let members: Vec<String> = list
                .split(',')
                .map(|m| m.trim().trim_end_matches('/'))
                .filter(|m| !m.is_empty())
                .map(member)
                .collect();
            if members.is_empty() {
                return Err(format!("{text:?} names no member; write etcd://a,b,c"));
            }
            return Ok(Self::Etcd(members));
        }
        if text.contains("://") {
            return Err(format!("{text:?}: a file, etcd://a,b,c or etcds://a,b,c"));
        }
        Ok(Self::File(Path::new(text).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let etcd = |members: &[&str]| {
            Ok(Place::Etcd(
                members.iter().map(|m| (*m).to_owned()).collect(),
            ))
        };
        for (text, expected) in [
            (
                "/var/lib/x/fleet.redb",
                Ok(Place::File("/var/lib/x/fleet.redb".into())),
            ),
            (
                "etcd://a,b:1,[::1]",
                etcd(&["http://a:2379", "http://b:1", "http://[::1]:2379"]),
            ),
            ("etcds://[::1]:5", etcd(&["https://[::1]:5"])),
        ] {
            assert_eq!(text.parse::<Place>(), expected, "{text}");
        }
        for text in ["etcd://", "http://a", "etcd://,"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
