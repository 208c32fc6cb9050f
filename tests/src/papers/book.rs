//! Owns the book: mdBook in the project's own folder, at one version, and what it makes of `docs/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::exec;

/// The version of mdBook the pages are written for.
const MDBOOK: &str = "0.5.4";

/// Makes `docs/book/`.
pub fn make(root: &Path) -> Result<()> {
    let mut c = exec::command(mdbook(root)?);
    c.current_dir(root).args(["build", "docs"]);
    exec::run_shown(c, Duration::from_mins(5))?;
    eprintln!("{}", root.join("docs/book/index.html").display());
    Ok(())
}

/// mdBook, compiled once: no distribution has this version.
fn mdbook(root: &Path) -> Result<PathBuf> {
    let tools = root.join(".cache/tools");
    let program = tools.join("bin/mdbook");
    let mut version = exec::command(&program);
    version.arg("--version");
    if program.is_file()
        && exec::run(version, Duration::from_mins(1))
            .is_ok_and(|said| said.trim() == format!("mdbook v{MDBOOK}"))
    {
        return Ok(program);
    }
    let mut cargo = exec::cargo();
    cargo
        .args(["install", "--locked", "--force", "--root"])
        .arg(&tools)
        .args(["--no-default-features", "--features", "search"])
        .arg(format!("mdbook@{MDBOOK}"));
    exec::run_shown(cargo, Duration::from_mins(40)).context("installing mdBook")?;
    Ok(program)
}
