//! How a FAT file system of a given size is divided, and its boot sectors and tables.

use anyhow::{Result, ensure};

use super::{ENTRY, Options};

/// Bytes per sector.
pub(super) const SECTOR: u16 = 512;
const SECTOR64: u64 = 512;
/// Tables: two, as every other maker of FAT writes.
const TABLES: u64 = 2;
/// `BPB_RootEntCnt` of FAT16.
const ROOT_ENTRIES: u64 = 512;
/// Cluster counts decide the width, nothing else does (fatgen103, "FAT type determination").
const MIN_FAT16: u64 = 4085;
const MIN_FAT32: u64 = 65_525;

/// Bits of a table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// FAT16.
    Fat16,
    /// FAT32.
    Fat32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    /// All in sectors.
    total: u64,
    reserved: u64,
    table: u64,
    root: u64,
    per_cluster: u64,
    pub(super) clusters: u32,
}

impl Geometry {
    /// FAT32 where there are clusters enough for it, with the biggest clusters that leave enough; else FAT16.
    pub(super) fn of(size: u64) -> Result<Self> {
        ensure!(
            size.is_multiple_of(SECTOR64) && (4 << 20..=1 << 40).contains(&size),
            "a FAT file system of {size} bytes cannot be made: 4 MiB to 1 TiB in whole sectors"
        );
        let tries = [64, 32, 16, 8, 4, 2, 1].map(|n| Self::with(size, Width::Fat32, n));
        let fat32 = tries
            .into_iter()
            .find(|g| u64::from(g.clusters) >= MIN_FAT32 + 16);
        let fat16 = || {
            let tries = [1, 2, 4, 8, 16, 32].map(|n| Self::with(size, Width::Fat16, n));
            tries
                .into_iter()
                .find(|g| (MIN_FAT16 + 16..MIN_FAT32 - 16).contains(&u64::from(g.clusters)))
        };
        fat32
            .or_else(fat16)
            .ok_or_else(|| anyhow::anyhow!("a FAT file system of {size} bytes cannot be made"))
    }

