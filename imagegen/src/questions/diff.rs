//! What differs between two images (or two root trees): the partition, the file and the field, in the order of the card.
//!
//! Byte for byte first, then in words: an area that is equal is not looked into, and one that differs is read as what it
//! is. Where bytes differ but no file does, the structure that holds them is named, so nothing that differs stays unsaid.

use anyhow::Result;
use hypriot_updater::boot::env;
use hypriot_updater::layout::{self, BLANK, BOOT_STATE, BOOT_STATE_SIZE, Partition, SECTOR};
use serde::Serialize;

use crate::formats::{Blocks, Window, pass};
use crate::image::table;
use crate::tree::Tree;
use hypriot_updater::mbr::{self, Table};

mod files;
mod packages;
#[cfg(test)]
mod tests;

pub use packages::PackageChange;

/// How many bytes of a raw area are shown.
const SHOWN: usize = 16;
/// How much is compared at once.
const STEP: u64 = 1 << 20;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Partition, or area outside of them; empty for two trees.
    pub place: String,
    /// The file, if it is one that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What of it: `content`, `mode`, `only-in-a`, `structure`.
    pub field: String,
    /// Where: in the file for `content`, else in the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What the first one has.
    pub a: String,
    /// What the second one has.
    pub b: String,
}

/// All that differs.
#[derive(Debug, Default, Serialize)]
pub struct Diff {
    /// In the order of the card, then of the paths.
    pub differences: Vec<Difference>,
    /// Packages of the root tree with other versions.
    pub packages: Vec<PackageChange>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut before = "";
        for word in [Some(self.place.as_str()), self.path.as_deref()] {
            if let Some(word) = word.filter(|w| !w.is_empty()) {
                write!(f, "{before}{word}")?;
                before = ", ";
            }
        }
        write!(f, "{before}{}", self.field)?;
        if let Some(at) = self.offset {
            write!(f, " at byte {at}")?;
        }
        match (self.a.as_str(), self.b.as_str()) {
            ("", "") => Ok(()),
            (a, b) => write!(f, ": {a} | {b}"),
        }
    }
}

/// A part of a card and how it is read.
struct Area {
    name: String,
    start: u64,
    len: u64,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Just bytes.
    Raw,
    /// The end of sector 0, whose fields were compared already.
    Table,
    /// A copy of the boot state.
    State,
    /// A partition.
    Volume,
}

/// Compares two card images.
pub fn images<A, B>(a: &A, b: &B, threads: usize) -> Result<Diff>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let mut diff = Diff::default();
    if a.size() != b.size() {
        diff.differences.push(plain(
            "image",
            "size",
            a.size().to_string(),
            b.size().to_string(),
        ));
    }
    let table = tables(a, b);
    diff.differences.extend(table.iter().cloned());
    for area in areas(a.size().min(b.size())) {
        let (x, y) = (part(a, &area), part(b, &area));
        let Some(parted) = part_ways(&x, &y, threads)? else {
            continue;
        };
        match area.what {
            What::Table if !table.is_empty() => {}
            What::Raw | What::Table => diff.differences.push(raw(&area, &x, &y, parted)?),
            What::State => diff.differences.extend(state(&area, &x, &y, parted)?),
            What::Volume => {
                let found = files::volumes(&area.name, area.start, &x, &y, parted.first)?;
                diff.differences.extend(found.differences);
                if diff.packages.is_empty() {
                    diff.packages = found.packages;
                }
            }
        }
    }
    Ok(diff)
}

/// Compares partitions of a card with what they should hold, as far as that reaches: behind it a board leaves what was
/// there before.
pub fn parts<A, B>(a: &A, parts: &[(Partition, &B)], threads: usize) -> Result<Diff>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let mut diff = Diff::default();
    for (partition, b) in parts {
        let area = |start, len| Area {
            name: partition.name.to_owned(),
            start,
            len,
            what: What::Volume,
        };
        let y = part(*b, &area(0, b.size()));
        let same = part(a, &area(partition.start, b.size()));
        let Some(parted) = part_ways(&same, &y, threads)? else {
            continue;
        };
        // What lies in the partition may be longer than what is expected there.
        let x = part(a, &area(partition.start, partition.size));
        let found = files::volumes(partition.name, partition.start, &x, &y, parted.first)?;
        diff.differences.extend(found.differences);
        diff.packages.extend(found.packages);
    }
    Ok(diff)
}

/// Compares two root trees.
pub fn trees(a: &Tree, b: &Tree) -> Result<Diff> {
    let status = |t: &Tree| t.read(packages::STATUS).ok().map(|b| b.to_vec());
    Ok(Diff {
        differences: files::trees(a, b)?,
        packages: packages::changes(status(a), status(b)),
    })
}

fn plain(place: &str, field: &str, a: impl Into<String>, b: impl Into<String>) -> Difference {
    Difference {
        place: place.to_owned(),
        path: None,
        field: field.to_owned(),
        offset: None,
        a: a.into(),
        b: b.into(),
    }
}

fn part<'a, B: Blocks + ?Sized>(disk: &'a B, area: &Area) -> Window<'a, B> {
    Window {
        of: disk,
        start: area.start,
        len: area.len,
    }
}

/// Where two areas of one length part, and how many bytes differ.
#[derive(Debug, Clone, Copy)]
struct Parted {
    first: u64,
    bytes: u64,
}

