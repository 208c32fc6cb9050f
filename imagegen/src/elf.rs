//! Owns the check of programs against a board's processor: of the finished agent ([`check`]), and of everything that
//! comes to lie on a card ([`gate`]).
//!
//! The headers are read here, not by `file` or `readelf`: a machine without them must check as well.

mod attributes;
mod file;
pub mod gate;

use crate::arch::{Processor, machine};
use file::{Bytes, Elf};

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
    #[error("it is for {}, not for {}", name_of(*.found), name_of(*.wanted))]
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
    /// It passes floating point in the registers of the other Debian architecture.
    #[error("it is for the {found} ABI, the image is {wanted}")]
    Float {
        /// Of the file.
        found: &'static str,
        /// Of the image.
        wanted: &'static str,
    },
    /// Its loader is not there.
    #[error("it wants the loader {0}, which the image does not have")]
    NoLoader(String),
    /// Go compiled it for a newer processor.
    #[error("Go compiled it with GOARM={found}; the board can do GOARM={wanted}")]
    Go {
        /// What it was compiled for.
        found: u8,
        /// What the board can.
        wanted: u8,
    },
}

fn name_of(number: u16) -> String {
    // e_machine, as registered in the generic ABI.
    let name = match number {
        machine::I386 => "x86",
        8 => "MIPS",
        20 => "PowerPC",
        machine::ARM => "32-bit ARM",
        machine::X86_64 => "x86-64",
        machine::AARCH64 => "64-bit ARM",
        machine::RISCV => "RISC-V",
        _ => return format!("machine {number:#x}"),
    };
    name.to_owned()
}

const SHT_ARM_ATTRIBUTES: u32 = 0x7000_0003;

/// `e_machine` of a processor's programs, and the word for it.
fn family(processor: Processor) -> (u16, &'static str) {
    match processor {
        Processor::Aarch64 => (machine::AARCH64, "aarch64"),
        Processor::X86_64 => (machine::X86_64, "x86-64"),
        Processor::Armv7 | Processor::Armv6 => (machine::ARM, "arm"),
    }
}

/// Checks a static binary against the processor it must run on.
pub fn check(bytes: &[u8], processor: Processor) -> Result<ElfFacts, ElfError> {
    let elf = Elf::parse(bytes)?;
    let (wanted, name) = family(processor);
    if elf.machine != wanted {
        return Err(ElfError::Machine {
            found: elf.machine,
            wanted,
        });
    }
    if let Some(loader) = elf.interpreter()? {
        return Err(ElfError::Dynamic(loader));
    }
    if wanted != machine::ARM {
        return Ok(ElfFacts {
            processor: name.to_owned(),
        });
    }
    let found = attributes_of(&elf)?.ok_or(ElfError::NoAttributes)?;
    attributes::fits(&found, processor)?;
    if found.vfp_args != 1 {
        return Err(ElfError::SoftFloat);
    }
    Ok(ElfFacts {
        processor: format!("{name} {}", attributes::cpu_name(found.cpu_arch)),
    })
}

fn attributes_of<B: Bytes + ?Sized>(
    elf: &Elf<'_, B>,
) -> Result<Option<attributes::Attributes>, ElfError> {
    let section = elf.section(SHT_ARM_ATTRIBUTES)?;
    section.map(|s| attributes::parse(&s)).transpose()
}

#[cfg(test)]
mod tests;
