//! Sums of what is read, of any length, a piece at a time.

use std::io::{self, Read};

use sha2::Digest;

/// The sum in hexadecimal digits, and how many bytes there were.
pub(crate) fn of<D: Digest>(mut from: impl Read) -> io::Result<(String, u64)> {
    let (mut digest, mut piece, mut read) = (D::new(), vec![0; 64 * 1024], 0);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok((hex::encode(digest.finalize()), read)),
            length => {
                digest.update(&piece[..length]);
                read += length as u64;
            }
        }
    }
}
