//! Names in a FAT directory: the short one that boot ROMs read, and the long one that everybody else shows.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::ENTRY;

/// Long names hold 13 UTF-16 units per entry (`LDIR_Name1` 5, `LDIR_Name2` 6, `LDIR_Name3` 2).
const UNITS: usize = 13;
/// `DIR_Attr` of a piece of a long name.
pub(super) const ATTR_LONG_NAME: u8 = 0x0F;
/// `LDIR_Ord` of the last piece.
pub(super) const LAST_LONG_ENTRY: u8 = 0x40;

/// The names that a directory has already.
#[derive(Debug, Default)]
pub(super) struct Taken {
    short: BTreeSet<[u8; 11]>,
    long: BTreeSet<String>,
}

impl Taken {
    /// The short name for `name` and the entries of its long name, in the order they lie on disk.
    pub(super) fn give(&mut self, name: &str) -> Result<([u8; 11], Vec<u8>)> {
        let bad = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
        ensure!(
            !name.contains(bad) && !name.ends_with(['.', ' ']) && !name.starts_with(' '),
            "this name is not allowed on FAT (no \" * / : < > ? \\ |, no dot or space at the end)"
        );
        let units: Vec<u16> = name.encode_utf16().collect();
        ensure!(
            !units.is_empty() && units.len() <= 255,
            "a name on FAT has 1 to 255 characters"
        );
        ensure!(
            self.long.insert(name.to_lowercase()),
            "two names in one directory differ only in case, which FAT does not allow"
        );
        let short = match exact(name) {
            Some(short) if !self.short.contains(&short) => short,
            _ => self.numbered(name)?,
        };
        self.short.insert(short);
        let long = if as_text(short) == name {
            Vec::new()
        } else {
            long_entries(&units, checksum(short))
        };
        Ok((short, long))
    }

    /// `NAME~1.EXT` with the first number that is free.
    fn numbered(&self, name: &str) -> Result<[u8; 11]> {
        let (base, ext) = name.rsplit_once('.').unwrap_or((name, ""));
        let fold = |text: &str| -> Vec<u8> {
            let kept = text.chars().filter(|c| !" .".contains(*c));
            kept.map(|c| {
                if short_char(c.to_ascii_uppercase()) {
                    c.to_ascii_uppercase() as u8
                } else {
                    b'_'
                }
            })
            .collect()
        };
        let (base, ext) = (fold(base), fold(ext));
        for n in 1..1_000_000 {
            let tail = format!("~{n}");
            let keep = base.len().min(8 - tail.len());
            let mut short = [b' '; 11];
            short[..keep].copy_from_slice(&base[..keep]);
            short[keep..keep + tail.len()].copy_from_slice(tail.as_bytes());
            let ext_len = ext.len().min(3);
            short[8..8 + ext_len].copy_from_slice(&ext[..ext_len]);
            if !self.short.contains(&short) {
                return Ok(short);
            }
        }
        bail!("there are too many names like this one in its directory")
    }
}

/// What may stand in a short name.
fn short_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "$%'-_@~`!(){}^#&".contains(c)
}

/// The short name that says the same but for case: boot ROMs look for `BOOTCODE.BIN` and read no long names.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, ext) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, max: usize| {
        part.len() <= max && part.chars().all(|c| short_char(c.to_ascii_uppercase()))
    };
    if base.is_empty() || !fits(base, 8) || !fits(ext, 3) || name.ends_with('.') {
        return None;
    }
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.to_ascii_uppercase().as_bytes());
    short[8..8 + ext.len()].copy_from_slice(ext.to_ascii_uppercase().as_bytes());
    Some(short)
}

/// A short name as people write it.
pub(super) fn as_text(short: [u8; 11]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, ext) = (part(&short[..8]), part(&short[8..]));
    if ext.is_empty() {
        base
    } else {
        format!("{base}.{ext}")
    }
}

/// `ChkSum()` of fatgen103.
pub(super) fn checksum(short: [u8; 11]) -> u8 {
    short
        .iter()
        .fold(0u8, |sum, b| sum.rotate_right(1).wrapping_add(*b))
}

fn long_entries(units: &[u16], sum: u8) -> Vec<u8> {
    let pieces: Vec<&[u16]> = units.chunks(UNITS).collect();
    let mut out = Vec::with_capacity(pieces.len() * ENTRY);
    for (n, piece) in pieces.iter().enumerate().rev() {
        let last = if n + 1 == pieces.len() {
            LAST_LONG_ENTRY
        } else {
            0
        };
        // A name that does not fill its last entry ends with one 0, then 0xFFFF.
        let mut chars = [0xFFFF; UNITS];
        chars[..piece.len()].copy_from_slice(piece);
        if piece.len() < UNITS {
            chars[piece.len()] = 0;
        }
        let bytes: Vec<u8> = chars.iter().flat_map(|c| c.to_le_bytes()).collect();
        out.push(u8::try_from(n + 1).expect("255 units are 20 pieces") | last); // LDIR_Ord
        out.extend(&bytes[..10]); // LDIR_Name1
        out.extend([ATTR_LONG_NAME, 0, sum]); // LDIR_Attr, LDIR_Type, LDIR_Chksum
        out.extend(&bytes[10..22]); // LDIR_Name2
        out.extend([0, 0]); // LDIR_FstClusLO
        out.extend(&bytes[22..]); // LDIR_Name3
    }
    out
}
