//! Reads the board files as a stranger would: only what the tests ask about. `hypriot-imagegen` checks the rest.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A board file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BoardFile {
    /// Name on the command line.
    pub name: String,
    /// Debian's name of the architecture.
    pub arch: String,
    /// Rust target of the agent.
    pub agent_target: String,
    /// What has been shown to work, and where.
    pub proven: String,
    /// How it boots.
    pub boot: Boot,
    /// The emulated machine that starts its images, if there is one.
    pub qemu: Option<Machine>,
}

/// How a board boots.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Boot {
    /// `android-bootimg`: there is no card.
    pub method: String,
    /// Blobs before the first partition.
    #[serde(default)]
    pub raw: Vec<Blob>,
}

/// A blob at a fixed place of the card.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Blob {
    /// Its name.
    pub file: String,
    /// First byte on the card.
    pub offset: u64,
    /// Bytes left out at its start.
    #[serde(default)]
    pub skip: u64,
    /// So many bytes are taken.
    pub length: Option<u64>,
    /// There is room for so many.
    pub room: Option<u64>,
    /// Where owners get it, if it is not in a package.
    pub from_user: Option<String>,
}

/// An emulated machine; its arguments have the placeholders that `imagegen/src/board.rs` describes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Program.
    pub program: String,
    /// `-machine`
    pub machine: String,
    /// `-cpu`, where there is a choice.
    pub cpu: Option<String>,
    /// MiB of memory.
    pub memory: u32,
    /// Processors.
    pub cpus: u8,
    /// Whether a hanging machine resets itself.
    #[serde(default)]
    pub watchdog: bool,
    /// Further arguments.
    pub args: Vec<String>,
}

impl BoardFile {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("reading a board file")
    }

    /// All board files of the project, by name.
    pub fn all(project: &Path) -> Result<Vec<Self>> {
        let dir = project.join("imagegen/boards");
        let files =
            std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        let mut all = Vec::new();
        for file in files {
            let path = file?.path();
            let text = std::fs::read_to_string(&path)?;
            all.push(Self::parse(&text).with_context(|| path.display().to_string())?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Whether its image is one for a card.
    pub fn has_card(&self) -> bool {
        self.boot.method != "android-bootimg"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_board_files_are_read() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all = BoardFile::all(project).unwrap();
        let named = |name: &str| all.iter().find(|b| b.name == name).unwrap();
        assert!(named("qemu-armhf").qemu.as_ref().unwrap().watchdog);
        assert!(!named("shield-tv").has_card());
        let blobs = &named("odroid-xu4").boot.raw;
        assert_eq!(blobs.iter().filter(|b| b.from_user.is_some()).count(), 3);
    }
}
