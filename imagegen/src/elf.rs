//! Owns the check of a finished binary: statically linked, and for no newer a processor than the board has.
//!
//! The header is read here, not by `file` or `readelf`: a machine without them must check as well.

/// The oldest processor a binary must run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// Any 64-bit ARM.
    Aarch64,
    /// ARMv7-A with hardware floating point.
    Armv7,
    /// ARMv6 with VFPv2: BCM2835.
    Armv6,
    /// Any 64-bit PC.
    X86_64,
}

/// What the header of a usable binary says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfFacts {
    /// Processor, in words.
    pub processor: String,
}

/// Why a binary is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfError {
    /// Not an ELF file, or a damaged one.
    #[error("it is not a well-formed ELF file ({0})")]
    Malformed(&'static str),
    /// Made for another processor.
    #[error("it is for machine {found:#x}, not {wanted:#x}")]
    Machine {
        /// `e_machine` of the file.
        found: u16,
        /// `e_machine` of the target.
        wanted: u16,
    },
    /// It asks for a dynamic loader.
    #[error("it is dynamically linked (it wants the loader {0})")]
    Dynamic(String),
    /// 32-bit ARM without the attributes section: nothing is known about the processor.
    #[error("it has no .ARM.attributes: its processor cannot be told")]
    NoAttributes,
    /// It needs a newer processor.
    #[error("it needs {found}, and {wanted} is the newest this target may need")]
    TooNew {
        /// What it needs.
        found: &'static str,
        /// What it may need.
        wanted: &'static str,
    },
    /// It passes floating point in the wrong registers.
    #[error("it is not for the hard-float ABI")]
    SoftFloat,
}

const PT_INTERP: u32 = 3;
const SHT_ARM_ATTRIBUTES: u32 = 0x7000_0003;
const EM_ARM: u16 = 40;

/// Checks a binary against the processor it must run on.
pub fn check(bytes: &[u8], processor: Processor) -> Result<ElfFacts, ElfError> {
    let elf = Elf::parse(bytes)?;
    let (machine, name) = match processor {
        Processor::Aarch64 => (183, "aarch64"),
        Processor::X86_64 => (62, "x86-64"),
        Processor::Armv7 | Processor::Armv6 => (EM_ARM, "arm"),
    };
    if elf.machine != machine {
        return Err(ElfError::Machine {
            found: elf.machine,
            wanted: machine,
        });
    }
    if let Some(loader) = elf.interpreter()? {
        return Err(ElfError::Dynamic(loader));
    }
    let limit = match processor {
        Processor::Aarch64 | Processor::X86_64 => {
            return Ok(ElfFacts {
                processor: name.to_owned(),
            });
        }
        Processor::Armv7 => CPU_V7,
        Processor::Armv6 => CPU_V6,
    };
    let attributes = attributes(
        elf.section(SHT_ARM_ATTRIBUTES)?
            .ok_or(ElfError::NoAttributes)?,
    )?;
    if cpu_rank(attributes.cpu_arch) > limit {
        return Err(ElfError::TooNew {
            found: cpu_name(attributes.cpu_arch),
            wanted: rank_name(limit),
        });
    }
    // Tag_FP_arch: 2 is VFPv2, more is newer (addenda32 3.3.6).
    if limit == CPU_V6 && attributes.fp_arch > 2 {
        return Err(ElfError::TooNew {
            found: "VFPv3 or newer",
            wanted: "VFPv2",
        });
    }
    if attributes.vfp_args != 1 {
        return Err(ElfError::SoftFloat);
    }
    Ok(ElfFacts {
        processor: format!("{name} {}", cpu_name(attributes.cpu_arch)),
    })
}

/// The parts of an ELF file this module looks at. Offsets are checked at every use.
struct Elf<'a> {
    bytes: &'a [u8],
    wide: bool,
    machine: u16,
    programs: Table,
    sections: Table,
}

