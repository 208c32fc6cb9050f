//! Owns the comparison of two trees as values: every path and every attribute that ends in an image, and what of it differs.
//! Nothing is decided here about which differences matter.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

use super::{Entry, Kind, Tree, show};

/// What of an entry differs, with both sides in words: first the left tree's, then the right one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path, without a slash at its beginning; empty for the root.
    pub path: Vec<u8>,
    /// What differs.
    pub field: Field,
    /// The left tree's side, for people.
    pub left: String,
    /// The right tree's side, for people.
    pub right: String,
}

/// An attribute of an entry.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Whether there is such a path at all.
    Presence,
    /// File, directory, link, device. Where it differs, nothing else is compared.
    Kind,
    /// Bytes of a file, text of a link, numbers of a device.
    Content,
    /// Permission bits.
    Mode,
    /// User and group.
    Owner,
    /// Seconds of the last change.
    Mtime,
    /// Extended attributes.
    Xattrs,
    /// Which other paths are the same file.
    HardLinks,
}

impl Field {
    /// Its name in exception lists and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Xattrs => "xattrs",
            Self::HardLinks => "hard-links",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, field) = (show(&self.path), self.field.name());
        write!(f, "{path}: {field}: {} | {}", self.left, self.right)
    }
}

/// All that differs between two trees, in byte order of the paths. Fails only where a file of the host cannot be read.
pub fn compare(left: &Tree, right: &Tree) -> Result<Vec<Difference>> {
    let (links_left, links_right) = (hard_links(left), hard_links(right));
    let mut found = Vec::new();
    let mut differs = |path: &[u8], field, left: String, right: String| {
        found.push(Difference {
            path: path.to_vec(),
            field,
            left,
            right,
        });
    };
    for (path, a, b) in pairs(left, right) {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => {
                let side = |e: Option<&Entry>| e.map_or("nothing", |e| e.kind.name()).to_owned();
                differs(path, Field::Presence, side(a), side(b));
                continue;
            }
        };
        if a.kind.name() != b.kind.name() {
            let side = |e: &Entry| e.kind.name().to_owned();
            differs(path, Field::Kind, side(a), side(b));
            continue;
        }
        if let Some((one, other)) =
            content(&a.kind, &b.kind).with_context(|| format!("comparing {}", show(path)))?
        {
            differs(path, Field::Content, one, other);
        }
        let rows: [(Field, Side); 4] = [
            (Field::Mode, |e| format!("{:04o}", e.mode)),
            (Field::Owner, |e| format!("{}:{}", e.uid, e.gid)),
            (Field::Mtime, |e| e.mtime.to_string()),
            (Field::Xattrs, xattrs),
        ];
        for (field, side) in rows {
            let (one, other) = (side(a), side(b));
            if one != other {
                differs(path, field, one, other);
            }
        }
        let first = |links: &BTreeMap<u32, &[u8]>, e: &Entry| e.link.map(|n| show(links[&n]));
        let (one, other) = (first(&links_left, a), first(&links_right, b));
        if one != other {
            let side = |first: Option<String>| {
                first.map_or("no other name".to_owned(), |p| format!("same as {p}"))
            };
            differs(path, Field::HardLinks, side(one), side(other));
        }
    }
    Ok(found)
}

/// One side of a difference in words.
type Side = fn(&Entry) -> String;
type Pair<'a> = (&'a [u8], Option<&'a Entry>, Option<&'a Entry>);

/// Every path of either tree, with what both have there.
fn pairs<'a>(left: &'a Tree, right: &'a Tree) -> impl Iterator<Item = Pair<'a>> {
    let (mut a, mut b) = (left.iter().peekable(), right.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (a.peek(), b.peek()) {
            (Some((p, _)), Some((q, _))) => p.cmp(q),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        let one = order.is_le().then(|| a.next()).flatten();
        let other = order.is_ge().then(|| b.next()).flatten();
        let path = one.or(other)?.0;
        Some((path, one.map(|(_, e)| e), other.map(|(_, e)| e)))
    })
}

/// The first name of every hard-link group: numbers are a tree's own affair, names are not.
fn hard_links(tree: &Tree) -> BTreeMap<u32, &[u8]> {
    let mut first = BTreeMap::new();
    for (path, entry) in tree.iter() {
        if let Some(n) = entry.link {
            first.entry(n).or_insert(path);
        }
    }
    first
}

/// `None` if both hold the same.
fn content(a: &Kind, b: &Kind) -> Result<Option<(String, String)>> {
    let numbers = |major: u32, minor: u32| format!("{major}:{minor}");
    let (one, other) = match (a, b) {
        (Kind::File(a), Kind::File(b)) => {
            if a.len() != b.len() {
                return Ok(Some((bytes(a.len()), bytes(b.len()))));
            }
            return Ok(first_difference(&a.read()?, &b.read()?));
        }
        (Kind::Symlink(a), Kind::Symlink(b)) => (
            String::from_utf8_lossy(a).into_owned(),
            String::from_utf8_lossy(b).into_owned(),
        ),
        (
            Kind::Char { major, minor } | Kind::Block { major, minor },
            Kind::Char { major: m, minor: n } | Kind::Block { major: m, minor: n },
        ) => (numbers(*major, *minor), numbers(*m, *n)),
        _ => return Ok(None),
    };
    Ok((one != other).then_some((one, other)))
}

