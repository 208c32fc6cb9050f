//! Reading pieces of one file from a source that may break off, and taking it up again where it was.
//!
//! Two rules, and neither within the other: a source asks again by itself, with pauses and an end, until a body is open
//! ([`hypriot_keys::source::http`]), and its refusal is final here; a body that breaks off is opened again, and given up
//! when that brings nothing. What is written stays, and the update loop comes back later.

use std::io::{self, Read};

use hypriot_keys::source::Source;

use super::InstallError;

/// Gaps between wanted pieces up to this size are downloaded along rather than asked around.
pub(super) const GAP: u64 = 256 << 10;
/// A transfer that is cut is taken up again this often without any progress in between.
const ATTEMPTS: u32 = 5;
/// So many bytes are progress: a server that drips a byte per connection makes none.
const PROGRESS: u64 = 64 << 10;

/// A file of a source, read forwards.
pub(super) struct Transfer<'s> {
    source: &'s dyn Source,
    name: &'s str,
    /// The open body, and the place in the file that it gives next.
    body: Option<(u64, Box<dyn Read + 's>)>,
    /// Attempts that failed, and what came since the last one that did not.
    failures: u32,
    since: u64,
    /// Bytes that came.
    pub(super) fetched: u64,
}

impl<'s> Transfer<'s> {
    pub(super) fn new(source: &'s dyn Source, name: &'s str) -> Self {
        Self {
            source,
            name,
            body: None,
            failures: 0,
            since: 0,
            fetched: 0,
        }
    }

    /// Fills `buf` from `at`. What is wanted next ends before `until`.
    pub(super) fn read(&mut self, at: u64, until: u64, buf: &mut [u8]) -> Result<(), InstallError> {
        let mut filled = 0;
        while filled < buf.len() {
            let now = at + filled as u64;
            let cause = match self.piece(now, until, &mut buf[filled..])? {
                Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => cause,
            };
            self.body = None;
            self.failed(now, cause)?;
        }
        // whole pieces are progress, however small
        self.failures = 0;
        Ok(())
    }

    /// Some bytes from `at` on. The outer error is final.
    fn piece(
        &mut self,
        at: u64,
        until: u64,
        buf: &mut [u8],
    ) -> Result<io::Result<usize>, InstallError> {
        // a server that knows no ranges would send the front again
        let parts = self.source.has_parts(self.name);
        let near = |place: u64| place <= at && (!parts || at - place <= GAP);
        let (mut place, mut body) = match self.body.take() {
            Some(open) if near(open.0) => open,
            _ => match self.source.open_part(self.name, at, until) {
                Ok(body) => (at, body),
                Err(source) => {
                    return Err(InstallError::Source {
                        name: self.name.into(),
                        source,
                    });
                }
            },
        };
        while place < at {
            let most = usize::try_from(at - place)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            match body.read(&mut buf[..most]) {
                Ok(0) => return Ok(Ok(0)),
                Ok(read) => (place, ()) = (place + read as u64, self.came(read)),
                Err(cause) => return Ok(Err(cause)),
            }
        }
        let read = body.read(buf);
        if let Ok(read) = read {
            self.came(read);
            self.body = Some((place + read as u64, body));
        }
        Ok(read)
    }

    fn came(&mut self, read: usize) {
        self.fetched += read as u64;
        self.since += read as u64;
    }

    fn failed(&mut self, at: u64, cause: io::Error) -> Result<(), InstallError> {
        if self.since >= PROGRESS {
            self.failures = 0;
        }
        (self.failures, self.since) = (self.failures + 1, 0);
        if self.failures < ATTEMPTS {
            return Ok(());
        }
        Err(InstallError::Cut {
            name: self.name.into(),
            cause,
            at,
        })
    }
}
