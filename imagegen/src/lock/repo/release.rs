//! Owns the signed table of contents of a suite: `InRelease`. A [`Release`] exists only after its signature was checked.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use debian_packaging::control::ControlParagraphReader;

use super::RepoError;
use super::keyring::Keyring;
use crate::sha256::Sha256;

/// How far a release may be dated ahead of this machine's clock.
const CLOCK_SLACK_S: i64 = 24 * 3600;

/// A verified table of contents. Its fields are private: [`verify`] is the only way to one.
#[derive(Debug, Clone)]
pub struct Release {
    url: String,
    date: i64,
    date_text: String,
    by_hash: bool,
    files: BTreeMap<String, (Sha256, u64)>,
}

/// Checks the signature, then the dates and the suite, then reads the table. A frozen copy of an archive may be past its end.
pub fn verify(
    url: &str,
    suite: &str,
    in_release: &str,
    keyring: &Keyring,
    now: SystemTime,
    frozen: bool,
) -> Result<Release, RepoError> {
    let text = keyring.verify(url, in_release, now)?;
    parse(url, suite, &text, now, frozen)
}

fn parse(
    url: &str,
    suite: &str,
    text: &str,
    now: SystemTime,
    frozen: bool,
) -> Result<Release, RepoError> {
    let malformed = |reason: &str| RepoError::Malformed {
        what: url.to_owned(),
        reason: reason.to_owned(),
    };
    let paragraph = ControlParagraphReader::new(text.as_bytes())
        .next()
        .ok_or_else(|| malformed("it is empty"))?
        .map_err(|e| malformed(&e.to_string()))?;
    let field = |name: &str| paragraph.field_str(name).map(str::trim);

    let names = [field("Codename"), field("Suite")];
    // A folder of a flat archive is no suite: its key alone says whose it is.
    if !suite.ends_with('/') && !names.iter().flatten().any(|n| *n == suite) {
        let got = names
            .iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
            .join(" / ");
        return Err(RepoError::OtherSuite {
            url: url.to_owned(),
            got,
            wanted: suite.to_owned(),
        });
    }
    let when = |name: &str| -> Result<Option<(i64, String)>, RepoError> {
        let Some(text) = field(name) else {
            return Ok(None);
        };
        let at = paragraph
            .field_datetime_rfc5322(name)
            .and_then(Result::ok)
            // The reader takes words that are no date for the beginning of 1970.
            .filter(|at| at.timestamp() > 0)
            .ok_or_else(|| malformed(&format!("{name} `{text}` is no date")))?;
        Ok(Some((at.timestamp(), text.to_owned())))
    };
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
        .cast_signed();
    let (date, date_text) = when("Date")?.ok_or_else(|| malformed("it has no Date"))?;
    if date > now + CLOCK_SLACK_S {
        return Err(RepoError::NotYet {
            url: url.to_owned(),
            date: date_text,
        });
    }
    if let Some((until, text)) = when("Valid-Until")?
        && until < now
        && !frozen
    {
        return Err(RepoError::Expired {
            url: url.to_owned(),
            until: text,
        });
    }
    let mut files = BTreeMap::new();
    for line in field("SHA256")
        .ok_or_else(|| malformed("it has no SHA256 list"))?
        .lines()
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [hash, size, path] => {
                let hash = Sha256::parse(hash).map_err(|e| malformed(&e.to_string()))?;
                let size = size
                    .parse()
                    .map_err(|_e| malformed("a size in its SHA256 list is no number"))?;
                files.insert(path.to_owned(), (hash, size));
            }
            _ => return Err(malformed("its SHA256 list is not `hash size path`")),
        }
    }
    let by_hash = field("Acquire-By-Hash").is_some_and(|v| v.eq_ignore_ascii_case("yes"));
    Ok(Release {
        url: url.to_owned(),
        date,
        date_text,
        by_hash,
        files,
    })
}

/// An index file a release vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Path below `dists/<suite>/` to fetch it from.
    pub path: String,
    /// The path it has on every mirror, where the next version of it will replace it.
    pub plain: String,
    /// SHA-256 it must have.
    pub sha256: Sha256,
    /// Length it must have.
    pub size: u64,
}

impl Release {
    /// Its date, seconds since 1970.
    pub fn date(&self) -> i64 {
        self.date
    }

    /// Its date as it stands in the file.
    pub fn date_text(&self) -> &str {
        &self.date_text
    }

    /// Refuses to go back behind a date seen before.
    pub fn not_older_than(&self, seen: Option<(i64, &str)>) -> Result<(), RepoError> {
        match seen {
            Some((at, text)) if self.date < at => Err(RepoError::Rollback {
                url: self.url.clone(),
                date: self.date_text.clone(),
                seen: text.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The list of packages of one component and architecture. `None`: this suite does not know the architecture
    /// in that component.
    pub fn packages(&self, component: &str, arch: &str) -> Result<IndexFile, RepoError> {
        let dir = match component {
            "" => String::new(),
            _ => format!("{component}/binary-{arch}/"),
        };
        // Debian has .xz; whoever makes an archive by hand often has less.
        let found = [".xz", ".gz", ""].iter().find_map(|kind| {
            let forms = [
                format!("{dir}Packages{kind}"),
                format!("./{dir}Packages{kind}"),
            ];
            forms
                .into_iter()
                .find_map(|path| Some((self.files.get(&path)?, path)))
        });
        let Some(((sha256, size), path)) = found else {
            return Err(RepoError::NoIndex {
                url: self.url.clone(),
                arch: arch.to_owned(),
                component: component.to_owned(),
            });
        };
        let plain = path;
        let by_hash = || format!("{dir}by-hash/SHA256/{sha256}");
        let path = if self.by_hash {
            by_hash()
        } else {
            plain.clone()
        };
        Ok(IndexFile {
            path,
            plain,
            sha256: *sha256,
            size: *size,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
