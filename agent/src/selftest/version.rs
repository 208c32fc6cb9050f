//! Versions as semver.org orders them, in the two readings that goss has: its matcher's (exact, prereleases are just
//! smaller: a Debian revision is one) and Sprig's (`semverCompare`: lenient, with `~` and `^`).

use std::cmp::Ordering;

use semver::Version;

/// All three numbers, as semver.org (2) and goss want it. goss counts the numbers of a prerelease in 64 bits.
pub(super) fn parse(text: &str) -> Option<Version> {
    let version = Version::parse(text).ok()?;
    let digits = |part: &&str| part.bytes().all(|c| c.is_ascii_digit());
    let mut numbers = version.pre.split('.').filter(digits);
    let fit = version.pre.is_empty() || numbers.all(|part| part.parse::<u64>().is_ok());
    fit.then_some(version)
}

/// A version that may lack its last numbers and begin with `v`, as Sprig takes it.
pub(super) fn coerce(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let lacking = 2usize.checked_sub(text[..end].matches('.').count())?;
    parse(&format!(
        "{}{}{}",
        &text[..end],
        ".0".repeat(lacking),
        &text[end..]
    ))
}

/// How a version must stand to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Is,
    Not,
    Over,
    From,
    Under,
    UpTo,
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Is => order.is_eq(),
            Self::Not => order.is_ne(),
            Self::Over => order.is_gt(),
            Self::From => order.is_ge(),
            Self::Under => order.is_lt(),
            Self::UpTo => order.is_le(),
        }
    }
}

/// A range as goss's matcher reads it: alternatives of conditions that must all hold.
#[derive(Debug, Clone)]
pub(super) struct Range {
    text: String,
    any: Vec<Vec<(Relation, Version)>>,
}

impl Range {
    /// `>1.0.0 <2.0.0 !=1.5.0 || 3.x`
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut alternatives = Vec::new();
        for part in text.split("||") {
            let mut all = vec![Vec::new()];
            for condition in conditions(part)? {
                all = one(&condition, &all)?;
            }
            if all.iter().any(Vec::is_empty) {
                return None;
            }
            alternatives.extend(all);
        }
        Some(Self {
            text: text.to_owned(),
            any: alternatives,
        })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has this version in it.
    pub(super) fn has(&self, version: &Version) -> bool {
        let holds =
            |(relation, limit): &(Relation, Version)| relation.holds(version.cmp_precedence(limit));
        self.any.iter().any(|all| all.iter().all(holds))
    }
}

/// `> 1.0.0  <2.0.0` becomes `>1.0.0` and `<2.0.0`.
fn conditions(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut operator = String::new();
    for word in text.split_whitespace() {
        operator += word;
        if operator.ends_with(|c: char| !"<>=!".contains(c)) {
            found.push(std::mem::take(&mut operator));
        }
    }
    operator.is_empty().then_some(found)
}

/// Every alternative so far with this condition; `!1.2.x` makes two of each.
fn one(condition: &str, all: &[Vec<(Relation, Version)>]) -> Option<Vec<Vec<(Relation, Version)>>> {
    let split = condition.find(|c: char| !"<>=!".contains(c))?;
    let (operator, text) = condition.split_at(split);
    let relation = match operator {
        "" | "=" | "==" => Relation::Is,
        "!" | "!=" => Relation::Not,
        ">" => Relation::Over,
        ">=" => Relation::From,
        "<" => Relation::Under,
        "<=" => Relation::UpTo,
        _ => return None,
    };
    let with = |more: &[(Relation, Version)]| {
        all.iter()
            .map(|a| [a.as_slice(), more].concat())
            .collect::<Vec<_>>()
    };
    if let Some(version) = parse(text) {
        return Some(with(&[(relation, version)]));
    }
    let (low, high) = wildcard(text)?;
    Some(match relation {
        Relation::Is => with(&[(Relation::From, low), (Relation::Under, high)]),
        Relation::Not => [
            with(&[(Relation::Under, low)]),
            with(&[(Relation::From, high)]),
        ]
        .concat(),
        Relation::Over => with(&[(Relation::From, high)]),
        Relation::From => with(&[(Relation::From, low)]),
        Relation::Under => with(&[(Relation::Under, low)]),
        Relation::UpTo => with(&[(Relation::Under, high)]),
    })
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| digits && !padded)
}

/// `1.2.x` and `1.x`: from, and up to but not with.
fn wildcard(text: &str) -> Option<(Version, Version)> {
    let mut numbers = Vec::new();
    let mut wild = false;
    for part in text.split('.') {
        match part {
            "x" | "X" | "*" => wild = true,
            _ if wild => return None,
            part => numbers.push(number(part)?),
        }
    }
    match (wild, numbers.as_slice()) {
        (true, [major]) => Some((
            Version::new(*major, 0, 0),
            Version::new(major.checked_add(1)?, 0, 0),
        )),
        (true, [major, minor]) => Some((
            Version::new(*major, *minor, 0),
            Version::new(*major, minor.checked_add(1)?, 0),
        )),
        _ => None,
    }
}

