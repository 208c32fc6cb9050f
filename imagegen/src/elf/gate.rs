//! The gate before an image: every program, library and kernel module of a root tree must be for the board's processor.
//!
//! A file that is not is named with the package that brought it. What is there on purpose stands in the board file, with
//! its reason (`elf-exceptions`).

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result, bail};

use super::attributes;
use super::file::{Bytes, ET_REL, Elf, InTree, OnDisk};
use super::{ElfError, attributes_of};
use crate::arch::{Arch, Processor, machine};
use crate::formats::pass;
use crate::inputs::board::Board;
use crate::tree::{Content, Kind, Tree, show};

/// Where packages lie in dpkg's database: `<package>.list` has their files, one a line.
const DPKG_INFO: &str = "var/lib/dpkg/info";
/// So many files are named in an error; more are only counted.
const NAMED: usize = 20;
/// So much of a compressed module is tried first: most give their header from it.
const MODULE_BEGIN: u64 = 4096;
/// Header flags of a dynamic 32-bit ARM file ("ELF for the Arm Architecture", 5.2).
const EF_ARM_ABI_FLOAT_SOFT: u32 = 0x200;
const EF_ARM_ABI_FLOAT_HARD: u32 = 0x400;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// ELF files and kernel modules.
    pub files: usize,
    /// Of these, how many do not fit and stand in the board file.
    pub excepted: usize,
}

/// What a file on the card must be.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    tree: &'a Tree,
    wide: bool,
    machine: u16,
    processor: Processor,
    hard_float: bool,
}

/// Checks every file of the tree that is about to become the board's root.
pub fn check(tree: &Tree, board: &Board) -> Result<Passed> {
    let (class, machine) = board.arch.elf();
    let processor = Processor::parse(&board.agent_target).with_context(|| {
        format!(
            "the board file's agent-target `{}` is unknown",
            board.agent_target
        )
    })?;
    let wanted = Wanted {
        tree,
        wide: class == 2,
        machine,
        processor,
        hard_float: board.arch != Arch::Armel,
    };
    let files: Vec<(&[u8], &Content)> = tree
        .iter()
        .filter_map(|(path, entry)| match &entry.kind {
            Kind::File(content) if content.len() > 4 => Some((path, content)),
            _ => None,
        })
        .collect();
    let mut unfit = Vec::new();
    let mut passed = Passed {
        files: 0,
        excepted: 0,
    };
    for (path, found) in looked_at(&files, wanted)? {
        passed.files += 1;
        let Err(why) = found else { continue };
        let name = String::from_utf8_lossy(path).into_owned();
        if board
            .elf_exceptions
            .iter()
            .any(|e| matches(&e.files, &name))
        {
            passed.excepted += 1;
        } else {
            unfit.push((name, why));
        }
    }
    if unfit.is_empty() {
        return Ok(passed);
    }
    bail!(words(tree, board, &unfit)?)
}

/// What one file is; nothing if it is no program.
type Seen<'a> = (&'a [u8], Result<(), ElfError>);

