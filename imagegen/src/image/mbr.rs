//! The partition table of a card: MBR with a chain of logical partitions, written and read back.
//!
//! Format: the classic "generic MBR" as Linux `block/partitions/msdos.c` reads it. Sectors are 512 bytes.

use anyhow::{Context, Result, bail, ensure};

use crate::formats::Blocks;
use hypriot_updater::layout::{self, MIB, SECTOR};

#[cfg(test)]
mod tests;

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
/// A chain with more links is damaged.
const LINKS_MAX: usize = 64;

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

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's signature; part of `PARTUUID`s.
    pub signature: u32,
    /// In order of their numbers. The container is among them.
    pub partitions: Vec<Partition>,
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

impl Table {
    /// The partition of this number.
    pub fn get(&self, number: u8) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }

    /// The sectors that say this, with their places. The first is sector 0, whose boot code is zero.
    pub fn encode(&self) -> Result<Vec<(u64, [u8; 512])>> {
        let mut first = [0; 512];
        first[SIGNATURE_AT..SIGNATURE_AT + 4].copy_from_slice(&self.signature.to_le_bytes());
        seal(&mut first);
        let mut out = vec![];
        for p in self.partitions.iter().filter(|p| p.number <= 4) {
            ensure!(p.number > 0, "partition numbers start at 1");
            put(&mut first, usize::from(p.number) - 1, p, 0)?;
        }
        out.push((0, first));
        let logical: Vec<&Partition> = self.partitions.iter().filter(|p| p.number > 4).collect();
        let container = self.partitions.iter().find(|p| p.kind == EXTENDED_LBA);
        let Some(container) = container else {
            ensure!(
                logical.is_empty(),
                "there are logical partitions but no extended one"
            );
            return Ok(out);
        };
        // Each link lies where the one before it ends; the first at the start of the container.
        let links: Vec<u64> = std::iter::once(container.start)
            .chain(logical.iter().map(|p| p.start + p.size))
            .collect();
        for (n, p) in logical.iter().enumerate() {
            ensure!(
                usize::from(p.number) == n + 5,
                "logical partitions are numbered from 5 without gaps"
            );
            ensure!(
                links[n] + SECTOR <= p.start,
                "partition {} leaves no room for its link of the chain",
                p.number
            );
            ensure!(
                p.start + p.size <= container.start + container.size,
                "partition {} leaves the extended one",
                p.number
            );
            let mut link = [0; 512];
            seal(&mut link);
            // The entry's start counts from its link.
            put(&mut link, 0, p, links[n])?;
            if let Some(next) = logical.get(n + 1) {
                // The second entry spans from the next link to the end of its partition, counted from the container.
                let span = Partition {
                    number: 0,
                    kind: EXTENDED_CHS,
                    active: false,
                    start: links[n + 1],
                    size: next.start + next.size - links[n + 1],
                };
                put(&mut link, 1, &span, container.start)?;
            }
            out.push((links[n], link));
        }
        Ok(out)
    }

    /// Reads the table of a disk or image.
    pub fn parse<B: Blocks + ?Sized>(disk: &B) -> Result<Self> {
        let first = sector(disk, 0)?;
        let signature = u32::from_le_bytes([first[440], first[441], first[442], first[443]]);
        let mut partitions = Vec::new();
        let mut container = None;
        for n in 0..4 {
            let Some(p) = take(&first, n, 0) else {
                continue;
            };
            partitions.push(Partition {
                number: u8::try_from(n + 1)?,
                ..p
            });
            if p.kind == EXTENDED_LBA || p.kind == EXTENDED_CHS {
                ensure!(
                    container.replace(p.start).is_none(),
                    "the disk has two extended partitions"
                );
            }
        }
        let mut next = container;
        for n in 0.. {
            let (Some(at), Some(base)) = (next.take(), container) else {
                break;
            };
            ensure!(n < LINKS_MAX, "the chain of logical partitions never ends");
            let link =
                sector(disk, at).with_context(|| format!("link {n} of the logical partitions"))?;
            if let Some(p) = take(&link, 0, at) {
                partitions.push(Partition {
                    number: u8::try_from(n + 5)?,
                    ..p
                });
            }
            next = take(&link, 1, base).map(|p| p.start);
        }
        for p in &partitions {
            ensure!(
                p.start + p.size <= disk.size(),
                "partition {} reaches past the end of the disk",
                p.number
            );
        }
        Ok(Self {
            signature,
            partitions,
        })
    }
}

fn seal(sector: &mut [u8; 512]) {
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
}

fn put(sector: &mut [u8; 512], n: usize, p: &Partition, base: u64) -> Result<()> {
    ensure!(
        p.start.is_multiple_of(SECTOR) && p.size.is_multiple_of(SECTOR),
        "partition {} is not on sectors",
        p.number
    );
    let lba =
        |bytes: u64| u32::try_from(bytes / SECTOR).context("MBR cannot address more than 2 TiB");
    let e = &mut sector[ENTRIES_AT + 16 * n..][..16];
    e[0] = if p.active { 0x80 } else { 0 };
    // Cylinder, head, sector "beyond": what every tool writes for a place that CHS cannot say; LBA counts.
    e[1..4].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    e[4] = p.kind;
    e[5..8].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    e[8..12].copy_from_slice(&lba(p.start - base)?.to_le_bytes());
    e[12..16].copy_from_slice(&lba(p.size)?.to_le_bytes());
    Ok(())
}

fn take(sector: &[u8], n: usize, base: u64) -> Option<Partition> {
    let e = &sector[ENTRIES_AT + 16 * n..][..16];
    let word = |at: usize| {
        u64::from(u32::from_le_bytes([e[at], e[at + 1], e[at + 2], e[at + 3]])) * SECTOR
    };
    let (kind, size) = (e[4], word(12));
    (kind != 0 && size != 0).then(|| Partition {
        number: 0,
        kind,
        active: e[0] & 0x80 != 0,
        start: base + word(8),
        size,
    })
}

fn sector<B: Blocks + ?Sized>(disk: &B, at: u64) -> Result<Vec<u8>> {
    let bytes = disk
        .bytes(at, 512)
        .context("cannot read the partition table")?;
    if bytes[510..] != [0x55, 0xAA] {
        bail!(
            "there is no partition table at {} MiB: its sector does not end with 55 AA",
            at / MIB
        );
    }
    Ok(bytes)
}
