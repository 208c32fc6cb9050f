//! Reading from an untrusted source: never more bytes than allowed, never longer than allowed.

use std::io::{ErrorKind, Read};
use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec::Vec;

use crate::error::Error;
use crate::source::pace::Pace;
use crate::source::{Source, SourceError, SourceErrorKind};

/// Reads the whole of `name`, at most `limit` bytes.
///
/// The bound on time holds between two reads; that a single read returns is the source's duty (see [`Source::open`]).
pub fn whole(source: &dyn Source, name: &str, limit: u64, pace: &Pace) -> Result<Vec<u8>, Error> {
    let start = Instant::now();
    let mut reader = source.open(name, 0).map_err(|e| refused(name, e))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(name, &e, bytes.len() as u64, start.elapsed())),
        };
        let got = bytes.len() as u64 + read as u64;
        // Before it is kept: endless data costs one buffer, not memory.
        if got > limit {
            return Err(Error::TooLong {
                file: name.into(),
                limit,
            });
        }
        let elapsed = start.elapsed();
        if !pace.allows(got, elapsed) {
            return Err(too_slow(name, got, elapsed));
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn broken(name: &str, error: &std::io::Error, got: u64, elapsed: Duration) -> Error {
    if error.kind() == ErrorKind::TimedOut {
        return too_slow(name, got, elapsed);
    }
    Error::Unreachable {
        file: name.into(),
        why: error.to_string(),
    }
}

fn too_slow(name: &str, got: u64, elapsed: Duration) -> Error {
    Error::TooSlow {
        file: name.into(),
        got,
        seconds: elapsed.as_secs(),
    }
}

fn refused(name: &str, error: SourceError) -> Error {
    let (file, why): (String, String) = (name.into(), error.what);
    match error.kind {
        SourceErrorKind::Missing => Error::Missing { file, why },
        SourceErrorKind::Temporary => Error::Unreachable { file, why },
        SourceErrorKind::Refused => Error::SourceRefused { file, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_sources_are_given_up_and_honest_ones_are_not() {
        let pace = Pace::default();
        let seconds = Duration::from_secs;
        for (got, elapsed, allowed, what) in [
            (0, seconds(14), true, "a slow start"),
            (16, seconds(16), false, "a byte a second"),
            (256 * 60, seconds(60), true, "exactly the least rate"),
            (256 * 60 - 1, seconds(60), false, "one byte less"),
            (u64::MAX, seconds(301), false, "fast but endless"),
        ] {
            assert_eq!(pace.allows(got, elapsed), allowed, "{what}");
        }
    }
}
