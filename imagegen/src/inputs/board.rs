//! Owns what a board is: one TOML file of data per board, embedded into the program, parsed and checked here.

use crate::arch::Arch;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

mod check;

/// A board file larger than this is a mistake.
const MAX_BYTES: u64 = 1 << 20;

static BOARDS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/boards");

/// Everything that differs from one board to the next.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    /// Name in file names and on the command line: `qemu-arm64`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The architecture: `arm64`, `armhf`, `armel`.
    pub arch: Arch,
    /// Rust target of the static agent.
    pub agent_target: String,
    /// Debian suite unless the recipe names another.
    pub suite: String,
    /// Components of the archive its packages are in.
    #[serde(default = "main_only")]
    pub components: Vec<String>,
    /// Packages this board adds to the recipe's: kernel, firmware of its radio.
    pub packages: Vec<String>,
    /// Source packages that come from another pocket of the suite; everything else comes from the suite itself.
    #[serde(default, rename = "pin")]
    pub pins: Vec<Pin>,
    /// Packages whose files go beside the root tree only (boot loaders, boot firmware); never installed.
    #[serde(default)]
    pub boot_packages: Vec<BootPackage>,
    /// `console=` arguments of the kernel, last one is the main console.
    pub console: Vec<String>,
    /// Further kernel arguments.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Kernel, device trees and modules of the initramfs.
    pub kernel: Kernel,
    /// How it boots.
    pub boot: Boot,
    /// Programs in the image that are not for this board's processor, on purpose.
    #[serde(default)]
    pub elf_exceptions: Vec<ElfException>,
    /// The QEMU machine that runs its images, if there is one.
    pub qemu: Option<Qemu>,
    /// What has been shown to work, and where.
    pub proven: String,
    /// The text of its file, where that is not one of the project's own.
    #[serde(skip)]
    pub own: Option<String>,
}

/// A file that an owner must bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Need {
    /// Its name, for `--blob NAME=FILE`.
    pub file: String,
    /// Where it goes: bytes of the card.
    pub offsets: Vec<u64>,
    /// Where owners get it.
    pub from: String,
}

impl Board {
    /// The board without packages of its own that a recipe excludes: an owner may bring another kernel.
    #[must_use]
    pub fn without(mut self, excluded: &[String]) -> Self {
        self.packages.retain(|own| !excluded.contains(own));
        self
    }

    /// What Debian does not carry, each file once.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        for blob in &self.boot.raw {
            let Some(from) = &blob.from_user else {
                continue;
            };
            match needs.iter_mut().find(|n| n.file == blob.file) {
                Some(known) => known.offsets.push(blob.offset),
                None => needs.push(Need {
                    file: blob.file.clone(),
                    offsets: vec![blob.offset],
                    from: from.clone(),
                }),
            }
        }
        needs
    }

    /// What to tell somebody who has not brought the first blob that is missing.
    pub fn missing(&self, has: impl Fn(&str) -> bool) -> Option<String> {
        let need = self.needs().into_iter().find(|n| !has(&n.file))?;
        let at: Vec<String> = need.offsets.iter().map(u64::to_string).collect();
        Some(format!(
            "board {} needs the file {} (it goes to byte {} of the card), which Debian must not distribute; get it from {}, then give it with --blob {}=FILE",
            self.name,
            need.file,
            at.join(" and "),
            need.from,
            need.file
        ))
    }
}

/// What apt's preferences would say as `Package: src:NAME`, `Pin: release n=SUITE-POCKET`, `Pin-Priority: 990`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pin {
    /// What follows the suite's name and a hyphen: `backports`.
    pub pocket: String,
    /// Components of it; where none are named, the board's.
    #[serde(default)]
    pub components: Vec<String>,
    /// Names of source packages, whose binary packages are taken from there and from nowhere else.
    pub sources: Vec<String>,
}

/// A package that is only unpacked, to take files from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootPackage {
    /// Its name.
    pub name: String,
    /// Another suite than the board's, if that one no longer carries it.
    pub suite: Option<String>,
    /// Archive component.
    #[serde(default = "main_component")]
    pub component: String,
}

