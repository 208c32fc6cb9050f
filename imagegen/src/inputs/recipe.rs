//! Owns what goes into an image: the recipe file, a short list of packages and files on top of a board.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const DEFAULT: &str = include_str!("../../recipes/default.toml");
/// A recipe larger than this is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// What to put into an image.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// Version of the image (`0.1.0`), as in its file name and in the release.
    pub version: String,
    /// The board, where a recipe is for one board only; else the command line names it.
    pub board: Option<String>,
    /// The suite, where it is not the board's.
    pub suite: Option<String>,
    /// Packages to install, with everything they depend on; recommended packages are not added.
    pub packages: Vec<String>,
    /// Packages of the default list of which nothing must be installed: a dependency on one of them is an error.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A directory whose content is laid over the tree, relative to the recipe file, as [`crate::inputs::overlay`] says.
    /// Where it lies says nothing to another machine, and is not written.
    #[serde(skip_serializing)]
    pub files: Option<PathBuf>,
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

/// Reads a recipe file, or the embedded one when none is named.
pub fn load(path: Option<&Path>) -> Result<Recipe, RecipeError> {
    let Some(path) = path else {
        return parse("default (embedded)", DEFAULT);
    };
    let read = |source| RecipeError::Read {
        path: path.to_owned(),
        source,
    };
    let len = std::fs::metadata(path).map_err(read)?.len();
    if len > MAX_BYTES {
        return Err(RecipeError::Invalid {
            origin: path.display().to_string(),
            reason: format!("{len} bytes are no recipe"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let mut recipe = parse(&path.display().to_string(), &text)?;
    if let Some(files) = &mut recipe.files {
        *files = path.parent().unwrap_or(Path::new(".")).join(&*files);
    }
    Ok(recipe)
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

/// Reads a recipe. `origin` is for messages.
pub fn parse(origin: &str, text: &str) -> Result<Recipe, RecipeError> {
    let invalid = |reason: String| RecipeError::Invalid {
        origin: origin.to_owned(),
        reason,
    };
    let mut recipe: Recipe = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
    recipe.version = version(&recipe.version).map_err(invalid)?.to_string();
    if recipe.packages.is_empty() {
        return Err(invalid("it names no packages".to_owned()));
    }
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_recipe_is_valid() {
        assert_eq!(load(None).unwrap().name, "default");
    }

    #[test]
    fn bad_recipes_are_refused() {
        for (danger, text, says) in [
            (
                "unknown key",
                "name='x'\nversion='1.0.0'\npackages=['a']\npakages=['b']",
                "pakages",
            ),
            ("missing key", "name='x'\npackages=['a']", "version"),
            (
                "version that is a path",
                "name='x'\nversion='../1'\npackages=['a']",
                "version",
            ),
            (
                "nothing to install",
                "name='x'\nversion='1.0.0'\npackages=[]",
                "no packages",
            ),
            ("not TOML", "{]", "recipe x"),
        ] {
            let e = parse("x", text).unwrap_err().to_string();
            assert!(e.contains(says), "{danger}: {e}");
        }
    }

    #[test]
    fn missing_recipe_is_named() {
        let e = load(Some(Path::new("/no/such/recipe.toml")))
            .unwrap_err()
            .to_string();
        assert!(e.contains("/no/such/recipe.toml"), "{e}");
    }

    #[test]
    fn versions_are_taken_or_answered_with_what_to_write() {
        for (text, want) in [
            ("1.2.3", Ok("1.2.3")),
            ("v1.2.3", Ok("1.2.3")),
            ("1.2.3-rc.1+b", Ok("1.2.3-rc.1+b")),
            ("1.2", Err("write 1.2.0")),
            ("2024.05", Err("write 2024.5.0")),
            ("v2", Err("write 2.0.0")),
            ("1.2-rc1", Err("write 1.2.0-rc1")),
            ("1.2.3.4", Err("three numbers")),
            ("../1", Err("three numbers")),
            ("", Err("three numbers")),
            ("99999999999999999999", Err("three numbers")),
        ] {
            match (version(text), want) {
                (Ok(v), Ok(want)) => assert_eq!(v.to_string(), want),
                (Err(e), Err(says)) => assert!(e.contains(says), "{text}: {e}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
