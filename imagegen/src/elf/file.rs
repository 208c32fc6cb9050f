//! An ELF file, as far as the checks look at it: header, program headers, sections. Only what is asked for is read.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::ElfError;
use crate::tree::PackedFile;

/// `ET_REL`: kernel modules and object files.
pub(super) const ET_REL: u16 = 1;
const ET_EXEC: u16 = 2;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
/// `DT_FLAGS_1` with `DF_1_PIE`: a program, though its type is that of a library.
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
/// More bytes of headers than this has no file that we can judge.
const TABLE_MAX: u64 = 4 << 20;

/// Where the bytes of a file come from.
pub(super) trait Bytes {
    /// `len` bytes at `at`; nothing if the file ends before.
    fn get(&self, at: u64, len: u64) -> Option<Cow<'_, [u8]>>;
}

impl Bytes for [u8] {
    fn get(&self, at: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        let from = usize::try_from(at).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        <[u8]>::get(self, from..to).map(Cow::Borrowed)
    }
}

/// A file of the host, open, with its length; only a few pages of it are read.
pub(super) struct OnDisk(pub(super) File, pub(super) u64);

impl Bytes for OnDisk {
    fn get(&self, at: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        let mut out = room(at, len, self.1)?;
        self.0.read_exact_at(&mut out, at).ok()?;
        Some(Cow::Owned(out))
    }
}

/// A part of a packed tree: where it starts, and its length.
pub(super) struct InTree<'a>(pub(super) &'a PackedFile, pub(super) u64, pub(super) u64);

impl Bytes for InTree<'_> {
    fn get(&self, at: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        let mut out = room(at, len, self.2)?;
        self.0.read_at(self.1 + at, &mut out).ok()?;
        Some(Cow::Owned(out))
    }
}

/// Room for `len` bytes, if a file of `size` bytes has them at `at`.
fn room(at: u64, len: u64, size: u64) -> Option<Vec<u8>> {
    if at.checked_add(len)? > size {
        return None;
    }
    Some(vec![0; usize::try_from(len).ok()?])
}

/// The parts of an ELF file that the checks look at. Offsets are checked at every use.
pub(super) struct Elf<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    /// 64 bit.
    pub(super) wide: bool,
    /// `e_type`.
    pub(super) kind: u16,
    /// `e_machine`.
    pub(super) machine: u16,
    /// `e_flags`.
    pub(super) flags: u32,
    programs: Table,
    sections: Table,
    /// Number of the section with the names of sections.
    names: u64,
}

/// A table of equal entries, read whole.
struct Table {
    bytes: Vec<u8>,
    entry: usize,
}

impl Table {
    fn read<B: Bytes + ?Sized>(bytes: &B, at: u64, entry: u64, count: u64) -> Option<Self> {
        let size = entry.checked_mul(count)?;
        let read = match size {
            0 => Vec::new(),
            1..=TABLE_MAX => bytes.get(at, size)?.into_owned(),
            _ => return None,
        };
        let entry = usize::try_from(entry).ok()?;
        Some(Self { bytes: read, entry })
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.entry.max(1))
    }
}

impl<'a, B: Bytes + ?Sized> Elf<'a, B> {
    /// Reads header and tables (System V ABI, "ELF header").
    pub(super) fn parse(bytes: &'a B) -> Result<Self, ElfError> {
        let malformed = ElfError::Malformed("header");
        // e_ident: magic, class 1 or 2, data 1 = little-endian.
        let wide = match bytes.get(0, 6).as_deref() {
            Some([0x7f, b'E', b'L', b'F', 1, 1]) => false,
            Some([0x7f, b'E', b'L', b'F', 2, 1]) => true,
            _ => return Err(malformed),
        };
        let read = || {
            let head = bytes.get(0, if wide { 64 } else { 52 })?;
            let half = |at| number(&head, at, 2);
            let word = |narrow, wider| {
                if wide {
                    number(&head, wider, 8)
                } else {
                    number(&head, narrow, 4)
                }
            };
            let at = if wide { 54 } else { 42 };
            let table = |offset, n| Table::read(bytes, offset, half(n)?, half(n + 2)?);
            Some(Elf {
                bytes,
                wide,
                kind: u16::try_from(half(16)?).ok()?,
                machine: u16::try_from(half(18)?).ok()?,
                flags: u32::try_from(number(&head, if wide { 48 } else { 36 }, 4)?).ok()?,
                programs: table(word(28, 32)?, at)?,
                sections: table(word(32, 40)?, at + 4)?,
                names: half(at + 8)?,
            })
        };
        read().ok_or(malformed)
    }

