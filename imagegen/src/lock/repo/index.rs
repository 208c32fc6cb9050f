//! Owns the list of packages of an archive in memory: the text as it came, and where each package begins in it.

use std::collections::HashMap;
use std::ops::Range;

use debian_packaging::control::{ControlParagraph, ControlParagraphReader};

use super::RepoError;
use super::version::Version;

/// One `Packages` file with a way to find packages in it. Paragraphs are parsed when they are asked for.
#[derive(Debug)]
pub struct Index {
    /// Which archive of the mirror it is from.
    pub archive: String,
    /// Which suite.
    pub suite: String,
    /// Priority of its packages (apt_preferences(5)): the highest wins, then the newest; below 0 none is taken.
    pub priority: i32,
    text: String,
    by_name: HashMap<String, Vec<Range<usize>>>,
    provided: HashMap<String, Vec<Range<usize>>>,
    essential: Vec<Range<usize>>,
}

/// Name and source of a paragraph's package. Without a `Source` they are the same; behind it may stand a version.
fn origin(paragraph: &str) -> (&str, &str) {
    let field = |name: &str| {
        let value = paragraph.lines().find_map(|l| l.strip_prefix(name))?;
        value.split_whitespace().next()
    };
    let name = field("Package:").unwrap_or_default();
    (name, field("Source:").unwrap_or(name))
}

/// One version of one package, as the archive lists it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Which archive of the mirror it is from.
    pub archive: String,
    /// Which suite.
    pub suite: String,
    /// All fields.
    pub fields: HashMap<String, String>,
}

impl Candidate {
    /// A field, if the package has it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// What every package must say where it lies.
    pub fn required(&self, name: &str) -> Result<&str, RepoError> {
        self.field(name).ok_or_else(|| RepoError::Malformed {
            what: format!("package {}", self.name),
            reason: format!("no field {name}"),
        })
    }
}

impl Index {
    /// Reads the text of a `Packages` file.
    pub fn new(archive: &str, suite: &str, text: String) -> Self {
        let mut by_name: HashMap<String, Vec<Range<usize>>> = HashMap::new();
        let mut provided: HashMap<String, Vec<Range<usize>>> = HashMap::new();
        let mut essential = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = text[start..]
                .find("\n\n")
                .map_or(text.len(), |n| start + n + 1);
            for line in text[start..end].lines() {
                if let Some(name) = line.strip_prefix("Package: ") {
                    by_name
                        .entry(name.trim().to_owned())
                        .or_default()
                        .push(start..end);
                } else if let Some(list) = line.strip_prefix("Provides: ") {
                    for name in list.split(',').filter_map(|p| p.split_whitespace().next()) {
                        provided
                            .entry(name.to_owned())
                            .or_default()
                            .push(start..end);
                    }
                } else if line == "Essential: yes" {
                    essential.push(start..end);
                }
            }
            start = end + 1;
        }
        Self {
            archive: archive.to_owned(),
            suite: suite.to_owned(),
            priority: 500,
            text,
            by_name,
            provided,
            essential,
        }
    }

    /// Forgets every package that `keep` does not want, by its name and that of its source.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        let text = &self.text;
        let kept = |at: &Range<usize>| {
            let (name, source) = origin(&text[at.clone()]);
            keep(name, source)
        };
        for ranges in self.by_name.values_mut().chain(self.provided.values_mut()) {
            ranges.retain(kept);
        }
        self.by_name.retain(|_, ranges| !ranges.is_empty());
        self.provided.retain(|_, ranges| !ranges.is_empty());
        self.essential.retain(kept);
    }

    /// All versions of a package.
    pub fn named(&self, name: &str) -> Result<Vec<Candidate>, RepoError> {
        self.candidates(self.by_name.get(name))
    }

    /// All packages that say they provide this name.
    pub fn providing(&self, name: &str) -> Result<Vec<Candidate>, RepoError> {
        self.candidates(self.provided.get(name))
    }

    /// Names of all packages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Names of the packages every system must have.
    pub fn essential(&self) -> Result<Vec<String>, RepoError> {
        let found = self.candidates(Some(&self.essential))?;
        let mut names: Vec<String> = found.into_iter().map(|c| c.name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn candidates(&self, at: Option<&Vec<Range<usize>>>) -> Result<Vec<Candidate>, RepoError> {
        at.into_iter()
            .flatten()
            .map(|r| self.candidate(r.clone()))
            .collect()
    }

    fn candidate(&self, range: Range<usize>) -> Result<Candidate, RepoError> {
        let text = &self.text[range];
        let malformed = |reason: String| RepoError::Malformed {
            what: format!(
                "list of packages of {}, at `{}`",
                self.suite,
                text.lines().next().unwrap_or_default()
            ),
            reason,
        };
        let paragraph: ControlParagraph<'_> = ControlParagraphReader::new(text.as_bytes())
            .next()
            .ok_or_else(|| malformed("empty".to_owned()))?
            .map_err(|e| malformed(e.to_string()))?;
        let name = paragraph
            .required_field_str("Package")
            .map_err(|e| malformed(e.to_string()))?
            .to_owned();
        let version = paragraph
            .required_field_str("Version")
            .map_err(|e| malformed(e.to_string()))?;
        let version = Version::new(version);
        let fields = paragraph
            .iter_fields()
            .map(|f| (f.name().to_owned(), f.value_str().to_owned()))
            .collect();
        Ok(Candidate {
            name,
            version,
            archive: self.archive.clone(),
            suite: self.suite.clone(),
            fields,
        })
    }
}
