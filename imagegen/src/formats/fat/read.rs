//! Reads a FAT16 or FAT32 file system: enough to list it and to take a file out, without mounting it.
//!
//! What it reads may be anything (a card, a stranger's image): every number is checked and every walk is bounded.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::names::{self, ATTR_LONG_NAME, LAST_LONG_ENTRY};
use super::{ATTR_DIRECTORY, ATTR_VOLUME_ID, ENTRY, Width};
use crate::formats::Blocks;

/// More names than this are not read.
const NAMES_MAX: usize = 100_000;
/// No directory of ours is longer.
const DIRECTORY_MAX: u64 = 4 << 20;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether it is a directory.
    pub dir: bool,
    /// Length in bytes; 0 for a directory.
    pub size: u64,
    first: u32,
}

/// An opened file system.
#[derive(Debug)]
pub struct Fat<'a, B: ?Sized> {
    disk: &'a B,
    /// FAT16 or FAT32.
    pub width: Width,
    /// The label of the root directory's entry, without spaces at its end.
    pub label: String,
    /// `BS_VolID`.
    pub volume_id: u32,
    /// Every path, without leading slash.
    pub names: BTreeMap<String, Found>,
    table: Vec<u8>,
    cluster_bytes: u64,
    data_at: u64,
    clusters: u32,
    areas: Vec<(u64, u64, &'static str)>,
}

