//! A repository that comes through standard input: `tar c -C site . | ssh board sudo hypriot-agent install -`.
//!
//! It is laid into a directory of its own on the data partition and then used like any other directory: nothing of it is
//! believed, everything is verified as if it came from a stick found in the street. Only plain files with plain names are taken.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::files;
use crate::lock::Lock;

/// Where it is laid.
pub const DIRECTORY: &str = "/data/hypriot/spool";
/// Held while it is there, so that nobody else lays another one there, or clears it away.
pub const LOCK: &str = "/run/hypriot/private/spool";
/// No repository has more files: a release has four, its metadata a few more.
const MOST: usize = 4096;
/// So much of the data partition is left to everybody else.
const LEFT: u64 = 64 << 20;

/// A repository in a directory that is gone with this value.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    _lock: Lock,
}

impl Spool {
    /// Takes a tar from `input`, if nobody is taking another one: what `lock` guards.
    pub fn receive(directory: &Path, lock: &Path, input: impl Read) -> anyhow::Result<Self> {
        let Some(lock) = Lock::try_take(lock)? else {
            bail!("another installation from standard input is going on: wait for it, or end it");
        };
        clear(directory)?;
        let mut private = DirBuilder::new();
        let made = private.recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("making {}", directory.display()))?;
        let spool = Self {
            directory: directory.to_owned(),
            _lock: lock,
        };
        let room = files::room(directory).context("asking how much room there is")?;
        unpack(directory, input, room.saturating_sub(LEFT))?;
        Ok(spool)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.directory) {
            tracing::warn!("{error:#}");
        }
    }
}

/// Removes what a power cut left, or the restart that ends an installation; not what is being received now.
pub fn clear_left(directory: &Path, lock: &Path) -> anyhow::Result<()> {
    match Lock::try_take(lock)? {
        Some(_lock) => clear(directory),
        None => Ok(()),
    }
}

fn clear(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("clearing {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn unpack(directory: &Path, input: impl Read, room: u64) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(input);
    let (mut left, mut files) = (room, 0);
    for entry in archive.entries().context("reading the tar")? {
        let mut entry = entry.context("reading the tar; was it sent whole?")?;
        let path = entry.path().context("reading the tar")?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() && name(&path).is_none_or(str::is_empty) {
            continue;
        }
        let name = name(&path).filter(|n| !n.is_empty());
        let Some(name) = name.filter(|_| kind.is_file()) else {
            bail!(
                "{:?} is no file with a plain name; a repository is one directory of those: tar c -C site .",
                path.display().to_string()
            );
        };
        files += 1;
        ensure!(files <= MOST, "more than {MOST} files");
        let size = entry.size();
        ensure!(
            size <= left,
            "{name} has {} MiB, and the data partition has {} to spare: hypriot-agent why, docker system prune",
            size >> 20,
            left >> 20
        );
        left -= size;
        let mut file =
            File::create_new(directory.join(name)).with_context(|| format!("making {name}"))?;
        let copied =
            io::copy(&mut entry, &mut file).with_context(|| format!("receiving {name}"))?;
        ensure!(copied == size, "{name} ends early; was the tar sent whole?");
    }
    ensure!(files > 0, "nothing came through standard input");
    Ok(())
}

/// The name of a file in the top directory; empty for that directory itself.
fn name(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let text = text.strip_prefix("./").unwrap_or(text);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~%+".contains(&c);
    let hidden = text.starts_with('.') && text != ".";
    match text {
        "." => Some(""),
        _ if !hidden && text.len() <= 255 && text.bytes().all(plain) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    }

    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, bytes) in entries {
            let mut header = header(*kind, bytes.len() as u64);
            // as an attacker writes it, and not as the library lets us
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const DIR: tar::EntryType = tar::EntryType::Directory;

    #[test]
    fn a_repository_comes_through_a_pipe_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("spool");
        fs::create_dir(&at).unwrap();
        File::create(at.join("left-by-a-power-cut")).unwrap();
        let tar = archive(&[
            ("./", DIR, b""),
            ("./1.root.json", FILE, b"{}"),
            ("p.full", FILE, &[7; 700]),
        ]);
        let spool = Spool::receive(&at, &dir.path().join("run/lock"), &*tar).unwrap();
        let mut names: Vec<_> = fs::read_dir(spool.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["1.root.json", "p.full"]);
        assert_eq!(fs::read(at.join("p.full")).unwrap(), [7; 700]);
        // neither a second one nor the agent's cleaning takes it away from the first
        let lock = dir.path().join("run/lock");
        let second = Spool::receive(&at, &lock, &*tar).unwrap_err();
        assert!(second.to_string().contains("another"), "{second}");
        clear_left(&at, &lock).unwrap();
        assert!(spool.path().join("p.full").exists());
        drop(spool);
        assert!(!at.exists());
    }

    #[test]
    fn what_a_restart_left_is_cleared_when_the_agent_starts() {
        let dir = tempfile::tempdir().unwrap();
        let (at, lock) = (dir.path().join("spool"), dir.path().join("run/lock"));
        let tar = archive(&[("p.full", FILE, &[7; 700])]);
        // the restart that ends an installation runs no destructors, and takes the lock with it
        std::mem::forget(Spool::receive(&at, &lock, &*tar).unwrap());
        fs::remove_file(&lock).unwrap();
        clear_left(&at, &lock).unwrap();
        assert!(!at.exists());
        clear_left(&at, &lock).unwrap();
    }

    #[test]
    fn what_is_no_repository_writes_nothing_outside_and_leaves_nothing() {
        let whole = archive(&[("a", FILE, &[1; 4000])]);
        for (danger, tar, expected) in [
            (
                "out of the directory",
                archive(&[("../a", FILE, b"x")]),
                "plain name",
            ),
            (
                "an absolute name",
                archive(&[("/tmp/a", FILE, b"x")]),
                "plain name",
            ),
            ("a directory", archive(&[("d/a", FILE, b"x")]), "plain name"),
            (
                "a link",
                archive(&[("a", tar::EntryType::Symlink, b"")]),
                "plain name",
            ),
            (
                "a device",
                archive(&[("a", tar::EntryType::Block, b"")]),
                "plain name",
            ),
            (
                "a pipe",
                archive(&[("a", tar::EntryType::Fifo, b"")]),
                "plain name",
            ),
            (
                "a hidden name",
                archive(&[(".a", FILE, b"x")]),
                "plain name",
            ),
            (
                "a line in a name",
                archive(&[("a\nb", FILE, b"x")]),
                "plain name",
            ),
            (
                "twice the same",
                archive(&[("a", FILE, b"x"), ("a", FILE, b"y")]),
                "making a",
            ),
            ("cut off", whole[..2000].to_vec(), "early"),
            ("nothing", Vec::new(), "nothing came"),
            ("an image", vec![0x5a; 4096], "tar"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("spool");
            let error = Spool::receive(&at, &dir.path().join("run/lock"), &*tar).expect_err(danger);
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{danger}: {error}");
            assert!(!at.exists(), "{danger}");
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                1,
                "{danger}: more than the lock"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(dir.path(), &*whole, 3999).expect_err("full");
        assert!(error.to_string().contains("to spare"), "{error}");
    }
}
