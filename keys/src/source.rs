//! Where repositories and releases come from.
//!
//! A source is untrusted: every byte it gives is checked by whoever asked for it.

mod file;
#[cfg(feature = "http")]
pub mod http;
pub mod pace;

pub use file::FileSource;

use std::boxed::Box;
use std::fmt;
use std::io::Read;
use std::string::String;

/// A repository seen as a flat set of named byte strings.
pub trait Source: Sync {
    /// Opens the file `name` at byte `from`.
    ///
    /// A name is a relative URL path as [`crate::names`] makes it: unreserved characters, `%XX`, and `/` only where a
    /// target's own name has one. The files of our own releases are single segments without `%`.
    /// The reader may end early or give wrong bytes; it must not block for ever (implementations bound time and rate).
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError>;

    /// The same, when nothing from byte `until` on is wanted. The reader may go on behind it.
    fn open_part(
        &self,
        name: &str,
        from: u64,
        _until: u64,
    ) -> Result<Box<dyn Read + '_>, SourceError> {
        self.open(name, from)
    }

    /// Whether the middle of `name` can be had without its front. Known once it was asked for; true until then.
    fn has_parts(&self, _name: &str) -> bool {
        true
    }
}

/// What a caller does about a source that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The source answered that there is no such file. For a root N+1 this is the normal end of the chain.
    Missing,
    /// It may work later: no connection, time-out, 5xx, a cut transfer.
    Temporary,
    /// It will not work later: malformed URL, redirect to another origin, a name that is not allowed.
    Refused,
}

/// Why a file could not be opened, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What the caller branches on.
    pub kind: SourceErrorKind,
    /// File and cause, for people.
    pub what: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for SourceError {}