fn le16(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn le32(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

impl<'a, B: Blocks + ?Sized> Fat<'a, B> {
    /// Reads the boot sector, the table and all directories.
    pub fn open(disk: &'a B) -> Result<Self> {
        let boot = disk
            .bytes(0, 512)
            .context("cannot read the FAT boot sector")?;
        ensure!(
            super::is_fat(&boot),
            "this is no FAT file system with sectors of 512 bytes"
        );
        let (per_cluster, reserved, tables) = (
            u64::from(boot[13]),
            u64::from(le16(&boot, 14)),
            u64::from(boot[16]),
        );
        let root_sectors = u64::from(le16(&boot, 17)) * ENTRY as u64 / 512;
        let total = match le16(&boot, 19) {
            0 => u64::from(le32(&boot, 32)),
            n => u64::from(n),
        };
        let table_sectors = match le16(&boot, 22) {
            0 => u64::from(le32(&boot, 36)),
            n => u64::from(n),
        };
        ensure!(
            per_cluster.is_power_of_two() && tables > 0 && reserved > 0,
            "the FAT boot sector makes no sense"
        );
        ensure!(
            total * 512 <= disk.size(),
            "the FAT file system is longer than what holds it"
        );
        let data = reserved + tables * table_sectors + root_sectors;
        let clusters = total
            .checked_sub(data)
            .context("the FAT tables are longer than the file system")?
            / per_cluster;
        let width = match clusters {
            0..4085 => bail!("this is FAT12, which no card of ours has"),
            4085..65_525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let entry = if width == Width::Fat16 { 2 } else { 4 };
        ensure!(
            clusters < 0x0FFF_FFF5 && (clusters + 2) * entry <= table_sectors * 512,
            "the FAT tables are shorter than the file system needs"
        );
        let table = disk.bytes(reserved * 512, usize::try_from((clusters + 2) * entry)?)?;
        let mut fat = Self {
            disk,
            width,
            label: String::new(),
            volume_id: le32(&boot, if width == Width::Fat16 { 39 } else { 67 }),
            names: BTreeMap::new(),
            table,
            cluster_bytes: per_cluster * 512,
            data_at: data * 512,
            clusters: u32::try_from(clusters)?,
            areas: areas(width, reserved, tables, table_sectors, root_sectors),
        };
        let root = if width == Width::Fat16 {
            disk.bytes(
                (data - root_sectors) * 512,
                usize::try_from(root_sectors * 512)?,
            )?
        } else {
            let first = le32(&boot, 44);
            let runs = fat.runs(first, DIRECTORY_MAX)?;
            let named = runs
                .into_iter()
                .map(|(at, len)| (at, len, "the root directory"));
            fat.areas.extend(named);
            fat.chain(first, DIRECTORY_MAX)?
        };
        let mut todo = vec![(String::new(), root)];
        while let Some((at, bytes)) = todo.pop() {
            for (name, found) in fat.directory(&at, &bytes)? {
                if found.dir {
                    todo.push((
                        name.clone(),
                        fat.chain(found.first, DIRECTORY_MAX)
                            .with_context(|| format!("/{name}"))?,
                    ));
                }
                ensure!(
                    fat.names.len() < NAMES_MAX,
                    "the FAT file system has more than {NAMES_MAX} names"
                );
                ensure!(
                    fat.names.insert(name.clone(), found).is_none(),
                    "/{name} is there twice"
                );
            }
        }
        Ok(fat)
    }

    /// The bytes of a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let found = self
            .names
            .get(path)
            .ok_or_else(|| anyhow!("there is no /{path}"))?;
        ensure!(!found.dir, "/{path} is a directory");
        let mut bytes = if found.size == 0 {
            Vec::new()
        } else {
            self.chain(found.first, found.size)?
        };
        ensure!(
            bytes.len() as u64 >= found.size,
            "/{path} is shorter than its entry says"
        );
        bytes.truncate(usize::try_from(found.size)?);
        Ok(bytes)
    }

    fn next(&self, cluster: u32) -> u32 {
        let at = cluster as usize;
        match self.width {
            Width::Fat16 => match le16(&self.table, at * 2) {
                n @ 0xFFF8.. => u32::from(n) | 0x0FFF_0000,
                n => u32::from(n),
            },
            Width::Fat32 => le32(&self.table, at * 4) & 0x0FFF_FFFF,
        }
    }

    /// The parts of the file system that are no file's: start, length, name.
    pub fn areas(&self) -> &[(u64, u64, &'static str)] {
        &self.areas
    }

    /// Where the bytes of a file or directory lie, in their order, as (start, length).
    pub fn data(&self, found: &Found) -> Result<Vec<(u64, u64)>> {
        let (mut left, limit) = match found {
            Found { dir: true, .. } => (u64::MAX, DIRECTORY_MAX),
            Found { size: 0, .. } => return Ok(Vec::new()),
            Found { size, .. } => (*size, *size),
        };
        let mut runs = self.runs(found.first, limit)?;
        for (_, len) in &mut runs {
            *len = left.min(*len);
            left -= *len;
        }
        Ok(runs)
    }

    /// The bytes of a chain of clusters, stopped once there are `enough`.
    fn chain(&self, first: u32, enough: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (at, len) in self.runs(first, enough)? {
            out.extend(self.disk.bytes(at, usize::try_from(len)?)?);
        }
        Ok(out)
    }

    /// The runs of neighbouring clusters of a chain, in bytes, stopped once they hold `enough`. Our own files are one run.
    fn runs(&self, first: u32, enough: u64) -> Result<Vec<(u64, u64)>> {
        let (mut cluster, mut out, mut have) = (first, Vec::new(), 0);
        for _ in 0..=self.clusters {
            if cluster >= 0x0FFF_FFF8 || have >= enough {
                return Ok(out);
            }
            ensure!(
                (2..self.clusters + 2).contains(&cluster),
                "a chain leads to cluster {cluster}, which does not exist"
            );
            let mut run = 1;
            while self.next(cluster + run - 1) == cluster + run
                && have + u64::from(run) * self.cluster_bytes < enough
            {
                run += 1;
                if cluster + run > self.clusters + 1 {
                    break;
                }
            }
            let at = self.data_at + u64::from(cluster - 2) * self.cluster_bytes;
            let len = u64::from(run) * self.cluster_bytes;
            out.push((at, len));
            have += len;
            cluster = self.next(cluster + run - 1);
        }
        bail!("a chain of clusters never ends")
    }

    fn directory(&mut self, at: &str, bytes: &[u8]) -> Result<Vec<(String, Found)>> {
        let mut out = Vec::new();
        let mut long: Vec<u16> = Vec::new();
        for e in bytes.chunks_exact(ENTRY) {
            match (e[0], e[11]) {
                (0, _) => break,
                (0xE5, _) => long.clear(),
                (order, ATTR_LONG_NAME) => {
                    if order & LAST_LONG_ENTRY != 0 {
                        long.clear();
                    }
                    ensure!(long.len() < 260, "a long name in /{at} never ends");
                    let units = [1..11, 14..26, 28..32].map(|r| &e[r]).concat();
                    let piece = units
                        .chunks_exact(2)
                        .map(|c| le16(c, 0))
                        .take_while(|c| *c != 0 && *c != 0xFFFF);
                    long.splice(0..0, piece.collect::<Vec<_>>());
                }
                (_, attr) if attr & ATTR_VOLUME_ID != 0 => {
                    String::from_utf8_lossy(&e[..11])
                        .trim_end()
                        .clone_into(&mut self.label);
                    long.clear();
                }
                (b'.', _) => long.clear(),
                (_, attr) => {
                    let short: [u8; 11] = e[..11].try_into().expect("eleven");
                    let name = if long.is_empty() {
                        names::as_text(short)
                    } else {
                        String::from_utf16_lossy(&long)
                    };
                    long.clear();
                    let path = if at.is_empty() {
                        name
                    } else {
                        format!("{at}/{name}")
                    };
                    let first = u32::from(le16(e, 20)) << 16 | u32::from(le16(e, 26));
                    out.push((
                        path,
                        Found {
                            dir: attr & ATTR_DIRECTORY != 0,
                            size: u64::from(le32(e, 28)),
                            first,
                        },
                    ));
                }
            }
        }
        Ok(out)
    }
}

/// What lies before the clusters, by the names of fatgen103; all arguments in sectors.
fn areas(
    width: Width,
    reserved: u64,
    tables: u64,
    table: u64,
    root: u64,
) -> Vec<(u64, u64, &'static str)> {
    let mut out = vec![(0, 1, "the boot sector")];
    if width == Width::Fat32 {
        out.extend([
            (1, 1, "the information sector (FSInfo)"),
            (6, 1, "the backup of the boot sector"),
            (7, 1, "the backup of the information sector"),
        ]);
    }
    let names = [
        "the file allocation table",
        "the second file allocation table",
    ];
    let copies = names.into_iter().zip(0..tables);
    out.extend(copies.map(|(name, n)| (reserved + n * table, table, name)));
    if root > 0 {
        out.push((reserved + tables * table, root, "the root directory"));
    }
    let bytes = |(at, len, name): (u64, u64, &'static str)| (at * 512, len * 512, name);
    out.into_iter().map(bytes).collect()
}
