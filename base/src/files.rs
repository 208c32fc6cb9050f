//! Files that count: temporary beside them, mode, fsync, rename, fsync of the directory.
//!
//! A file written here is either wholly the old one or wholly the new one, after any power cut, and once a function
//! has returned `Ok` the new one stays.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Marks our temporary files, so that [`sweep`] can tell them from an owner's.
const MARK: &str = ".hypriot-new-";
/// Names of 64 random bits that were all taken: somebody works against us.
const MAX_TRIES: usize = 8;
/// So much of a file's own name is in its temporary one: NAME_MAX of limits.h is 255.
const LONGEST: usize = 200;

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

/// For callers that speak of the file themselves.
impl From<FileError> for io::Error {
    fn from(e: FileError) -> Self {
        e.source
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
pub fn replace_with<T>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> Result<T, FileError> {
    let error = |source| FileError {
        doing: "replacing",
        path: path.to_owned(),
        source,
    };
    let directory = directory_of(path);
    let (mut new, temporary) = temporary_beside(path, directory).map_err(error)?;
    let done = complete(&mut new, mode, fill)
        .and_then(|value| rename(&temporary, path).map(|()| value))
        .and_then(|value| sync_directory(directory).map(|()| value));
    if done.is_err() {
        // The write already failed and its error says why: a leftover is what `sweep` is for.
        drop(fs::remove_file(&temporary));
    }
    done.map_err(error)
}

/// Gives what is complete and synced at `fresh`, a file or a directory, the name `path` on the same file system. Durable on return.
pub fn appear(fresh: &Path, path: &Path) -> Result<(), FileError> {
    rename(fresh, path)
        .and_then(|()| sync_directory(directory_of(path)))
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
        Ok(()) => sync_directory(directory_of(path)).map_err(error),
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
        sync_directory(directory_of(directory)).map_err(error)?;
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
        if is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(error)?;
        }
    }
    Ok(())
}

/// Whether a file of this name is one that [`replace`] has not finished.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.contains(MARK)
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
    open(path)
        .and_then(|file| at_most(file, limit))
        .map_err(error)
}

/// All of what is open here, if it has no more than `limit` bytes.
pub fn at_most(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("larger than the {limit} bytes that such a file may have");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
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

fn complete<T>(
    new: &mut File,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let value = fill(new)?;
    // Set after opening, because the umask took its share of the mode given there; and before the sync, which covers it.
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    new.sync_all()?;
    Ok(value)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that the rule sends everybody else to"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// A new file beside the one that it becomes. Its name is one that no other writer has, be it a thread, another process, or one that
/// a power cut ended and whose number this process has now; and nobody who may write into the directory can tell it before.
fn temporary_beside(path: &Path, directory: &Path) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    for _ in 0..MAX_TRIES {
        // a hasher's keys are the system's randomness
        let random = RandomState::new().build_hasher().finish();
        let mut own = OsString::from(".");
        own.push(OsStr::from_bytes(
            &name.as_bytes()[..name.len().min(LONGEST)],
        ));
        own.push(format!("{MARK}{random:016x}"));
        let temporary = directory.join(own);
        // create_new: never through a symbolic link that somebody put there.
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary);
        match opened {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (file, temporary)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
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
