//! Owns the order of Debian version numbers. (debian-packaging 0.18 sorts `3.13~` after `3.13.5` and panics on long numbers.)

use std::cmp::Ordering;
use std::fmt;

/// A version number: `[epoch:]upstream[-revision]`.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Takes a version as it stands in a field.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Debian policy 5.6.12: epoch up to the first colon, revision from the last hyphen.
    fn parts(&self) -> (&str, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("0", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        number(a.0.as_bytes(), b.0.as_bytes())
            .then_with(|| compare(a.1, b.1))
            .then_with(|| compare(a.2, b.2))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// deb-version(7): alternately a part without digits and a part of digits.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (letters_a, rest_a) = a.split_at(a.iter().take_while(|c| !c.is_ascii_digit()).count());
        let (letters_b, rest_b) = b.split_at(b.iter().take_while(|c| !c.is_ascii_digit()).count());
        for i in 0..letters_a.len().max(letters_b.len()) {
            let order = weight(letters_a.get(i)).cmp(&weight(letters_b.get(i)));
            if order.is_ne() {
                return order;
            }
        }
        let (digits_a, rest_a) =
            rest_a.split_at(rest_a.iter().take_while(|c| c.is_ascii_digit()).count());
        let (digits_b, rest_b) =
            rest_b.split_at(rest_b.iter().take_while(|c| c.is_ascii_digit()).count());
        let order = number(digits_a, digits_b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// A tilde sorts before the end of a part, letters before everything else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// Numbers of any length.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |n: &[u8]| {
        n.iter()
            .position(|c| *c != b'0')
            .map_or(Vec::new(), |at| n[at..].to_vec())
    };
    let (a, b) = (strip(a), strip(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        for (a, b) in [
            ("3.13~", "3.13.5-1"),
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0", "1.0-1"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0-1", "1.0-1+deb13u1"),
            ("1.9", "1.10"),
            ("9", "1:1"),
            ("1.0a", "1.0+"),
            ("0.0", "99999999999999999999999999999999"),
            ("2.41-9~", "2.41-9"),
            ("1-2-3", "1-3-1"),
        ] {
            assert!(Version::new(a) < Version::new(b), "{a} < {b}");
            assert!(Version::new(b) > Version::new(a), "{b} > {a}");
        }
        for (a, b) in [("1.0", "0:1.0"), ("1.00", "1.0"), ("1.0-0", "1.0")] {
            assert_eq!(Version::new(a), Version::new(b), "{a} = {b}");
        }
    }
}
