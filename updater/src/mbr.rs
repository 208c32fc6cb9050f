//! The partition table of a card: an MBR with a chain of logical partitions. One reader and one writer for the agent and for
//! imagegen, so that both follow the same rules of what a table is.
//!
//! Format: the classic "generic MBR" as Linux `block/partitions/msdos.c` reads it. Sectors are 512 bytes; the disk's signature
//! lies at byte 440, four entries of 16 bytes at 446, 0x55AA at 510. Logical partitions hang on a chain of such sectors (EBR),
//! whose first entry counts from the EBR itself and whose second one, the next link, from the start of the container.

use alloc::vec;
use alloc::vec::Vec;

use crate::layout::{self, SECTOR};

mod grow;
#[cfg(test)]
mod tests;

pub use grow::{data_link, grown};

/// One sector of a table.
pub type Sector = [u8; 512];

/// FAT32, addressed by LBA.
pub const FAT32_LBA: u8 = 0x0C;
/// FAT16, addressed by LBA.
pub const FAT16_LBA: u8 = 0x0E;
/// Container of logical partitions, addressed by LBA.
pub const EXTENDED_LBA: u8 = 0x0F;
/// The other spelling of the container, which links of the chain carry.
const EXTENDED_CHS: u8 = 0x05;
/// Any Linux file system.
pub const LINUX: u8 = 0x83;
/// Where the disk signature lies in sector 0.
pub const SIGNATURE_AT: usize = 440;
/// Where the four entries lie in a table sector.
pub const ENTRIES_AT: usize = 446;
/// A chain with more links is damaged, or a loop. Ours has three.
const LINKS_MAX: u8 = 64;

/// One partition, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// 1-4 primary, 5 and up logical.
    pub number: u8,
    /// Type byte.
    pub kind: u8,
    /// Whether boot ROMs may start it.
    pub active: bool,
    /// First byte.
    pub start: u64,
    /// Length.
    pub size: u64,
}

impl Partition {
    /// Whether it holds the logical ones.
    pub const fn is_container(&self) -> bool {
        matches!(self.kind, EXTENDED_LBA | EXTENDED_CHS)
    }
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's signature; part of `PARTUUID`s.
    pub signature: u32,
    /// In order of their numbers. The container is among them.
    pub partitions: Vec<Partition>,
}

/// Why a table cannot be, or cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MbrError {
    /// A sector that should say so is none of a table.
    #[error("there is no partition table at byte {0}: its sector does not end with 55 AA")]
    NoTable(u64),
    /// Which of the two counts?
    #[error("the disk has two extended partitions")]
    TwoContainers,
    /// A loop.
    #[error("the chain of logical partitions never ends")]
    Endless,
    /// A table for a larger disk.
    #[error("partition {0} reaches past the end of the disk")]
    PastEnd(u8),
    /// Starts or sizes are whole sectors.
    #[error("partition {0} is not on sectors")]
    Crooked(u8),
    /// 32 bits of sectors.
    #[error("MBR cannot address more than 2 TiB")]
    TooFar,
    /// 1 to 4, then from 5 without gaps.
    #[error("partitions are numbered from 1 to 4, logical ones from 5 without gaps")]
    Numbers,
    /// Logical ones need one.
    #[error("there are logical partitions but no extended one")]
    NoContainer,
    /// The link lies before it.
    #[error("partition {0} leaves no room for its link of the chain")]
    NoRoom(u8),
    /// It must hold all.
    #[error("partition {0} leaves the extended one")]
    Outside(u8),
    /// Less than an image.
    #[error("the card has {have} bytes; at least {need} are needed")]
    SmallCard {
        /// What it has.
        have: u64,
        /// What the layout needs.
        need: u64,
    },
}

/// Why a table could not be read: the disk, or what is on it.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// The disk's own error.
    Disk(E),
    /// What was read is no table.
    Table(MbrError),
}

/// The table of our card layout.
pub fn card(signature: u32) -> Table {
    let kind = |n| if n <= 3 { FAT32_LBA } else { LINUX };
    let mut partitions: Vec<Partition> = layout::PARTITIONS
        .iter()
        .map(|p| Partition {
            number: p.number,
            kind: kind(p.number),
            active: p.number == 1,
            start: p.start,
            size: p.size,
        })
        .collect();
    partitions.push(Partition {
        number: layout::EXTENDED,
        kind: EXTENDED_LBA,
        active: false,
        start: layout::EXTENDED_START,
        size: layout::IMAGE_SIZE - layout::EXTENDED_START,
    });
    partitions.sort_by_key(|p| p.number);
    Table {
        signature,
        partitions,
    }
}

/// The disk's signature, out of sector 0; `None` if there is no table.
pub fn signature(sector: &Sector) -> Option<u32> {
    is_table(sector).then(|| word(sector, SIGNATURE_AT))
}

