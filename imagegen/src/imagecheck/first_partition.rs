//! The first partition: what `flash` and the boot loader look for, and what the firmware of the board needs.

use anyhow::{Context, Result, ensure};
use hypriot_updater::boot::owner;

use super::{Card, Findings, UserData, raw};
use crate::bake::scr;
use crate::formats::Blocks;
use crate::inputs::board::Method;

/// What every image has for its owner.
const OWNERS: [&str; 5] = [
    "user-data",
    "meta-data",
    "network-config",
    "os-release",
    "README.txt",
];
/// Keys of cloud-init that give somebody a password, or a network one.
const PASSWORDS: [&str; 5] = [
    "passwd:",
    "hashed_passwd:",
    "plain_text_passwd:",
    "chpasswd:",
    "password:",
];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let label = || {
        let label = &card.config.label;
        ensure!(label == "HypriotOS", "it is {label:?}");
        Ok(())
    };
    found.check("the first partition has the label HypriotOS", label());
    for name in OWNERS {
        found.check(
            format!("the first partition has {name}"),
            card.config.read(name).map(drop),
        );
    }
    for name in ["user-data", "network-config"] {
        let closed = || {
            if name == "user-data" && card.user_data == UserData::Owners {
                return Ok(());
            }
            no_password(&String::from_utf8(card.config.read(name)?).context("it is not text")?)
        };
        found.check(format!("{name} has no password"), closed());
    }
    let cloud_config = || {
        let bytes = card.config.read("user-data")?;
        // cloud-init tells formats apart by the first line (its documentation, "User-data formats").
        ensure!(
            card.user_data == UserData::Owners || bytes.starts_with(b"#cloud-config\n"),
            "it does not begin with #cloud-config"
        );
        Ok(())
    };
    found.check("user-data is a cloud-config", cloud_config());
    match card.board.boot.method {
        Method::AndroidBootimg => found.check(
            "no boot script: the board's own loader starts boot.img, which has the kernel's arguments",
            no_script(card),
        ),
        Method::UbootScript | Method::RpiFirmware => {
            script(card, found);
            found.check(
                format!("{} can be read, and adds nothing yet", owner::FILE),
                nothing_added(card),
            );
        }
    }
    board_files(card, found);
}

fn no_script<B: Blocks + ?Sized>(card: &Card<'_, B>) -> Result<()> {
    ensure!(
        !card.config.names.contains_key("boot.scr"),
        "there is a boot.scr"
    );
    Ok(())
}

/// What the image ships is all comment; `flash` puts in what the owner says.
fn nothing_added<B: Blocks + ?Sized>(card: &Card<'_, B>) -> Result<()> {
    let (added, notes) = owner::read(&card.config.read(owner::FILE)?)?;
    if let Some(note) = notes.first() {
        anyhow::bail!("{note}");
    }
    ensure!(
        card.user_data == UserData::Owners || added == owner::Owner::default(),
        "it says {added:?}"
    );
    Ok(())
}

fn no_password(text: &str) -> Result<()> {
    let bad = |l: &&str| {
        let l = l.trim_start_matches(['-', ' ']);
        PASSWORDS.iter().any(|k| l.starts_with(k))
    };
    let line = text.lines().find(bad);
    ensure!(line.is_none(), "it has the line {line:?}");
    Ok(())
}

/// The boot script and the kernel's arguments in it.
fn script<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let text = card
        .config
        .read("boot.scr")
        .and_then(|bytes| scr::decode(&bytes));
    let Some(text) = found.keep("boot.scr is a U-Boot script with right checksums", text) else {
        return;
    };
    let has = |words: &str| {
        ensure!(text.contains(words), "the script does not say so");
        Ok(())
    };
    let board = &card.board;
    let consoles = board.console.iter().map(|c| format!("console={c}"));
    for argument in consoles
        .chain(board.cmdline.iter().cloned())
        .chain([crate::bake::KERNEL_NAMES.to_owned()])
        // A panic restarts the board, or a bad release would never fall back.
        .chain(["panic=".to_owned()])
    {
        found.check(
            format!("the kernel is started with {argument}"),
            has(&argument),
        );
    }
    found.check(
        format!("the kernel is started by {}", board.kernel.load.command()),
        has(board.kernel.load.command()),
    );
}

/// Firmware, boot loaders and settings of the board, byte for byte.
fn board_files<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    for text in &card.board.boot.texts {
        let same = || {
            let bytes = card.config.read(&text.name)?;
            ensure!(
                bytes == text.text.as_bytes(),
                "it is not what the board file says"
            );
            Ok(())
        };
        found.check(format!("{} is the board's", text.name), same());
    }
    for file in &card.board.boot.files {
        let (dir, pattern) = file.from.rsplit_once('/').unwrap_or(("", &file.from));
        // A `*` of the directory stands for the kernel's release.
        let dir = dir.replace('*', &card.kernel);
        let of_pattern = |name: &str| match pattern.split_once('*') {
            Some((before, after)) => name.starts_with(before) && name.ends_with(after),
            None => name == pattern,
        };
        let rows = card.boot_files.files.iter().filter(|row| {
            let (at, name) = row.file.rsplit_once('/').unwrap_or(("", &row.file));
            row.to.is_some() && at == dir && of_pattern(name)
        });
        let all_there = || {
            let mut any = false;
            for row in rows {
                let to = row.to.as_deref().unwrap_or_default();
                any = true;
                raw::same_bytes(&card.config.read(to)?, row).with_context(|| to.to_owned())?;
            }
            ensure!(any, "the image's record has no file of it");
            Ok(())
        };
        found.check(
            format!("/{} of the packages is on the first partition", file.from),
            all_there(),
        );
    }
}