fn main_only() -> Vec<String> {
    vec![main_component()]
}

fn main_component() -> String {
    "main".to_owned()
}

/// Kernel of a board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// Pattern of the kernel image in the root tree; `*` stands for the kernel release.
    pub image: String,
    /// U-Boot's command that starts it.
    pub load: Load,
    /// Patterns of the device trees in the root tree; empty when the firmware or the machine brings its own.
    #[serde(default)]
    pub dtbs: Vec<String>,
    /// Name of the device tree U-Boot loads when its own `fdtfile` must not be used.
    pub fdtfile: Option<String>,
    /// Modules the initramfs must load before the root file system can be mounted, by name.
    pub modules: Vec<String>,
}

/// U-Boot's boot command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// arm64 `Image`.
    Booti,
    /// arm `zImage`.
    Bootz,
}

impl Load {
    /// The command as U-Boot spells it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Booti => "booti",
            Self::Bootz => "bootz",
        }
    }
}

/// How a board boots.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Boot {
    /// The chain.
    pub method: Method,
    /// The kind of device U-Boot reads the card with.
    pub storage: Storage,
    /// Its number there.
    #[serde(default)]
    pub device: u8,
    /// Where U-Boot loads to, if its own places do not do.
    pub addresses: Option<Addresses>,
    /// Files that go to the first partition.
    #[serde(default)]
    pub files: Vec<BootFile>,
    /// Text files that are written to the first partition as they stand here (`config.txt`).
    #[serde(default)]
    pub texts: Vec<BootText>,
    /// Blobs that go to fixed places before the first partition.
    #[serde(default)]
    pub raw: Vec<RawBlob>,
}

/// Places in the board's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Addresses {
    /// The kernel image; for `booti` at a multiple of 2 MiB, so that U-Boot leaves it where it is.
    pub kernel: u64,
    /// The device tree.
    pub device_tree: u64,
    /// The initramfs.
    pub initramfs: u64,
}

/// Who starts whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// U-Boot runs `boot.scr` from the first partition.
    UbootScript,
    /// Raspberry Pi firmware on the first partition starts U-Boot, which runs `boot.scr`.
    RpiFirmware,
    /// The device's own boot loader starts an Android boot image, which lies beside the image of the card.
    AndroidBootimg,
}

/// U-Boot's name of the storage interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// Virtio disk.
    Virtio,
    /// SD card or eMMC.
    Mmc,
    /// None that U-Boot sees.
    None,
}

impl Storage {
    /// The interface as U-Boot spells it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Mmc => "mmc",
            Self::None => "none",
        }
    }
}

/// A file for the first partition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootFile {
    /// Path inside the unpacked boot packages (or the root tree); a `*` stands for anything within one name.
    pub from: String,
    /// True if it is taken from the root tree: device trees of the kernel that firmware wants to see.
    #[serde(default)]
    pub root: bool,
    /// Name on the partition; a name that ends in `/` keeps the file's own name below it, empty keeps it at the top.
    #[serde(default)]
    pub to: String,
}

/// A short text file for the first partition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootText {
    /// Name on the partition.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A blob at a fixed place of the card.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBlob {
    /// Path inside the unpacked boot packages, or the file name the user gives with `--blob NAME=FILE`.
    pub file: String,
    /// First byte on the card.
    pub offset: u64,
    /// Bytes of the file that are left out at its start.
    #[serde(default)]
    pub skip: u64,
    /// Just so many bytes are taken; the file must have them, and the rest of it goes elsewhere.
    pub length: Option<u64>,
    /// All of the rest is taken, and there is room for so many bytes; without it, up to what follows on the card.
    pub room: Option<u64>,
    /// Set when Debian does not carry it: where owners get it.
    pub from_user: Option<String>,
}

impl RawBlob {
    /// The most bytes it may have on the card, if the board file says so.
    pub fn reserved(&self) -> Option<u64> {
        self.length.or(self.room)
    }
}

