//! Whether what pages say is there: links, paths, commands; and whether the pages are there that the code names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use regex_lite::Regex;

use super::help::{self, PROGRAMS};
use super::pages::{self, Content, Page};

/// Where the pages of the book lie.
const BOOK: &str = "docs/src/";

/// Everything that pages may name.
#[derive(Debug)]
pub struct Project {
    root: PathBuf,
    /// Each page with its content, by its path.
    pages: BTreeMap<String, (Page, Content)>,
    /// Targets of the Makefile.
    targets: BTreeSet<String>,
    /// Program, and its commands.
    commands: BTreeMap<String, BTreeSet<String>>,
}

impl Project {
    /// Reads the project; the programs must be built.
    pub fn read(root: &Path) -> Result<Self> {
        let mut commands = BTreeMap::new();
        for program in PROGRAMS {
            let mut all: BTreeSet<String> = help::commands(program)?
                .into_iter()
                .filter_map(|c| c.words.get(1).cloned())
                .collect();
            all.insert("help".to_owned());
            commands.insert(program.to_owned(), all);
        }
        let makefile = std::fs::read_to_string(root.join("Makefile")).context("the Makefile")?;
        let target = Regex::new(r"(?m)^([a-z][a-z-]*):(?:[^=]|$)")?;
        let read = |page: Page| (page.path.clone(), (page.clone(), page.content()));
        Ok(Self {
            root: root.to_owned(),
            pages: pages::all(root)?.into_iter().map(read).collect(),
            targets: captures(&target, &makefile).map(str::to_owned).collect(),
            commands,
        })
    }

    /// Every page, with its content.
    pub fn pages(&self) -> impl Iterator<Item = &(Page, Content)> {
        self.pages.values()
    }

    /// Links within the project that lead nowhere.
    pub fn broken_links(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (page, content) in self.pages() {
            for (line, link) in &content.links {
                if let Some(why) = self.broken(page, content, link) {
                    broken.push(format!("{}:{line}: {link}: {why}", page.path));
                }
            }
        }
        broken
    }

