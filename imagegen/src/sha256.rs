//! SHA-256 as Debian's archives, OCI layouts and our own records name files by it: 32 bytes, never a text that may be anything.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::files;

/// The SHA-256 of something. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// A text is not the SHA-256 of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256, 64 hexadecimal digits")]
pub struct NoSha256(String);

impl Sha256 {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Of a file of any size, with its length.
    pub fn of_file(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = File::open(path).map_err(|e| files::named(path, &e))?;
        let mut hasher = Hasher::default();
        let mut buf = vec![0; 1 << 17];
        let mut len = 0;
        loop {
            let n = file.read(&mut buf).map_err(|e| files::named(path, &e))?;
            if n == 0 {
                return Ok((hasher.done(), len));
            }
            hasher.update(&buf[..n]);
            len += n as u64;
        }
    }

    /// Reads 64 hexadecimal digits; capitals too, which some archives write.
    pub fn parse(text: &str) -> Result<Self, NoSha256> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(NoSha256(text.chars().take(80).collect())),
        }
    }
}

/// Of what comes in pieces.
#[derive(Debug, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// The next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn done(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_known_ones() {
        // FIPS 180-4, example B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), known);
        let mut pieces = Hasher::default();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.done(), Sha256::of(b"abc"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        files::replace(&path, b"abc").unwrap();
        assert_eq!(Sha256::of_file(&path).unwrap(), (Sha256::of(b"abc"), 3));
    }

    #[test]
    fn a_path_or_a_short_hash_is_never_taken_for_one() {
        let good = Sha256::of(b"abc").to_string();
        assert_eq!(Sha256::parse(&good.to_uppercase()), Sha256::parse(&good));
        let long = format!("{good}00");
        for bad in [
            "",
            "../../etc/passwd",
            &good[1..],
            &long,
            &format!("g{}", &good[1..]),
        ] {
            let e = Sha256::parse(bad).unwrap_err();
            assert!(e.to_string().contains("64 hexadecimal digits"), "{bad}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<Sha256>(&json).is_err(), "{bad}");
        }
        let json = serde_json::to_string(&Sha256::of(b"abc")).unwrap();
        assert_eq!(json, format!("\"{good}\""));
    }
}