/// Files that [`crate::elf::gate`] lets pass.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ElfException {
    /// Their paths in the root tree; each `*` stands for anything.
    pub files: String,
    /// Why they do no harm.
    pub reason: String,
}

/// The emulated machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Qemu {
    /// Program: `qemu-system-aarch64`.
    pub program: String,
    /// `-machine`.
    pub machine: String,
    /// `-cpu`, where the machine leaves a choice.
    pub cpu: Option<String>,
    /// MiB of memory.
    pub memory: u32,
    /// Processors.
    pub cpus: u8,
    /// Whether a hanging machine resets itself, as a board must.
    #[serde(default)]
    pub watchdog: bool,
    /// Further arguments. `@BOOT@` stands for the folder of the unpacked boot packages, `@CARD@` for the properties of the drive
    /// with the card, `@CONSOLE@` for the character device of the serial console, `@NET@` for a `-netdev` called `net`, `@NIC@`
    /// for a `-nic`.
    pub args: Vec<String>,
}

/// Why there is no such board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// No file of this name.
    #[error("there is no board `{name}`{}; the boards are: {}", similar(.name, .known), .known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The file does not say what a board file must say.
    #[error("board file {name}: {reason}")]
    Invalid {
        /// The file.
        name: String,
        /// What is wrong, with its place.
        reason: String,
    },
}

fn similar(name: &str, known: &[String]) -> String {
    crate::inputs::near::closest(name, known.iter().map(String::as_str))
        .map_or_else(String::new, |s| format!(" (did you mean `{s}`?)"))
}

/// Names of all boards, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = BOARDS
        .files()
        .filter_map(|f| {
            f.path()
                .file_name()?
                .to_str()?
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// The text of an embedded board file.
pub fn text(name: &str) -> Option<&'static str> {
    BOARDS.get_file(format!("{name}.toml"))?.contents_utf8()
}

/// The board of this name.
pub fn find(name: &str) -> Result<Board, BoardError> {
    let Some(text) = text(name) else {
        return Err(BoardError::Unknown {
            name: name.to_owned(),
            known: names(),
        });
    };
    let board = parse(name, text)?;
    if board.name == name {
        return Ok(board);
    }
    Err(BoardError::Invalid {
        name: name.to_owned(),
        reason: format!("its name says `{}`", board.name),
    })
}

/// The board of this name, or of this file: what ends in `.toml` or has a `/` in it is a file's path.
pub fn named(name: &str) -> Result<Board, BoardError> {
    let is_file = name.contains('/')
        || std::path::Path::new(name)
            .extension()
            .is_some_and(|e| e == "toml");
    if !is_file {
        return find(name);
    }
    let bad = |reason: String| BoardError::Invalid {
        name: name.to_owned(),
        reason,
    };
    let len = std::fs::metadata(name)
        .map_err(|e| bad(e.to_string()))?
        .len();
    if len > MAX_BYTES {
        return Err(bad(format!("{len} bytes are no board file")));
    }
    let text = std::fs::read_to_string(name).map_err(|e| bad(e.to_string()))?;
    let board = own(name, &text)?;
    if self::text(&board.name).is_some() {
        return Err(bad(format!(
            "it is called `{}`, as a board of the project is; give it a name of its own",
            board.name
        )));
    }
    Ok(board)
}

/// Reads a board file of an owner's, which goes into the image it is for.
pub fn own(origin: &str, text: &str) -> Result<Board, BoardError> {
    let mut board = parse(origin, text)?;
    board.own = Some(text.to_owned());
    Ok(board)
}

/// Reads a board file. `origin` is for messages.
pub fn parse(origin: &str, text: &str) -> Result<Board, BoardError> {
    let invalid = |reason: String| BoardError::Invalid {
        name: origin.to_owned(),
        reason,
    };
    let board: Board = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
    check::check(&board).map_err(invalid)?;
    Ok(board)
}

#[cfg(test)]
mod tests;
