//! `hypriot-imagegen new`, and `explain --recipe`: recipes to begin with, and where their values come from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::image::{row, say};
use crate::files;
use crate::inputs::recipe;

/// Write a commented recipe to begin with
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen new my-image\n  \
    hypriot-imagegen new kiosk --to recipes/kiosk.toml\n\n\
    Exit codes: 0 written; 1 there is such a file, or the name is none.")]
pub(super) struct NewArgs {
    /// Name of the recipe, as in the image's record.
    name: String,
    /// The file; without it, NAME.toml here.
    #[arg(long)]
    to: Option<PathBuf>,
}

/// `new`
pub(super) fn new(args: &NewArgs) -> Result<()> {
    let text = recipe::template(&args.name);
    recipe::parse(
        "new",
        &text
            .replace("base = \"default\"", "packages = [\"apt\"]")
            .replacen("packages = [\n", "exclude = [\n", 1),
    )
    .with_context(|| format!("`{}` cannot be the name of a recipe", args.name))?;
    let to = args
        .to
        .clone()
        .unwrap_or_else(|| format!("{}.toml", args.name).into());
    ensure!(
        !to.exists(),
        "{} is there already; it was left as it is",
        to.display()
    );
    files::replace(&to, text.as_bytes())?;
    say(&format!(
        "{}: edit it, then hypriot-imagegen plan --board qemu-arm64 --recipe {0}",
        to.display()
    ));
    Ok(())
}

/// `explain --recipe`
pub(super) fn explain(path: &Path, json: bool) -> Result<()> {
    let recipe = recipe::load(Some(path))?;
    if json {
        return row(&serde_json::to_value(&recipe.origins)?);
    }
    for line in recipe::origins(&recipe) {
        say(&line);
    }
    Ok(())
}
