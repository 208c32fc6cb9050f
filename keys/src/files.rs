//! The only place of this crate that replaces files: temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::vec::Vec;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody (0644).
    Public,
    /// The owner only (0600).
    Private,
}

/// Puts `bytes` at `path`, whole or not at all, and durably: after a power cut the old or the new file is there.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let directory = parent(path);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = directory.join(temporary);
    // A leftover of an earlier power cut; anything else there is not ours to follow (create_new does not follow links).
    remove_if_there(&temporary)?;
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    let result = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| rename(&temporary, path));
    if result.is_err() {
        remove_if_there(&temporary)?;
    }
    result?;
    sync_directory(directory)
}

/// Removes a file durably; that it is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_if_there(path)?;
    sync_directory(parent(path))
}

/// Reads a file of at most `limit` bytes; `None` when it is not there.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            std::format!("longer than {limit} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// Makes a directory and its parents, durably as far as the last two levels go.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    sync_directory(path)?;
    sync_directory(parent(path))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place: `replace` syncs before and after"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
