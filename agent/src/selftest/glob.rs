//! The one reading of `*`, `?`, `[ab]` and `\x`: in gossfile paths, names of packages, boards and attributes, and gjson.

use std::path::{Path, PathBuf};

/// Files that one pattern may find.
const FOUND: usize = 10_000;

/// Whether the whole of `text` is like `pattern`. Takes time in proportion to both lengths at worst.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: only that one ever has to give way.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if let Some(next) = one(&pattern, p, text[t]) {
            (p, t) = (next, t + 1);
            continue;
        }
        let Some((after, taken)) = star else {
            return false;
        };
        star = Some((after, taken + 1));
        (p, t) = (after, taken + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether `c` is like the part of the pattern at `p`, and where the next part begins.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        '[' => {
            let close = p + 2 + pattern.get(p + 2..)?.iter().position(|c| *c == ']')?;
            let negated = matches!(pattern[p + 1], '^' | '!');
            let inside = &pattern[p + 1 + usize::from(negated)..close];
            let mut hit = false;
            let mut at = 0;
            while at < inside.len() {
                if inside.get(at + 1) == Some(&'-') && at + 2 < inside.len() {
                    hit |= (inside[at]..=inside[at + 2]).contains(&c);
                    at += 3;
                } else {
                    hit |= inside[at] == c;
                    at += 1;
                }
            }
            (hit != negated).then_some(close + 1)
        }
        same => (same == c).then_some(p + 1),
    }
}

/// Whether there is anything but plain characters in it.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files and directories like `pattern`, in order; each part of the path may be a pattern.
pub(super) fn files(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        let mut next = Vec::new();
        for directory in found {
            if !is_pattern(&name) {
                next.push(directory.join(part));
                continue;
            }
            let place = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &directory
            };
            let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let mut names: Vec<String> = names.filter(|entry| like(&name, entry)).collect();
            names.sort();
            next.extend(names.into_iter().map(|entry| directory.join(entry)));
        }
        next.truncate(FOUND);
        found = next;
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, holds) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*d", "abc", false),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("[cd].yaml", "c.yaml", true),
            ("[!cd].yaml", "c.yaml", false),
            ("[a-f]x", "ex", true),
            ("[^a-f]x", "ex", false),
            (r"\*x", "*x", true),
            (r"\*x", "ax", false),
            ("", "", true),
            ("", "a", false),
            ("äö*", "äöü", true),
            ("[a", "[a", false),
        ] {
            assert_eq!(like(pattern, text), holds, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let text = "a".repeat(5000);
        assert!(!like(&format!("{}b", "a*".repeat(200)), &text));
    }

    #[test]
    fn every_part_of_a_path_may_be_a_pattern() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["x/a.yaml", "y/a.yaml", "y/b.yaml", "z/c.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            crate::files::replace(&path, b"", 0o644).expect("written");
        }
        let names = |pattern: &str| {
            let found = files(&dir.path().join(pattern));
            found
                .iter()
                .map(|p| {
                    p.strip_prefix(dir.path())
                        .expect("below")
                        .display()
                        .to_string()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(names("*/a.yaml"), ["x/a.yaml", "y/a.yaml"]);
        assert_eq!(names("y/[ab].yaml"), ["y/a.yaml", "y/b.yaml"]);
        assert_eq!(names("[yz]/*"), ["y/a.yaml", "y/b.yaml", "z/c.txt"]);
        assert_eq!(names("none.yaml"), [""; 0]);
    }
}
