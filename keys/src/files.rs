//! Files of this crate: public or private, and not there without being an error. How they are replaced is [`hypriot_base::files`]'s.

use std::fs::File;
use std::io;
use std::path::Path;
use std::vec::Vec;

use hypriot_base::files;
pub use hypriot_base::files::is_temporary;

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
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    #[cfg(test)]
    power::write(path, bytes)?;
    Ok(files::replace(path, bytes, mode)?)
}

/// Removes what writers that died left in a directory. Only for who knows that nobody writes there now.
pub fn sweep(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    Ok(files::sweep(directory)?)
}

/// Removes a file durably; that it is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    power::use_some()?;
    Ok(files::remove(path)?)
}

/// Reads a file of at most `limit` bytes; `None` when it is not there. A pipe will do: a passphrase or a key may come out of another
/// program (`--key <(pass …)`).
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(files::at_most(file, limit)?))
}

/// Makes a directory and its parents, durably.
pub fn make_directory(path: &Path) -> io::Result<()> {
    Ok(files::make_directories(path)?)
}

/// The power, for tests: after so many changes of the disk of this thread every further one fails.
#[cfg(test)]
pub(crate) mod power {
    use std::cell::Cell;
    use std::io;
    use std::path::Path;

    std::thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(crate) fn cut_after(changes: Option<usize>) {
        LEFT.set(changes);
    }

    pub(super) fn use_some() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(n) => {
                LEFT.set(Some(n - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A cut here leaves the file that was not finished, with half of its bytes.
    pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        use_some().inspect_err(|_| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let left = path.with_file_name(std::format!(".{name}.hypriot-new-cut"));
            std::fs::File::create(left)
                .and_then(|mut file| io::Write::write_all(&mut file, &bytes[..bytes.len() / 2]))
                .expect("the disk of a test has room");
        })
    }
}