/// A table of equal entries.
struct Table {
    at: u64,
    entry: u64,
    count: u64,
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let malformed = ElfError::Malformed("header");
        // e_ident: magic, class 1 or 2, data 1 = little-endian.
        let wide = match bytes.get(..6) {
            Some([0x7f, b'E', b'L', b'F', 1, 1]) => false,
            Some([0x7f, b'E', b'L', b'F', 2, 1]) => true,
            _ => return Err(malformed),
        };
        let half = |at| number(bytes, at, 2);
        let word = |narrow: u64, wider: u64| {
            if wide {
                number(bytes, wider, 8)
            } else {
                number(bytes, narrow, 4)
            }
        };
        let at = if wide { 54 } else { 42 };
        let read = || {
            Some(Elf {
                bytes,
                wide,
                machine: u16::try_from(half(18)?).ok()?,
                programs: Table {
                    at: word(28, 32)?,
                    entry: half(at)?,
                    count: half(at + 2)?,
                },
                sections: Table {
                    at: word(32, 40)?,
                    entry: half(at + 4)?,
                    count: half(at + 6)?,
                },
            })
        };
        read().ok_or(malformed)
    }

    fn interpreter(&self) -> Result<Option<String>, ElfError> {
        for entry in self.programs.entries() {
            let malformed = || ElfError::Malformed("program header");
            if number(self.bytes, entry, 4).ok_or_else(malformed)? != u64::from(PT_INTERP) {
                continue;
            }
            let (offset, size) = if self.wide { (8, 32) } else { (4, 16) };
            let text = self.range(entry, offset, size).ok_or_else(malformed)?;
            let text = text.split(|b| *b == 0).next().unwrap_or_default();
            return Ok(Some(
                String::from_utf8_lossy(text).chars().take(100).collect(),
            ));
        }
        Ok(None)
    }

    fn section(&self, kind: u32) -> Result<Option<&'a [u8]>, ElfError> {
        let malformed = || ElfError::Malformed("section header");
        for entry in self.sections.entries() {
            if number(self.bytes, entry + 4, 4).ok_or_else(malformed)? == u64::from(kind) {
                let (offset, size) = if self.wide { (24, 32) } else { (16, 20) };
                return self
                    .range(entry, offset, size)
                    .ok_or_else(malformed)
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// The bytes that an entry's offset and size fields point to.
    fn range(&self, entry: u64, offset: u64, size: u64) -> Option<&'a [u8]> {
        let width = if self.wide { 8 } else { 4 };
        let from = usize::try_from(number(self.bytes, entry + offset, width)?).ok()?;
        let len = usize::try_from(number(self.bytes, entry + size, width)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

impl Table {
    fn entries(&self) -> impl Iterator<Item = u64> {
        // An offset near the end of the number range saturates and then fails to be read.
        let (at, entry) = (self.at, self.entry);
        (0..self.count).map(move |n| at.saturating_add(n * entry).min(u64::MAX - 64))
    }
}

fn number(bytes: &[u8], at: u64, width: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

#[derive(Default)]
struct Attributes {
    cpu_arch: u64,
    fp_arch: u64,
    vfp_args: u64,
}

/// Reads the public build attributes of the whole file ("Addenda to, and errata in, the ABI for the Arm architecture",
/// section 2): `A`, then subsections of length, vendor name, and sub-subsections of tag, length and pairs of ULEB128.
fn attributes(section: &[u8]) -> Result<Attributes, ElfError> {
    let malformed = || ElfError::Malformed(".ARM.attributes");
    let read = || {
        let mut found = Attributes::default();
        let mut rest = section.strip_prefix(b"A")?;
        while !rest.is_empty() {
            let size = usize::try_from(number(rest, 0, 4)?).ok()?;
            let (vendor, after) = (rest.get(4..size)?, rest.get(size..)?);
            if let Some(mut body) = vendor.strip_prefix(b"aeabi\0") {
                while !body.is_empty() {
                    let tag = body[0];
                    let size = usize::try_from(number(body, 1, 4)?).ok()?;
                    // 1 = Tag_File: about the whole file.
                    if tag == 1 {
                        pairs(body.get(5..size)?, &mut found)?;
                    }
                    body = body.get(size.max(5)..)?;
                }
            }
            rest = if size < 4 { return None } else { after };
        }
        Some(found)
    };
    read().ok_or_else(malformed)
}

fn pairs(mut data: &[u8], found: &mut Attributes) -> Option<()> {
    while !data.is_empty() {
        let tag = uleb(&mut data)?;
        // Text: CPU_raw_name, CPU_name, conformance, and every odd tag above 32. Tag 32 is a number and a text.
        if matches!(tag, 4 | 5 | 67) || (tag > 32 && tag % 2 == 1) {
            let end = data.iter().position(|b| *b == 0)?;
            data = &data[end + 1..];
            continue;
        }
        let value = uleb(&mut data)?;
        match tag {
            6 => found.cpu_arch = value,
            10 => found.fp_arch = value,
            28 => found.vfp_args = value,
            32 => {
                let end = data.iter().position(|b| *b == 0)?;
                data = &data[end + 1..];
            }
            _ => {}
        }
    }
    Some(())
}

fn uleb(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (first, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Ranks of `Tag_CPU_arch`: the numbers of the specification are not in the order of ability.
const CPU_V6: u8 = 1;
const CPU_V7: u8 = 2;
const CPU_NEWER: u8 = 3;

fn cpu_rank(arch: u64) -> u8 {
    match arch {
        // Pre-v4 to v6, and v6KZ, which is what the BCM2835's ARM1176 is; v6K is a part of it.
        0..=7 | 9 => CPU_V6,
        // v6T2 has Thumb-2, which the ARM1176 lacks.
        8 | 10 => CPU_V7,
        _ => CPU_NEWER,
    }
}

fn rank_name(rank: u8) -> &'static str {
    if rank == CPU_V6 { "ARMv6" } else { "ARMv7" }
}

fn cpu_name(arch: u64) -> &'static str {
    match arch {
        0..=5 => "ARMv5 or older",
        6 => "ARMv6",
        7 => "ARMv6KZ",
        8 => "ARMv6T2",
        9 => "ARMv6K",
        10 => "ARMv7",
        _ => "a processor newer than ARMv7-A",
    }
}

#[cfg(test)]
mod tests;
