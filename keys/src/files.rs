//! The only place of this crate that replaces files: temporary file, fsync, rename, fsync of the directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

/// How the name of an unfinished file ends.
const TEMPORARY: &str = ".new";
/// Leftovers of earlier processes with our number, at most.
const MAX_TRIES: usize = 1000;

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
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    let (mut file, temporary) = temporary(directory, name, mode)?;
    let result = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| rename(&temporary, path));
    if result.is_err() {
        remove_if_there(&temporary)?;
    }
    result?;
    sync_directory(directory)
}

/// A new file beside the one that it becomes, under a name that no other writer has: two that wrote into one would each publish
/// half of the other's bytes. Nothing that is there already is opened, links neither (`create_new`).
fn temporary(directory: &Path, name: &OsStr, mode: u32) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = std::process::id();
    for _ in 0..MAX_TRIES {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut own = OsString::from(".");
        own.push(name);
        own.push(std::format!(".{process}-{count}{TEMPORARY}"));
        let path = directory.join(own);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
        {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (file, path)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a file of this name is one that [`replace`] has not finished.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(TEMPORARY.as_bytes())
}

/// Removes what writers that died left in a directory. Only for who knows that nobody writes there now.
pub fn sweep(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if is_temporary(&entry.file_name()) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
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
    #[cfg(test)]
    faults::step()?;
    fs::rename(from, to)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::step()?;
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

/// The power, for tests: after so many changes of the disk of this thread every further one fails.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;
    use std::io;

    std::thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(crate) fn cut_after(changes: Option<usize>) {
        LEFT.set(changes);
    }

    pub(super) fn step() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(n) => {
                LEFT.set(Some(n - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
