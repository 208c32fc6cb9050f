//! A package's own changelog: where it lies in the package, and what it says since a version. Format: deb-changelog(5).
//!
//! The text is somebody else's: it is bounded, and what is shown of it has no control characters.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::Result;
use flate2::read::MultiGzDecoder;

use crate::lock::repo::version::Version;

/// Only the beginning is read: the newest entries stand first, and linux's has megabytes of old ones.
const TEXT_MAX: u64 = 4 << 20;
/// So much of a line is shown.
const LINE_MAX: usize = 160;
/// Entries that are looked at.
const ENTRIES_MAX: usize = 500;

/// What a changelog says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Why {
    /// The highest urgency of the new entries.
    pub urgency: Option<String>,
    /// The first point that names a vulnerability, or else the first that says something.
    pub first: Option<String>,
    /// Vulnerabilities named in the new entries, sorted.
    pub cves: Vec<String>,
}

/// The changelog of a package, out of its tar of files: that of Debian, or for native packages the only one (policy 12.7).
pub fn of(package: &str, files: impl Read) -> Result<Option<String>> {
    let folder = format!("usr/share/doc/{package}/");
    let mut native = None;
    for entry in tar::Archive::new(files).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&path);
        let Some(name) = path.trim_start_matches("./").strip_prefix(&folder) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        match name {
            "changelog.Debian.gz" => return Ok(Some(text(&mut entry)?)),
            "changelog.gz" => native = Some(text(&mut entry)?),
            _ => {}
        }
    }
    // An upstream changelog has the same name and no entries of this form.
    Ok(native.filter(|t| t.lines().next().is_some_and(|l| header(l).is_some())))
}

fn text(packed: &mut impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(TEXT_MAX)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What stands above the entry of `version`, or of an older one.
pub fn since(text: &str, version: &str) -> Why {
    // A rebuild of the same source (`+b1`) has no entry of its own.
    let version = match version.rsplit_once("+b") {
        Some((source, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => source,
        _ => version,
    };
    let known = Version::new(version);
    let (mut why, mut cves) = (Why::default(), BTreeSet::new());
    let (mut urgency, mut entries, mut first_names) = (0, 0, false);
    for line in text.lines() {
        if let Some((is, how)) = header(line) {
            entries += 1;
            if Version::new(is) <= known || entries > ENTRIES_MAX {
                break;
            }
            let rank = rank(how);
            if rank > urgency || why.urgency.is_none() {
                urgency = rank;
                why.urgency = Some(how.to_owned());
            }
            continue;
        }
        if entries == 0 {
            continue;
        }
        cves.extend(named(line));
        let point = line.trim_start().strip_prefix("* ");
        if let Some(point) = point.filter(|p| !p.starts_with("Non-maintainer upload")) {
            let names = named(point).next().is_some();
            // What closes a vulnerability says more than what stands first.
            if why.first.is_none() || (names && !first_names) {
                why.first = Some(plain(point));
                first_names = names;
            }
        }
    }
    why.cves = cves.into_iter().collect();
    why
}

/// `openssl (3.5.1-1+deb13u2) trixie-security; urgency=medium`
fn header(line: &str) -> Option<(&str, &str)> {
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let (_, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    let (_, urgency) = rest.split_once("urgency=")?;
    let word = urgency.split([',', ' ']).next()?;
    let ok = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic());
    ok.then_some((version, word))
}

/// Policy 5.6.17.
fn rank(urgency: &str) -> u8 {
    match urgency.to_ascii_lowercase().as_str() {
        "low" => 1,
        "medium" => 2,
        "high" => 3,
        "emergency" | "critical" => 4,
        _ => 0,
    }
}

/// The names of vulnerabilities in a line: `CVE-`, a year, a number of four digits and more (the rules of the list itself).
fn named(line: &str) -> impl Iterator<Item = String> + '_ {
    line.match_indices("CVE-").filter_map(|(at, _)| {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &line[at + 4..];
        let year = digits(rest);
        let number = rest.get(year..)?.strip_prefix('-').map(digits)?;
        (year == 4 && (4..=8).contains(&number))
            .then(|| line[at..at + 4 + year + 1 + number].to_owned())
    })
}

fn plain(text: &str) -> String {
    let clean = text.trim().chars().filter(|c| !c.is_control());
    let mut all: String = clean.take(LINE_MAX + 1).collect();
    if all.chars().count() > LINE_MAX {
        all = all.chars().take(LINE_MAX - 1).chain(['…']).collect();
    }
    all
}