    /// The dynamic loader it asks for.
    pub(super) fn interpreter(&self) -> Result<Option<String>, ElfError> {
        let Some(text) = self.program(PT_INTERP)? else {
            return Ok(None);
        };
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        Ok(Some(
            String::from_utf8_lossy(text).chars().take(100).collect(),
        ))
    }

    /// Whether nobody's calls go in or out: a program that brings everything with it.
    pub(super) fn is_alone(&self) -> Result<bool, ElfError> {
        if self.kind == ET_EXEC {
            return Ok(self.interpreter()?.is_none());
        }
        let Some(dynamic) = self.program(PT_DYNAMIC)? else {
            return Ok(true);
        };
        let width = if self.wide { 8 } else { 4 };
        let pie = dynamic.chunks_exact(2 * width).any(|pair| {
            number(pair, 0, width) == Some(DT_FLAGS_1)
                && number(pair, width, width).is_some_and(|v| v & DF_1_PIE != 0)
        });
        Ok(pie && self.interpreter()?.is_none())
    }

    /// The bytes of the first program header of a kind.
    fn program(&self, kind: u64) -> Result<Option<Cow<'a, [u8]>>, ElfError> {
        let malformed = || ElfError::Malformed("program header");
        for entry in self.programs.entries() {
            if number(entry, 0, 4).ok_or_else(malformed)? == kind {
                let (offset, size) = if self.wide { (8, 32) } else { (4, 16) };
                let found = self.range(entry, offset, size).ok_or_else(malformed)?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The bytes of the first section of a type.
    pub(super) fn section(&self, kind: u32) -> Result<Option<Cow<'a, [u8]>>, ElfError> {
        self.section_where(|entry| number(entry, 4, 4).map(|k| k == u64::from(kind)))
    }

    /// The bytes of the section of this name.
    pub(super) fn section_named(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, ElfError> {
        let table = usize::try_from(self.names).ok();
        let names = table.and_then(|n| {
            let entry = self.sections.entries().nth(n)?;
            let (offset, size) = self.section_fields();
            self.range(entry, offset, size)
        });
        let Some(names) = names else { return Ok(None) };
        self.section_where(|entry| {
            let at = usize::try_from(number(entry, 0, 4)?).ok()?;
            let text = names.get(at..)?;
            Some(
                text.strip_prefix(name.as_bytes())
                    .is_some_and(|r| r.first() == Some(&0)),
            )
        })
    }

    fn section_where(
        &self,
        is: impl Fn(&[u8]) -> Option<bool>,
    ) -> Result<Option<Cow<'a, [u8]>>, ElfError> {
        let malformed = || ElfError::Malformed("section header");
        for entry in self.sections.entries() {
            if is(entry).ok_or_else(malformed)? {
                let (offset, size) = self.section_fields();
                let found = self.range(entry, offset, size).ok_or_else(malformed)?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn section_fields(&self) -> (usize, usize) {
        if self.wide { (24, 32) } else { (16, 20) }
    }

    /// The bytes that an entry's offset and size fields point to.
    fn range(&self, entry: &[u8], offset: usize, size: usize) -> Option<Cow<'a, [u8]>> {
        let width = if self.wide { 8 } else { 4 };
        let (from, len) = (number(entry, offset, width)?, number(entry, size, width)?);
        if len > TABLE_MAX {
            return None;
        }
        self.bytes.get(from, len)
    }
}

/// A little-endian number.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}
