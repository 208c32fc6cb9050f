//! Owns how this crate writes files that count: whole and durable under their final name ([`hypriot_base::files`]), readable for
//! everybody, with errors that say what to do. Also content hashes.

pub mod inroot;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use hypriot_base::files::{self as durable, FileError};

/// What we publish is for everybody, whatever the umask (reproducible).
const ORDINARY: u32 = 0o644;

/// Replaces `path` by `bytes`, and makes its folder.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |f| f.write_all(bytes))
}

/// Replaces `path` by what `fill` writes. If it fails, the old file is as it was and no temporary file stays.
pub fn replace_with<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| named(dir, &e))?;
    }
    durable::replace_with(path, ORDINARY, fill).map_err(|e| hinted(&e))
}

/// Moves a complete file or directory to its final name, durably. Both must lie on one file system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    durable::appear(from, to).map_err(|e| hinted(&e))
}

fn hinted(e: &FileError) -> io::Error {
    named(&e.path, &e.source)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_names_the_file_once_and_what_is_written_is_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/x");
        replace(&path, b"old").unwrap();
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, ORDINARY);
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let e = replace_with(&path, |_| Err::<(), _>(full()))
            .unwrap_err()
            .to_string();
        assert!(e.contains("--cache"), "{e}");
        assert_eq!(e.matches("new/x").count(), 1, "{e}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn moved_boundaries_give_another_key() {
        assert_ne!(
            content_key([("a", b"bc".as_slice())]),
            content_key([("ab", b"c".as_slice())])
        );
    }
}
