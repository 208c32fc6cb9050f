//! Tests of a finished card image without starting it.
//!
//! Owns what the build-time tests of the old HypriotOS asserted (Serverspec, image-builder-rpi v0.8.0 "Barbossa" and v1.12.3),
//! those of its run-time tests that an image can answer, and what A/B slots and read-only roots add. One room per part of the
//! card. Old families by their file, with the number of assertions at v0.8.0 / v1.12.3, and where they are now:
//!
//! | old family | old | now | room |
//! |---|---:|---|---|
//! | raw image; image: file, partitions | 10 / 16 | seven partitions at their places; boot state, blank mark, empty slot B | `raw` |
//! | boot files, config.txt | 38 / 56 | firmware, device trees, kernel, initramfs, blobs, each with the package's own bytes | `raw`, `first_partition`, `slot` |
//! | cmdline kernel, cmdline console | 17 / 17 | arguments of `boot.scr` | `first_partition` |
//! | cloud-init (B: device-init 13) | 0 / 8 | owner's files, seed links, no password | `first_partition`, `identity`, `system` |
//! | root file system, fstab, network, udev | 65 / 46 | names, links, places, units | `system` |
//! | os-release, release files | 26 / 12 | keys, owner, the copy on the first partition | `release` |
//! | users | 30 / 27 | nobody has a password, no key or id is shared; the user comes from `user-data` | `identity` |
//! | image: binary arch, packages, apt lists | 21 / 22 | processor of programs, packages fully installed, no lists of the builder | `packages` |
//! | docker engine, docker-compose, docker config | 70 / 60 | packages, binaries, units, socket, completion, driver | `docker` |
//! | kernel config, kernel version, file systems, sound, SDN | 90 / 64 | options of the kernel's own config, modules in the tree | `kernel` |
//!
//! Not ported: what is gone (cluster-lab, docker-machine, preloaded images, serial console tool) and what only a running board
//! can tell; that is in the self-tests (`systemd/usr/share/hypriot/selftest.d`).

use anyhow::{Context, Result, ensure};
use hypriot_updater::layout;
use hypriot_updater::slot::Slot;
use serde::Deserialize;

use crate::bake::SETTINGS;
use crate::bake::origins::{self, BootFiles};
use crate::bake::record;
use crate::debian::dpkg::{self, Records};
use crate::formats::erofs::read::Erofs;
use crate::formats::fat::read::Fat;
use crate::formats::{Blocks, Window};
use crate::inputs::board::{self, Board, BoardError};
use crate::inputs::recipe::Recipe;

mod docker;
mod first_partition;
mod identity;
mod kernel;
mod packages;
mod raw;
mod release;
mod slot;
mod system;
#[cfg(test)]
mod tests;

/// One assertion and how it went.
#[derive(Debug)]
pub struct Finding {
    /// Which family of assertions it belongs to: the room's name.
    pub family: &'static str,
    /// What is asserted.
    pub what: String,
    /// Why it does not hold; `None` when it does.
    pub wrong: Option<String>,
}

/// All findings so far.
#[derive(Debug, Default)]
struct Findings {
    family: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    fn check(&mut self, what: impl Into<String>, result: Result<()>) {
        let wrong = result.err().map(|e| format!("{e:#}"));
        self.all.push(Finding {
            family: self.family,
            what: what.into(),
            wrong,
        });
    }

    /// What `result` holds, after saying how it went.
    fn keep<T>(&mut self, what: impl Into<String>, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.check(what, Ok(()));
                Some(value)
            }
            Err(e) => {
                self.check(what, Err(e));
                None
            }
        }
    }
}

/// Whose `user-data` lies on the first partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserData {
    /// The one every image is shipped with: it must not let anybody in.
    Shipped,
    /// The owner's, who may do as they like.
    Owners,
}

/// An image opened.
struct Card<'a, B: ?Sized> {
    disk: &'a B,
    config: Fat<'a, Window<'a, B>>,
    boot: Fat<'a, Window<'a, B>>,
    root: Erofs<'a, Window<'a, B>>,
    board: Board,
    /// What it was made by, as its record says; without a record, nobody knows.
    recipe: Option<Recipe>,
    version: String,
    /// Release of its kernel.
    kernel: String,
    records: Records,
    boot_files: BootFiles,
    user_data: UserData,
}

impl<B: Blocks + ?Sized> Card<'_, B> {
    fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.root.read(path)?).with_context(|| format!("/{path} is not text"))
    }

    /// A file of root's that has this mode, links followed.
    fn file(&self, path: &str, mode: u16) -> Result<()> {
        let (_, node) = self.root.resolve(path)?;
        ensure!(node.is_file(), "it is no file");
        ensure!(
            node.mode & 0o7777 == mode && node.uid == 0,
            "its mode is {:o} and its owner {}",
            node.mode & 0o7777,
            node.uid
        );
        Ok(())
    }

    fn absent(&self, path: &str) -> Result<()> {
        ensure!(!self.root.names.contains_key(path), "there is a /{path}");
        Ok(())
    }

    fn link(&self, path: &str, to: &str) -> Result<()> {
        let leads = self.root.link(path)?;
        ensure!(leads == to, "it leads to {leads}");
        Ok(())
    }
}

