//! Android boot images: what a device's own boot loader starts when nobody can replace it. Header version 0, as AOSP
//! defines it (`system/tools/mkbootimg`, `include/bootimg/bootimg.h`), within what NVIDIA's loader takes.
//!
//! Not proven on hardware. What is known of the Shield TV's loader comes from NVIDIA's sources: the kernel may be packed
//! with gzip and the boot partition has 26,738,688 bytes (`device/nvidia/platform/t210/BoardConfig.mk`, darcy and foster);
//! the load addresses of the header are not looked at, the device tree comes from a partition of its own, and where AOSP
//! continues the command line NVIDIA's header has other fields, which must be zero (cboot, `tegrabl_bootimg.h`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use hypriot_updater::boot::script::{ARG_DISK, ARG_SLOT, INITRAMFS, KERNEL};
use sha1::{Digest as _, Sha1};

use crate::files;
use crate::inputs::board::Board;
use crate::tree::Tree;

/// What all parts are padded to; NVIDIA's loader wants no smaller one.
const PAGE_SIZE: u32 = 2048;
const PAGE: usize = PAGE_SIZE as usize;
const MAGIC: &[u8; 8] = b"ANDROID!";
/// Offsets in the header (`struct boot_img_hdr_v0`).
const NAME: usize = 48;
const CMDLINE: usize = 64;
const ID: usize = 576;
const EXTRA: usize = 608;
const HEADER: usize = 1632;
/// Room for the name and the command line, each with the NUL that ends it.
const NAME_ROOM: usize = CMDLINE - NAME;
const CMDLINE_ROOM: usize = ID - CMDLINE;
/// mkbootimg's defaults: base 0x10000000 and these offsets.
const KERNEL_ADDR: u32 = 0x1000_8000;
const RAMDISK_ADDR: u32 = 0x1100_0000;
const TAGS_ADDR: u32 = 0x1000_0100;
/// `BOARD_BOOTIMAGE_PARTITION_SIZE` of darcy and foster.
const PARTITION: usize = 26_738_688;
/// The loader unpacks the kernel 0.5 MiB and puts the ramdisk 65 MiB behind the start of memory (cboot `kernel_boot.h`).
const KERNEL_ROOM: u64 = 0x410_0000 - 0x8_0000;
/// Linux Documentation/arch/arm64/booting.rst: `image_size` and the magic number of an `Image`.
const IMAGE_SIZE: usize = 16;
const IMAGE_MAGIC: usize = 56;

/// Why there is no boot image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootimgError {
    /// It needs more room than the device has.
    #[error("{what} has {size} bytes, the device has room for {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The room.
        limit: u64,
    },
    /// Kernel and ramdisk are required.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// It cannot stand in a field of the header.
    #[error("the {0} has a NUL in it or is no ASCII")]
    Text(&'static str),
    /// The kernel is none.
    #[error("the kernel is no arm64 Image")]
    Kernel,
    /// A file that is read is none, or is cut.
    #[error("not an Android boot image of version 0: {0}")]
    Malformed(&'static str),
}

/// The parts of a boot image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The kernel, packed or not.
    pub kernel: &'a [u8],
    /// The initramfs.
    pub ramdisk: &'a [u8],
    /// Kernel arguments.
    pub cmdline: &'a str,
    /// Name of the product.
    pub name: &'a str,
}

/// The bytes of a boot image that fits into `limit` bytes.
pub fn encode(parts: &Parts<'_>, limit: usize) -> Result<Vec<u8>, BootimgError> {
    text("name", parts.name, NAME_ROOM)?;
    text("command line", parts.cmdline, CMDLINE_ROOM)?;
    for (what, part) in [("kernel", parts.kernel), ("ramdisk", parts.ramdisk)] {
        if part.is_empty() {
            return Err(BootimgError::Empty(what));
        }
    }
    let padded = |part: &[u8]| part.len().next_multiple_of(PAGE);
    let size = PAGE + padded(parts.kernel) + padded(parts.ramdisk);
    too_large("the boot image", size as u64, limit as u64)?;
    let mut out = vec![0; size];
    out[..8].copy_from_slice(MAGIC);
    let words = [
        length(parts.kernel),
        KERNEL_ADDR,
        length(parts.ramdisk),
        RAMDISK_ADDR,
        // no second stage
        0,
        0,
        TAGS_ADDR,
        PAGE_SIZE,
        // header version, then version of the operating system, which is none of Android's
        0,
        0,
    ];
    for (n, word) in words.into_iter().enumerate() {
        out[8 + n * 4..12 + n * 4].copy_from_slice(&word.to_le_bytes());
    }
    out[NAME..][..parts.name.len()].copy_from_slice(parts.name.as_bytes());
    out[CMDLINE..][..parts.cmdline.len()].copy_from_slice(parts.cmdline.as_bytes());
    let id = id(parts);
    out[ID..][..id.len()].copy_from_slice(&id);
    out[PAGE..][..parts.kernel.len()].copy_from_slice(parts.kernel);
    let at = PAGE + padded(parts.kernel);
    out[at..][..parts.ramdisk.len()].copy_from_slice(parts.ramdisk);
    Ok(out)
}

