//! Owns the parts of pages that are written by the code. Such a part stands between two lines:
//!
//! ```text
//! <!-- from: help hypriot-agent -->
//! <!-- end -->
//! ```
//!
//! `make docs-reference` writes what belongs there; a test compares.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hypriot_imagegen::inputs::board;

use super::fields::Sources;
use super::help;
use super::pages::Page;

const BEGIN: &str = "<!-- from: ";
const END: &str = "<!-- end -->";

/// The page with all such parts as the code writes them.
pub fn fill(root: &Path, page: &Page) -> Result<String> {
    let mut text = String::with_capacity(page.text.len());
    let mut lines = page.text.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        let Some(what) = line
            .strip_prefix(BEGIN)
            .and_then(|l| l.strip_suffix(" -->"))
        else {
            continue;
        };
        lines
            .find(|l| *l == END)
            .with_context(|| format!("{}: `{line}` has no end", page.path))?;
        let part = part(root, what).with_context(|| format!("{}: `{line}`", page.path))?;
        write!(text, "\n{}\n\n{END}\n", part.trim_end())?;
    }
    Ok(text)
}

/// What the code says about something.
fn part(root: &Path, what: &str) -> Result<String> {
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        ["help", program] => help::page(program),
        ["exit-codes"] => help::exit_codes(),
        ["boards"] => boards(),
        ["layout"] => layout(),
        ["metrics"] => metrics(),
        ["http"] => http(),
        ["families"] => crate::families::Families::read()?.tables(),
        ["make"] => targets(root),
        ["type", krate, name] => Sources::of(root, krate)?.table(name),
        _ => bail!("nothing is known about `{what}`"),
    }
}

/// The table of boards.
fn boards() -> Result<String> {
    let mut text =
        "| board | | arch | needs from you | proven |\n|---|---|---|---|---|\n".to_owned();
    for name in board::names() {
        let board = board::find(&name)?;
        let files: Vec<String> = board.needs().into_iter().map(|n| n.file).collect();
        let needs = if files.is_empty() {
            "nothing".to_owned()
        } else {
            files.join(", ")
        };
        writeln!(
            text,
            "| {} | {} | {} | {needs} | {} |",
            board.name, board.description, board.arch, board.proven
        )?;
    }
    Ok(text)
}

/// The table of partitions.
fn layout() -> Result<String> {
    use hypriot_updater::layout::{MIB, PARTITIONS};
    let mut text =
        "| partition | name | begins at MiB | length in MiB |\n|---|---|---:|---:|\n".to_owned();
    for p in PARTITIONS {
        let (start, size) = (p.start / MIB, p.size / MIB);
        writeln!(text, "| p{} | {} | {start} | {size} |", p.number, p.name)?;
    }
    Ok(text)
}

/// The table of metrics.
fn metrics() -> Result<String> {
    let mut text = "| metric | type | meaning |\n|---|---|---|\n".to_owned();
    for metric in hypriot_agent::serve::metrics::catalogue() {
        let (name, kind, help) = (metric.name, metric.kind, metric.help);
        writeln!(text, "| `{name}` | {kind} | {help} |")?;
    }
    Ok(text)
}

/// The table of paths that a board answers.
fn http() -> Result<String> {
    let mut text =
        "| path | what is there | media types | status | parameters |\n|---|---|---|---|---|\n"
            .to_owned();
    for served in hypriot_agent::serve::openapi::served() {
        let codes: Vec<String> = served.codes.iter().map(u16::to_string).collect();
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            served.path,
            served.summary,
            served.kinds.join(", "),
            codes.join(", "),
            served.query.join(", ")
        )?;
    }
    Ok(text)
}

/// The targets of the Makefile.
fn targets(root: &Path) -> Result<String> {
    let makefile =
        std::fs::read_to_string(root.join("Makefile")).context("reading the Makefile")?;
    let mut text = "| target | what it does |\n|---|---|\n".to_owned();
    for line in makefile
        .lines()
        .filter(|l| !l.starts_with([' ', '\t', '#', '@']))
    {
        if let Some((left, words)) = line.split_once(" ## ") {
            let name = left.split(':').next().unwrap_or_default();
            writeln!(text, "| `make {name}` | {} |", words.replace('|', "\\|"))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page {
            path: "p.md".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_part_is_replaced_and_the_rest_stays() {
        let old = "# A\n<!-- from: layout -->\nold\n<!-- end -->\nafter\n";
        let new = fill(Path::new("."), &page(old)).unwrap();
        assert!(
            new.starts_with("# A\n<!-- from: layout -->\n\n| partition"),
            "{new}"
        );
        assert!(new.ends_with("|\n\n<!-- end -->\nafter\n"), "{new}");
        assert!(
            new.contains("| p7 | data |") && !new.contains("old"),
            "{new}"
        );
        assert_eq!(fill(Path::new("."), &page(&new)).unwrap(), new);
    }

    #[test]
    fn unknown_parts_and_parts_without_an_end_are_refused() {
        for text in [
            "<!-- from: layout -->\n",
            "<!-- from: nothing -->\n<!-- end -->\n",
        ] {
            assert!(fill(Path::new("."), &page(text)).is_err(), "{text}");
        }
    }
}
