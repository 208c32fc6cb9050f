//! What an owner leaves out of a small card (documentation, translations, other boards' firmware), by dpkg's own rules: dpkg(1),
//! `path-exclude` and `path-include`. The board's dpkg gets the same rules, so what apt installs there later leaves it out, too.

use std::fmt::Write as _;

use anyhow::Result;
use regex_lite::Regex;
use serde::Serialize;

use crate::fetch::store::Store;
use crate::inputs::recipe::Recipe;
use crate::lock::Lock;
use crate::tree::{Kind, Tree};

/// Where the board's dpkg reads them.
const CONF: &str = "etc/dpkg/dpkg.cfg.d/hypriot-recipe";
/// A package is not larger unpacked.
const LIMIT: u64 = 8 << 30;

/// The rules of a recipe.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<(bool, Regex)>,
    text: String,
}

/// How much that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Files of all packages.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are left out.
    pub out_files: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

impl Rules {
    /// Those of a recipe; `None` if it has none.
    pub fn of(recipe: &Recipe) -> Result<Option<Self>> {
        if recipe.path_exclude.is_empty() {
            return Ok(None);
        }
        let (mut rules, mut text) = (Vec::new(), String::new());
        for (include, list) in [(false, &recipe.path_exclude), (true, &recipe.path_include)] {
            for pattern in list {
                rules.push((include, Regex::new(&expression(pattern))?));
                let key = if include {
                    "path-include"
                } else {
                    "path-exclude"
                };
                writeln!(text, "{key}={pattern}")?;
            }
        }
        Ok(Some(Self { rules, text }))
    }

    /// Whether a file of a package is left out; the path begins with a slash. The last rule that matches counts (dpkg's
    /// src/main/filters.c).
    pub fn skips(&self, path: &str) -> bool {
        let last = self.rules.iter().rev().find(|(_, r)| r.is_match(path));
        last.is_some_and(|(include, _)| !include)
    }

    /// Takes what is left out from a tree of packages, with the folders that are empty then.
    pub fn apply(&self, root: &mut Tree) -> Result<()> {
        let named = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
        let mut folders = Vec::new();
        let mut gone = Vec::new();
        for (path, entry) in root.iter() {
            if self.skips(&named(path)) {
                let list = match entry.kind {
                    Kind::Dir => &mut folders,
                    _ => &mut gone,
                };
                list.push(path.to_vec());
            }
        }
        for path in gone {
            root.remove(&String::from_utf8_lossy(&path))?;
        }
        // The lowest first.
        for path in folders.into_iter().rev() {
            if root.below(&path).next().is_none() {
                root.remove(&String::from_utf8_lossy(&path))?;
            }
        }
        root.insert_bytes(CONF, 0o644, &self.text)
    }

    /// What the rules leave out of the packages of a lock; `None` unless all of them are in the store.
    pub fn measure(&self, lock: &Lock, store: &Store) -> Result<Option<Left>> {
        let mut left = Left::default();
        for package in &lock.packages {
            let Some(path) = store.get(package.sha256, package.size) else {
                return Ok(None);
            };
            let bytes = std::fs::read(path)?;
            let deb = crate::debian::deb::parse(&bytes)?;
            let mut files = tar::Archive::new(deb.data(LIMIT)?);
            for entry in files.entries()? {
                let entry = entry?;
                if entry.header().entry_type().is_dir() {
                    continue;
                }
                let path = entry.path_bytes();
                let path = String::from_utf8_lossy(&path);
                left.files += 1;
                left.bytes += entry.size();
                if self.skips(path.trim_start_matches('.')) {
                    left.out_files += 1;
                    left.out_bytes += entry.size();
                }
            }
        }
        Ok(Some(left))
    }
}

/// A pattern of fnmatch(3) without flags, in which `*` and `?` match slashes, too, as a regular expression.
fn expression(pattern: &str) -> String {
    let mut out = "(?s)^".to_owned();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' => out += ".*",
            '?' => out.push('.'),
            '[' => {
                let mut set = String::new();
                let not = rest.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut closed = false;
                while let Some(c) = rest.next() {
                    match c {
                        ']' if !set.is_empty() => {
                            closed = true;
                            break;
                        }
                        '\\' => set.extend(rest.next().map(|c| regex_lite::escape(&c.to_string()))),
                        '-' => set.push('-'),
                        c => set += &regex_lite::escape(&c.to_string()),
                    }
                }
                if closed {
                    out += if not { "[^" } else { "[" };
                    out += &set;
                    out.push(']');
                } else {
                    // Never closed: a bracket like any other letter.
                    out += "\\[";
                    if not {
                        out.push('!');
                    }
                    out += &set;
                }
            }
            '\\' => out += &regex_lite::escape(&rest.next().unwrap_or('\\').to_string()),
            c => out += &regex_lite::escape(&c.to_string()),
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(exclude: &[&str], include: &[&str]) -> Rules {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let recipe = Recipe {
            path_exclude: own(exclude),
            path_include: own(include),
            ..Recipe::default()
        };
        Rules::of(&recipe).unwrap().unwrap()
    }

    #[test]
    fn patterns_match_as_dpkgs_do() {
        for (pattern, path, skips) in [
            ("/usr/share/doc/*", "/usr/share/doc/a/b.gz", true),
            ("/usr/share/doc/*", "/usr/share/docs", false),
            ("/usr/share/man/??/*", "/usr/share/man/de/man1/x", true),
            ("/usr/share/man/??/*", "/usr/share/man/man1/x", false),
            ("/usr/share/man/??/*", "/usr/share/man/m/x", false),
            ("/usr/share/locale/[!e]*", "/usr/share/locale/de/x", true),
            ("/usr/share/locale/[!e]*", "/usr/share/locale/en/x", false),
            ("/usr/share/locale/[a-d]?/*", "/usr/share/locale/de/x", true),
            ("/a.b", "/aXb", false),
            ("/a[b", "/a[b", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
            ("/a(b|c)+", "/ab", false),
        ] {
            assert_eq!(
                rules(&[pattern], &[]).skips(path),
                skips,
                "{pattern} {path}"
            );
        }
        let kept = rules(&["/usr/share/doc/*"], &["/usr/share/doc/*/copyright"]);
        assert!(!kept.skips("/usr/share/doc/less/copyright"));
        assert!(kept.skips("/usr/share/doc/less/changelog.gz"));
    }

    #[test]
    fn what_is_left_out_is_gone_with_its_folders_and_the_boards_dpkg_knows() {
        let mut root = Tree::new(0);
        for path in [
            "usr/share/doc/a/changelog.gz",
            "usr/share/doc/b/copyright",
            "usr/bin/a",
        ] {
            root.insert_bytes(path, 0o644, "x").unwrap();
        }
        root.insert_symlink("usr/share/doc/c", "b").unwrap();
        rules(&["/usr/share/doc/*"], &["/usr/share/doc/*/copyright"])
            .apply(&mut root)
            .unwrap();
        let there: Vec<String> = root
            .iter()
            .map(|(p, _)| String::from_utf8_lossy(p).into_owned())
            .collect();
        let there: Vec<&str> = there
            .iter()
            .map(String::as_str)
            .filter(|p| p.starts_with("usr"))
            .collect();
        let want = [
            "usr",
            "usr/bin",
            "usr/bin/a",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/b",
            "usr/share/doc/b/copyright",
        ];
        assert_eq!(there, want);
        let conf = root.read(CONF).unwrap();
        assert_eq!(
            &*conf,
            b"path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n"
        );
    }
}
