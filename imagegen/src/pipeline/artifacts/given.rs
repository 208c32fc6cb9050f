//! Files that an owner gives: the agent, user-data, short ones.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::bake::AGENT;
use crate::debian::deb;
use crate::inputs::userdata::{self, Locked};
use crate::tree::Content;

/// A `root.json`, a `user-data`: nothing small is bigger.
const SMALL_MAX: u64 = 1 << 20;

/// No agent is bigger, nor its package.
const AGENT_MAX: u64 = 256 << 20;

/// A file as it lies on this machine.
pub(super) fn file(path: &Path) -> Result<Content> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    ensure!(meta.is_file(), "{} is not a file", path.display());
    Ok(Content::Host {
        path: path.into(),
        len: meta.len(),
    })
}

/// The agent's program: a file, or the Debian package that `hypriot-imagegen deb` makes of it.
pub fn agent(path: &Path) -> Result<Content> {
    let given = file(path)?;
    let shown = path.display();
    ensure!(
        given.len() <= AGENT_MAX,
        "{shown} has {} bytes: this is no agent",
        given.len()
    );
    if path.extension().is_none_or(|e| e != "deb") {
        return Ok(given);
    }
    let bytes = given.read()?;
    let deb = deb::parse(&bytes).with_context(|| format!("{shown}"))?;
    let data = deb.data(AGENT_MAX).with_context(|| format!("{shown}"))?;
    let mut archive = tar::Archive::new(data);
    for entry in archive.entries().with_context(|| format!("{shown}"))? {
        let mut entry = entry.with_context(|| format!("{shown}"))?;
        let name = entry.path_bytes();
        if name.strip_prefix(b"./").unwrap_or(&name) == AGENT.as_bytes() {
            let mut program = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut program)?;
            return Ok(Content::Bytes(program.into()));
        }
    }
    bail!("{shown} has no /{AGENT}: it is another package than the agent's")
}

/// An owner's `user-data`, read as cloud-init will read it. What was mended or will be ignored is said by `note`.
pub fn user_data(
    path: &Path,
    image: Option<&dyn userdata::Image>,
    locked: Locked,
    note: impl Fn(&str),
) -> Result<Vec<u8>> {
    let shown = path.display().to_string();
    let checked = userdata::user_data(&shown, &small(path)?, image, locked)?;
    for word in &checked.words {
        note(&format!("{shown}: {word}"));
    }
    Ok(checked.text.into_bytes())
}

/// A short file.
pub fn small(path: &Path) -> Result<Vec<u8>> {
    let content = file(path)?;
    ensure!(
        content.len() <= SMALL_MAX,
        "{} has {} bytes; at most {SMALL_MAX} are allowed",
        path.display(),
        content.len()
    );
    Ok(content.read()?.to_vec())
}
