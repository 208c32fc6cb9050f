//! Owns the writing of a package's files into the tree. Every path is opened beneath the tree by the kernel itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, EntryType};

use super::{Control, Directory, Target, UnpackError, locked};
use crate::debian::deb::Deb;
use crate::files::inroot::open_directory;
use crate::tree::Owners;

/// A package may unpack to so much more than it says, for rounding and directories.
const SLACK: u64 = 64 << 20;
/// No package of Debian is larger.
const MAX_DATA: u64 = 8 << 30;
/// More members than any package has.
const MAX_MEMBERS: usize = 200_000;

/// The name a configuration file waits under until `dpkg --configure` puts it in its place.
const DPKG_NEW: &str = ".dpkg-new";

struct Place<'a> {
    target: &'a Target<'a>,
    package: &'a str,
    index: usize,
    /// The directory opened last: most members follow their siblings.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
}

/// Unpacks the files of one package; with `only`, just that path, over whatever is there. Returns the paths for its `.list`.
pub(super) fn data(
    target: &Target<'_>,
    index: usize,
    deb: &Deb<'_>,
    control: &Control,
    only: Option<&OsStr>,
) -> Result<Vec<String>, UnpackError> {
    let package = &target.packages[index];
    let limit = (package.installed_kib.saturating_mul(2048) + SLACK).min(MAX_DATA);
    let damaged = |source: io::Error| UnpackError::Deb {
        package: package.name.clone(),
        source: source.into(),
    };
    let reader = deb.data(limit).map_err(|source| UnpackError::Deb {
        package: package.name.clone(),
        source,
    })?;
    let mut archive = Archive::new(reader);
    let mut place = Place {
        target,
        package: &package.name,
        index,
        parent: None,
    };
    let mut list = Vec::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if list.len() >= MAX_MEMBERS {
            return Err(place.refuse(Path::new("…"), "too many members"));
        }
        let raw = entry.path_bytes().into_owned();
        let path = place.clean(Path::new(OsStr::from_bytes(&raw)))?;
        let shown = if path.as_os_str().is_empty() {
            "/.".to_owned()
        } else {
            format!("/{}", path.display())
        };
        if only.is_none_or(|o| o == path.as_os_str()) {
            place.put(
                &mut entry,
                &path,
                control.is_conffile(&shown),
                only.is_some(),
            )?;
        }
        list.push(shown);
    }
    Ok(list)
}

