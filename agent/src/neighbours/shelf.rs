//! What this board holds, as files that the server of the neighbours can read: it has no other way to know, and no rights.
//!
//! In `/run/hypriot/lend`, made by the privileged half:
//!
//! * `a.json`, `b.json`: the index of the release in that slot, or of the one that is being written into it
//! * `a.map`, `b.map`: which of its segments are there, as it is sent ([`Map`])
//! * `a.key`, `b.key`: the first sector of a slot that is being written, which comes onto the card last
//! * `boot-a`, `root-a`, `boot-b`, `root-b`: links to the partitions, which systemd opens for the server (`OpenFile=`)
//!
//! Nothing here is believed: whoever lends hashes what it reads, and whoever borrows hashes what comes. An index is kept in
//! `/data/hypriot/lend` as long as its release lies in a slot, since only the repository has it otherwise.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hypriot_updater::index::{Index, MAX_INDEX, Target};
use hypriot_updater::record::Record;
use hypriot_updater::slot::{Release, Slot};

use super::wire::{Id, Map};
use crate::card::disk::Card;
use crate::files;

/// Where it is on a board.
pub const DIRECTORY: &str = "/run/hypriot/lend";
/// Where indexes are kept.
pub const KEPT: &str = "/data/hypriot/lend";

/// The file with the index of what is in `slot`.
pub(super) fn index_of(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(format!("{slot}.json"))
}

/// The file with the map of it.
pub(super) fn map_of(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(format!("{slot}.map"))
}

/// The file with the first sector.
pub(super) fn key_of(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(format!("{slot}.key"))
}

/// What the partition of an image is called there.
pub fn partition(slot: Slot, target: Target) -> String {
    match target {
        Target::Boot => format!("boot-{slot}"),
        Target::Root => format!("root-{slot}"),
    }
}

/// What is written during an installation, told to who lends. An error is said once: it costs neighbours, not this board.
#[derive(Debug)]
pub struct Shelf {
    path: PathBuf,
    map: Mutex<Map>,
}

impl Shelf {
    /// From here on `slot` holds nothing but the segments of `index` that `has` names.
    pub fn begin(dir: &Path, slot: Slot, index: &Index, has: &[bool]) -> io::Result<Self> {
        open_to_all(dir)?;
        let path = map_of(dir, slot);
        // no map for another index, at any moment
        files::remove(&path)?;
        let bytes = index.encode().map_err(io::Error::other)?;
        files::replace(&index_of(dir, slot), &bytes, 0o644)?;
        let map = Map {
            id: Id::new(),
            installing: true,
            has: has.to_vec(),
        };
        files::replace(&path, &map.encode(), 0o644)?;
        Ok(Self {
            path,
            map: Mutex::new(map),
        })
    }

    /// By what this board is known during the installation.
    pub fn id(&self) -> Id {
        self.change(|map| map.id)
    }

    /// What the first segment begins with: it can be lent before it lies on the card whole.
    pub fn key(&self, sector: &[u8]) {
        let path = self.path.with_extension("key");
        if let Err(error) = files::replace(&path, sector, 0o644) {
            tracing::debug!("neighbours cannot have the first segment: {error}");
        }
    }

    /// Segment `n` lies on the card.
    pub fn put(&self, n: usize) {
        self.tell(|map| map.has[n] = true);
    }

