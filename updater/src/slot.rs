//! The two slots of a card, and the names of the releases that lie in them.

use alloc::string::String;
use core::fmt;
use core::ops::Not;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two places a release can lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Partitions `boot-a` and `root-a`.
    A,
    /// Partitions `boot-b` and `root-b`.
    B,
}

impl Slot {
    /// Both slots, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// `a` or `b`, as the boot loader and the kernel command line spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The other slot.
impl Not for Slot {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A slot name that is neither `a` nor `b`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a slot is named `a` or `b`, not {0:?}")]
pub struct NoSuchSlot(pub String);

impl FromStr for Slot {
    type Err = NoSuchSlot;

    fn from_str(text: &str) -> Result<Self, NoSuchSlot> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(NoSuchSlot(text.into())),
        }
    }
}

/// SHA-256 of a release index: the name of a release that cannot be given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        (text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
            && hex::decode_to_slice(text, &mut bytes).is_ok())
        .then_some(Self(bytes))
    }

    /// The first 16 digits: what the boot state carries to tell one trial from another.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a digest is 64 lower-case hexadecimal digits"))
    }
}

/// A release as it is spoken of: what it calls itself and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version its index states.
    pub version: semver::Version,
    /// SHA-256 of its index.
    pub digest: Digest,
    /// Which shape the data has that its services leave on the data partition: a release that reads older shapes alone is not
    /// installed over it.
    #[serde(
        default,
        deserialize_with = "crate::record::or_default",
        skip_serializing_if = "is_zero"
    )]
    pub state_version: u32,
}

/// Releases that never said anything of their data are written as they always were.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn is_zero(n: &u32) -> bool {
    *n == 0
}