impl Table {
    /// The partition of this number.
    pub fn get(&self, number: u8) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }

    /// Whether all of it lies on a disk of so many bytes.
    pub fn fits(&self, disk: u64) -> Result<(), MbrError> {
        let past = |p: &&Partition| p.start.saturating_add(p.size) > disk;
        match self.partitions.iter().find(past) {
            Some(p) => Err(MbrError::PastEnd(p.number)),
            None => Ok(()),
        }
    }

    /// The sectors that say this, with their places. The first is sector 0, whose boot code is zero.
    pub fn encode(&self) -> Result<Vec<(u64, Sector)>, MbrError> {
        let mut first = [0; 512];
        first[SIGNATURE_AT..SIGNATURE_AT + 4].copy_from_slice(&self.signature.to_le_bytes());
        seal(&mut first);
        for p in self.partitions.iter().filter(|p| p.number <= 4) {
            let n = p.number.checked_sub(1).ok_or(MbrError::Numbers)?;
            put(&mut first, n, p, 0)?;
        }
        let mut out = vec![(0, first)];
        let logical: Vec<&Partition> = self.partitions.iter().filter(|p| p.number > 4).collect();
        match self.partitions.iter().find(|p| p.is_container()) {
            Some(container) => links(container, &logical, &mut out)?,
            None if logical.is_empty() => (),
            None => return Err(MbrError::NoContainer),
        }
        Ok(out)
    }

    /// Reads the table of a disk or image; `read` fills a sector from a byte of it.
    pub fn parse<E>(
        mut read: impl FnMut(u64, &mut Sector) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        let mut sector = |at| {
            let mut bytes = [0; 512];
            read(at, &mut bytes).map_err(ReadError::Disk)?;
            if is_table(&bytes) {
                Ok(bytes)
            } else {
                Err(ReadError::Table(MbrError::NoTable(at)))
            }
        };
        let first = sector(0)?;
        let mut partitions = Vec::new();
        let mut container = None;
        for n in 0..4 {
            let Some(p) = take(&first, n, 0) else {
                continue;
            };
            if p.is_container() && container.replace(p.start).is_some() {
                return Err(ReadError::Table(MbrError::TwoContainers));
            }
            partitions.push(Partition { number: n + 1, ..p });
        }
        let mut next = container;
        for n in 0.. {
            let (Some(at), Some(base)) = (next.take(), container) else {
                break;
            };
            if n == LINKS_MAX {
                return Err(ReadError::Table(MbrError::Endless));
            }
            let link = sector(at)?;
            if let Some(p) = take(&link, 0, at) {
                partitions.push(Partition { number: n + 5, ..p });
            }
            next = take(&link, 1, base).map(|p| p.start);
        }
        Ok(Self {
            signature: word(&first, SIGNATURE_AT),
            partitions,
        })
    }
}

/// The chain: each link lies where the partition before it ends, the first at the start of the container.
fn links(
    container: &Partition,
    logical: &[&Partition],
    out: &mut Vec<(u64, Sector)>,
) -> Result<(), MbrError> {
    let places: Vec<u64> = core::iter::once(container.start)
        .chain(logical.iter().map(|p| p.start + p.size))
        .collect();
    for (n, p) in logical.iter().enumerate() {
        if usize::from(p.number) != n + 5 {
            return Err(MbrError::Numbers);
        }
        if places[n] + SECTOR > p.start {
            return Err(MbrError::NoRoom(p.number));
        }
        if p.start + p.size > container.start + container.size {
            return Err(MbrError::Outside(p.number));
        }
        let mut link = [0; 512];
        seal(&mut link);
        // The entry's start counts from its link.
        put(&mut link, 0, p, places[n])?;
        if let Some(next) = logical.get(n + 1) {
            // The second entry spans from the next link to the end of its partition, counted from the container.
            let span = Partition {
                number: 0,
                kind: EXTENDED_CHS,
                active: false,
                start: places[n + 1],
                size: next.start + next.size - places[n + 1],
            };
            put(&mut link, 1, &span, container.start)?;
        }
        out.push((places[n], link));
    }
    Ok(())
}

fn is_table(sector: &Sector) -> bool {
    sector[510..] == [0x55, 0xAA]
}

fn seal(sector: &mut Sector) {
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
}

const fn entry(n: u8) -> usize {
    ENTRIES_AT + 16 * n as usize
}

fn put(sector: &mut Sector, n: u8, p: &Partition, base: u64) -> Result<(), MbrError> {
    if !p.start.is_multiple_of(SECTOR) || !p.size.is_multiple_of(SECTOR) {
        return Err(MbrError::Crooked(p.number));
    }
    let lba = |bytes: u64| u32::try_from(bytes / SECTOR).ok().ok_or(MbrError::TooFar);
    let e = &mut sector[entry(n)..][..16];
    e[0] = if p.active { 0x80 } else { 0 };
    // Cylinder, head, sector "beyond": what every tool writes for a place that CHS cannot say; LBA counts.
    e[1..4].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    e[4] = p.kind;
    e[5..8].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    e[8..12].copy_from_slice(&lba(p.start - base)?.to_le_bytes());
    e[12..16].copy_from_slice(&lba(p.size)?.to_le_bytes());
    Ok(())
}

fn take(sector: &Sector, n: u8, base: u64) -> Option<Partition> {
    let at = entry(n);
    let bytes = |at| u64::from(word(sector, at)) * SECTOR;
    let (kind, size) = (sector[at + 4], bytes(at + 12));
    (kind != 0 && size != 0).then(|| Partition {
        number: 0,
        kind,
        active: sector[at] & 0x80 != 0,
        start: base + bytes(at + 8),
        size,
    })
}

fn word(sector: &Sector, at: usize) -> u32 {
    u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]])
}