impl Place<'_> {
    fn refuse(&self, path: &Path, reason: &str) -> UnpackError {
        UnpackError::Refused {
            package: self.package.to_owned(),
            path: path.display().to_string(),
            reason: reason.to_owned(),
        }
    }

    fn failed(&self, path: &Path, e: Errno) -> UnpackError {
        self.broke(path, e.into())
    }

    fn broke(&self, path: &Path, source: io::Error) -> UnpackError {
        match (source.kind(), source.get_ref()) {
            (_, Some(inner)) if inner.is::<crate::debian::deb::DebError>() => UnpackError::Deb {
                package: self.package.to_owned(),
                source: crate::debian::deb::DebError::Io(source),
            },
            _ => UnpackError::Write {
                package: self.package.to_owned(),
                path: format!("/{}", path.display()),
                source,
            },
        }
    }

    /// `./usr/bin/x` as `usr/bin/x`. Anything that climbs or begins at the root is refused.
    fn clean(&self, path: &Path) -> Result<PathBuf, UnpackError> {
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    return Err(self.refuse(path, "a path that climbs with `..`"));
                }
                Component::RootDir | Component::Prefix(_) => {
                    return Err(self.refuse(path, "an absolute path"));
                }
            }
        }
        if clean.as_os_str().as_bytes().contains(&b'\n') {
            return Err(self.refuse(path, "a name with a line break"));
        }
        Ok(clean)
    }

    fn put(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        conffile: bool,
        again: bool,
    ) -> Result<(), UnpackError> {
        let header = entry.header();
        let bad = |e: io::Error| UnpackError::Deb {
            package: self.package.to_owned(),
            source: e.into(),
        };
        let mode = Mode::from_bits_truncate(header.mode().map_err(bad)?);
        let owner = (
            id(header.uid().map_err(bad)?),
            id(header.gid().map_err(bad)?),
        );
        let mtime = TimeSpec::new(header.mtime().map_err(bad)?.cast_signed(), 0);
        let kind = header.entry_type();
        if kind.is_dir() {
            return self.directory(path, mode, owner, mtime);
        }
        let mut stored = path.as_os_str().to_owned();
        if conffile {
            stored.push(DPKG_NEW);
        }
        let stored = PathBuf::from(stored);
        let name = stored
            .file_name()
            .ok_or_else(|| self.refuse(path, "a file without a name"))?
            .to_owned();
        if !again && self.claimed(path) {
            return Ok(());
        }
        let link = entry
            .link_name_bytes()
            .map(|b| PathBuf::from(OsStr::from_bytes(&b)));
        let dir = self.open_parent(&stored)?;
        let dir = dir.as_fd();
        match unlinkat(dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(self.failed(path, e)),
        }
        match (kind, link) {
            (EntryType::Regular | EntryType::Continuous, _) => {
                let flags = OFlag::O_WRONLY
                    | OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let mut file = File::from(
                    openat(dir, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
                        .map_err(|e| self.failed(path, e))?,
                );
                copy(entry, &mut file).map_err(|e| self.broke(path, e))?;
                let fd = file.as_fd();
                // Owner before mode: changing the owner clears the set-user-id bit.
                if self.target.owners == Owners::Kept {
                    nix::unistd::fchown(fd, Some(owner.0), Some(owner.1))
                        .map_err(|e| self.failed(path, e))?;
                }
                nix::sys::stat::fchmod(fd, self.target.mode(mode))
                    .map_err(|e| self.failed(path, e))?;
                futimens(fd, &mtime, &mtime).map_err(|e| self.failed(path, e))
            }
            (EntryType::Symlink, Some(to)) => {
                symlinkat(to.as_path(), dir, name.as_os_str()).map_err(|e| self.failed(path, e))?;
                if self.target.owners == Owners::Kept {
                    fchownat(
                        dir,
                        name.as_os_str(),
                        Some(owner.0),
                        Some(owner.1),
                        AtFlags::AT_SYMLINK_NOFOLLOW,
                    )
                    .map_err(|e| self.failed(path, e))?;
                }
                utimensat(
                    dir,
                    name.as_os_str(),
                    &mtime,
                    &mtime,
                    UtimensatFlags::NoFollowSymlink,
                )
                .map_err(|e| self.failed(path, e))
            }
            (EntryType::Link, Some(to)) => {
                let to = self.clean(&to)?;
                let old_name = to
                    .file_name()
                    .ok_or_else(|| self.refuse(path, "a link to nothing"))?
                    .to_owned();
                let old_dir = open_beneath(self.target.dir.as_fd(), to.parent())
                    .map_err(|e| self.failed(&to, e))?;
                linkat(
                    old_dir.as_fd(),
                    old_name.as_os_str(),
                    dir,
                    name.as_os_str(),
                    LinkatFlags::empty(),
                )
                .map_err(|e| self.failed(path, e))
            }
            (EntryType::Block | EntryType::Char | EntryType::Fifo, _) => {
                Err(self.refuse(path, "a device or pipe"))
            }
            _ => Err(self.refuse(path, "a member of a kind that packages do not have")),
        }
    }

    /// True if another package holds this path: then nothing is written now, and [`super::settle`] decides.
    fn claimed(&self, path: &Path) -> bool {
        let key = path.as_os_str().to_owned();
        let mut owners = locked(&self.target.claims.owners);
        match owners.get(&key) {
            Some(&other) if other != self.index => {
                drop(owners);
                locked(&self.target.claims.twice).push((
                    key,
                    other.min(self.index),
                    other.max(self.index),
                ));
                true
            }
            _ => {
                owners.insert(key, self.index);
                false
            }
        }
    }

    fn directory(
        &mut self,
        path: &Path,
        mode: Mode,
        owner: (Uid, Gid),
        mtime: TimeSpec,
    ) -> Result<(), UnpackError> {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return Ok(());
        };
        let dir = self.open_parent(path)?;
        let dir = dir.as_fd();
        match mkdirat(dir, name.as_os_str(), Mode::S_IRWXU) {
            Ok(()) => {}
            // A link to a directory stays a link (dpkg does the same): `/lib` is one.
            Err(Errno::EEXIST) => {
                open_beneath(self.target.dir.as_fd(), Some(path))
                    .map_err(|e| self.failed(path, e))?;
            }
            Err(e) => return Err(self.failed(path, e)),
        }
        let base = self.package == "base-files";
        let mine = Directory {
            rank: if base { 0 } else { self.index + 1 },
            mode: mode.bits(),
            owner: (owner.0.as_raw(), owner.1.as_raw()),
            mtime: mtime.tv_sec(),
        };
        let mut all = locked(&self.target.directories);
        let slot = all.entry(path.as_os_str().to_owned()).or_insert(mine);
        let newest = slot.mtime.max(mine.mtime);
        if mine.rank < slot.rank {
            *slot = mine;
        }
        slot.mtime = newest;
        Ok(())
    }

    fn open_parent(&mut self, path: &Path) -> Result<Rc<OwnedFd>, UnpackError> {
        let wanted = path.parent().unwrap_or(Path::new(""));
        if let Some((at, fd)) = &self.parent
            && at == wanted
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match open_beneath(self.target.dir.as_fd(), Some(wanted)) {
            Ok(fd) => Rc::new(fd),
            // Archives list directories before what is in them; the few that do not get plain ones.
            Err(Errno::ENOENT) => Rc::new(self.make_parents(wanted)?),
            Err(e) => return Err(self.failed(path, e)),
        };
        self.parent = Some((wanted.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn make_parents(&self, wanted: &Path) -> Result<OwnedFd, UnpackError> {
        let mut so_far = PathBuf::new();
        let root = self.target.dir.as_fd();
        let mut fd = open_beneath(root, None).map_err(|e| self.failed(wanted, e))?;
        for part in wanted.components() {
            so_far.push(part);
            match mkdirat(
                fd.as_fd(),
                part.as_os_str(),
                Mode::from_bits_truncate(0o755),
            ) {
                Ok(()) => fchmodat(
                    fd.as_fd(),
                    part.as_os_str(),
                    Mode::from_bits_truncate(0o755),
                    FchmodatFlags::FollowSymlink,
                )
                .map_err(|e| self.failed(wanted, e))?,
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(self.failed(wanted, e)),
            }
            fd = open_beneath(root, Some(&so_far)).map_err(|e| self.failed(wanted, e))?;
        }
        Ok(fd)
    }
}

impl Target<'_> {
    /// What the caller's own files lose: a program of somebody else that runs with his rights would be a gift to everybody.
    fn mode(&self, mode: Mode) -> Mode {
        match self.owners {
            Owners::Kept => mode,
            Owners::Caller => mode - (Mode::S_ISUID | Mode::S_ISGID),
        }
    }
}

fn id<T: From<u32>>(n: u64) -> T {
    T::from(u32::try_from(n).unwrap_or(0))
}

/// A directory of the tree, to put things into.
fn open_beneath(root: BorrowedFd<'_>, path: Option<&Path>) -> Result<OwnedFd, Errno> {
    open_directory(root, path.unwrap_or(Path::new("")), OFlag::O_PATH)
}

fn copy(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut buf = vec![0; 1 << 17];
    loop {
        let n = from.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&buf[..n])?;
    }
}

/// Directories get owner, mode and time last: every file put into one changes its time, and several packages may hold one.
pub(super) fn settle_directories(target: &Target<'_>) -> Result<(), UnpackError> {
    for (path, wanted) in locked(&target.directories).iter() {
        let set = || {
            let fd = open_directory(target.dir.as_fd(), Path::new(path), OFlag::O_RDONLY)?;
            let (uid, gid) = wanted.owner;
            let mut mode = target.mode(Mode::from_bits_truncate(wanted.mode));
            if target.owners == Owners::Kept {
                nix::unistd::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            } else {
                // Whoever may not write into a directory cannot delete what is in it.
                mode |= Mode::S_IRWXU;
            }
            nix::sys::stat::fchmod(&fd, mode)?;
            let when = TimeSpec::new(wanted.mtime, 0);
            futimens(&fd, &when, &when)
        };
        set().map_err(|e| crate::files::named(Path::new(path), &e.into()))?;
    }
    Ok(())
}
