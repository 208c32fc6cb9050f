//! The one hand that reaches into a tree on disk. Every path is resolved by the kernel as if the tree were the whole world
//! (openat2(2), `RESOLVE_IN_ROOT`): no link in it, absolute or not, leads to a file of the building machine.
//!
//! What packages bring and what their scripts leave is somebody else's work. A tree whose `etc/ssl/private` is a link to
//! `/home` must not make the step that empties that folder empty the builder's.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use crate::files;

/// No file that is read whole is larger.
const MAX_READ: u64 = 64 << 20;

/// Opens a directory of a tree; the general form of what is below.
pub(crate) fn open_directory(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let path = Some(path).filter(|p| !p.as_os_str().is_empty());
    let how = OpenHow::new()
        .flags(flags | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path.unwrap_or(Path::new(".")), how)
}

/// A tree.
#[derive(Debug)]
pub(crate) struct Hand {
    root: OwnedFd,
}

/// A directory of a tree, held open: it stays this one whatever becomes of the links that led to it.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    shown: PathBuf,
}

/// A name in a directory of a tree, which may be there or not. If it is a link, the link itself is meant.
#[derive(Debug)]
pub(crate) struct Spot {
    folder: Folder,
    name: OsString,
}

impl Hand {
    /// The tree in this directory of the host.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let root = File::open(root).map_err(|e| files::named(root, &e))?;
        Ok(Self { root: root.into() })
    }

    /// A directory, if it is there.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<Option<Folder>> {
        match open_directory(self.root.as_fd(), path, OFlag::O_RDONLY) {
            Ok(fd) => Ok(Some(Folder {
                fd,
                shown: path.to_owned(),
            })),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(files::named(path, &e.into())),
        }
    }

    /// A directory, made with those it lies in (0755) where they are missing.
    pub(crate) fn make(&self, path: &Path) -> io::Result<Folder> {
        let named = |e: Errno| files::named(path, &e.into());
        let mut so_far = PathBuf::new();
        let mut fd = open_directory(self.root.as_fd(), &so_far, OFlag::O_RDONLY).map_err(named)?;
        for part in path.components() {
            so_far.push(part);
            let mode = Mode::from_bits_truncate(0o755);
            match mkdirat(fd.as_fd(), part.as_os_str(), mode) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(named(e)),
            }
            fd = open_directory(self.root.as_fd(), &so_far, OFlag::O_RDONLY).map_err(named)?;
        }
        Ok(Folder {
            fd,
            shown: path.to_owned(),
        })
    }

    /// A place for a file, if there is a directory for it.
    pub(crate) fn spot(&self, path: &Path) -> io::Result<Option<Spot>> {
        let name = path.file_name().ok_or_else(|| {
            let e = io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file");
            files::named(path, &e)
        })?;
        let folder = self.folder(path.parent().unwrap_or(Path::new("")))?;
        Ok(folder.map(|f| f.spot(name)))
    }
}

impl Folder {
    /// A path of the host that leads here and nowhere else, as long as this value lives (proc_pid_fd(5)).
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let named = |e: io::Error| files::named(&self.shown, &e);
        let mut sorted = fs::read_dir(self.path())
            .map_err(named)?
            .map(|e| Ok(e?.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(named)?;
        sorted.sort();
        Ok(sorted)
    }

    /// A name in it.
    pub(crate) fn spot(self, name: &OsStr) -> Spot {
        Spot {
            folder: self,
            name: name.to_owned(),
        }
    }

    /// Writes a file of this name in the place of whatever had it, not durably: for stages that are synced as a whole.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = self.path().join(name);
        let write = || {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        write().map_err(|e| files::named(&self.shown.join(name), &e))
    }
}

impl Spot {
    /// A path of the host for calls that do not follow a link at its end.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The directory it is in.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Where it is in the tree.
    pub(crate) fn shown(&self) -> PathBuf {
        self.folder.shown.join(&self.name)
    }

    fn named(&self, e: &io::Error) -> io::Error {
        files::named(&self.shown(), e)
    }

    /// What is there.
    pub(crate) fn meta(&self) -> io::Result<Option<Metadata>> {
        match fs::symlink_metadata(self.path()) {
            Ok(meta) => Ok(Some(meta)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.named(&e)),
        }
    }

    /// The content of a regular file; nothing for what is absent or anything else.
    pub(crate) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        // Not blocking: a pipe would wait for a writer for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(
            self.folder.fd.as_fd(),
            self.name.as_os_str(),
            flags,
            Mode::empty(),
        ) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
            Err(e) => return Err(self.named(&e.into())),
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MAX_READ)
            .read_to_end(&mut bytes)
            .map_err(|e| self.named(&e))?;
        Ok(Some(bytes))
    }

    /// Puts a file there, durably; a link is replaced, not followed.
    pub(crate) fn replace(&self, bytes: &[u8], mode: u32) -> io::Result<()> {
        files::replace(&self.path(), bytes)
            .and_then(|()| fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)))
            .map_err(|e| self.named(&e))
    }

    /// Takes a file or link away.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_file(self.path()).map_err(|e| self.named(&e))
    }
}

#[cfg(test)]
mod tests;
