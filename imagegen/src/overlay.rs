//! Owns the files a recipe lays over the tree: copied as they are, owned by root.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::files;

/// More files than a recipe has.
const MAX_FILES: usize = 100_000;

/// A hash of names, modes and contents of a directory.
pub fn key(dir: &Path) -> io::Result<String> {
    let mut parts = Vec::new();
    for path in walk(dir)? {
        let at = dir.join(&path);
        let meta = fs::symlink_metadata(&at)?;
        let content = match meta.file_type() {
            t if t.is_symlink() => fs::read_link(&at)?.to_string_lossy().into_owned(),
            t if t.is_dir() => "/".to_owned(),
            _ => files::sha256_file(&at)?.0,
        };
        parts.push((
            path.to_string_lossy().into_owned(),
            format!("{:o} {content}", meta.permissions().mode()),
        ));
    }
    Ok(files::content_key(parts.iter().map(|(name, content)| {
        (name.as_str(), content.as_bytes())
    })))
}

/// Copies a directory over the tree.
pub fn copy(dir: &Path, root: &Path) -> io::Result<()> {
    for path in walk(dir)? {
        let (from, to) = (dir.join(&path), root.join(&path));
        let meta = fs::symlink_metadata(&from)?;
        if meta.is_dir() {
            // Where the tree has a link to a directory (`lib`), files go through it.
            if !to.is_dir() {
                fs::create_dir(&to).map_err(|e| files::named(&to, &e))?;
                fs::set_permissions(
                    &to,
                    fs::Permissions::from_mode(meta.permissions().mode() & 0o7777),
                )?;
            }
            continue;
        }
        if fs::symlink_metadata(&to).is_ok() {
            fs::remove_file(&to).map_err(|e| files::named(&to, &e))?;
        }
        if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::copy(&from, &to).map_err(|e| files::named(&to, &e))?;
            fs::set_permissions(
                &to,
                fs::Permissions::from_mode(meta.permissions().mode() & 0o7777),
            )?;
        }
    }
    Ok(())
}

/// All paths below a directory, each after its parent, sorted.
fn walk(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(sub) = pending.pop() {
        for entry in fs::read_dir(dir.join(&sub)).map_err(|e| files::named(dir, &e))? {
            let entry = entry?;
            let path = sub.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                pending.push(path.clone());
            }
            found.push(path);
            if found.len() > MAX_FILES {
                return Err(io::Error::other(format!(
                    "{}: more than {MAX_FILES} files",
                    dir.display()
                )));
            }
        }
    }
    found.sort();
    Ok(found)
}
