//! Owns how this crate writes files that count: whole and durable under their final name, or not at all. Also content hashes.

pub mod inroot;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces `path` by `bytes`: temporary file beside it, fsync, rename, fsync of the directory.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |f| f.write_all(bytes))
}

/// Replaces `path` by what `fill` writes. If it fails, the old file is as it was and no temporary file stays.
pub fn replace_with<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let dir = parent(path);
    fs::create_dir_all(dir)?;
    let mut tmp = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(dir)
        .map_err(|e| named(dir, &e))?;
    let value = fill(tmp.as_file_mut()).map_err(|e| named(path, &e))?;
    tmp.as_file().sync_all().map_err(|e| named(path, &e))?;
    set_ordinary_mode(tmp.as_file())?;
    tmp.persist(path).map_err(|e| named(path, &e.error))?;
    sync_dir(dir)?;
    Ok(value)
}

/// Moves a complete file or directory to its final name, durably. Both must lie on one file system.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that renames"
)]
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|e| named(to, &e))?;
    sync_dir(parent(to))
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A cache key over named inputs: no two different lists of inputs give the same text to the hash (lengths are hashed too).
pub fn content_key<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = blake3::Hasher::new();
    for (name, bytes) in parts {
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().to_hex()[..32].to_owned()
}

/// An I/O error that names the file; a full disk says what to do.
pub fn named(path: &Path, e: &io::Error) -> io::Error {
    let text = e.to_string();
    let place = path.display().to_string();
    if text.contains(&place) {
        return io::Error::new(e.kind(), text);
    }
    let hint = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some room, or choose another place with --cache or --out)"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            " (choose another place with --cache or --out)"
        }
        _ => "",
    };
    io::Error::new(e.kind(), format!("{place}: {text}{hint}"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Temporary files are made 0600; what we publish is for everybody, whatever the umask (reproducible).
fn set_ordinary_mode(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_write_keeps_the_old_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"old").unwrap();
        let e = replace_with(&path, |f| {
            f.write_all(b"ne")
                .and(Err::<(), _>(io::Error::other("power")))
        })
        .unwrap_err();
        assert!(e.to_string().contains("power"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn moved_boundaries_give_another_key() {
        assert_ne!(
            content_key([("a", b"bc".as_slice())]),
            content_key([("ab", b"c".as_slice())])
        );
    }
}
