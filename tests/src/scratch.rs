//! Files and folders of one run, which nobody reads after a power cut.

use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Writes a file.
#[expect(
    clippy::disallowed_methods,
    reason = "a scratch file that nobody reads after a power cut"
)]
pub fn put(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// What was played in this folder, which stays for who asks why it failed.
pub fn kept<T>(dir: TempDir, played: Result<T>) -> Result<T> {
    played.map_err(|e| {
        let kept = dir.keep();
        e.context(format!(
            "cards and console logs are kept in {}",
            kept.display()
        ))
    })
}