/// Sprig's `semverCompare`.
pub(super) fn masterminds(range: &str, version: &str) -> Result<bool, String> {
    let version = coerce(version).ok_or("Invalid Semantic Version")?;
    for part in range.split("||") {
        let bad = || format!("improper constraint: {range}");
        let all = hyphens(part).replace(',', " ");
        let mut holds = true;
        let mut operator = String::new();
        let mut any = false;
        for word in all.split_whitespace() {
            operator += word;
            if operator.ends_with(|c: char| "<>=!~^".contains(c)) {
                continue;
            }
            any = true;
            holds &= lenient(&std::mem::take(&mut operator), &version).ok_or_else(bad)?;
        }
        if !any || !operator.is_empty() {
            return Err(bad());
        }
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `1.2 - 1.4` is `>=1.2 <=1.4`.
fn hyphens(text: &str) -> String {
    match text.split_once(" - ") {
        Some((from, to)) => format!(">={} <={}", from.trim(), to.trim()),
        None => text.to_owned(),
    }
}

fn lenient(condition: &str, version: &Version) -> Option<bool> {
    let split = condition.find(|c: char| !"<>=!~^".contains(c))?;
    let (operator, text) = condition.split_at(split);
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let given: Vec<&str> = text[..end]
        .split('.')
        .take_while(|p| !matches!(*p, "x" | "X" | "*"))
        .collect();
    let given_len = given.len().min(3);
    let low = if given.is_empty() {
        Version::new(0, 0, 0)
    } else {
        coerce(&format!("{}{}", given.join("."), &text[end..]))?
    };
    // A prerelease is only meant by who names one (Masterminds/semver, "Working With Prerelease Versions").
    if !version.pre.is_empty() && low.pre.is_empty() {
        return Some(false);
    }
    // The first version that does not begin with so many of the numbers, if there is one.
    let above = |parts: usize| {
        let (major, minor, patch) = (low.major, low.minor, low.patch);
        Some(match parts {
            0 => return None,
            1 => Version::new(major.checked_add(1)?, 0, 0),
            2 => Version::new(major, minor.checked_add(1)?, 0),
            _ => Version::new(major, minor, patch.checked_add(1)?),
        })
    };
    let order = version.cmp_precedence(&low);
    let under = |parts| above(parts).is_none_or(|limit| version.cmp_precedence(&limit).is_lt());
    Some(match operator {
        "" | "=" if given_len == 3 => order.is_eq(),
        "" | "=" => order.is_ge() && under(given_len),
        "!=" if given_len == 3 => order.is_ne(),
        "!=" => !(order.is_ge() && under(given_len)),
        ">" if given_len == 3 => order.is_gt(),
        ">" => !under(given_len),
        ">=" | "=>" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" | "=<" if given_len == 3 => order.is_le(),
        "<=" | "=<" => under(given_len),
        "~" | "~>" => order.is_ge() && under(given_len.min(2)),
        "^" => {
            let fixed = match (low.major, low.minor, given_len) {
                (1.., _, _) | (0, _, 1) => 1,
                (0, 1.., _) | (0, 0, 2) => 2,
                (0, 0, 0) => 0,
                _ => 3,
            };
            order.is_ge() && under(fixed)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_goss_read_debian_versions() {
        for (version, range, holds) in [
            ("1.0.1", ">1.0.0 <2.0.0 !=1.5.0", true),
            ("1.5.0", ">1.0.0 <2.0.0 !=1.5.0", false),
            ("1.0.1", ">5.0.0 || < 1.5.0", true),
            ("7.88.1-10", ">=7.0.0", true),
            ("7.88.1-10+deb12u15", ">=7.88.0 <8.0.0", true),
            ("7.88.1-10", ">=7.88.1", false),
            ("2.0.0-rc1", "<2.0.0", true),
            ("1.2.3", "1.2.x", true),
            ("1.3.0", "1.2.x", false),
            ("1.9.3", "1.x", true),
            ("1.9.3", ">=1.x", true),
            ("1.9.3", ">1.x", false),
            ("1.9.3", "<=1.x", true),
            ("1.2.3", "!1.2.x", false),
            ("1.3.0", "!1.2.x", true),
            ("1.2.3", "==1.2.3", true),
            ("1.2.3", "!1.2.4", true),
        ] {
            let found = Range::parse(range)
                .expect(range)
                .has(&parse(version).expect(version));
            assert_eq!(found, holds, "{version} in {range}");
        }
        for bad in ["", "newer", ">", ">=1.0", "~1.2.3", "1.0.0 ||", "01.2.3"] {
            assert!(Range::parse(bad).is_none(), "{bad:?}");
        }
        for bad in [
            "1.2", "v1.2.3", "1.2.3.4", "1.02.3", "1:1.2.3", "1.2.3-", "1.2.3-01", "",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_of_sprig() {
        for (range, version, holds) in [
            ("^1.2.0", "1.9.9", true),
            ("^1.2.0", "2.0.0", false),
            ("^0.2.3", "0.2.9", true),
            ("^0.2.3", "0.3.0", false),
            ("~1.2", "1.2.9", true),
            ("~1.2", "1.3.0", false),
            (">= 20.10", "24.0.7", true),
            (">=1.2.3, <2", "1.9", true),
            ("1.2 - 1.4", "1.3.3", true),
            ("1.x || >=3", "3.1", true),
            (">1.0", "2.0.0-rc1", false),
            ("*", "5.1", true),
            ("!=1.2.x", "1.2.4", false),
        ] {
            assert_eq!(
                masterminds(range, version),
                Ok(holds),
                "{version} in {range}"
            );
        }
        // What has no version above it has no limit above it; an overflow would stop the agent.
        let last = u64::MAX;
        for range in [
            format!("^{last}.0.0"),
            format!("~0.{last}"),
            format!("0.0.{last} || {last}"),
        ] {
            let version = range
                .trim_start_matches(['^', '~'])
                .split(' ')
                .next()
                .expect("one");
            assert_eq!(masterminds(&range, version), Ok(true), "{range}");
        }
        assert!(masterminds("newer", "1.0").is_err() && masterminds(">1", "newest").is_err());
    }
}
