//! The papers of the project: what pages say that the code knows better, the book, and whether all of it is true.
//!
//! * `pages`: every Markdown file, and what stands in it
//! * `reference`: the parts of pages that are written by the code: `<!-- from: … -->`
//! * `help`: what a program says about itself; `fields`: what a type of a file format says about itself
//! * `truth`: links, paths, commands that pages name, and pages that the code names
//! * `book`: the book, made by mdBook; `picture`: what a reader sees first

pub mod book;
pub mod fields;
pub mod help;
pub mod pages;
pub mod picture;
pub mod reference;
pub mod truth;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

use crate::factory::Factory;

/// The papers of the project, made and checked.
#[derive(Debug, Parser)]
#[command(name = "hypriot-papers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the parts of pages that come from the code
    Reference,
    /// Make the book of docs/ (installs mdBook into .cache/tools, once)
    Book,
    /// Judge .github/workflows with zizmor and actionlint (installed into .cache/tools, once)
    Workflows,
    /// Judge alert rules and dashboard with promtool
    Monitoring,
    /// Draw the pictures of the README from a virtual board that runs
    Pictures,
    /// Judge the pages of a board and of `hypriot-fleet serve` in Chromium, with axe; pictures go to out/page
    Page,
}

/// Runs it.
pub fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hypriot-papers: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let root = root();
    match command {
        Command::Reference => {
            Factory::new()?.programs()?;
            write(
                &root.join("docs/src/reference/openapi.json"),
                &hypriot_agent::serve::openapi::write(),
            )?;
            for page in pages::all(&root)? {
                let (path, new) = (root.join(&page.path), reference::fill(&root, &page)?);
                if new != page.text {
                    write(&path, &new)?;
                    eprintln!("{}: written anew", page.path);
                }
            }
            Ok(())
        }
        Command::Book => book::make(&root),
        Command::Workflows => crate::workflows::judge(&root),
        Command::Monitoring => crate::monitoring::judge(&root),
        Command::Pictures => picture::draw(&root),
        Command::Page => {
            let pictures = crate::locks::page::pictures(&root);
            crate::glance::page::judge(&root, &pictures)?;
            crate::locks::page::judge(&root, &pictures)
        }
    }
}

/// The folder of the workspace: the parent of this crate's.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Writes a file of the project.
fn write(path: &Path, text: &str) -> Result<()> {
    ensure!(!text.is_empty(), "{}: nothing to write", path.display());
    #[expect(
        clippy::disallowed_methods,
        reason = "git has the old text; nobody reads it after a power cut"
    )]
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
