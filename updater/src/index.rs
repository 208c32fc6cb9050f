//! The release index: what a slot must contain, segment by segment.
//!
//! It is a TUF target, so by the time it is parsed its bytes are known to be what the release key holders signed.
//! Sizes are still bounded, because a signer can err too.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::slot::Slot;

/// The value of `format`. A board refuses any other, before it looks at the rest. What a board may leave aside comes as a
/// further key, which older agents skip; what it must understand makes a new format.
pub const FORMAT: &str = "hypriot-release/2";
/// What came before it.
const OLD_FORMAT: &str = "hypriot-release/1";
/// Images are cut into segments of this size; the last one may be shorter.
pub const SEGMENT: u64 = 1 << 20;
/// An index is never larger: 1,408 segments of 43 characters each, and room.
pub const MAX_INDEX: u64 = 256 << 10;
/// Payloads of one release: the full one and deltas.
pub const MAX_PAYLOADS: usize = 16;
/// A payload's table is never larger: 1,408 segments of 37 bytes each, and room for references.
pub const MAX_TABLE: u32 = 1 << 20;

/// BLAKE3 hash of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentHash(pub [u8; 32]);

impl SegmentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Serialize for SegmentHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SegmentHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|e| {
            serde::de::Error::custom(alloc::format!(
                "a segment hash is 64 hexadecimal digits: {e}"
            ))
        })?;
        Ok(Self(bytes))
    }
}

/// Which partition of the slot an image belongs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// FAT with kernel, initramfs, device trees.
    Boot,
    /// EROFS root.
    Root,
}

impl Target {
    /// The partition of `slot` it belongs in.
    pub const fn partition(self, slot: Slot) -> layout::Partition {
        match self {
            Self::Boot => layout::boot(slot),
            Self::Root => layout::root(slot),
        }
    }
}

/// One partition's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where it belongs.
    pub target: Target,
    /// Length in bytes; a multiple of 512.
    pub size: u64,
    /// One hash per segment of [`SEGMENT`] bytes; in JSON all of them are one string in base64, for every update of
    /// every board carries them.
    #[serde(with = "packed")]
    pub segments: Vec<SegmentHash>,
}

impl Image {
    /// Length of segment `n`.
    pub fn segment_len(&self, n: usize) -> usize {
        let start = n as u64 * SEGMENT;
        // at most SEGMENT, so it fits
        usize::try_from(self.size.saturating_sub(start).min(SEGMENT)).unwrap_or(0)
    }
}

/// A file that says how to obtain the segments of a release, see [`crate::payload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadFile {
    /// Flat file name beside the index.
    pub name: String,
    /// Version of its format. A payload of a version that an agent does not know is none for it.
    pub format: u32,
    /// Length in bytes, so that progress and free room can be told before the download.
    pub size: u64,
    /// Length of its table, which it begins with.
    pub table_size: u32,
    /// BLAKE3 hash of its table: nothing of a payload is parsed before its own hash is right.
    pub table: SegmentHash,
    /// The release that it is a delta from; a full payload has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// The release that must lie in the running slot for a delta to be of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its version.
    pub version: semver::Version,
    /// [`Index::content`] of it.
    pub content: SegmentHash,
}

/// What a slot must contain to be this release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// [`FORMAT`].
    pub format: String,
    /// Board name; a board installs no other's.
    pub board: String,
    /// Version of the release.
    pub version: semver::Version,
    /// [`crate::slot::Release::state_version`]. Agents that do not know it pass over it.
    #[serde(default, skip_serializing_if = "crate::slot::is_zero")]
    pub state_version: u32,
    /// When the packages of the image were frozen (`SOURCE_DATE_EPOCH`), RFC 3339.
    pub created: hypriot_keys::time::Timestamp,
    /// Boot first, root second.
    pub images: Vec<Image>,
    /// The ways to get there, the full payload first.
    pub payloads: Vec<PayloadFile>,
}

/// Why an index, though signed, is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Too many bytes.
    #[error("the release index has {0} bytes; at most {MAX_INDEX} are allowed")]
    TooLong(u64),
    /// Not the JSON this version understands.
    #[error("the release index cannot be read: {0}")]
    Json(String),
    /// Made for a newer agent.
    #[error(
        "the release index has format {0:?}, this agent knows {FORMAT:?}: update in smaller steps"
    )]
    Format(String),
    /// The first format. No board in the field was ever offered one, and it has no hash of the payload's table, so that a
    /// board would have to parse what nobody vouches for: it is refused, not read.
    #[error(
        "the release index has format {OLD_FORMAT:?}, which does not say what its payload must be; this agent reads {FORMAT:?}: make the release again with a hypriot-imagegen of today"
    )]
    Old,
    /// The images are not exactly boot and root.
    #[error("a release holds exactly the images `boot` and `root`, in this order")]
    Images,
    /// An image does not fit its partition, or its size is no multiple of a sector.
    #[error(
        "the {target:?} image has {size} bytes, which the partition of {room} bytes cannot hold"
    )]
    Size {
        /// Which image.
        target: Target,
        /// Its size.
        size: u64,
        /// Room in the partition.
        room: u64,
    },
    /// The list of hashes does not match the size.
    #[error("the {target:?} image needs {needed} segment hashes and has {found}")]
    Segments {
        /// Which image.
        target: Target,
        /// Hashes that its size asks for.
        needed: u64,
        /// Hashes that are there.
        found: u64,
    },
    /// A payload name that is a path or hidden.
    #[error("{0:?} is no file name for a payload")]
    PayloadName(String),
    /// No payload that this agent knows works without a base, or there are too many.
    #[error(
        "a release has a full payload that this agent can read, and at most {MAX_PAYLOADS} payloads"
    )]
    Payloads,
    /// A table that is too long, or longer than its file.
    #[error("{name}: a table of {table_size} bytes in a file of {size} cannot be right")]
    Table {
        /// Name of the payload.
        name: String,
        /// Length of its table.
        table_size: u32,
        /// Length of the file.
        size: u64,
    },
}