fn bytes(n: u64) -> String {
    format!("{n} bytes")
}

/// Where two files of one length part, with the line or the bytes around that place.
fn first_difference(a: &[u8], b: &[u8]) -> Option<(String, String)> {
    let at = a.iter().zip(b).position(|(x, y)| x != y)?;
    let side = |all| format!("at byte {at} {}", around(all, at));
    Some((side(a), side(b)))
}

/// The line, or the bytes, around a place of a file.
pub(crate) fn around(all: &[u8], at: usize) -> String {
    let begin = all[..at].iter().rposition(|c| *c == b'\n');
    let begin = begin.map_or(0, |n| n + 1).max(at.saturating_sub(40));
    let rest = &all[begin..all.len().min(at + 40)];
    let end = rest.iter().skip(at - begin).position(|c| *c == b'\n');
    let line = &rest[..end.map_or(rest.len(), |n| at - begin + n)];
    format!("`{}`", line.escape_ascii())
}

fn xattrs(e: &Entry) -> String {
    let one = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}={}", String::from_utf8_lossy(name), hex::encode(value))
    };
    let all: Vec<String> = e.xattrs.iter().map(one).collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Xattrs;

    fn tree(change: impl FnOnce(&mut Tree)) -> Tree {
        let mut tree = Tree::new(1_000);
        tree.insert_bytes("etc/f", 0o644, "one\ntwo\n").unwrap();
        tree.insert_symlink("etc/s", "f").unwrap();
        tree.insert("dev/null", 0o666, Kind::Char { major: 1, minor: 3 })
            .unwrap();
        for name in ["a", "b"] {
            tree.insert_bytes(name, 0o755, "x").unwrap();
            tree.entries.get_mut(name.as_bytes()).unwrap().link = Some(7);
        }
        change(&mut tree);
        tree
    }

    fn edit(path: &str, change: impl FnOnce(&mut Entry)) -> Tree {
        tree(|t| change(t.entries.get_mut(path.as_bytes()).unwrap()))
    }

    #[test]
    fn equal_trees_do_not_differ_whatever_the_numbers_of_their_links() {
        let other = tree(|t| {
            for name in [b"a", b"b"] {
                t.entries.get_mut(&name[..]).unwrap().link = Some(3);
            }
        });
        assert_eq!(compare(&tree(|_| ()), &other).unwrap(), []);
    }

    #[test]
    fn every_attribute_is_compared_and_nothing_else_is_blamed() {
        let xattr = Xattrs::from([(b"security.capability".to_vec(), vec![1])]);
        let rows = [
            ("etc/s", Field::Presence, tree(|t| drop(t.remove("etc/s")))),
            ("etc/s", Field::Kind, edit("etc/s", |e| e.kind = Kind::Fifo)),
            (
                "etc/f",
                Field::Content,
                tree(|t| t.insert_bytes("etc/f", 0o644, "one\ntwO\n").unwrap()),
            ),
            (
                "etc/f",
                Field::Content,
                tree(|t| t.insert_bytes("etc/f", 0o644, "one\n").unwrap()),
            ),
            (
                "etc/s",
                Field::Content,
                tree(|t| t.insert_symlink("etc/s", "g").unwrap()),
            ),
            (
                "dev/null",
                Field::Content,
                edit("dev/null", |e| e.kind = Kind::Char { major: 1, minor: 5 }),
            ),
            ("etc", Field::Mode, edit("etc", |e| e.mode = 0o700)),
            ("etc/f", Field::Owner, edit("etc/f", |e| e.gid = 42)),
            ("etc/f", Field::Mtime, edit("etc/f", |e| e.mtime = 999)),
            ("etc/f", Field::Xattrs, edit("etc/f", |e| e.xattrs = xattr)),
            ("b", Field::HardLinks, edit("b", |e| e.link = None)),
        ];
        for (path, field, other) in rows {
            for (left, right) in [(&tree(|_| ()), &other), (&other, &tree(|_| ()))] {
                let found = compare(left, right).unwrap();
                let names: Vec<_> = found.iter().map(|d| (show(&d.path), d.field)).collect();
                assert_eq!(names, [(format!("/{path}"), field)]);
            }
        }
    }

    #[test]
    fn differing_line_is_shown() {
        let other = tree(|t| t.insert_bytes("etc/f", 0o644, "one\ntwO\n").unwrap());
        let found = compare(&tree(|_| ()), &other).unwrap();
        assert_eq!(
            found[0].to_string(),
            "/etc/f: content: at byte 6 `two` | at byte 6 `twO`"
        );
    }
}
