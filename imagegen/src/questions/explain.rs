//! What lies at a byte of a card: partition, file, byte in the file, package, version, source; metadata by its name.
//!
//! Owns the answer to "this sector is bad, this byte differs: what is it?". Everything is read from the image itself: its
//! partition table, its file systems, dpkg's records in the root, and the record of boot files
//! ([`crate::bake::origins`]).

use anyhow::{Context, Result, bail, ensure};
use hypriot_updater::layout::{self, Partition};
use serde::Serialize;

use crate::debian::dpkg::Package;
use crate::formats::Blocks;

mod owners;
#[cfg(test)]
mod tests;
mod things;

/// A run of bytes of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.start + self.len
    }
}

/// What one run of bytes is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Said {
    /// First byte on the card.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
    /// Number of the partition, if it lies in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u8>,
    /// Name of the partition, `card` outside of all.
    pub area: &'static str,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What it is: a path, or the name of a structure.
    pub name: String,
    /// Which byte of that the run starts with.
    pub offset: u64,
    /// The package it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Where it comes from, if not from a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<&'static str>,
}

/// Kinds of things on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Content of a file.
    File,
    /// A boot loader before the first partition.
    Blob,
    /// A structure of a partition table or file system.
    Metadata,
    /// A copy of the boot state, or the mark of a blank card.
    State,
    /// Nothing lies there.
    Free,
}

/// `OFFSET`, `FIRST-LAST` or `OFFSET+LENGTH`, each decimal or `0x` and hexadecimal, with `KiB`, `MiB` or `GiB` behind it or not.
pub fn span(text: &str) -> Result<Span> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last, "{text} ends before it begins");
        let len = (last - first).checked_add(1).context("it is too long")?;
        return Ok(Span { start: first, len });
    }
    if let Some((start, len)) = text.split_once('+') {
        let (start, len) = (number(start)?, number(len)?);
        ensure!(len > 0, "{text} has no bytes");
        ensure!(start.checked_add(len).is_some(), "{text} is too long");
        return Ok(Span { start, len });
    }
    let start = number(text)?;
    ensure!(start < u64::MAX, "{text} is too far");
    Ok(Span { start, len: 1 })
}

fn number(text: &str) -> Result<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let cut = units
        .into_iter()
        .find_map(|(unit, bits)| Some((text.trim().strip_suffix(unit)?, bits)));
    let (word, bits) = cut.unwrap_or((text, 0));
    let read = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    let read = read.with_context(|| {
        format!("`{text}` is no offset: decimal, or 0x and hexadecimal; KiB, MiB or GiB may follow")
    })?;
    read.checked_mul(1 << bits)
        .with_context(|| format!("{text} is too far"))
}

/// Tells what lies in a span of a card, in its order, nothing left out.
pub fn explain<B: Blocks + ?Sized>(disk: &B, span: Span) -> Result<Vec<Said>> {
    if span.end() > disk.size() {
        bail!(
            "byte {} is past the end of the image, which has {} bytes",
            span.end() - 1,
            disk.size()
        );
    }
    let mut all = things::of(disk, span)?;
    all.sort_by_key(|t| (t.start, t.len));
    let mut out = Vec::new();
    let mut at = span.start;
    for thing in &all {
        let (from, to) = (
            thing.start.max(at),
            (thing.start + thing.len).min(span.end()),
        );
        if from >= to {
            continue;
        }
        free(at, from, &mut out);
        out.push(Said {
            start: from,
            len: to - from,
            offset: thing.offset + (from - thing.start),
            ..thing.clone()
        });
        at = to;
    }
    free(at, span.end(), &mut out);
    Ok(out)
}

/// Says that nothing lies from `at` to `end`, once for each partition the gap touches.
fn free(mut at: u64, end: u64, out: &mut Vec<Said>) {
    while at < end {
        let inside = partition(at);
        let next = match inside {
            Some(part) => part.end(),
            None => layout::PARTITIONS
                .iter()
                .map(|p| p.start)
                .find(|start| *start > at)
                .unwrap_or(end),
        };
        let to = next.min(end);
        out.push(Said {
            start: at,
            len: to - at,
            partition: inside.map(|p| p.number),
            area: inside.map_or("card", |p| p.name),
            kind: Kind::Free,
            name: "nothing".to_owned(),
            offset: at - inside.map_or(0, |p| p.start),
            package: None,
            made: None,
        });
        at = to;
    }
}

/// The partition that a byte of the card lies in.
fn partition(at: u64) -> Option<Partition> {
    layout::PARTITIONS
        .into_iter()
        .find(|p| (p.start..p.end()).contains(&at))
}

/// One line for people.
pub fn line(said: &Said) -> String {
    let mut out = match said.len {
        1 => format!("{:#010x}", said.start),
        len => format!("{:#010x}-{:#010x}", said.start, said.start + len - 1),
    };
    out.push_str("  ");
    out.push_str(said.area);
    if let Some(n) = said.partition {
        out.extend([" (partition ", &n.to_string(), ")"]);
    }
    out.push_str(": ");
    if matches!(said.kind, Kind::File | Kind::Blob) {
        out.extend(["byte ", &said.offset.to_string(), " of "]);
    }
    out.push_str(&said.name);
    if let Some(p) = &said.package {
        out.extend([", package ", &p.name, " ", &p.version]);
        out.extend([", source ", &p.source]);
    }
    if let Some(made) = said.made {
        out.extend([", ", made]);
    }
    out
}