/// Runs every assertion. None depends on another unless a whole part cannot be read: all faults of an image are told at once.
pub fn check<B: Blocks + ?Sized>(disk: &B, user_data: UserData) -> Vec<Finding> {
    check_with(disk, user_data, board::find)
}

fn check_with<B: Blocks + ?Sized>(
    disk: &B,
    user_data: UserData,
    find: impl Fn(&str) -> Result<Board, BoardError>,
) -> Vec<Finding> {
    let mut found = Findings {
        family: "raw",
        all: Vec::new(),
    };
    raw::check(disk, &mut found);
    let windows = [
        window(disk, layout::CONFIG),
        window(disk, layout::boot(Slot::A)),
        window(disk, layout::root(Slot::A)),
    ];
    found.family = "first_partition";
    let config = found.keep("the first partition is FAT", Fat::open(&windows[0]));
    found.family = "slot";
    let boot = found.keep("boot-a is FAT", Fat::open(&windows[1]));
    let root = found.keep("root-a is an EROFS image", Erofs::open(&windows[2]));
    let (Some(config), Some(boot), Some(root)) = (config, boot, root) else {
        return found.all;
    };
    found.family = "release";
    let named = found.keep(
        "the image says which board it is for",
        settings(&root, find),
    );
    let Some((board, version)) = named else {
        return found.all;
    };
    found.family = "kernel";
    let kernel = found.keep("there is exactly one kernel", kernel::release(&root));
    found.family = "packages";
    let records = found.keep("dpkg's records can be read", records(&root, dpkg::DIR));
    found.family = "first_partition";
    let boot_files = root
        .read(origins::RECORD)
        .and_then(|text| BootFiles::parse(&text));
    let boot_files = found.keep("the image knows where its boot files are from", boot_files);
    let (Some(kernel), Some(records), Some(boot_files)) = (kernel, records, boot_files) else {
        return found.all;
    };
    let record = root.read(record::BUILD).ok();
    let record = record.and_then(|bytes| record::parse(&bytes).ok());
    let recipe = record.map(|record| record.recipe);
    // What its recipe left out of the board's own packages is no fault of the image.
    let excluded = recipe.as_ref().map_or(&[][..], |recipe| &recipe.exclude);
    let board = board.without(excluded);
    let card = Card {
        disk,
        config,
        boot,
        root,
        board,
        recipe,
        version,
        kernel,
        records,
        boot_files,
        user_data,
    };
    rooms(&card, &mut found);
    found.all
}

type Room<B> = fn(&Card<'_, B>, &mut Findings);

fn rooms<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let rooms: [(&'static str, Room<B>); 9] = [
        ("raw", raw::blobs),
        ("first_partition", first_partition::check),
        ("slot", slot::check),
        ("release", release::check),
        ("packages", packages::check),
        ("docker", docker::check),
        ("system", system::check),
        ("identity", identity::check),
        ("kernel", kernel::check),
    ];
    for (family, room) in rooms {
        found.family = family;
        room(card, found);
    }
}

/// A part of the card as a thing of its own.
pub(crate) fn window<B: Blocks + ?Sized>(disk: &B, part: layout::Partition) -> Window<'_, B> {
    Window {
        of: disk,
        start: part.start,
        len: part.size,
    }
}

/// The records of dpkg below `dir` of an image.
pub(crate) fn records<B: Blocks + ?Sized>(root: &Erofs<'_, B>, dir: &str) -> Result<Records> {
    let info = format!("{dir}/info/");
    let text = |path: &str| -> Result<String> {
        Ok(String::from_utf8_lossy(&root.read(path)?).into_owned())
    };
    let mut lists = Vec::new();
    for path in root.names.keys().filter(|p| p.starts_with(&info)) {
        if let Some(name) = path[info.len()..].strip_suffix(".list") {
            lists.push((name.to_owned(), text(path)?));
        }
    }
    Ok(Records::parse(&text(&format!("{dir}/status"))?, lists))
}

/// The agent's settings, as far as they say what image this is.
#[derive(Debug, Deserialize)]
struct Settings {
    board: String,
    version: String,
}

/// The board and the version that the image says it is.
pub(crate) fn settings<B: Blocks + ?Sized>(
    root: &Erofs<'_, B>,
    find: impl Fn(&str) -> Result<Board, BoardError>,
) -> Result<(Board, String)> {
    let text = String::from_utf8(root.read(SETTINGS)?)
        .with_context(|| format!("/{SETTINGS} is not text"))?;
    let settings: Settings = toml::from_str(&text).with_context(|| format!("/{SETTINGS}"))?;
    let own = root.read(record::BOARD).ok();
    let board = match own.map(String::from_utf8) {
        Some(text) => board::own(record::BOARD, &text.context("its board file is not text")?)?,
        None => find(&settings.board)?,
    };
    ensure!(
        board.name == settings.board,
        "its board file is of {}, its settings of {}",
        board.name,
        settings.board
    );
    Ok((board, settings.version))
}