/// Looks at all files, on all processors: most of the time goes to opening them.
fn looked_at<'a>(files: &[(&'a [u8], &Content)], wanted: Wanted<'_>) -> Result<Vec<Seen<'a>>> {
    let share = files.len().div_ceil(pass::cores()).max(1);
    let look = |part: &[(&'a [u8], &Content)]| -> Result<Vec<Seen<'a>>> {
        let seen = part.iter().map(|&(path, content)| {
            let found = look(path, content, wanted)
                .with_context(|| format!("looking at {}", show(path)))?;
            Ok(found.map(|f| (path, f)))
        });
        seen.filter_map(Result::transpose).collect()
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .chunks(share)
            .map(|part| scope.spawn(move || look(part)))
            .collect();
        threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect()
    });
    let mut out = Vec::new();
    for part in parts {
        match part {
            Ok(found) => out.extend(found?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(out)
}

/// Judges a file if it is ELF, or a kernel module.
fn look(
    path: &[u8],
    content: &Content,
    wanted: Wanted<'_>,
) -> Result<Option<Result<(), ElfError>>> {
    match content {
        Content::Bytes(bytes) => look_at(path, &bytes[..], content, wanted),
        Content::Host { path: host, len } => {
            look_at(path, &OnDisk(File::open(host)?, *len), content, wanted)
        }
        Content::Packed { file, at, len } => {
            look_at(path, &InTree(file, *at, *len), content, wanted)
        }
    }
}

fn look_at<B: Bytes + ?Sized>(
    path: &[u8],
    bytes: &B,
    content: &Content,
    wanted: Wanted<'_>,
) -> Result<Option<Result<(), ElfError>>> {
    let magic = bytes.get(0, 4).context("it cannot be read")?;
    if *magic == *b"\x7fELF" {
        return Ok(Some(judge(bytes, wanted)));
    }
    if is_packed_module(path) {
        let begin = bytes.get(0, content.len().min(MODULE_BEGIN));
        let header = match begin.and_then(|b| unpacked_header(path, &b).ok()) {
            Some(header) => header,
            None => unpacked_header(path, &content.read()?)?,
        };
        return Ok(Some(judge_header(&header, wanted)));
    }
    Ok(None)
}

fn judge<B: Bytes + ?Sized>(bytes: &B, wanted: Wanted<'_>) -> Result<(), ElfError> {
    let elf = Elf::parse(bytes)?;
    judge_machine(elf.machine, elf.wide, wanted)?;
    // A kernel module is built for the kernel it belongs to, and calls nothing but it.
    if elf.kind == ET_REL {
        return Ok(());
    }
    if let Some(loader) = elf.interpreter()? {
        let path = loader.trim_start_matches('/');
        if wanted.tree.resolve(path).is_none() {
            return Err(ElfError::NoLoader(loader));
        }
    }
    if wanted.machine != machine::ARM {
        return Ok(());
    }
    let found = attributes_of(&elf)?;
    if let Some(found) = &found {
        attributes::fits(found, wanted.processor)?;
    }
    let go = elf
        .section_named(".go.buildinfo")?
        .and_then(|s| attributes::goarm(&s));
    let most = if wanted.processor == Processor::Armv6 {
        6
    } else {
        7
    };
    match go {
        Some(found) if found > most => {
            return Err(ElfError::Go {
                found,
                wanted: most,
            });
        }
        None if found.is_none() => return Err(ElfError::NoAttributes),
        _ => {}
    }
    judge_float(&elf, wanted)
}

fn judge_machine(machine: u16, wide: bool, wanted: Wanted<'_>) -> Result<(), ElfError> {
    if machine != wanted.machine || wide != wanted.wide {
        return Err(ElfError::Machine {
            found: machine,
            wanted: wanted.machine,
        });
    }
    Ok(())
}

/// Debian's armel and armhf differ in nothing but where floating point numbers are passed.
fn judge_float<B: Bytes + ?Sized>(elf: &Elf<'_, B>, wanted: Wanted<'_>) -> Result<(), ElfError> {
    let (bad, found, image) = if wanted.hard_float {
        (EF_ARM_ABI_FLOAT_SOFT, "soft-float", "hard-float")
    } else {
        (EF_ARM_ABI_FLOAT_HARD, "hard-float", "soft-float")
    };
    if elf.flags & bad != 0 && !elf.is_alone()? {
        return Err(ElfError::Float {
            found,
            wanted: image,
        });
    }
    Ok(())
}

fn is_packed_module(path: &[u8]) -> bool {
    [&b".ko.xz"[..], b".ko.zst", b".ko.gz"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// The first bytes of a compressed kernel module: enough for its machine.
fn unpacked_header(path: &[u8], packed: &[u8]) -> Result<[u8; 20]> {
    let mut header = [0; 20];
    if path.ends_with(b".xz") {
        xz2::read::XzDecoder::new(packed).read_exact(&mut header)?;
    } else if path.ends_with(b".zst") {
        zstd::stream::read::Decoder::new(packed)?.read_exact(&mut header)?;
    } else {
        flate2::read::GzDecoder::new(packed).read_exact(&mut header)?;
    }
    Ok(header)
}

fn judge_header(header: &[u8; 20], wanted: Wanted<'_>) -> Result<(), ElfError> {
    let machine = u16::from_le_bytes([header[18], header[19]]);
    match header[..5] {
        [0x7f, b'E', b'L', b'F', class] => judge_machine(machine, class == 2, wanted),
        _ => Err(ElfError::Malformed("header")),
    }
}

/// Whether `name` is `pattern`, in which each `*` stands for anything, `/` too.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    while let Some((part, after)) = rest.split_once('*') {
        let Some((_, behind)) = name.split_once(part) else {
            return false;
        };
        (name, rest) = (behind, after);
    }
    name.ends_with(rest)
}

/// The error: each file, the package it is from, and why; then what to do.
fn words(tree: &Tree, board: &Board, unfit: &[(String, ElfError)]) -> Result<String> {
    let mut out = format!(
        "{} files are not for the processor of board {} ({}):",
        unfit.len(),
        board.name,
        board.arch
    );
    for (path, why) in unfit.iter().take(NAMED) {
        let owner = owner(tree, path)?.map_or_else(
            || "of no package".to_owned(),
            |package| format!("of package {package}"),
        );
        write!(out, "\n  /{path} ({owner}): {why}")?;
    }
    if let Some(more) = unfit.len().checked_sub(NAMED).filter(|n| *n > 0) {
        write!(out, "\n  and {more} more")?;
    }
    out += "\ntake the package out of the recipe, or, if such code is only run where it can be, say so in the board file (elf-exceptions)";
    Ok(out)
}

/// The package whose list of files has this path. Lists keep the names from before `/usr` was merged.
fn owner(tree: &Tree, path: &str) -> Result<Option<String>> {
    let merged = path.strip_prefix("usr/").unwrap_or(path);
    for (list, entry) in tree.below(DPKG_INFO.as_bytes()) {
        let name = String::from_utf8_lossy(&list[DPKG_INFO.len() + 1..]).into_owned();
        let (Some(package), Kind::File(content)) = (name.strip_suffix(".list"), &entry.kind) else {
            continue;
        };
        let text = content.read()?;
        let has = text.split(|b| *b == b'\n').any(|line| {
            line.strip_prefix(b"/")
                .is_some_and(|l| l == path.as_bytes() || l == merged.as_bytes())
        });
        if has {
            return Ok(Some(package.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