fn part_ways<A, B>(a: &A, b: &B, threads: usize) -> Result<Option<Parted>>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let found = pass::each(a, STEP, threads, |_, at, bytes| {
        let other = b.bytes(at, bytes.len())?;
        if bytes == other {
            return Ok(None);
        }
        let differs = bytes.iter().zip(&other).enumerate();
        let mut places = differs.filter(|(_, (x, y))| x != y).map(|(n, _)| n as u64);
        let first = places.next().unwrap_or_default();
        Ok(Some(Parted {
            first: at + first,
            bytes: 1 + places.count() as u64,
        }))
    })?;
    Ok(found.into_iter().flatten().reduce(|all, one| Parted {
        bytes: all.bytes + one.bytes,
        ..all
    }))
}

/// Every byte of a card lies in one of these.
fn areas(len: u64) -> Vec<Area> {
    let sector = mbr::SIGNATURE_AT as u64;
    let mut named = vec![
        ("boot code".to_owned(), 0, sector, What::Raw),
        (
            "partition table".to_owned(),
            sector,
            SECTOR - sector,
            What::Table,
        ),
        ("mark of a blank card".to_owned(), BLANK, SECTOR, What::Raw),
    ];
    for (from, to) in layout::RAW {
        let from = from.max(SECTOR);
        named.push(("boot loaders".to_owned(), from, to - from, What::Raw));
    }
    for (n, at) in BOOT_STATE.into_iter().enumerate() {
        let name = format!("boot state, copy {}", n + 1);
        named.push((name, at, BOOT_STATE_SIZE as u64, What::State));
    }
    let volume = |p: Partition| (p.name.to_owned(), p.start, p.size, What::Volume);
    named.extend(layout::PARTITIONS.map(volume));
    named.sort_by_key(|(_, start, _, _)| *start);
    let mut out: Vec<Area> = Vec::new();
    let mut end = 0;
    for (name, start, size, what) in named {
        let gap = if start > layout::EXTENDED_START {
            "chain of the logical partitions"
        } else {
            "unused room"
        };
        for (name, start, stop, what) in [
            (format!("{gap} before {name}"), end, start, What::Raw),
            (name, start, start + size, what),
        ] {
            let len = stop.min(len).saturating_sub(start);
            if len > 0 {
                out.push(Area {
                    name,
                    start,
                    len,
                    what,
                });
            }
        }
        end = start + size;
    }
    out
}

/// The partition tables, field by field. What is no table is compared as bytes.
fn tables<A, B>(a: &A, b: &B) -> Vec<Difference>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let (Ok(a), Ok(b)) = (table::read(a), table::read(b)) else {
        return Vec::new();
    };
    let place = "partition table";
    let mut out = Vec::new();
    if a.signature != b.signature {
        let word = |s: u32| format!("{s:08x}");
        out.push(plain(
            place,
            "disk signature",
            word(a.signature),
            word(b.signature),
        ));
    }
    let mut numbers: Vec<u8> = a
        .partitions
        .iter()
        .chain(&b.partitions)
        .map(|p| p.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    for n in numbers {
        let (Some(x), Some(y)) = (a.get(n), b.get(n)) else {
            let word = |t: &Table| t.get(n).map_or("missing", |_| "there");
            out.push(plain(place, &format!("partition {n}"), word(&a), word(&b)));
            continue;
        };
        for (field, x, y) in [
            ("type", u64::from(x.kind), u64::from(y.kind)),
            ("active", u64::from(x.active), u64::from(y.active)),
            ("start", x.start, y.start),
            ("size", x.size, y.size),
        ] {
            if x != y {
                let field = format!("partition {n}, {field}");
                out.push(plain(place, &field, x.to_string(), y.to_string()));
            }
        }
    }
    out
}

/// Bytes that are no file system.
fn raw<A, B>(area: &Area, a: &A, b: &B, parted: Parted) -> Result<Difference>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let len = usize::try_from((area.len - parted.first).min(SHOWN as u64))?;
    let shown = |bytes: Vec<u8>| hex::encode(bytes);
    Ok(Difference {
        offset: Some(area.start + parted.first),
        ..plain(
            &area.name,
            &format!("{} bytes differ, the first", parted.bytes),
            shown(a.bytes(parted.first, len)?),
            shown(b.bytes(parted.first, len)?),
        )
    })
}

/// Boot states, name by name; as bytes if one cannot be read, or if only what is no variable differs.
fn state<A, B>(area: &Area, a: &A, b: &B, parted: Parted) -> Result<Vec<Difference>>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let bytes =
        || Ok::<_, anyhow::Error>((a.bytes(0, BOOT_STATE_SIZE)?, b.bytes(0, BOOT_STATE_SIZE)?));
    let whole = area.len == BOOT_STATE_SIZE as u64;
    let mut out = Vec::new();
    if whole
        && let (one, other) = bytes()?
        && let (Ok(one), Ok(other)) = (env::parse(&one), env::parse(&other))
    {
        let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let value = |e: &std::collections::BTreeMap<String, String>| {
                e.get(name)
                    .map_or("missing".to_owned(), |v| format!("`{v}`"))
            };
            if one.get(name) != other.get(name) {
                out.push(plain(&area.name, name, value(&one), value(&other)));
            }
        }
    }
    if out.is_empty() {
        out.push(raw(area, a, b, parted)?);
    }
    Ok(out)
}
