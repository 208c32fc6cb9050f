//! Adds releases to a signed repository and publishes it: the signed files by `keys`, the payloads beside them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hypriot_keys::repo::{Published, Repository};
use hypriot_keys::secret::SecretKey;
use hypriot_updater::index::{Index, MAX_INDEX};

use crate::{files, release};

/// Publishes the releases whose index files are given. Payloads are verified segment by segment and lie in `to` before the
/// signed files that lead to them.
pub fn publish(
    repo: &mut Repository,
    indexes: &[PathBuf],
    signers: &[&SecretKey],
    to: &Path,
) -> Result<Published> {
    let mut payloads = Vec::new();
    for path in indexes {
        let dir = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .with_context(|| format!("{} has no usable name", path.display()))?;
        let len = std::fs::metadata(path)
            .with_context(|| format!("cannot look at {}", path.display()))?
            .len();
        ensure!(
            len <= MAX_INDEX,
            "{} has {len} bytes: this is no release index",
            path.display()
        );
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let index = Index::parse(&bytes).with_context(|| format!("{}", path.display()))?;
        release::verify(dir, &bytes)
            .with_context(|| format!("{} cannot be published", path.display()))?;
        payloads.push(dir.join(&index.payload.name));
        let custom =
            serde_json::json!({ "board": index.board, "version": index.version.to_string() });
        repo.add_target(name, &bytes, custom)?;
    }
    for payload in &payloads {
        let name = payload.file_name().context("it was made from a name")?;
        let there = to.join(name);
        if !same_file(payload, &there) {
            let mut from = std::fs::File::open(payload)
                .with_context(|| format!("cannot open {}", payload.display()))?;
            files::replace_with(&there, |file| {
                std::io::copy(&mut from, file).and_then(|_| file.flush())
            })?;
        }
    }
    Ok(repo.publish(to, signers)?)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
