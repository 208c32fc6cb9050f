//! Owns where the project lies on this machine: the workspace's folder and its cache, which git ignores.

use std::path::{Path, PathBuf};

/// The folders everything else is relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The workspace: where `Cargo.toml` and the crates lie.
    pub root: PathBuf,
    /// What can be deleted and made again: `.cache` in the workspace, or `$HYPRIOT_CACHE`.
    pub cache: PathBuf,
}

/// There is no workspace around the current directory.
#[derive(Debug, thiserror::Error)]
#[error("{} is not inside the project's folder; change to the folder you cloned", from.display())]
pub struct NotInProject {
    from: PathBuf,
}

impl Project {
    /// The project around the current directory.
    pub fn find() -> Result<Self, NotInProject> {
        let from = std::env::current_dir().unwrap_or_default();
        let cache = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
        Self::around(&from, cache).ok_or(NotInProject { from })
    }

    fn around(from: &Path, cache: Option<PathBuf>) -> Option<Self> {
        let is_root = |dir: &&Path| {
            ["agent", "imagegen"]
                .iter()
                .all(|c| dir.join(c).join("Cargo.toml").is_file())
        };
        let root = from.ancestors().find(is_root)?.to_owned();
        let cache = cache.unwrap_or_else(|| root.join(".cache"));
        Some(Self { root, cache })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_from_a_folder_inside_and_not_from_outside() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().unwrap();
        let found = Project::around(&here.join("src"), None).unwrap();
        assert_eq!(
            found,
            Project {
                root: root.to_owned(),
                cache: root.join(".cache")
            }
        );
        let elsewhere = Project::around(here, Some("/c".into())).unwrap();
        assert_eq!(elsewhere.cache, Path::new("/c"));
        assert_eq!(Project::around(Path::new("/"), None), None);
    }
}