/// Reads a boot image and checks that its id is that of its parts.
pub fn parse(bytes: &[u8]) -> Result<Parts<'_>, BootimgError> {
    let bad = BootimgError::Malformed;
    let header = bytes.get(..HEADER).ok_or(bad("cut off"))?;
    if !header.starts_with(MAGIC) {
        return Err(bad("no magic number"));
    }
    let word = |n: usize| {
        let at = 8 + n * 4;
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
    };
    if word(7) != PAGE || word(8) != 0 || word(4) != 0 {
        return Err(bad("other pages, another version or a second stage"));
    }
    if header[EXTRA..].iter().any(|b| *b != 0) {
        return Err(bad(
            "something behind the id, where NVIDIA's header has fields of its own",
        ));
    }
    let field = |from: usize, to: usize| {
        let text = header[from..to]
            .split(|b| *b == 0)
            .next()
            .unwrap_or_default();
        std::str::from_utf8(text).map_err(|_e| bad("a field is no text"))
    };
    let part = |at: usize, len: usize| {
        let end = at.checked_add(len);
        end.and_then(|end| bytes.get(at..end)).ok_or(bad("cut off"))
    };
    let kernel = part(PAGE, word(0))?;
    let parts = Parts {
        kernel,
        ramdisk: part(PAGE + kernel.len().next_multiple_of(PAGE), word(2))?,
        cmdline: field(CMDLINE, ID)?,
        name: field(NAME, CMDLINE)?,
    };
    if header[ID..EXTRA] != padded_id(&parts) {
        return Err(bad("its id is not that of its parts"));
    }
    Ok(parts)
}

/// Writes what the owner of a device flashes with fastboot: the boot image and the device tree. `boot` is the boot
/// partition of a slot, `stem` the beginning of the names.
pub fn write(board: &Board, boot: &Tree, stem: &str, out: &Path) -> Result<Vec<PathBuf>> {
    let read = |name: &str| {
        boot.read(name)
            .with_context(|| format!("the boot files lack {name}"))
    };
    let kernel = packed(&read(KERNEL)?).context("kernel of the boot image")?;
    let image = encode(
        &Parts {
            kernel: &kernel,
            ramdisk: &read(INITRAMFS)?,
            cmdline: &cmdline(board),
            name: &board.name,
        },
        PARTITION,
    )?;
    let trees = boot
        .below(b"dtbs")
        .map(|(path, _)| String::from_utf8_lossy(path).into_owned());
    let trees: Vec<String> = trees
        .filter(|path| Path::new(path).extension().is_some_and(|e| e == "dtb"))
        .collect();
    let [tree] = trees.as_slice() else {
        anyhow::bail!(
            "board {} must have one device tree for its own boot loader, not {}",
            board.name,
            trees.len()
        );
    };
    let made = [("boot.img", image), ("dtb", read(tree)?.to_vec())];
    let mut paths = Vec::new();
    for (ending, bytes) in made {
        let path = out.join(format!("{stem}.{ending}"));
        files::replace(&path, &bytes)?;
        paths.push(path);
    }
    Ok(paths)
}

/// How the owner brings it to the device. The commands that overwrite something come last.
pub fn instructions(stem: &str) -> String {
    format!(
        "Not proven on hardware. What to do, on a device whose boot loader is unlocked:\n  \
         write {stem}.img to an SD card or USB disk, as for any other board, and plug it in\n  \
         fastboot flash dtb {stem}.dtb\n  \
         fastboot flash boot {stem}.boot.img     (old firmware can try it first: fastboot boot {stem}.boot.img)\n\
         Both replace Android's; NVIDIA's recovery image brings them back. There are no updates: the device's own\n\
         boot loader knows no slots, so slot a of the card runs always. A new version is flashed like this one."
    )
}

/// The kernel arguments. Nothing tells which disk and slot: the first disk that is a card of ours, and slot a, which
/// the kernel beside this text belongs to.
fn cmdline(board: &Board) -> String {
    let consoles = board.console.iter().map(|c| format!("console={c}"));
    let slot = [
        "panic=5".to_owned(),
        format!("{ARG_SLOT}=a"),
        format!("{ARG_DISK}=any"),
    ];
    let all: Vec<String> = consoles
        .chain([crate::bake::KERNEL_NAMES.to_owned()])
        .chain(board.cmdline.iter().cloned())
        .chain(slot)
        .collect();
    all.join(" ")
}

/// An arm64 kernel as the loader takes it, which must fit where it is unpacked.
fn packed(image: &[u8]) -> Result<Vec<u8>> {
    let size = image
        .get(IMAGE_SIZE..IMAGE_SIZE + 8)
        .and_then(|b| b.try_into().ok());
    let (Some(size), Some(b"ARM\x64")) = (size, image.get(IMAGE_MAGIC..IMAGE_MAGIC + 4)) else {
        return Err(BootimgError::Kernel.into());
    };
    let size = u64::from_le_bytes(size).max(image.len() as u64);
    too_large("the unpacked kernel", size, KERNEL_ROOM)?;
    let mut packer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    packer.write_all(image)?;
    Ok(packer.finish()?)
}

fn too_large(what: &'static str, size: u64, limit: u64) -> Result<(), BootimgError> {
    if size > limit {
        return Err(BootimgError::TooLarge { what, size, limit });
    }
    Ok(())
}

fn text(what: &'static str, text: &str, room: usize) -> Result<(), BootimgError> {
    too_large(what, text.len() as u64, room as u64 - 1)?;
    if !text.is_ascii() || text.contains('\0') {
        return Err(BootimgError::Text(what));
    }
    Ok(())
}

/// The length of a part, which has been found to fit into the partition.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// SHA-1 over each part and its length, as mkbootimg counts: kernel, ramdisk, second stage.
fn id(parts: &Parts<'_>) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in [parts.kernel, parts.ramdisk, &[]] {
        hash.update(part);
        hash.update(length(part).to_le_bytes());
    }
    hash.finalize().into()
}

fn padded_id(parts: &Parts<'_>) -> [u8; EXTRA - ID] {
    let mut out = [0; EXTRA - ID];
    out[..20].copy_from_slice(&id(parts));
    out
}

#[cfg(test)]
mod tests;
