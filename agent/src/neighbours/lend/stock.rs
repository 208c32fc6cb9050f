//! What there is to be lent: where each segment lies, by the index on the shelf; and its bytes, if they still are what they were.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypriot_updater::index::{Index, MAX_INDEX, SEGMENT, SegmentHash, Target};
use hypriot_updater::slot::Slot;

use super::super::shelf::{index_of, key_of, map_of, partition};
use super::super::wire::Map;
use crate::files;
use crate::update::machine;

/// No map is longer.
const MAP: u64 = 4096;
/// An installation that wrote nothing for so many seconds is none to wait for: its process may have ended without a word.
const STALE: u64 = 60;

/// The shelf, and the partitions that are read.
#[derive(Debug)]
pub(super) struct Stock {
    dir: PathBuf,
    parts: BTreeMap<String, Arc<File>>,
    known: [Option<Known>; 2],
}

/// An index that was read.
#[derive(Debug)]
struct Known {
    /// Time, number and length of its file.
    seen: (i64, i64, u64, u64),
    content: SegmentHash,
    segments: usize,
    at: HashMap<SegmentHash, Spot>,
}

/// Where a segment lies.
#[derive(Debug, Clone, Copy)]
struct Spot {
    n: usize,
    target: Target,
    at: u64,
    len: usize,
}

/// A segment to be read.
#[derive(Debug)]
pub(super) struct Place {
    file: Arc<File>,
    spot: Spot,
    hash: SegmentHash,
    /// What belongs in its first sector, if it is the first: that one comes last onto the card.
    key: Option<Vec<u8>>,
}

impl Stock {
    pub(super) fn open(dir: &Path) -> Self {
        let mut parts = given();
        if parts.is_empty() {
            for slot in Slot::ALL {
                for target in [Target::Boot, Target::Root] {
                    let name = partition(slot, target);
                    // one that cannot be read is not lent from
                    if let Ok(file) = File::open(dir.join(&name)) {
                        parts.insert(name, Arc::new(file));
                    }
                }
            }
        }
        Self {
            dir: dir.to_owned(),
            parts,
            known: [None, None],
        }
    }

    /// What there is of the release with this content.
    pub(super) fn map(&mut self, content: &SegmentHash) -> Option<Vec<u8>> {
        self.look();
        let here = Slot::ALL.into_iter().zip(&self.known);
        let here = here.filter_map(|(slot, known)| Some((slot, known.as_ref()?)));
        here.filter(|(_, known)| known.content == *content)
            .find_map(|(slot, known)| self.map_in(slot, known))
            .map(|map| map.encode())
    }

    fn map_in(&self, slot: Slot, known: &Known) -> Option<Map> {
        let path = map_of(&self.dir, slot);
        let bytes = files::read(&path, MAP).ok()?;
        let mut map = Map::parse(&bytes, known.segments)?;
        let written = fs::metadata(&path).ok()?.mtime();
        let now = i64::try_from(machine::clock().0).unwrap_or(i64::MAX);
        map.installing &= now.abs_diff(written) < STALE;
        Some(map)
    }

    /// Where the segment with this hash lies, if it was written.
    pub(super) fn find(&mut self, hash: &SegmentHash) -> Option<Place> {
        self.look();
        Slot::ALL
            .into_iter()
            .zip(&self.known)
            .find_map(|(slot, known)| {
                let known = known.as_ref()?;
                let spot = *known.at.get(hash)?;
                if !*self.map_in(slot, known)?.has.get(spot.n)? {
                    return None;
                }
                let file = self.parts.get(&partition(slot, spot.target))?;
                Some(Place {
                    file: Arc::clone(file),
                    spot,
                    hash: *hash,
                    key: (spot.n == 0)
                        .then(|| files::read(&key_of(&self.dir, slot), MAP).ok())
                        .flatten(),
                })
            })
    }

    /// Reads the indexes anew that changed.
    fn look(&mut self) {
        for (slot, known) in Slot::ALL.into_iter().zip(&mut self.known) {
            let path = index_of(&self.dir, slot);
            let seen = fs::metadata(&path)
                .map(|m| (m.mtime(), m.mtime_nsec(), m.ino(), m.len()))
                .ok();
            if known.as_ref().map(|k| k.seen) == seen {
                continue;
            }
            *known = seen.and_then(|seen| {
                let bytes = files::read(&path, MAX_INDEX).ok()?;
                Some(Known::of(&Index::parse(&bytes).ok()?, seen))
            });
        }
    }
}

impl Known {
    fn of(index: &Index, seen: (i64, i64, u64, u64)) -> Self {
        let targets = [Target::Boot, Target::Root];
        let spots = index.segments().enumerate();
        let at = spots.filter_map(|(n, (image, segment, len, hash))| {
            let spot = Spot {
                n,
                target: *targets.get(image)?,
                at: segment as u64 * SEGMENT,
                len,
            };
            Some((hash, spot))
        });
        Self {
            seen,
            content: index.content(),
            segments: index.segment_count(),
            at: at.collect(),
        }
    }
}

impl Place {
    pub(super) fn len(&self) -> usize {
        self.spot.len
    }

    /// The bytes, if they are the segment.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.spot.len];
        self.file.read_exact_at(&mut bytes, self.spot.at).ok()?;
        if SegmentHash::of(&bytes) == self.hash {
            return Some(bytes);
        }
        let key = self.key.as_ref()?;
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        (SegmentHash::of(&bytes) == self.hash).then_some(bytes)
    }
}

/// The partitions that systemd opened for us (`OpenFile=`, sd_listen_fds(3)).
#[expect(
    unsafe_code,
    reason = "a descriptor that was given at the start is ours alone, and is known by its number only"
)]
fn given() -> BTreeMap<String, Arc<File>> {
    use std::os::fd::FromRawFd as _;
    let Ok(given) = sd_notify::listen_fds_with_names() else {
        return BTreeMap::new();
    };
    let file = |(fd, name)| {
        // SAFETY: sd_listen_fds(3): it was opened for this process, which has not used it, and uses it here alone.
        let file = unsafe { File::from_raw_fd(fd) };
        (name, Arc::new(file))
    };
    given.map(file).collect()
}