    fn broken(&self, page: &Page, content: &Content, link: &str) -> Option<String> {
        if link.contains("://") || link.starts_with("mailto:") {
            return None;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let path = if file.is_empty() {
            page.path.clone()
        } else {
            match beside(&page.path, file) {
                Some(path) => path,
                None => return Some("leads out of the project".to_owned()),
            }
        };
        if page.path.starts_with(BOOK) && !path.starts_with(BOOK) {
            return Some("leads out of the book: name the file, do not link it".to_owned());
        }
        if !self.root.join(&path).exists() {
            return Some("no such file".to_owned());
        }
        let target = match self.pages.get(&path) {
            _ if anchor.is_empty() => return None,
            _ if file.is_empty() => content,
            Some((_, target)) => target,
            None => return Some("only pages have headings".to_owned()),
        };
        let known = target.anchors.iter().any(|a| a == anchor);
        (!known).then(|| "no such heading".to_owned())
    }

    /// Paths of the project that pages name and that are not there.
    pub fn missing_paths(&self) -> Result<Vec<String>> {
        let tops = [
            "agent", "docs", "fleet", "imagegen", "keys", "systemd", "tests", "updater", ".ci",
            ".github",
        ];
        let looks = Regex::new(r"^[A-Za-z0-9_.][A-Za-z0-9_./@-]*/[A-Za-z0-9_./@-]*$")?;
        let mut missing = Vec::new();
        for (page, content) in self.pages() {
            // What was true of an old version stays in the list of changes.
            if page.path == "CHANGELOG.md" {
                continue;
            }
            for (line, span) in &content.spans {
                let first = span.split('/').next().unwrap_or_default();
                if !looks.is_match(span) || !tops.contains(&first) {
                    continue;
                }
                let here = beside(&page.path, span).is_some_and(|p| self.root.join(p).exists());
                if !here && !self.root.join(span).exists() {
                    missing.push(format!("{}:{line}: {span}", page.path));
                }
            }
        }
        Ok(missing)
    }

    /// Tests that pages name and that are not there. The name of a test is a sentence: four words and more. What the code says
    /// in quotation marks, such as a kind of error, is none.
    pub fn missing_tests(&self) -> Result<Vec<String>> {
        let sentence = Regex::new("^[a-z0-9]+(?:_[a-z0-9]+){3,}$")?;
        let known = Regex::new(r#"\bfn ([a-z0-9_]+)\(|"([a-z0-9_]+)""#)?;
        let sources = pages::files(&self.root, &[".rs"])?;
        let known: BTreeSet<&str> = sources
            .iter()
            .flat_map(|s| known.captures_iter(&s.text))
            .filter_map(|found| found.get(1).or(found.get(2)))
            .map(|name| name.as_str())
            .collect();
        let mut missing = Vec::new();
        for (page, content) in self.pages() {
            let named = content.spans.iter();
            for (line, name) in named.filter(|(_, s)| sentence.is_match(s)) {
                if !name.starts_with("hypriot_") && !known.contains(name.as_str()) {
                    missing.push(format!("{}:{line}: {name}", page.path));
                }
            }
        }
        Ok(missing)
    }

    /// Targets of `make` and commands of our programs that pages or workflows name and that are not there.
    pub fn unknown_commands(&self) -> Result<Vec<String>> {
        let make = Regex::new(r"(?m)(?:^\s*\$? ?|[;&|] )(?:[A-Z]+=\S+ )*make ([a-z][a-z-]*)")?;
        let ours =
            Regex::new(r"(?:^|[\s(;&|/])(hypriot-(?:agent|imagegen|fleet|keys)) ([a-z][a-z-]*)\b")?;
        let mut unknown = Vec::new();
        let mut look = |path: &str, line: usize, text: &str| {
            // `make bench-…` stands for several.
            let named = captures(&make, text).filter(|t| !t.ends_with('-'));
            for target in named.filter(|t| !self.targets.contains(*t)) {
                unknown.push(format!("{path}:{line}: make {target}"));
            }
            for found in ours.captures_iter(text) {
                let (program, command) = (&found[1], &found[2]);
                if !self.commands[program].contains(command) {
                    unknown.push(format!("{path}:{line}: {program} {command}"));
                }
            }
        };
        for (page, content) in self.pages() {
            for block in &content.blocks {
                look(&page.path, block.line, &block.text);
            }
            for (line, span) in &content.spans {
                look(&page.path, *line, span);
            }
        }
        for file in pages::files(&self.root, &[".github/publish", ".yml", ".ci/run"])? {
            for (n, line) in file.text.lines().enumerate() {
                look(
                    &file.path,
                    n + 1,
                    line.trim_start_matches([' ', '-'])
                        .trim_start_matches("run: "),
                );
            }
        }
        Ok(unknown)
    }

    /// Pages and sections that the code names and that are not there.
    pub fn unknown_citations(&self) -> Result<Vec<String>> {
        let page = Regex::new(r"\b((?:docs|keys)/[A-Za-z0-9/_-]+\.md|[A-Z]{4,}\.md)\b")?;
        let section = Regex::new(r#"\b([a-z/]*[A-Z]{4,}(?:\.md)?),? "([^"]+)""#)?;
        let secret = Regex::new(r"\bDESIGN\b")?;
        let mut unknown = Vec::new();
        let endings = [
            ".rs", ".toml", ".yaml", ".yml", ".service", ".conf", "Makefile", ".ci/run",
        ];
        for source in pages::files(&self.root, &endings)? {
            // They name what they look for.
            if source.path.starts_with("tests/src/papers/")
                || source.path.starts_with("tests/tests/papers")
            {
                continue;
            }
            for (n, line) in source.text.lines().enumerate() {
                let mut complain =
                    |what: &str| unknown.push(format!("{}:{}: {what}", source.path, n + 1));
                if secret.is_match(line) {
                    complain("a design that is not in the project");
                }
                for name in captures(&page, line) {
                    let known = self.root.join(name).exists()
                        || self.pages.keys().any(|p| p.ends_with(&format!("/{name}")));
                    if !known {
                        complain(name);
                    }
                }
                for found in section.captures_iter(line) {
                    let file = found[1].trim_end_matches(".md").to_owned() + ".md";
                    let Some((_, content)) = self.pages.get(&file) else {
                        continue;
                    };
                    if !content.headings.iter().any(|h| h == &found[2]) {
                        complain(&format!("{file} has no section \"{}\"", &found[2]));
                    }
                }
            }
        }
        Ok(unknown)
    }

    /// Pages of the book that its summary does not list: nobody would find them.
    pub fn unlisted_pages(&self) -> Vec<String> {
        let summary = format!("{BOOK}SUMMARY.md");
        let listed: BTreeSet<String> = self
            .pages
            .get(&summary)
            .map(|(_, content)| {
                let links = content.links.iter();
                links.filter_map(|(_, l)| beside(&summary, l)).collect()
            })
            .unwrap_or_default();
        let book = self
            .pages
            .keys()
            .filter(|p| p.starts_with(BOOK) && **p != summary);
        book.filter(|p| !listed.contains(*p)).cloned().collect()
    }
}

fn captures<'a>(regex: &'a Regex, text: &'a str) -> impl Iterator<Item = &'a str> {
    regex
        .captures_iter(text)
        .filter_map(|c| c.get(1).map(|m| m.as_str()))
}

/// The path that a page means by `link`, from the root of the project; none if it leads out of it.
fn beside(page: &str, link: &str) -> Option<String> {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project of two pages and a Makefile of two targets.
    fn project(text: &str) -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        let mut git = crate::exec::command("git");
        git.arg("init").arg("-q").arg(dir.path());
        crate::exec::run(git, std::time::Duration::from_mins(1)).unwrap();
        for (path, text) in [
            ("docs/a.md", text),
            ("README.md", "# Top\n## Two words\n"),
            (".github/x.yml", "      - run: make cake\n"),
        ] {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            crate::papers::write(&dir.path().join(path), text).unwrap();
        }
        let pages =
            [("docs/a.md", text), ("README.md", "# Top\n## Two words\n")].map(|(path, text)| {
                let page = Page {
                    path: path.to_owned(),
                    text: text.to_owned(),
                };
                (path.to_owned(), (page.clone(), page.content()))
            });
        let project = Project {
            root: dir.path().to_owned(),
            pages: BTreeMap::from(pages),
            targets: BTreeSet::from(["demo".to_owned()]),
            commands: PROGRAMS
                .iter()
                .map(|p| ((*p).to_owned(), BTreeSet::from(["status".to_owned()])))
                .collect(),
        };
        (dir, project)
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let (_dir, p) = project(
            "# A\n[1](../README.md#two-words) [2](#a) [3](https://x/y#z)\n\n\
             [4](../README.md#three) [5](b.md) [6](#b) [7](../../out.md)\n",
        );
        let broken = p.broken_links();
        assert_eq!(broken.len(), 4, "{broken:?}");
        assert!(
            broken.iter().all(|b| b.starts_with("docs/a.md:4: ")),
            "{broken:?}"
        );
    }

    #[test]
    fn paths_and_commands_that_are_not_there_are_found() {
        let (_dir, p) = project(
            "`docs/a.md` `docs/b.md` `etc/x/y` `tests/*.rs` `make demo` `make demon` make cake\n\n\
             ```sh\nmake demo && hypriot-agent status; hypriot-fleet sttus\n```\n`hypriot-agent.service x`\n\
             `nobody_wrote_this_test` `trial_deadline_seconds` `hypriot_power_has_no_test`\n",
        );
        assert_eq!(p.missing_paths().unwrap(), ["docs/a.md:1: docs/b.md"]);
        assert_eq!(
            p.missing_tests().unwrap(),
            ["docs/a.md:7: nobody_wrote_this_test"]
        );
        assert_eq!(
            p.unknown_commands().unwrap(),
            [
                "docs/a.md:3: hypriot-fleet sttus",
                "docs/a.md:1: make demon",
                ".github/x.yml:1: make cake"
            ]
        );
    }
}
