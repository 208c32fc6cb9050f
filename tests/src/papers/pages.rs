//! Owns what a page is: a Markdown file of the project, with its headings, links and code.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::exec;

/// A Markdown file of the project.
#[derive(Debug, Clone)]
pub struct Page {
    /// From the root of the project.
    pub path: String,
    /// What is in the file.
    pub text: String,
}

/// What stands in a page, as far as it can be wrong.
#[derive(Debug, Default)]
pub struct Content {
    /// The name of each heading in links.
    pub anchors: Vec<String>,
    /// The headings as they are read, without their level.
    pub headings: Vec<String>,
    /// Where links and images lead, with the line.
    pub links: Vec<(usize, String)>,
    /// Words in code letters, with the line.
    pub spans: Vec<(usize, String)>,
    /// Blocks of code, with the line of their first one and the words behind the fence.
    pub blocks: Vec<Block>,
}

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its first line.
    pub line: usize,
    /// What stands behind the fence: the language, and `run` for what is run.
    pub kind: String,
    /// The code.
    pub text: String,
}

impl Block {
    /// Whether the tests run it: `sh,run`.
    pub fn is_run(&self) -> bool {
        self.kind.split([',', ' ']).any(|word| word == "run")
    }
}

/// Files git knows of, or would know of, whose name ends in one of these.
pub fn files(root: &Path, endings: &[&str]) -> Result<Vec<Page>> {
    let mut git = exec::command("git");
    git.current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let names = exec::run(git, Duration::from_mins(1))?;
    Ok(names
        .lines()
        .filter(|name| endings.iter().any(|e| name.ends_with(e)))
        .filter_map(|name| {
            // Listed and not there: deleted and not yet committed. Not text: nothing to read in it.
            let text = std::fs::read_to_string(root.join(name)).ok()?;
            Some(Page {
                path: name.to_owned(),
                text,
            })
        })
        .collect())
}

/// Every Markdown file of the project.
pub fn all(root: &Path) -> Result<Vec<Page>> {
    files(root, &[".md"])
}

impl Page {
    /// Reads it.
    pub fn content(&self) -> Content {
        let mut content = Content::default();
        let (mut heading, mut block): (Option<String>, Option<Block>) = (None, None);
        let mut seen = BTreeMap::new();
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, place) in Parser::new_ext(&self.text, options).into_offset_iter() {
            let line = self.text[..place.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::Heading { level, .. }) if level <= HeadingLevel::H6 => {
                    heading = Some(String::new());
                }
                Event::End(TagEnd::Heading(_)) => {
                    let words = heading.take().unwrap_or_default();
                    content.anchors.push(anchor(&words, &mut seen));
                    content.headings.push(words);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    content.links.push((line, dest_url.to_string()));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let kind = match kind {
                        CodeBlockKind::Fenced(words) => words,
                        CodeBlockKind::Indented => CowStr::Borrowed(""),
                    };
                    block = Some(Block {
                        line,
                        kind: kind.to_string(),
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::CodeBlock) => content.blocks.extend(block.take()),
                Event::Code(words) => {
                    if let Some(h) = &mut heading {
                        h.push_str(&words);
                    }
                    content.spans.push((line, words.to_string()));
                }
                Event::Text(words) => {
                    if let Some(b) = &mut block {
                        b.text.push_str(&words);
                    } else if let Some(h) = &mut heading {
                        h.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        content
    }
}

/// The name that GitHub and mdBook give a heading: small letters, dashes for spaces, a number behind what was there before.
fn anchor(heading: &str, seen: &mut BTreeMap<String, usize>) -> String {
    let name: String = heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let times = seen.entry(name.clone()).or_insert(0);
    *times += 1;
    if *times == 1 {
        name
    } else {
        format!("{name}-{}", *times - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_places() {
        let text = "# A `b` c!\n\n[x](y.md#z) `make it`\n\n## A b c\n\n```sh,run\ntrue\n```\n\n    old style\n";
        let page = Page {
            path: String::new(),
            text: text.to_owned(),
        };
        let content = page.content();
        assert_eq!(content.anchors, ["a-b-c", "a-b-c-1"]);
        assert_eq!(content.links, [(3, "y.md#z".to_owned())]);
        assert_eq!(content.spans[1], (3, "make it".to_owned()));
        assert_eq!(
            content.blocks.iter().map(Block::is_run).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(content.blocks[1].text, "old style\n");
    }
}