    fn tell(&self, change: impl FnOnce(&mut Map)) {
        let bytes = self.change(|map| {
            change(map);
            map.encode()
        });
        if let Err(error) = files::replace(&self.path, &bytes, 0o644) {
            tracing::debug!("neighbours are not told what is here: {error}");
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) -> T {
        change(&mut self.map.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Shelf {
    /// However the installation ended: nobody waits for this board any more.
    fn drop(&mut self) {
        self.tell(|map| map.installing = false);
    }
}

/// Makes the folder, readable by everybody whatever our umask says.
fn open_to_all(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// Keeps the index of `release`, which lies in a slot from now on, and forgets those of releases that lie in none.
pub fn keep(kept: &Path, release: &Release, index: &Index, record: &Record) -> io::Result<()> {
    files::make_directories(kept)?;
    let stay = Slot::ALL.map(|slot| record.content(slot).map(named));
    for entry in fs::read_dir(kept)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        if !stay
            .iter()
            .flatten()
            .any(|stay| Some(stay.as_str()) == name)
        {
            files::remove(&path)?;
        }
    }
    let bytes = index.encode().map_err(io::Error::other)?;
    Ok(files::replace(&kept.join(named(release)), &bytes, 0o600)?)
}

fn named(release: &Release) -> String {
    format!("{}.json", release.digest)
}

/// At the start of the agent: what lies in both slots, by the record, and where. What was told before stands: a command of the
/// owner's may be writing.
pub fn lay_out(dir: &Path, kept: &Path, record: &Record, card: &Card) -> io::Result<()> {
    open_to_all(dir)?;
    for slot in Slot::ALL {
        for target in [Target::Boot, Target::Root] {
            let node = card.partition_node(&target.partition(slot));
            link(&node, &dir.join(partition(slot, target)))?;
        }
        let Some(release) = record.content(slot) else {
            continue;
        };
        if map_of(dir, slot).exists() {
            continue;
        }
        // a release that came with the card has none: nothing of it is lent
        let Ok(bytes) = files::read(&kept.join(named(release)), MAX_INDEX) else {
            continue;
        };
        match Index::parse(&bytes) {
            Ok(index) if index.version == release.version => {
                let all = vec![true; index.segment_count()];
                drop(Shelf::begin(dir, slot, &index, &all)?);
            }
            _ => tracing::debug!("the kept index of {} is of no use", release.version),
        }
    }
    Ok(())
}

fn link(to: &Path, at: &Path) -> io::Result<()> {
    if fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    match fs::remove_file(at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => (),
    }
    symlink(to, at)
}

#[cfg(test)]
mod tests {
    use hypriot_keys::time::Timestamp;
    use hypriot_updater::slot::Digest;

    use super::*;
    use crate::update::install::tests::release;

    fn told(dir: &Path, slot: Slot, segments: usize) -> Option<Map> {
        let bytes = fs::read(map_of(dir, slot)).ok()?;
        Map::parse(&bytes, segments)
    }

    #[test]
    fn what_is_written_is_told_and_nobody_waits_for_an_installation_that_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let (index, ..) = release(3);
        let shelf = Shelf::begin(dir.path(), Slot::B, &index, &[false; 6]).expect("begun");
        shelf.put(4);
        let map = told(dir.path(), Slot::B, 6).expect("a map");
        assert!(map.installing && map.id == shelf.id());
        assert_eq!(map.has, [false, false, false, false, true, false]);
        // another release: nothing of the one before is said of it
        drop(shelf);
        assert!(!told(dir.path(), Slot::B, 6).expect("a map").installing);
        let (other, ..) = release(4);
        let _shelf = Shelf::begin(dir.path(), Slot::B, &other, &[false; 6]).expect("begun");
        assert_eq!(told(dir.path(), Slot::B, 6).expect("a map").has, [false; 6]);
        let mode = fs::metadata(dir.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755, "an unprivileged server enters it");
    }

    #[test]
    fn an_index_is_kept_as_long_as_its_release_lies_in_a_slot() {
        let work = tempfile::tempdir().expect("a directory");
        let (dir, kept) = (work.path().join("run"), work.path().join("kept"));
        let of = |n: u8| Release {
            version: semver::Version::new(n.into(), 0, 0),
            digest: Digest([n; 32]),
            state_version: 0,
        };
        let card = Card {
            device: "/dev/mmcblk0".into(),
        };
        let mut record = Record::default();
        for (n, slot) in [(1, Slot::B), (2, Slot::A), (3, Slot::B)] {
            let (index, ..) = release(n);
            record.set_content(slot, Some(of(n)));
            keep(&kept, &of(n), &index, &record).expect("kept");
        }
        assert_eq!(fs::read_dir(&kept).expect("there").count(), 2);
        lay_out(&dir, &kept, &record, &card).expect("laid out");
        for slot in Slot::ALL {
            let map = told(&dir, slot, 6).expect("a map");
            assert!(!map.installing && map.has == [true; 6]);
        }
        assert_eq!(
            fs::read_link(dir.join("root-b")).expect("a link"),
            Path::new("/dev/mmcblk0p6")
        );
        // what is being written meanwhile is not called whole
        let (index, ..) = release(4);
        let _shelf = Shelf::begin(&dir, Slot::A, &index, &[false; 6]).expect("begun");
        lay_out(&dir, &kept, &record, &card).expect("laid out");
        assert!(told(&dir, Slot::A, 6).expect("a map").installing);
        // and a kept file that is damaged, or of another release, is not lent from
        let fresh = work.path().join("fresh");
        files::replace(&kept.join(named(&of(3))), b"{", 0o600).expect("written");
        record.refuse(of(9), Vec::new(), Timestamp(0));
        lay_out(&fresh, &kept, &record, &card).expect("laid out");
        assert_eq!(told(&fresh, Slot::B, 6), None);
    }
}
