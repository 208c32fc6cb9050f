//! Owns what goes into an image: the recipe file, a short list of packages and files on top of a board.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const DEFAULT: &str = include_str!("../recipes/default.toml");
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
    /// A directory whose content is laid over the tree, relative to the recipe file, as [`crate::overlay`] says.
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

/// Reads a recipe. `origin` is for messages.
pub fn parse(origin: &str, text: &str) -> Result<Recipe, RecipeError> {
    let invalid = |reason: String| RecipeError::Invalid {
        origin: origin.to_owned(),
        reason,
    };
    let recipe: Recipe = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
    let version_ok = |v: &str| {
        !v.is_empty()
            && v.len() < 40
            && v.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    if !version_ok(&recipe.version) {
        return Err(invalid(format!(
            "version `{}` may hold letters, digits and `+-.` only",
            recipe.version
        )));
    }
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
                "name='x'\nversion='1'\npackages=['a']\npakages=['b']",
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
                "name='x'\nversion='1'\npackages=[]",
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
}
