//! The only place of the agent that replaces files: temporary, fsync, rename, fsync of the directory.
//!
//! A file written here is either wholly the old one or wholly the new one, after any power cut, and once a function
//! has returned `Ok` the new one stays.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;

/// Marks our temporary files, so that [`sweep`] can tell them from an owner's.
const MARK: &str = ".hypriot-new-";

/// A file operation that failed, with the file it was about.
#[derive(Debug)]
pub struct FileError {
    /// What was being done, in words: `replacing`, `reading`.
    pub doing: &'static str,
    /// The file that the caller asked for.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.path.display(), self.source)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Replaces the file at `path` by `bytes` with permission bits `mode`, atomically and durably.
///
/// The directory must exist. A symbolic link at `path` is replaced, not followed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace_with(path, mode, |to| to.write_all(bytes))
}

/// Like [`replace`], for content that is too large to hold in memory: `fill` writes it.
///
/// When `fill` fails, the old file stays and nothing of the new one is left behind.
pub fn replace_with(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    let error = |source| FileError {
        doing: "replacing",
        path: path.to_owned(),
        source,
    };
    let (directory, temporary) = temporary_beside(path).map_err(error)?;
    let done = write_new(&temporary, mode, fill)
        .and_then(|()| rename(&temporary, path))
        .and_then(|()| sync_directory(&directory));
    if done.is_err() {
        // The write already failed and its error says why: a leftover is what `sweep` is for.
        drop(fs::remove_file(&temporary));
    }
    done.map_err(error)
}

/// Gives the directory `fresh`, which is complete and synced, the name `path` in the same directory. Durable on return.
pub fn appear(fresh: &Path, path: &Path) -> Result<(), FileError> {
    rename(fresh, path)
        .and_then(|()| sync_directory(&directory_of(path)))
        .map_err(|source| FileError {
            doing: "making",
            path: path.to_owned(),
            source,
        })
}

/// Removes the file at `path` durably. A file that is not there is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let error = |source| FileError {
        doing: "removing",
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(path) {
        Ok(()) => sync_directory(&directory_of(path)).map_err(error),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(error(e)),
    }
}

/// Makes `path` and its missing parents, each durably.
pub fn make_directories(path: &Path) -> Result<(), FileError> {
    let error = |source| FileError {
        doing: "making the directory",
        path: path.to_owned(),
        source,
    };
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && !p.is_dir())
        .collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            other => other.map_err(error)?,
        }
        sync_directory(&directory_of(directory)).map_err(error)?;
    }
    Ok(())
}

/// Removes the temporary files that a power cut during [`replace`] left in `directory`.
///
/// Only for the one long-running process that owns the directory: another one's write in progress would be lost.
pub fn sweep(directory: &Path) -> Result<(), FileError> {
    let error = |source| FileError {
        doing: "sweeping",
        path: directory.to_owned(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with('.') && name.contains(MARK));
        if ours {
            fs::remove_file(entry.path()).map_err(error)?;
        }
    }
    Ok(())
}

/// Opens a file that has an end. A pipe waits for a writer who may never come, a device has no end, and some do something when
/// they are opened (a watchdog starts): none of them is opened, so whoever names one waits for nothing.
pub fn open(path: &Path) -> io::Result<File> {
    // open(2): with O_PATH nothing but the name is looked up, and the descriptor says what it led to
    let named = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_PATH.bits())
        .open(path)?;
    let meta = named.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        let text = "a pipe, a socket or a device, and no file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // proc(5): the same file, whatever the name leads to by now
    File::open(format!("/proc/self/fd/{}", named.as_raw_fd()))
}

/// Reads at most `limit` bytes of the file at `path`; a larger file is an error, not a cut one, and so is what is no file.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let error = |source| FileError {
        doing: "reading",
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(error)?;
    if bytes.len() as u64 > limit {
        let text = format!("larger than the {limit} bytes that such a file may have");
        return Err(error(io::Error::new(io::ErrorKind::FileTooLarge, text)));
    }
    Ok(bytes)
}

/// Like [`read`], for text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|e| FileError {
        doing: "reading",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()),
    })
}

/// Makes the names in `directory` durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn write_new(
    temporary: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    // create_new: never through a symbolic link that somebody put there.
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    fill(&mut new)?;
    // Set after opening, because the umask took its share of the mode given there.
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    new.sync_all()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that the rule sends everybody else to"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

fn temporary_beside(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    // Unique within the process (threads) and between processes (the daemon and a command of the operator).
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let directory = directory_of(path);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(
        "{MARK}{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    Ok((directory.clone(), directory.join(temporary)))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// How many bytes can still be written below `path`. `fsblkcnt_t` and the block's size have other widths on 32-bit boards.
pub fn room(path: &Path) -> io::Result<u64> {
    let fs = nix::sys::statvfs::statvfs(path)?;
    let free = u128::from(fs.blocks_available()) * u128::from(fs.fragment_size());
    Ok(u64::try_from(free).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
