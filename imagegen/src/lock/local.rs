//! Owns packages that a recipe brings as files: they are candidates like an archive's, and lie in the store under their hash.

use std::io::Read;
use std::path::Path;

use super::LockError;
use super::repo::index::Index;
use crate::debian::deb;
use crate::fetch::store::Store;
use crate::files;
use crate::inputs::recipe::Recipe;
use crate::sha256::Sha256;

/// The name of the archive they are from.
pub const LOCAL: &str = "local";
/// What the owner brings is what is taken, whatever archives have (apt_preferences(5): more than 1000 even goes back).
const PRIORITY: i32 = 1001;
/// No control file is longer.
const CONTROL_MAX: u64 = 1 << 20;

/// Brings the files into the store.
pub fn keep(recipe: &Recipe, store: &Store) -> Result<(), LockError> {
    for deb in &recipe.debs {
        let path = &deb.path;
        if path.as_os_str().is_empty() {
            continue;
        }
        let sha256 = deb.sha256.ok_or_else(|| wrong(path, "it was not read"))?;
        let kept = store.path(sha256);
        if kept.exists() {
            continue;
        }
        let bytes = std::fs::read(path).map_err(|e| wrong(path, e.to_string()))?;
        if Sha256::of(&bytes) != sha256 {
            return Err(wrong(path, "it changed while the recipe was read"));
        }
        files::replace(&kept, &bytes).map_err(|e| wrong(path, e.to_string()))?;
    }
    Ok(())
}

/// The files as a list of packages, and their names.
pub(super) fn index(recipe: &Recipe, arch: &str) -> Result<(Index, Vec<String>), LockError> {
    let (mut text, mut names) = (String::new(), Vec::new());
    for file in &recipe.debs {
        let path = &file.path;
        let bytes = std::fs::read(path).map_err(|e| wrong(path, e.to_string()))?;
        let control = control(&bytes).map_err(|e| wrong(path, e))?;
        let field = |name: &str| {
            let line = control.lines().find_map(|l| l.strip_prefix(name));
            line.map(|l| l.trim_start_matches(':').trim().to_owned())
                .ok_or_else(|| wrong(path, format!("it has no {name}")))
        };
        let of = field("Architecture")?;
        if of != "all" && of != arch {
            return Err(wrong(path, format!("it is for {of}, the board is {arch}")));
        }
        names.push(field("Package")?);
        text += control.trim_end();
        let (name, size, sha256) = (&file.name, bytes.len(), Sha256::of(&bytes));
        let place = format!("\nFilename: {name}\nSize: {size}\nSHA256: {sha256}\n\n");
        text += &place;
    }
    let mut index = Index::new(LOCAL, LOCAL, text);
    index.priority = PRIORITY;
    Ok((index, names))
}

fn control(bytes: &[u8]) -> Result<String, String> {
    let deb = deb::parse(bytes).map_err(|e| e.to_string())?;
    let data = deb.control().map_err(|e| e.to_string())?;
    let mut archive = tar::Archive::new(data);
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.path_bytes().into_owned();
        if name.strip_prefix(b"./").unwrap_or(&name) == b"control" {
            let mut text = String::new();
            let read = entry.take(CONTROL_MAX).read_to_string(&mut text);
            return read.map(|_| text).map_err(|e| e.to_string());
        }
    }
    Err("it has no control file".to_owned())
}

fn wrong(path: &Path, reason: impl Into<String>) -> LockError {
    LockError::Deb {
        path: path.to_owned(),
        reason: reason.into(),
    }
}
