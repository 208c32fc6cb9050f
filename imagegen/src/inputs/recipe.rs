//! Owns what goes into an image: the recipe, a list of packages, files, users and settings on top of a board, and of another
//! recipe where it names one (`base`).
//!
//! A recipe is read in three steps: its text into a [`Recipe`] (what TOML and serde object to has a line and a column), a check
//! of every value that is written in it (with the place, too), and the merge with its base. What is merged holds everything:
//! it is what the image's own record keeps, so that `verify` can make the same bytes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod check;
mod layers;
mod parts;
#[cfg(test)]
mod tests;

pub use check::{Package, package};
pub use layers::{Origin, origins, template};
pub use parts::{Container, Deb, FileEntry, Repository, Run, User};

const DEFAULT: &str = include_str!("../../recipes/default.toml");
/// A recipe larger than this is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// What to put into an image.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// Version of the image (`0.1.0`), as in its file name and in the release; without it, the base's.
    #[serde(default)]
    pub version: String,
    /// Which shape the data has that this image's services leave on the data partition: one more than the release before when that
    /// one could not read it. A board does not install a release that reads less than what lies there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_version: Option<u32>,
    /// The recipe it adds to: `default`, or a file beside it. Without one, it says everything itself.
    #[serde(default, skip_serializing)]
    pub base: Option<String>,
    /// The board, where a recipe is for one board only; else the command line names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The suite, where it is not the board's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Components of Debian's archive besides the board's: `contrib`, `non-free`, `non-free-firmware`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Packages to install, with everything they depend on: `name`, `name=version` or `name/suite`. Recommended packages are
    /// not added.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages that must not be installed: those of the base are left out, and a dependency on one is an error.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Files of packages that are left out, as dpkg's `path-exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_exclude: Vec<String>,
    /// Of those, files that are kept, as dpkg's `path-include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_include: Vec<String>,
    /// Packages that apt on the board must not replace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hold: Vec<String>,
    /// Package files to install, relative to the recipe file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debs: Vec<Deb>,
    /// A directory whose content is laid over the tree, relative to the recipe file, as [`crate::inputs::overlay`] says.
    /// Where it lies says nothing to another machine, and is not written.
    #[serde(default, skip_serializing)]
    pub files: Option<PathBuf>,
    /// The folders of its bases, the lowest first.
    #[serde(skip)]
    pub base_files: Vec<PathBuf>,
    /// The host name, where user-data gives no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The time zone: `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The country whose rules hold for Wi-Fi: `DE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi_country: Option<String>,
    /// Arguments for the kernel besides the board's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmdline: Vec<String>,
    /// Units that are started at every boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enable: Vec<String>,
    /// Units that packages enable and that shall not be started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<String>,
    /// Units that nothing can start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
    /// Users with keys, on every board of the image.
    #[serde(default, rename = "user", skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Single files.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<FileEntry>,
    /// Archives of packages besides Debian's.
    #[serde(default, rename = "repository", skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<Repository>,
    /// Container images that Docker has on every board, without a registry.
    #[serde(default, rename = "container", skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// Steps that are run in the finished tree, without a network.
    #[serde(default, rename = "run", skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// Where each value came from, for `explain`.
    #[serde(skip)]
    pub origins: Vec<Origin>,
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It cannot be read.
    #[error("cannot read the recipe {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not say what a recipe must say.
    #[error("recipe {origin}: {reason}")]
    Invalid {
        /// The file.
        origin: String,
        /// What is wrong, with its place.
        reason: String,
    },
}

/// Reads a recipe file and its bases, or the embedded one when none is named.
pub fn load(path: Option<&Path>) -> Result<Recipe, RecipeError> {
    let Some(path) = path else {
        return parse("default (embedded)", DEFAULT);
    };
    layers::load(path)
}

/// A version as people write one: `1.2.3`, with or without a `v` before it. Versions are compared by semver's rules on every
/// board, so what is none is answered with what to write.
pub fn version(text: &str) -> Result<semver::Version, String> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    let error = match semver::Version::parse(plain) {
        Ok(version) => return Ok(version),
        Err(e) => e,
    };
    let end = plain.find(['-', '+']).unwrap_or(plain.len());
    let (numbers, more) = plain.split_at(end);
    let mut parts: Vec<u64> = Vec::new();
    for part in numbers.split('.') {
        parts.extend(part.parse::<u64>());
    }
    let whole = parts.len() == numbers.split('.').count() && parts.len() <= 3;
    parts.resize(3, 0);
    let near = format!("{}.{}.{}{more}", parts[0], parts[1], parts[2]);
    let hint = if whole && semver::Version::parse(&near).is_ok() {
        format!("write {near}")
    } else {
        "write three numbers, as in 1.2.3 or 1.2.3-rc.1".to_owned()
    };
    Err(format!("version `{text}` is none ({error}): {hint}"))
}

/// Reads a recipe that stands alone. `origin` is for messages.
pub fn parse(origin: &str, text: &str) -> Result<Recipe, RecipeError> {
    let recipe = layers::parse(origin, text)?;
    if let Some(base) = &recipe.base {
        return Err(invalid(
            origin,
            format!("its base `{base}` can only be found from a file"),
        ));
    }
    layers::whole(origin, recipe)
}

fn invalid(origin: &str, reason: impl Into<String>) -> RecipeError {
    RecipeError::Invalid {
        origin: origin.to_owned(),
        reason: reason.into(),
    }
}

/// The name of a unit, whole: `ssh` means `ssh.service`.
pub fn unit(name: &str) -> String {
    const KINDS: [&str; 7] = [
        "service", "socket", "timer", "target", "path", "mount", "slice",
    ];
    match name.rsplit_once('.') {
        Some((_, kind)) if KINDS.contains(&kind) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}