/// Read first and alone, so that a newer format is named as such and not as an unknown field.
#[derive(Deserialize)]
struct Head {
    format: String,
}

impl hypriot_keys::FromVerified for Index {
    type Error = IndexError;

    fn from_verified(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::parse(bytes)
    }
}

impl Index {
    /// Reads and checks an index. What a slot is written by is a `Verified<Index>`, which
    /// [`hypriot_keys::Verified::parse`] makes of bytes that were signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() as u64 > MAX_INDEX {
            return Err(IndexError::TooLong(bytes.len() as u64));
        }
        let json = |e: serde_json::Error| IndexError::Json(alloc::format!("{e}"));
        let head: Head = serde_json::from_slice(bytes).map_err(json)?;
        if head.format == OLD_FORMAT {
            return Err(IndexError::Old);
        }
        if head.format != FORMAT {
            return Err(IndexError::Format(head.format));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(json)?;
        index.check()?;
        Ok(index)
    }

    /// The bytes that are signed: one line of JSON.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|e| IndexError::Json(alloc::format!("{e}")))
    }

    fn check(&self) -> Result<(), IndexError> {
        if !matches!(
            self.images.as_slice(),
            [
                Image {
                    target: Target::Boot,
                    ..
                },
                Image {
                    target: Target::Root,
                    ..
                }
            ]
        ) {
            return Err(IndexError::Images);
        }
        for image in &self.images {
            let (target, size, room) = (
                image.target,
                image.size,
                image.target.partition(Slot::A).size,
            );
            if size == 0 || size > room || !size.is_multiple_of(layout::SECTOR) {
                return Err(IndexError::Size { target, size, room });
            }
            let (needed, found) = (size.div_ceil(SEGMENT), image.segments.len() as u64);
            if needed != found {
                return Err(IndexError::Segments {
                    target,
                    needed,
                    found,
                });
            }
        }
        if self.payloads.len() > MAX_PAYLOADS || self.full().is_none() {
            return Err(IndexError::Payloads);
        }
        self.payloads.iter().try_for_each(PayloadFile::check)
    }

    /// The payload that needs no base.
    pub fn full(&self) -> Option<&PayloadFile> {
        self.known().find(|p| p.base.is_none())
    }

    /// The payloads whose format this agent knows.
    pub fn known(&self) -> impl Iterator<Item = &PayloadFile> {
        self.payloads
            .iter()
            .filter(|p| p.format == crate::payload::FORMAT)
    }

    /// What the slot contains, in one hash: equal for two indexes exactly when they describe the same bytes.
    pub fn content(&self) -> SegmentHash {
        let mut hasher = blake3::Hasher::new();
        for image in &self.images {
            hasher.update(&image.size.to_le_bytes());
            for hash in &image.segments {
                hasher.update(&hash.0);
            }
        }
        SegmentHash(*hasher.finalize().as_bytes())
    }

    /// Every segment of the release in payload order: image number, segment number, length, hash.
    pub fn segments(&self) -> impl Iterator<Item = (usize, usize, usize, SegmentHash)> + '_ {
        self.images.iter().enumerate().flat_map(|(i, image)| {
            image
                .segments
                .iter()
                .enumerate()
                .map(move |(n, hash)| (i, n, image.segment_len(n), *hash))
        })
    }

    /// Number of segments of all images.
    pub fn segment_count(&self) -> usize {
        self.images.iter().map(|image| image.segments.len()).sum()
    }
}

impl PayloadFile {
    fn check(&self) -> Result<(), IndexError> {
        let name = &self.name;
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.+".contains(&c);
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain)
        {
            return Err(IndexError::PayloadName(name.clone()));
        }
        let (table_size, size) = (self.table_size, self.size);
        if table_size > MAX_TABLE || u64::from(table_size) > size {
            let name = name.clone();
            return Err(IndexError::Table {
                name,
                table_size,
                size,
            });
        }
        Ok(())
    }
}

/// A list of hashes as one string of base64 (RFC 4648, section 4, without padding).
mod packed {
    use alloc::string::String;
    use alloc::vec::Vec;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::SegmentHash;

    pub(super) fn serialize<S: Serializer>(
        hashes: &[SegmentHash],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|h| h.0).collect();
        to.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<SegmentHash>, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || {
            serde::de::Error::custom("the segment hashes are not base64 of a multiple of 32 bytes")
        };
        let bytes = STANDARD_NO_PAD
            .decode(text)
            .map_err(|_unreadable| wrong())?;
        match bytes.as_chunks::<32>() {
            (hashes, []) => Ok(hashes.iter().copied().map(SegmentHash).collect()),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests;
