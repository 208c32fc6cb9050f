//! What a 32-bit ARM file says about the processor it needs: its build attributes, the flags of its header, and what Go
//! writes into its programs.

use super::ElfError;
use super::file::number;
use crate::arch::Processor;

/// Build attributes of the whole file that tell a processor.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) cpu_arch: u64,
    pub(super) thumb: u64,
    pub(super) fp_arch: u64,
    pub(super) simd: u64,
    pub(super) vfp_args: u64,
}

/// Reads the public build attributes of the whole file ("Addenda to, and errata in, the ABI for the Arm architecture",
/// section 2): `A`, then subsections of length, vendor name, and sub-subsections of tag, length and pairs of ULEB128.
pub(super) fn parse(section: &[u8]) -> Result<Attributes, ElfError> {
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
            rest = after;
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
            9 => found.thumb = value,
            10 => found.fp_arch = value,
            12 => found.simd = value,
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

/// Refuses what is newer than an ARMv6 or ARMv7-A processor.
pub(super) fn fits(a: &Attributes, processor: Processor) -> Result<(), ElfError> {
    let (limit, wanted) = match processor {
        Processor::Armv6 => (CPU_V6, "ARMv6"),
        Processor::Armv7 => (CPU_V7, "ARMv7"),
        Processor::Aarch64 | Processor::X86_64 => return Ok(()),
    };
    let too_new = |found, wanted| Err(ElfError::TooNew { found, wanted });
    if cpu_rank(a.cpu_arch) > limit {
        return too_new(cpu_name(a.cpu_arch), wanted);
    }
    // addenda32 3.3.5 and 3.3.6. Tag_THUMB_ISA_use 2 is Thumb-2, Tag_FP_arch 2 is VFPv2, 6 is VFPv4 with 16 registers.
    if limit == CPU_V6 {
        if a.thumb == 2 {
            return too_new("Thumb-2", wanted);
        }
        if a.fp_arch > 2 {
            return too_new("VFPv3 or newer", "VFPv2");
        }
        if a.simd > 0 {
            return too_new("NEON", wanted);
        }
    }
    if a.fp_arch > 6 || a.simd > 2 {
        return too_new("the floating point or NEON of ARMv8", "VFPv4");
    }
    Ok(())
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

pub(super) fn cpu_name(arch: u64) -> &'static str {
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

/// How a Go program was compiled for ARM: `GOARM` of its build information. The attributes of a Go program tell only of
/// the C in it, because Go's compiler writes none.
///
/// Go `debug/buildinfo`: 32 bytes of header, of which byte 15 has bit 1 set if two strings follow with their lengths as
/// varints: version, and module information between two marks of 16 bytes. Older forms (before Go 1.18) hold pointers and
/// say nothing about `GOARM`.
pub(super) fn goarm(section: &[u8]) -> Option<u8> {
    let rest = section.strip_prefix(b"\xff Go buildinf:")?;
    if rest.get(1)? & 2 == 0 {
        return None;
    }
    let mut rest = section.get(32..)?;
    let mut text = &rest[..0];
    for _ in 0..2 {
        let len = usize::try_from(uleb(&mut rest)?).ok()?;
        (text, rest) = rest.split_at_checked(len)?;
    }
    let text = String::from_utf8_lossy(text);
    let value = text.lines().find_map(|l| l.strip_prefix("build\tGOARM="))?;
    // "7", or "5,softfloat"
    value.split(',').next()?.parse().ok()
}
