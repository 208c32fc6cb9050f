//! Writes a FAT32 (or, when small, FAT16) file system of a known set of files: contiguous, the same bytes for the same
//! files, and an ordinary file system afterwards that boards and owners may change.
//!
//! After the "Microsoft FAT32 File System Specification" (fatgen103), cited by its field names. There is no FAT12: a
//! partition of ours is never that small.

use anyhow::{Context, Result, ensure};

use super::Volume;
use crate::tree::{Content, Kind, Tree, show};

mod geometry;
mod names;
pub mod read;
#[cfg(test)]
mod tests;

pub use geometry::Width;
use geometry::{Geometry, SECTOR};

/// What is not in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Label, at most 11 bytes of ASCII; the case is kept in the root directory's entry, as `flash` looks for it.
    pub label: &'a str,
    /// `BS_VolID`.
    pub volume_id: u32,
    /// Length of the file system in bytes: that of its partition, or less.
    pub size: u64,
    /// Files that lie behind all others, because they change most often; see [`super::erofs::Options::last`].
    pub last: &'a [&'a str],
}

/// Attribute bytes (`DIR_Attr`).
const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_ARCHIVE: u8 = 0x20;
/// One directory entry.
const ENTRY: usize = 32;

/// One directory or file with its place.
#[derive(Debug)]
struct Node {
    path: Vec<u8>,
    /// `None` for a directory.
    content: Option<Content>,
    /// Numbers of the nodes in a directory.
    children: Vec<usize>,
    parent: usize,
    first: u32,
    clusters: u32,
}

impl Node {
    /// Directories come first, then files, then those that change most often.
    fn class(&self, last: &[&str]) -> u8 {
        match &self.content {
            None => 0,
            Some(_) if last.iter().any(|p| p.as_bytes() == self.path) => 2,
            Some(_) => 1,
        }
    }
}

/// Plans the file system. Owners and modes are lost by nature; links and devices are refused.
pub fn plan(tree: &Tree, options: Options<'_>) -> Result<Volume> {
    let label = label(options.label)?;
    let geometry = Geometry::of(options.size)?;
    let mut nodes = collect(tree)?;
    let stamp = DosTime::of(tree.epoch());

    // Directories first, then files, each in one run and in order of paths.
    let mut next = 2;
    let bytes = geometry.cluster_bytes();
    for class in 0..=2 {
        for n in 0..nodes.len() {
            let node = &nodes[n];
            if node.class(options.last) != class {
                continue;
            }
            let len = match &node.content {
                Some(content) => content.len(),
                None => directory_len(&nodes, n, &options)?,
            };
            if n == 0 && geometry.width == Width::Fat16 {
                ensure!(
                    len <= geometry.root_bytes(),
                    "the root directory has too many names for FAT16; make the file system bigger"
                );
                continue;
            }
            let clusters =
                u32::try_from(len.div_ceil(bytes)).context("a file is too big for FAT")?;
            if clusters > 0 {
                nodes[n].first = next;
                nodes[n].clusters = clusters;
                next += clusters;
            }
            ensure!(
                next - 2 <= geometry.clusters,
                "the files need more than the {} MiB of the file system ({} did not fit); leave some out or make the partition bigger",
                options.size >> 20,
                show(&nodes[n].path)
            );
        }
    }

    let mut volume = Volume::default();
    for (at, bytes) in geometry.boot_sectors(&options, &label, next) {
        volume.put(at, &bytes);
    }
    let mut table = geometry.empty_table();
    for node in nodes.iter().filter(|n| n.clusters > 0) {
        geometry.chain(&mut table, node.first, node.clusters);
    }
    for at in geometry.tables() {
        volume.put(at, &table);
    }
    for n in 0..nodes.len() {
        let node = &nodes[n];
        let at = if node.first == 0 {
            geometry.root_at()
        } else {
            geometry.cluster_at(node.first)
        };
        match &node.content {
            Some(content) => volume.put_content(at, content, 0, content.len()),
            None => volume.put(at, &directory(&nodes, n, &label, stamp)?),
        }
    }
    volume.finish(geometry.size())?;
    Ok(volume)
}

/// The smallest size in whole MiB, at least `least`, that holds the files with a little room to spare.
pub fn fitting_size(tree: &Tree, least: u64) -> u64 {
    let content: u64 = tree
        .iter()
        .map(|(_, e)| match &e.kind {
            Kind::File(c) => c.len().next_multiple_of(4096) + 1024,
            _ => 8192,
        })
        .sum();
    // Tables take 2 * 4 bytes per cluster of at least 512: 1/64; and 1 MiB is kept free.
    (content + content / 32 + (2 << 20))
        .next_multiple_of(1 << 20)
        .max(least)
}

fn label(text: &str) -> Result<[u8; 11]> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_ ".contains(&b);
    ensure!(
        !text.is_empty() && text.len() <= 11 && text.bytes().all(plain),
        "{text:?} is no FAT label: 1 to 11 letters, digits, - or _"
    );
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

