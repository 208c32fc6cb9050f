//! Owns the reading of an owner's `user-data` and `network-config` as cloud-init will read them, before they are on a card.
//!
//! What cloud-init reads wrong in silence is found here: a byte order mark, a missing first line, a tab, a key in the wrong
//! place, a host name that becomes another one, a key that is none. What can be mended is mended and said (*repaired*), what
//! will be ignored is said (*warning*), and what cannot work on the board or lets nobody in is refused with its line. Nothing
//! is written then.
//!
//! With the image at hand, cloud-init's own schema is taken out of it, so that the version that will read the file decides what
//! it knows.

use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

pub mod edit;
mod keys;
mod logins;
mod network;
mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod yaml;

pub use keys::public_key;
pub use network::country;
pub use rules::host_name;

use yaml::{At, Node, Value};

/// The first line that makes a file a cloud-config.
pub const HEADER: &str = "#cloud-config";
/// A longer file is none that anybody wrote.
pub const MAX_BYTES: usize = 1 << 20;
/// Where cloud-init's package keeps its schemas.
const SCHEMAS: &str = "usr/lib/python3/dist-packages/cloudinit/config/schemas";

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was mended.
    Repaired,
    /// It will be ignored, or do something else than it looks like.
    Warning,
    /// It cannot work, or lets nobody in.
    Refused,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Word {
    /// What becomes of the file for it.
    pub kind: Kind,
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What was found, and what to do.
    pub text: String,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.text),
            (line, column) => write!(f, "line {line}, column {column}: {}", self.text),
        }
    }
}

/// A file that may go to a card.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The text, mended.
    pub text: String,
    /// What was said about it.
    pub words: Vec<Word>,
}

/// A file that may not.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot go to a card:\n  {}", list(.words))]
pub struct Refused {
    /// The file.
    pub name: String,
    /// Everything that was found.
    pub words: Vec<Word>,
}

fn list(words: &[Word]) -> String {
    let refused = words.iter().filter(|w| w.kind == Kind::Refused);
    let lines: Vec<String> = refused.map(ToString::to_string).collect();
    lines.join("\n  ")
}

/// An image, as far as it decides what can work: its files, by their paths without the leading slash.
pub trait Image {
    /// Whether it has this path, links followed.
    fn has(&self, path: &str) -> bool;
    /// A file of it.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

impl Image for crate::tree::Tree {
    fn has(&self, path: &str) -> bool {
        self.resolve(path).is_some()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        Self::read(self, path).ok().map(|bytes| bytes.to_vec())
    }
}

impl<B: crate::formats::Blocks + ?Sized> Image for crate::formats::erofs::read::Erofs<'_, B> {
    fn has(&self, path: &str) -> bool {
        self.resolve(path).is_ok()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        Self::read(self, path).ok()
    }
}

/// Whether a file that lets nobody in may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// It is refused: a card nobody can log in to is most often a mistake.
    Refused,
    /// It is meant so.
    Meant,
}

/// Reads `user-data`.
pub fn user_data(
    name: &str,
    bytes: &[u8],
    image: Option<&dyn Image>,
    locked: Locked,
) -> Result<Checked, Refused> {
    let mut found = Found::default();
    let Some(mut text) = found.text(bytes) else {
        return found.done(name, String::new());
    };
    match Format::of(&text) {
        Format::Config => {}
        Format::Other(what) => {
            found.whole(Kind::Warning, what);
            return found.done(name, text);
        }
        Format::Unknown => header(&mut text, &mut found),
    }
    let document = match yaml::parse(&text) {
        Ok(document) => document,
        Err(e) => {
            found.at(Kind::Refused, e.at, e.what);
            return found.done(name, text);
        }
    };
    twice(&document, &mut found);
    if !matches!(document.root.value, Value::Map(_) | Value::Null) {
        let what = format!(
            "a cloud-config is a list of keys (`hostname: …`), and this is {}",
            schema::kind(&document.root)
        );
        found.at(Kind::Refused, document.root.at, what);
        return found.done(name, text);
    }
    by_schema(
        "schema-cloud-config-v1.json",
        &document.root,
        image,
        &mut found,
    );
    rules::check(&document.root, image, locked, &mut found);
    found.done(name, text)
}

/// Reads `network-config`.
pub fn network_config(
    name: &str,
    bytes: &[u8],
    image: Option<&dyn Image>,
) -> Result<Checked, Refused> {
    let mut found = Found::default();
    let Some(text) = found.text(bytes) else {
        return found.done(name, String::new());
    };
    match yaml::parse(&text) {
        Ok(document) => {
            twice(&document, &mut found);
            network::check(&document.root, image, &mut found);
        }
        Err(e) => found.at(Kind::Refused, e.at, e.what),
    }
    found.done(name, text)
}

/// The host name that a `user-data` gives, if it is one.
pub fn host_name_of(text: &str) -> Option<String> {
    let root = yaml::parse(text).ok()?.root;
    Some(root.get("hostname")?.text()?.to_owned())
}

fn twice(document: &yaml::Document, found: &mut Found) {
    for (key, first) in &document.twice {
        let what = format!(
            "`{}` is here twice (line {} too); cloud-init takes the last one alone",
            key.text, first.line
        );
        found.at(Kind::Warning, key.at, what);
    }
}

/// What cloud-init itself would object to: it says so in its log and goes on, so these are warnings.
fn by_schema(file: &str, root: &Node, image: Option<&dyn Image>, found: &mut Found) {
    let text = image.and_then(|i| i.read(&format!("{SCHEMAS}/{file}")));
    let Some(schema) = text.and_then(|t| serde_json::from_slice::<Json>(&t).ok()) else {
        return;
    };
    if matches!(root.value, Value::Null) {
        return;
    }
    for objection in schema::check(&schema, root) {
        found.at(Kind::Warning, objection.at, objection.what);
    }
}

