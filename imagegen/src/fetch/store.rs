//! Owns the content-addressed store: every downloaded file under its SHA-256, complete or not there at all. Two processes may
//! use one store; a killed one leaves at most a partial file that the next continues.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::sha256::Sha256;

/// The mark that backup programs look for (bford.info/cachedir).
pub const MARK: &str = "CACHEDIR.TAG";

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A file being downloaded. Nobody else downloads it while this lives.
#[derive(Debug)]
pub struct Partial {
    /// What is there so far.
    pub path: PathBuf,
    lock: File,
}

impl Store {
    /// Opens the store below `cache`, creating it if need be.
    pub fn open(cache: &Path) -> io::Result<Self> {
        let root = cache.to_owned();
        for dir in ["sha256", "partial", "seen"] {
            fs::create_dir_all(root.join(dir)).map_err(|e| files::named(&root.join(dir), &e))?;
        }
        let readme = root.join(MARK);
        if !readme.exists() {
            files::replace(&readme, b"Signature: 8a477f597d28d172789f06886806bc55\n# Downloads and build stages of hypriot-imagegen. May be deleted.\n")?;
        }
        Ok(Self { root })
    }

    /// The directory it lives in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file of this hash lies, or would lie.
    pub fn path(&self, sha256: Sha256) -> PathBuf {
        let name = sha256.to_string();
        self.root.join("sha256").join(&name[..2]).join(name)
    }

    /// The file of this hash and length, if it is here. Its content is checked by whoever reads it.
    pub fn get(&self, sha256: Sha256, size: u64) -> Option<PathBuf> {
        let path = self.path(sha256);
        fs::metadata(&path)
            .is_ok_and(|m| m.is_file() && m.len() == size)
            .then_some(path)
    }

    /// Takes the right to download a file; waits while another process does.
    pub fn begin(&self, sha256: Sha256) -> io::Result<Partial> {
        let path = self.root.join("partial").join(sha256.to_string());
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| files::named(&lock_path, &e))?;
        lock.lock().map_err(|e| files::named(&lock_path, &e))?;
        Ok(Partial { path, lock })
    }

    /// Moves a complete, checked download to its place.
    pub fn keep(&self, partial: Partial, sha256: Sha256) -> io::Result<PathBuf> {
        let to = self.path(sha256);
        fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
        File::open(&partial.path)?
            .sync_all()
            .map_err(|e| files::named(&partial.path, &e))?;
        files::rename(&partial.path, &to)?;
        let lock_path = partial.path.with_extension("lock");
        // Waiters hold the file open and find the finished download when they get it.
        drop(fs::remove_file(lock_path));
        drop(partial.lock);
        Ok(to)
    }

    /// Removes a file that turned out to be damaged.
    pub fn discard(&self, sha256: Sha256) -> io::Result<()> {
        match fs::remove_file(self.path(sha256)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Takes a named lock for the life of the returned file, so that two builds do not make the same thing at once.
    pub fn lock(&self, name: &str) -> io::Result<File> {
        let (path, file) = self.lock_file(name)?;
        file.lock().map_err(|e| files::named(&path, &e))?;
        Ok(file)
    }

    /// Takes a named lock together with others who only use the thing.
    pub fn lock_shared(&self, name: &str) -> io::Result<File> {
        let (path, file) = self.lock_file(name)?;
        file.lock_shared().map_err(|e| files::named(&path, &e))?;
        Ok(file)
    }

    /// Takes a named lock unless somebody has it.
    pub fn try_lock(&self, name: &str) -> io::Result<Option<File>> {
        let (path, file) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(files::named(&path, &e)),
        }
    }

    fn lock_file(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let path = self.root.join("partial").join(format!("{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| files::named(&path, &e))?;
        Ok((path, file))
    }

    /// The newest date seen of a release, as (seconds, text).
    pub fn seen(&self, what: &str) -> Option<(i64, String)> {
        let text = fs::read_to_string(self.seen_path(what)).ok()?;
        let (seconds, date) = text.trim().split_once(' ')?;
        Some((seconds.parse().ok()?, date.to_owned()))
    }

    /// Remembers the date of a release.
    pub fn set_seen(&self, what: &str, seconds: i64, text: &str) -> io::Result<()> {
        files::replace(
            &self.seen_path(what),
            format!("{seconds} {text}\n").as_bytes(),
        )
    }

    fn seen_path(&self, what: &str) -> PathBuf {
        self.root
            .join("seen")
            .join(&Sha256::of(what.as_bytes()).to_string()[..32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_download_is_not_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let hash = Sha256::of(b"whole");
        let partial = store.begin(hash).unwrap();
        File::create(&partial.path).unwrap();
        assert!(store.get(hash, 5).is_none());
        files::replace(&partial.path, b"whole").unwrap();
        store.keep(partial, hash).unwrap();
        assert!(store.get(hash, 5).is_some());
        assert!(
            store.get(hash, 6).is_none(),
            "another length is another file"
        );
    }

    #[test]
    fn newest_date_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.seen("a"), None);
        store
            .set_seen("a", 7, "Thu, 01 Jan 1970 00:00:07 UTC")
            .unwrap();
        assert_eq!(store.seen("a").unwrap().0, 7);
        assert_eq!(store.seen("b"), None);
    }
}
