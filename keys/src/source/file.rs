//! A repository in a directory: a USB stick, a mounted share, a folder of tests.

use std::boxed::Box;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use super::{Source, SourceError, SourceErrorKind};

/// A directory as a source. Names never lead out of it, symbolic links neither.
#[derive(Debug, Clone)]
pub struct FileSource {
    directory: PathBuf,
}

impl FileSource {
    /// The directory need not exist yet: what is not there is missing.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The path of `name`, with every link in it resolved.
    fn path(&self, name: &str) -> Result<PathBuf, SourceError> {
        let mut path = self.directory.clone();
        for segment in name.split('/') {
            let segment = decode(segment)
                .filter(|s| !s.is_empty() && s != "." && s != ".." && !s.contains(['/', '\0']))
                .ok_or_else(|| refused(name, "not the name of a file in this directory"))?;
            path.push(segment);
        }
        let missing = |e: std::io::Error| SourceError {
            kind: match e.kind() {
                ErrorKind::NotFound => SourceErrorKind::Missing,
                _ => SourceErrorKind::Temporary,
            },
            what: std::format!("{}: {e}", path.display()),
        };
        let root = self.directory.canonicalize().map_err(missing)?;
        let real = path.canonicalize().map_err(missing)?;
        if real.starts_with(&root) {
            Ok(real)
        } else {
            Err(refused(
                name,
                "a symbolic link that leads out of the directory",
            ))
        }
    }
}

impl Source for FileSource {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let path = self.path(name)?;
        let mut file = open_plain(&path).map_err(|e| temporary(&path, &e))?;
        let kind = file.metadata().map_err(|e| temporary(&path, &e))?;
        if !kind.is_file() {
            return Err(refused(name, "not a plain file"));
        }
        if from > 0 {
            file.seek(SeekFrom::Start(from))
                .map_err(|e| temporary(&path, &e))?;
        }
        Ok(Box::new(file))
    }
}

/// Opens without waiting: a named pipe on a stick must not hold the device up.
fn open_plain(path: &Path) -> std::io::Result<File> {
    /// O_NONBLOCK of Linux on every architecture we build for (include/uapi/asm-generic/fcntl.h).
    const NON_BLOCKING: i32 = 0o4000;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(NON_BLOCKING)
        .open(path)
}

fn temporary(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Temporary,
        what: std::format!("{}: {error}", path.display()),
    }
}

fn refused(name: &str, why: &str) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Refused,
        what: std::format!("{name:?}: {why}"),
    }
}

/// Undoes `%XX`.
fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let (pair, after) = after.split_at_checked(2)?;
            bytes.extend(hex::decode(pair).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
