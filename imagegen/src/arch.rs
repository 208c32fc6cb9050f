//! Owns the two names of what a program runs on: Debian's architectures ([`Arch`]), and the oldest processor that it is compiled
//! for ([`Processor`]), which is finer. Read once, from a board file, a lock or an option; a name that is none of these is
//! refused there, with the list.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An architecture of Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM with hard floats: ARMv7 in Debian, ARMv6 in Raspberry Pi OS.
    Armhf,
    /// 32-bit ARM with soft floats.
    Armel,
    /// 64-bit PCs.
    Amd64,
    /// 32-bit PCs.
    I386,
    /// 64-bit RISC-V.
    Riscv64,
}

/// The 16 bits of an ELF header that name a processor (`e_machine`), as registered in the generic ABI.
pub mod machine {
    /// 32-bit PCs.
    pub const I386: u16 = 3;
    /// 32-bit ARM.
    pub const ARM: u16 = 40;
    /// 64-bit PCs.
    pub const X86_64: u16 = 62;
    /// 64-bit ARM.
    pub const AARCH64: u16 = 183;
    /// RISC-V.
    pub const RISCV: u16 = 243;
}

impl Arch {
    /// Those that the agent's package is made for.
    pub const PACKAGED: [Self; 4] = [Self::Arm64, Self::Armhf, Self::Armel, Self::Amd64];

    /// That of the machine this program runs on.
    pub fn host() -> Option<Self> {
        Some(match std::env::consts::ARCH {
            "x86_64" => Self::Amd64,
            "aarch64" => Self::Arm64,
            "arm" => Self::Armhf,
            "x86" => Self::I386,
            "riscv64" => Self::Riscv64,
            _ => return None,
        })
    }

    /// Debian's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
            Self::Armel => "armel",
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
            Self::Riscv64 => "riscv64",
        }
    }

    /// What its programs' ELF headers say: class (1: 32 bit, 2: 64 bit) and machine.
    pub const fn elf(self) -> (u8, u16) {
        match self {
            Self::Arm64 => (2, machine::AARCH64),
            Self::Armhf | Self::Armel => (1, machine::ARM),
            Self::Amd64 => (2, machine::X86_64),
            Self::I386 => (1, machine::I386),
            Self::Riscv64 => (2, machine::RISCV),
        }
    }

    /// The directory below `usr/lib` that holds its libraries.
    pub const fn triplet(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-linux-gnu",
            Self::Armhf => "arm-linux-gnueabihf",
            Self::Armel => "arm-linux-gnueabi",
            Self::Amd64 => "x86_64-linux-gnu",
            Self::I386 => "i386-linux-gnu",
            Self::Riscv64 => "riscv64-linux-gnu",
        }
    }

    /// QEMU's program that runs its programs.
    pub const fn emulator(self) -> &'static str {
        match self {
            Self::Arm64 => "qemu-aarch64",
            Self::Armhf | Self::Armel => "qemu-arm",
            Self::Amd64 => "qemu-x86_64",
            Self::I386 => "qemu-i386",
            Self::Riscv64 => "qemu-riscv64",
        }
    }

    /// Of those the agent's package is made for: Debian's name, or that of the Rust target that belongs to it.
    pub fn packaged(name: &str) -> Option<Self> {
        match name {
            "aarch64-unknown-linux-musl" => Some(Self::Arm64),
            "armv7-unknown-linux-musleabihf" => Some(Self::Armhf),
            "arm-unknown-linux-musleabihf" => Some(Self::Armel),
            "x86_64-unknown-linux-musl" => Some(Self::Amd64),
            _ => Self::PACKAGED.into_iter().find(|arch| arch.name() == name),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The oldest processor that a program must run on; the agent is compiled once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Processor {
    /// Any 64-bit ARM.
    Aarch64,
    /// ARMv7-A with hardware floating point: 32-bit boards but the first Pis.
    Armv7,
    /// ARMv6 with VFPv2, BCM2835: Raspberry Pi Zero and 1.
    Armv6,
    /// Any 64-bit PC: the maintainer's own machine, for tests.
    X86_64,
}

impl Processor {
    /// Every one, in the order of the README.
    pub const ALL: [Self; 4] = [Self::Aarch64, Self::Armv7, Self::Armv6, Self::X86_64];

    /// The Rust name of the target, as in `--target`.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::Armv7 => "armv7-unknown-linux-musleabihf",
            Self::Armv6 => "arm-unknown-linux-musleabihf",
            Self::X86_64 => "x86_64-unknown-linux-musl",
        }
    }

    /// Reads a Rust target's name, or the Debian name of the architecture.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "arm64" | "aarch64" => Some(Self::Aarch64),
            "armhf" | "armv7" => Some(Self::Armv7),
            "armel" | "armv6" => Some(Self::Armv6),
            "amd64" | "x86_64" => Some(Self::X86_64),
            _ => Self::ALL.into_iter().find(|t| t.triple() == name),
        }
    }

    /// The processor of the agent in the package for `arch`. Raspberry Pi OS calls its ARMv6 port armhf too, so that package must
    /// start on a Pi Zero; a static program does not care about the system's float convention, so armel gets the same one.
    pub const fn of_package(arch: Arch) -> Option<Self> {
        match arch {
            Arch::Arm64 => Some(Self::Aarch64),
            Arch::Armhf | Arch::Armel => Some(Self::Armv6),
            Arch::Amd64 => Some(Self::X86_64),
            Arch::I386 | Arch::Riscv64 => None,
        }
    }
}
