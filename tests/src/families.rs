//! The assertions of HypriotOS's old suites, family by family, and what stands for each now. The table is data; tests hold it to the
//! code, and a page of the book is written from it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::papers::pages;

/// How many assertions a run of the old suites made.
pub const ASSERTED: u32 = 435;
const TABLE: &str = include_str!("families/families.toml");
const SELFTESTS: &str = "systemd/usr/share/hypriot/selftest.d";
/// What expectations are written from the image itself, and the word in `imagegen/src/bake/expectations.rs` that makes them.
const FROM_THE_IMAGE: [(&str, &str); 4] = [
    ("packages", "(\"package\", packages("),
    ("users", "(\"user\", users("),
    ("groups", "(\"group\", groups("),
    ("files", "(\"file\", files("),
];

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Families {
    /// What the old suites asserted.
    pub family: Vec<Family>,
    /// What they lacked.
    pub lacked: Vec<Family>,
}

/// One family, and what stands for it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Family {
    /// What it was about.
    pub name: String,
    /// How many assertions it had.
    pub asserted: u32,
    /// Tests on the board: file, section, name.
    pub selftest: Vec<String>,
    /// Checks of an image.
    pub inspect: Vec<String>,
    /// Expectations written from the image itself.
    pub image: Vec<String>,
    /// Tests of the project.
    pub test: Vec<String>,
    /// What has no successor, and why.
    pub not: String,
}

impl Families {
    /// As it stands in the project.
    pub fn read() -> Result<Self> {
        toml::from_str(TABLE).context("tests/src/families/families.toml")
    }

    /// Everything that the table names and the project does not have.
    pub fn wrong(&self, root: &Path) -> Result<Vec<String>> {
        let sources = pages::files(root, &[".rs"])?;
        let all: String = sources.iter().map(|page| page.text.as_str()).collect();
        let inspect: String = sources
            .iter()
            .filter(|page| page.path.starts_with("imagegen/src/imagecheck"))
            .map(|page| page.text.as_str())
            .collect();
        let expectations = std::fs::read_to_string(root.join("imagegen/src/bake/expectations.rs"))?;
        let mut wrong = Vec::new();
        for family in self.family.iter().chain(&self.lacked) {
            let mut say = |what: String| wrong.push(format!("{}: {what}", family.name));
            for name in &family.selftest {
                if !is_selftest(root, name) {
                    say(format!("no self-test `{name}`"));
                }
            }
            for name in &family.inspect {
                if !inspect.contains(&format!("\"{name}\"")) {
                    say(format!("no check of images `{name}`"));
                }
            }
            for name in &family.image {
                let made = FROM_THE_IMAGE.iter().find(|(known, _)| known == name);
                if made.is_none_or(|(_, word)| !expectations.contains(word)) {
                    say(format!("no expectations of {name}"));
                }
            }
            for name in &family.test {
                if !all.contains(&format!("fn {name}(")) {
                    say(format!("no test `{name}`"));
                }
            }
            if family.stands() == 0 && family.not.is_empty() {
                say("nothing stands for it, and nobody says why".to_owned());
            }
        }
        Ok(wrong)
    }

    /// As tables of a page.
    pub fn tables(&self) -> Result<String> {
        let (all, gone) = self.totals();
        let mut text = format!(
            "{} families, {all} assertions. For {} families something stands now; {gone} have no successor.\n\n\
             | family | assertions | now | what has no successor, and why |\n|---|---:|---|---|\n",
            self.family.len(),
            self.family.len() - gone
        );
        for family in &self.family {
            writeln!(
                text,
                "| {} | {} | {} | {} |",
                family.name,
                family.asserted,
                family.now(),
                family.not
            )?;
        }
        text += "\n## What the old suites lacked\n\n| what | now | not |\n|---|---|---|\n";
        for family in &self.lacked {
            writeln!(
                text,
                "| {} | {} | {} |",
                family.name,
                family.now(),
                family.not
            )?;
        }
        Ok(text)
    }

    /// Assertions of the old suites, and families without a successor.
    pub fn totals(&self) -> (u32, usize) {
        let all = self.family.iter().map(|family| family.asserted).sum();
        let gone = self.family.iter().filter(|family| family.stands() == 0);
        (all, gone.count())
    }
}

impl Family {
    fn stands(&self) -> usize {
        self.selftest.len() + self.inspect.len() + self.image.len() + self.test.len()
    }

    /// Where to look: names of many checks would hide the one that is looked for.
    fn now(&self) -> String {
        let count = |all: &[String], what: &str| match all.len() {
            0 => None,
            _ => Some(format!("{what}: {}", all.join("; ").replace('|', "\\|"))),
        };
        let parts = [
            count(&self.selftest, "on the board"),
            count(&self.inspect, "of the image"),
            count(&self.image, "written from the image"),
            count(&self.test, "tests"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("<br>")
    }
}

/// `FILE SECTION NAME`: whether the file has that name below that section. Our own files are plain: a section at the margin, names
/// two blanks to the right.
fn is_selftest(root: &Path, words: &str) -> bool {
    let mut parts = words.splitn(3, ' ');
    let (Some(file), Some(section), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(text) = std::fs::read_to_string(root.join(SELFTESTS).join(file)) else {
        return false;
    };
    let mut inside = false;
    text.lines().any(|line| {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            inside = line == format!("{section}:");
        }
        inside
            && line
                .strip_prefix("  ")
                .is_some_and(|l| l.starts_with(&format!("{name}:")))
    })
}
