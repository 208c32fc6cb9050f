//! Where one small file of the root directory lies in a FAT16 or FAT32 volume, so that its only sector can be changed in place: no
//! directory entry, no FAT and no free count is touched, of which a cut could leave half.
//!
//! Structures: Microsoft Extensible Firmware Initiative FAT32 File System Specification, 1.03.

use crate::layout::SECTOR;

/// A directory longer than this is no first partition of ours.
const MOST_ENTRIES: usize = 4096;
const ENTRY: usize = 32;
/// The size of a sector, in memory.
const LEN: usize = 512;
const _: () = assert!(LEN as u64 == SECTOR);

/// Why it cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError<E> {
    /// The medium.
    #[error(transparent)]
    Disk(E),
    /// The boot sector makes no sense.
    #[error("the first partition is no FAT16 or FAT32 volume with sectors of 512 bytes")]
    NoFat,
    /// No such entry.
    #[error("the first partition has no {0}")]
    Missing(&'static str),
    /// It is not one whole sector: an editor wrote it anew.
    #[error(
        "{0} has {1} bytes instead of {SECTOR}: it was replaced, and can no longer be changed safely; flash the card anew, or write it back with 512 bytes"
    )]
    Size(&'static str, u32),
    /// Its place lies outside of the volume, or the directory never ends.
    #[error("the directory of the first partition is damaged")]
    Damaged,
}

/// What the boot sector says.
struct Volume {
    per_cluster: u64,
    /// First sector of the FAT.
    fat: u64,
    /// First sector of the clusters, which begin with number 2.
    data: u64,
    clusters: u64,
    root: Root,
}

enum Root {
    /// FAT16: so many sectors from here.
    Sectors(u64, u64),
    /// FAT32: a chain of clusters.
    Cluster(u64),
}

fn word(s: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([s[at], s[at + 1]]))
}

fn long(s: &[u8], at: usize) -> u64 {
    word(s, at) | word(s, at + 2) << 16
}

fn volume(s: &[u8; LEN]) -> Option<Volume> {
    let (per_cluster, reserved, fats) = (u64::from(s[13]), word(s, 14), u64::from(s[16]));
    let (entries, small, large) = (word(s, 17), word(s, 19), long(s, 32));
    let total = if small == 0 { large } else { small };
    let fat_size = if word(s, 22) == 0 {
        long(s, 36)
    } else {
        word(s, 22)
    };
    let sound = word(s, 510) == 0xaa55
        && word(s, 11) == SECTOR
        && per_cluster.is_power_of_two()
        && reserved > 0
        && (1..=2).contains(&fats)
        && fat_size > 0;
    let root_sectors = (entries * ENTRY as u64).div_ceil(SECTOR);
    let root = reserved + fats * fat_size;
    let data = root + root_sectors;
    let clusters = total.checked_sub(data)? / per_cluster.max(1);
    // "Determination of FAT type when mounting the volume": by the number of clusters and nothing else
    let root = match clusters {
        _ if !sound => return None,
        0..4085 => return None,
        4085..65525 => Root::Sectors(root, root_sectors),
        _ => Root::Cluster(long(s, 44)),
    };
    Some(Volume {
        per_cluster,
        fat: reserved,
        data,
        clusters,
        root,
    })
}

/// Offset in the volume of the only sector of the file with this 8.3 name (eleven bytes, as the directory has them).
pub fn find<E>(
    mut read: impl FnMut(u64, &mut [u8; LEN]) -> Result<(), E>,
    name: &'static str,
    short: &[u8; 11],
) -> Result<u64, FindError<E>> {
    let mut sector = [0; LEN];
    let mut load = |n: u64, s: &mut [u8; LEN]| read(n * SECTOR, s).map_err(FindError::Disk);
    load(0, &mut sector)?;
    let volume = volume(&sector).ok_or(FindError::NoFat)?;
    let first_of = |cluster: u64| {
        let inside = (2..volume.clusters + 2).contains(&cluster);
        let at = volume.data + cluster.wrapping_sub(2).wrapping_mul(volume.per_cluster);
        inside.then_some(at).ok_or(FindError::Damaged)
    };
    let (mut from, mut left, mut cluster) = match volume.root {
        Root::Sectors(from, count) => (from, count, None),
        Root::Cluster(c) => (first_of(c)?, volume.per_cluster, Some(c)),
    };
    for _ in 0..MOST_ENTRIES / (LEN / ENTRY) {
        if left == 0 {
            let Some(old) = cluster else {
                return Err(FindError::Missing(name));
            };
            load(volume.fat + old * 4 / SECTOR, &mut sector)?;
            let at = usize::try_from(old * 4 % SECTOR).unwrap_or(0);
            let next = long(&sector, at) & 0x0fff_ffff;
            if next >= 0x0fff_fff8 {
                return Err(FindError::Missing(name));
            }
            (from, left, cluster) = (first_of(next)?, volume.per_cluster, Some(next));
        }
        load(from, &mut sector)?;
        for entry in sector.chunks_exact(ENTRY) {
            if entry[0] == 0 {
                return Err(FindError::Missing(name));
            }
            // long names and the volume's label have the attribute 0x08, directories 0x10
            if &entry[..11] != short || entry[11] & 0x18 != 0 {
                continue;
            }
            let size = u32::try_from(long(entry, 28)).unwrap_or(u32::MAX);
            if u64::from(size) != SECTOR {
                return Err(FindError::Size(name, size));
            }
            let high = if cluster.is_some() {
                word(entry, 20) << 16
            } else {
                0
            };
            return first_of(high | word(entry, 26)).map(|at| at * SECTOR);
        }
        (from, left) = (from + 1, left - 1);
    }
    Err(FindError::Damaged)
}