/// How cloud-init takes a file, by its first letters (cloudinit/handlers/__init__.py, `INCLUSION_TYPES_MAP`; blanks before them
/// and capitals do not matter).
enum Format {
    Config,
    Other(&'static str),
    Unknown,
}

impl Format {
    fn of(text: &str) -> Self {
        const OTHERS: [(&str, &str); 10] = [
            (
                "#include",
                "it names other files (#include), which were not looked into",
            ),
            (
                "#!",
                "it is a script, which was not looked into; unless it makes a user, nobody can log in",
            ),
            (
                "#cloud-boothook",
                "it is a boot hook, which was not looked into",
            ),
            (
                "#part-handler",
                "it is a part handler, which was not looked into",
            ),
            (
                "#cloud-config-archive",
                "it is an archive of files, which were not looked into",
            ),
            (
                "#cloud-config-jsonp",
                "it is a JSON patch, which was not looked into",
            ),
            (
                "## template:",
                "it is a template: what it becomes on the board was not looked into",
            ),
            (
                "content-type:",
                "it has several parts (MIME), which were not looked into",
            ),
            (
                "mime-version:",
                "it has several parts (MIME), which were not looked into",
            ),
            (
                "from ",
                "it has several parts (MIME), which were not looked into",
            ),
        ];
        let lower: String = text
            .trim_start()
            .chars()
            .take(64)
            .flat_map(char::to_lowercase)
            .collect();
        match OTHERS.iter().find(|(start, _)| lower.starts_with(start)) {
            Some((_, what)) => Self::Other(what),
            None if lower.starts_with(HEADER) => Self::Config,
            None => Self::Unknown,
        }
    }
}

/// Puts the first line where it must be, if the rest is a cloud-config.
fn header(text: &mut String, found: &mut Found) {
    let is_config = yaml::parse(text).is_ok_and(|d| {
        d.root
            .map()
            .iter()
            .any(|(k, _)| rules::KNOWN.contains(&k.text.as_str()))
    });
    let first = text.lines().next().unwrap_or_default().trim();
    let near = first.to_lowercase().replace(['_', ' '], "-");
    if is_config || near.starts_with("#-cloud-config") || near.starts_with("#cloud-config") {
        found.first_line(
            Kind::Repaired,
            "the first line must be `#cloud-config`, or cloud-init ignores the file; it was put there",
        );
        // In place of an empty or misspelt first line the other lines keep their numbers.
        let end = text.find('\n').map_or(text.len(), |n| n + 1);
        let from = if first.is_empty() || near.contains("cloud-config") {
            end
        } else {
            0
        };
        *text = format!("{HEADER}\n{}", &text[from..]);
    } else {
        found.first_line(
            Kind::Refused,
            "the first line must be `#cloud-config`, or cloud-init ignores the file: no user, no host name, nobody can log in",
        );
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    words: Vec<Word>,
}

impl Found {
    fn at(&mut self, kind: Kind, at: At, text: impl Into<String>) {
        self.words.push(Word {
            kind,
            line: at.line,
            column: at.column,
            text: text.into(),
        });
    }

    fn whole(&mut self, kind: Kind, text: impl Into<String>) {
        self.at(kind, At::default(), text);
    }

    fn first_line(&mut self, kind: Kind, text: &str) {
        let at = At {
            line: 1,
            column: 1,
            byte: 0,
        };
        self.at(kind, at, text);
    }

    /// The text of a file: UTF-8 without mark, lines that end as Unix's do.
    fn text(&mut self, bytes: &[u8]) -> Option<String> {
        if bytes.len() > MAX_BYTES {
            let what = format!("{} bytes are no settings; at most {MAX_BYTES}", bytes.len());
            self.whole(Kind::Refused, what);
            return None;
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            self.whole(
                Kind::Refused,
                "it is UTF-16 (\"Unicode\" in Windows' Notepad); save it as UTF-8",
            );
            return None;
        }
        let plain = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if plain.len() < bytes.len() {
            self.first_line(
                Kind::Repaired,
                "a byte order mark stood before the first line, with which cloud-init ignores the file; it was taken away",
            );
        }
        let text = match std::str::from_utf8(plain) {
            Ok(text) => text,
            Err(e) => {
                let before = &plain[..e.valid_up_to()];
                let lines = before.split(|b| *b == b'\n');
                let at = At {
                    column: lines.clone().next_back().map_or(0, <[u8]>::len) + 1,
                    line: lines.count(),
                    byte: 0,
                };
                self.at(
                    Kind::Refused,
                    at,
                    "this is no UTF-8; save the file as UTF-8",
                );
                return None;
            }
        };
        if let Some(at) = text.find('\0') {
            let line = text[..at].matches('\n').count() + 1;
            let at = At {
                line,
                column: 1,
                byte: at,
            };
            self.at(Kind::Refused, at, "the file has zero bytes: it is no text");
            return None;
        }
        if text.contains('\r') {
            self.whole(
                Kind::Repaired,
                "lines ended as Windows' do (CR LF); they end as Linux' do now",
            );
        }
        Some(text.replace("\r\n", "\n").replace('\r', "\n"))
    }

    fn done(mut self, name: &str, text: String) -> Result<Checked, Refused> {
        self.words.sort_by_key(|w| (w.line, w.column));
        let words = self.words;
        if words.iter().any(|w| w.kind == Kind::Refused) {
            return Err(Refused {
                name: name.to_owned(),
                words,
            });
        }
        Ok(Checked { text, words })
    }
}
