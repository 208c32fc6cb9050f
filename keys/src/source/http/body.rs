//! The body of an answer: skipped to where it was wanted, cut to its length, and given up when it comes too slowly.

use std::io::{Error, ErrorKind, Read};
use std::time::Instant;

use reqwest::blocking::Response;

use crate::source::pace::Pace;

/// A body being read.
pub(super) struct Body {
    response: Response,
    skip: u64,
    /// What may still come; `None` when the answer did not say.
    left: Option<u64>,
    pace: Pace,
    start: Instant,
    got: u64,
}

impl Body {
    pub(super) fn new(response: Response, skip: u64, length: Option<u64>, pace: Pace) -> Self {
        Self {
            response,
            skip,
            left: length,
            pace,
            start: Instant::now(),
            got: 0,
        }
    }

    fn piece(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = self.response.read(buffer).map_err(timed_out)?;
        self.got += read as u64;
        if read > 0 && !self.pace.allows(self.got, self.start.elapsed()) {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "the server sends too slowly",
            ));
        }
        Ok(read)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut scratch = [0; 8192];
        while self.skip > 0 {
            let most = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(scratch.len());
            let read = self.piece(&mut scratch[..most])?;
            if read == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    "the file is shorter than what was there before",
                ));
            }
            self.skip -= read as u64;
        }
        let most = match self.left {
            Some(left) => usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len()),
            None => buffer.len(),
        };
        let read = self.piece(&mut buffer[..most])?;
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        Ok(read)
    }
}

/// The client reports its time-out as an error of kind "other".
fn timed_out(error: Error) -> Error {
    let timeout = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<reqwest::Error>())
        .is_some_and(reqwest::Error::is_timeout);
    if timeout {
        Error::new(ErrorKind::TimedOut, "the server stopped sending")
    } else {
        error
    }
}