    fn with(size: u64, width: Width, per_cluster: u64) -> Self {
        let total = size / SECTOR64;
        let (reserved, root, entry) = match width {
            Width::Fat16 => (8, ROOT_ENTRIES * ENTRY as u64 / SECTOR64, 2),
            Width::Fat32 => (32, 0, 4),
        };
        // An upper bound: as if the tables took no room. Rounded up to keep clusters on 4 KiB.
        let table = ((total / per_cluster + 2) * entry)
            .div_ceil(SECTOR64)
            .next_multiple_of(4);
        let data = total.saturating_sub(reserved + TABLES * table + root);
        let clusters = u32::try_from(data / per_cluster).unwrap_or(u32::MAX);
        Self {
            width,
            total,
            reserved,
            table,
            root,
            per_cluster,
            clusters,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.total * SECTOR64
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        self.per_cluster * SECTOR64
    }

    /// Room for the fixed root directory of FAT16.
    pub(super) fn root_bytes(&self) -> u64 {
        self.root * SECTOR64
    }

    pub(super) fn root_at(&self) -> u64 {
        (self.reserved + TABLES * self.table) * SECTOR64
    }

    pub(super) fn cluster_at(&self, cluster: u32) -> u64 {
        self.root_at() + self.root_bytes() + u64::from(cluster - 2) * self.cluster_bytes()
    }

    pub(super) fn tables(&self) -> [u64; 2] {
        [
            self.reserved * SECTOR64,
            (self.reserved + self.table) * SECTOR64,
        ]
    }

    /// A table with its two reserved entries; bit 15 (27) of the second says "unmounted cleanly".
    pub(super) fn empty_table(&self) -> Vec<u8> {
        let mut table =
            vec![0; usize::try_from(self.table * SECTOR64).expect("bounded by 1 TiB / 64 KiB")];
        match self.width {
            Width::Fat16 => table[..4].copy_from_slice(&[0xF8, 0xFF, 0xFF, 0xFF]),
            Width::Fat32 => {
                table[..8].copy_from_slice(&[0xF8, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF, 0xFF, 0x0F]);
            }
        }
        table
    }

    /// Links `count` clusters from `first` on into one chain.
    pub(super) fn chain(&self, table: &mut [u8], first: u32, count: u32) {
        for c in first..first + count {
            let last = c + 1 == first + count;
            let at = c as usize;
            match self.width {
                Width::Fat16 => {
                    let next = if last {
                        0xFFFF
                    } else {
                        u16::try_from(c + 1).expect("fewer than 65525 clusters")
                    };
                    table[at * 2..at * 2 + 2].copy_from_slice(&next.to_le_bytes());
                }
                Width::Fat32 => {
                    let next = if last { 0x0FFF_FFFF } else { c + 1 };
                    table[at * 4..at * 4 + 4].copy_from_slice(&next.to_le_bytes());
                }
            }
        }
    }

    /// Boot sector, and for FAT32 its information sector and the backups of both, with their places.
    pub(super) fn boot_sectors(
        &self,
        options: &Options<'_>,
        label: &[u8; 11],
        next: u32,
    ) -> Vec<(u64, Vec<u8>)> {
        let boot = self.boot_sector(options, label);
        if self.width == Width::Fat16 {
            return vec![(0, boot)];
        }
        let mut info = vec![0; 512];
        info[..4].copy_from_slice(b"RRaA"); // FSI_LeadSig
        info[484..488].copy_from_slice(b"rrAa"); // FSI_StrucSig
        info[488..492].copy_from_slice(&(self.clusters - (next - 2)).to_le_bytes()); // FSI_Free_Count
        info[492..496].copy_from_slice(&(next - 1).to_le_bytes()); // FSI_Nxt_Free: the last one given out
        info[510..].copy_from_slice(&[0x55, 0xAA]); // FSI_TrailSig
        vec![
            (0, boot.clone()),
            (SECTOR64, info.clone()),
            (6 * SECTOR64, boot),
            (7 * SECTOR64, info),
        ]
    }

    fn boot_sector(&self, options: &Options<'_>, label: &[u8; 11]) -> Vec<u8> {
        let total = u32::try_from(self.total).expect("at most 1 TiB");
        let sixteen = self.width == Width::Fat16;
        let mut b = Vec::with_capacity(512);
        b.extend(if sixteen {
            [0xEB, 0x3C, 0x90]
        } else {
            [0xEB, 0x58, 0x90]
        }); // BS_jmpBoot
        b.extend(b"HYPRIOT "); // BS_OEMName
        b.extend(SECTOR.to_le_bytes()); // BPB_BytsPerSec
        b.push(u8::try_from(self.per_cluster).expect("at most 64")); // BPB_SecPerClus
        b.extend(u16::try_from(self.reserved).expect("8 or 32").to_le_bytes()); // BPB_RsvdSecCnt
        b.push(2); // BPB_NumFATs
        let root_entries: u16 = if sixteen { 512 } else { 0 };
        b.extend(root_entries.to_le_bytes()); // BPB_RootEntCnt
        b.extend([0, 0]); // BPB_TotSec16: told by BPB_TotSec32
        b.push(0xF8); // BPB_Media: fixed disk
        let table16 = if sixteen {
            u16::try_from(self.table).expect("65525 entries need 256 sectors")
        } else {
            0
        };
        b.extend(table16.to_le_bytes()); // BPB_FATSz16
        b.extend([63, 0, 255, 0]); // BPB_SecPerTrk, BPB_NumHeads
        b.extend([0; 4]); // BPB_HiddSec: 0, because the same bytes lie in either slot
        b.extend(total.to_le_bytes()); // BPB_TotSec32
        if !sixteen {
            b.extend(
                u32::try_from(self.table)
                    .expect("at most 1 TiB")
                    .to_le_bytes(),
            ); // BPB_FATSz32
            b.extend([0; 4]); // BPB_ExtFlags, BPB_FSVer
            b.extend(2u32.to_le_bytes()); // BPB_RootClus
            b.extend([1, 0, 6, 0]); // BPB_FSInfo, BPB_BkBootSec
            b.extend([0; 12]); // BPB_Reserved
        }
        b.extend([0x80, 0, 0x29]); // BS_DrvNum, BS_Reserved1, BS_BootSig
        b.extend(options.volume_id.to_le_bytes()); // BS_VolID
        b.extend(label); // BS_VolLab
        b.extend(if sixteen { b"FAT16   " } else { b"FAT32   " }); // BS_FilSysType
        b.resize(510, 0);
        b.extend([0x55, 0xAA]);
        b
    }
}
