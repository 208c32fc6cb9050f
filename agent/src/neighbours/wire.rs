//! What neighbours say to each other, over HTTP/1.1:
//!
//! ```text
//! GET /map/<content>     which segments of the release with this content there are: 200 and a map, or 404
//! GET /segments/<hash>   the bytes with this BLAKE3 hash: 200, 404 not here, 429 or 503 with Retry-After later
//! ```
//!
//! A map is 8 bytes of magic, 16 that tell boards apart, 1 that is 1 while the board itself is installing the release, and a bit
//! for each segment in the order of the index, the lowest bit of a byte first. So its length follows from the index, and one of
//! another length is none.

use hypriot_updater::index::SegmentHash;

/// Where boards lend. `systemd/etc/avahi/services/hypriot-update.service` announces it.
pub const PORT: u16 = 8094;
/// How they are announced (RFC 6763, 7).
pub const SERVICE: &str = "_hypriot-update._tcp.local";
/// First bytes of a map.
const MAGIC: [u8; 8] = *b"HYNEARS1";
const ID: usize = 16;
const HEAD: usize = MAGIC.len() + ID + 1;

/// Tells boards apart for the time of one installation, and says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub [u8; ID]);

impl Id {
    /// The kernel's randomness; where there is none, what is the same for all, and then nobody shares.
    pub(crate) fn new() -> Self {
        let mut id = [0; ID];
        let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        match hex::decode_to_slice(digits, &mut id) {
            Ok(()) => Self(id),
            Err(_) => Self([0; ID]),
        }
    }

    /// In a number, for sharing.
    pub(crate) fn number(self) -> u64 {
        let (low, high) = self.0.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        number(low) ^ number(high)
    }
}

/// What a board holds of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Who.
    pub id: Id,
    /// It is fetching the rest.
    pub installing: bool,
    /// For each segment whether it is there.
    pub has: Vec<bool>,
}

impl Map {
    /// So many segments, none of which is there.
    pub fn empty(id: Id, segments: usize) -> Self {
        Self {
            id,
            installing: true,
            has: vec![false; segments],
        }
    }

    /// Length of a map of so many segments.
    pub const fn len(segments: usize) -> usize {
        HEAD + segments.div_ceil(8)
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; Self::len(self.has.len())];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        bytes[MAGIC.len()..HEAD - 1].copy_from_slice(&self.id.0);
        bytes[HEAD - 1] = u8::from(self.installing);
        for (n, _) in self.has.iter().enumerate().filter(|(_, has)| **has) {
            bytes[HEAD + n / 8] |= 1 << (n % 8);
        }
        bytes
    }

    /// What was sent, if it is a map of so many segments.
    pub fn parse(bytes: &[u8], segments: usize) -> Option<Self> {
        if bytes.len() != Self::len(segments) {
            return None;
        }
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (id, rest) = rest.split_first_chunk()?;
        let (installing, bits) = rest.split_first()?;
        Some(Self {
            id: Id(*id),
            installing: *installing == 1,
            has: (0..segments)
                .map(|n| bits[n / 8] >> (n % 8) & 1 == 1)
                .collect(),
        })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// What there is of a release.
    Map(SegmentHash),
    /// The bytes of a segment.
    Segment(SegmentHash),
}

impl Request {
    /// As it is asked.
    pub fn path(&self) -> String {
        match self {
            Self::Map(content) => format!("/map/{}", hex::encode(content.0)),
            Self::Segment(hash) => format!("/segments/{}", hex::encode(hash.0)),
        }
    }

    /// What was asked.
    pub fn parse(path: &str) -> Option<Self> {
        let (what, digits) = path.strip_prefix('/')?.split_once('/')?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).ok()?;
        match what {
            "map" => Some(Self::Map(SegmentHash(hash))),
            "segments" => Some(Self::Segment(SegmentHash(hash))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written_and_of_its_own_length_alone() {
        for segments in [1, 7, 8, 9, 1408] {
            let map = Map {
                id: Id([7; 16]),
                installing: segments % 2 == 0,
                has: (0..segments).map(|n| n % 3 == 0).collect(),
            };
            let bytes = map.encode();
            assert_eq!(Map::parse(&bytes, segments), Some(map));
            for wrong in [&bytes[1..], &bytes[..bytes.len() - 1], &[], &[0; 4096]] {
                assert_eq!(Map::parse(wrong, segments), None);
            }
            let mut other = bytes.clone();
            other[7] ^= 1;
            assert_eq!(Map::parse(&other, segments), None, "another version");
        }
    }

    #[test]
    fn only_what_may_be_asked_is_understood() {
        let hash = SegmentHash([0xab; 32]);
        for request in [Request::Map(hash), Request::Segment(hash)] {
            assert_eq!(Request::parse(&request.path()), Some(request));
        }
        let digits = "ab".repeat(32);
        for path in [
            String::new(),
            "/".into(),
            "/map".into(),
            "/map/".into(),
            format!("/map/{digits}0"),
            format!("/map/{digits}/"),
            format!("/map//{digits}"),
            format!("/segments/../map/{digits}"),
            format!("/Segments/{digits}"),
            format!("/segments/{}", "g".repeat(64)),
        ] {
            assert_eq!(Request::parse(&path), None, "{path}");
        }
    }

    #[test]
    fn two_boards_are_two() {
        assert_ne!(Id::new(), Id::new());
        assert_ne!(Id::new().number(), Id::new().number());
    }
}