fn collect(tree: &Tree) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::with_capacity(tree.len());
    let mut dirs = std::collections::HashMap::new();
    for (path, entry) in tree.iter() {
        let content = match &entry.kind {
            Kind::Dir => None,
            Kind::File(content) => {
                ensure!(
                    u32::try_from(content.len()).is_ok(),
                    "{} is bigger than the 4 GiB that FAT can hold",
                    show(path)
                );
                Some(content.clone())
            }
            other => anyhow::bail!(
                "{} is a {}: FAT holds files and directories only",
                show(path),
                other.name()
            ),
        };
        if content.is_none() {
            dirs.insert(path.to_vec(), nodes.len());
        }
        nodes.push(Node {
            path: path.to_vec(),
            content,
            children: Vec::new(),
            parent: 0,
            first: 0,
            clusters: 0,
        });
    }
    for n in 1..nodes.len() {
        let path = &nodes[n].path;
        let dir = path
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(&[][..], |i| &path[..i]);
        let parent = *dirs
            .get(dir)
            .with_context(|| format!("{} has no directory to lie in", show(path)))?;
        nodes[n].parent = parent;
        nodes[parent].children.push(n);
    }
    Ok(nodes)
}

fn name_of(node: &Node) -> Result<&str> {
    let name = node.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    std::str::from_utf8(name)
        .with_context(|| format!("{} is not UTF-8, which FAT needs", show(&node.path)))
}

fn directory_len(nodes: &[Node], n: usize, options: &Options<'_>) -> Result<u64> {
    let label = label(options.label)?;
    // At least one cluster: an empty root directory still has its label.
    Ok(directory(nodes, n, &label, DosTime::of(0))?.len() as u64)
}

/// The entries of directory `n`.
fn directory(nodes: &[Node], n: usize, label: &[u8; 11], stamp: DosTime) -> Result<Vec<u8>> {
    let dir = &nodes[n];
    let mut out = Vec::new();
    if n == 0 {
        out.extend(entry(*label, ATTR_VOLUME_ID, 0, 0, stamp));
    } else {
        // `..` of a directory in the root says cluster 0, whatever the root's cluster is.
        let parent = if dir.parent == 0 {
            0
        } else {
            nodes[dir.parent].first
        };
        out.extend(entry(*b".          ", ATTR_DIRECTORY, dir.first, 0, stamp));
        out.extend(entry(*b"..         ", ATTR_DIRECTORY, parent, 0, stamp));
    }
    let mut taken = names::Taken::default();
    for child in &dir.children {
        let child = &nodes[*child];
        let (short, long) = taken
            .give(name_of(child)?)
            .with_context(|| show(&child.path))?;
        out.extend(long);
        let (attr, size) = match &child.content {
            None => (ATTR_DIRECTORY, 0),
            Some(c) => (
                ATTR_ARCHIVE,
                u32::try_from(c.len()).context("checked when collected")?,
            ),
        };
        out.extend(entry(short, attr, child.first, size, stamp));
    }
    Ok(out)
}

fn entry(name: [u8; 11], attr: u8, cluster: u32, size: u32, stamp: DosTime) -> [u8; ENTRY] {
    let mut e = [0; ENTRY];
    let [c0, c1, c2, c3] = cluster.to_le_bytes();
    e[..11].copy_from_slice(&name); // DIR_Name
    e[11] = attr; // DIR_Attr
    e[14..16].copy_from_slice(&stamp.time.to_le_bytes()); // DIR_CrtTime
    e[16..18].copy_from_slice(&stamp.date.to_le_bytes()); // DIR_CrtDate
    e[18..20].copy_from_slice(&stamp.date.to_le_bytes()); // DIR_LstAccDate
    e[20..22].copy_from_slice(&[c2, c3]); // DIR_FstClusHI
    e[22..24].copy_from_slice(&stamp.time.to_le_bytes()); // DIR_WrtTime
    e[24..26].copy_from_slice(&stamp.date.to_le_bytes()); // DIR_WrtDate
    e[26..28].copy_from_slice(&[c0, c1]); // DIR_FstClusLO
    e[28..32].copy_from_slice(&size.to_le_bytes()); // DIR_FileSize
    e
}

/// Date and time as FAT keeps them, in UTC: the build must not depend on the builder's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DosTime {
    pub(crate) date: u16,
    pub(crate) time: u16,
}

impl DosTime {
    pub(crate) fn of(epoch: u64) -> Self {
        // 1980-01-01 is the first day that FAT knows, 2107-12-31 the last.
        let at = hypriot_keys::time::Timestamp(epoch.clamp(315_532_800, 4_354_819_198)).to_string();
        let part =
            |from: usize, to: usize| at[from..to].parse::<u16>().expect("YYYY-MM-DDTHH:MM:SSZ");
        Self {
            date: ((part(0, 4) - 1980) << 9) | (part(5, 7) << 5) | part(8, 10),
            time: (part(11, 13) << 11) | (part(14, 16) << 5) | (part(17, 19) / 2),
        }
    }
}

/// Whether the bytes of a sector look like the start of a FAT file system.
pub fn is_fat(first_sector: &[u8]) -> bool {
    first_sector.len() >= 512
        && first_sector[510..512] == [0x55, 0xAA]
        && first_sector[11..13] == SECTOR.to_le_bytes()
}
