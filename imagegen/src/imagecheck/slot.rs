//! The boot partition of slot A: kernel, initramfs, device trees, and which release they are.

use anyhow::{Context, Result, ensure};
use hypriot_updater::boot::script::{INITRAMFS, KERNEL};

use super::{Card, Findings};
use crate::bake::AGENT;
use crate::formats::Blocks;
use crate::formats::cpio;
use crate::inputs::board::Load;

/// An initramfs that unpacks to more is none.
const INITRAMFS_MAX: usize = 256 << 20;
/// Flattened device tree, Devicetree Specification 0.4, 5.2.
const DEVICE_TREE_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let label = || {
        ensure!(card.boot.label == "boot", "it is {:?}", card.boot.label);
        Ok(())
    };
    found.check("boot-a has the label boot", label());
    found.check("boot-a has a kernel that U-Boot can start", kernel(card));
    let version = || {
        let text = String::from_utf8_lossy(&card.boot.read("version")?).into_owned();
        let want = format!("{} {}\n", card.board.name, card.version);
        ensure!(text == want, "it says {text:?}, not {want:?}");
        Ok(())
    };
    found.check("boot-a says which release it is", version());
    if let Some(files) = found.keep("boot-a has an initramfs", initramfs(card)) {
        let init = || {
            let init = files.iter().find(|(name, _)| name == "init");
            let (_, bytes) = init.context("there is no /init in it")?;
            ensure!(
                *bytes == card.root.read(AGENT)?,
                "/init is not the agent of the root file system"
            );
            Ok(())
        };
        found.check("the initramfs starts the agent", init());
        for module in &card.board.kernel.modules {
            found.check(
                format!("the initramfs has the module {module}, or the kernel itself"),
                loads(card, &files, module),
            );
        }
    }
    for pattern in &card.board.kernel.dtbs {
        found.check(
            format!("device trees /{pattern} are in boot-a"),
            device_trees(card, pattern),
        );
    }
    if let Some(name) = &card.board.kernel.fdtfile {
        let there = card.boot.read(&format!("dtbs/{name}")).map(drop);
        found.check(format!("U-Boot finds the device tree {name}"), there);
    }
}

fn kernel<B: Blocks + ?Sized>(card: &Card<'_, B>) -> Result<()> {
    let bytes = card.boot.read(KERNEL)?;
    let (at, magic): (usize, &[u8]) = match card.board.kernel.load {
        // Linux Documentation/arch/arm64/booting.rst, "Call the kernel image"
        Load::Booti => (56, b"ARM\x64"),
        // Linux arch/arm/boot/compressed/head.S: 0x016f2818 at 0x24
        Load::Bootz => (0x24, &[0x18, 0x28, 0x6f, 0x01]),
    };
    ensure!(
        bytes.get(at..at + 4) == Some(magic),
        "it has not the mark that {} wants",
        card.board.kernel.load.command()
    );
    Ok(())
}

/// Names and contents of the initramfs.
fn initramfs<B: Blocks + ?Sized>(card: &Card<'_, B>) -> Result<Vec<(String, Vec<u8>)>> {
    let packed = card.boot.read(INITRAMFS)?;
    let plain = zstd::bulk::decompress(&packed, INITRAMFS_MAX).context("it is not zstd")?;
    cpio::read(&plain)
}

fn loads<B: Blocks + ?Sized>(
    card: &Card<'_, B>,
    files: &[(String, Vec<u8>)],
    module: &str,
) -> Result<()> {
    let fold = |name: &str| name.replace('-', "_");
    let file_of = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        fold(name.split(".ko").next().unwrap_or_default())
    };
    let inside = files
        .iter()
        .any(|(path, _)| path.starts_with("lib/modules/") && file_of(path) == fold(module));
    if inside {
        return Ok(());
    }
    let builtin = card.text(&format!("usr/lib/modules/{}/modules.builtin", card.kernel))?;
    ensure!(
        builtin.lines().any(|l| file_of(l) == fold(module)),
        "neither has it"
    );
    Ok(())
}

/// The device trees a pattern of the board file means, each as the kernel's package brought it.
fn device_trees<B: Blocks + ?Sized>(card: &Card<'_, B>, pattern: &str) -> Result<()> {
    let (dir, file) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let (dir, release) = (dir.replace('*', &card.kernel), &card.kernel);
    let (before, after) = file.split_once('*').unwrap_or((file, ""));
    let vendor = dir
        .split_once(&format!("{release}/"))
        .map_or(String::new(), |(_, rest)| format!("{rest}/"));
    let mut any = false;
    for path in card.root.names.keys() {
        let Some(name) = path.strip_prefix(&format!("{dir}/")) else {
            continue;
        };
        let exact = file == name;
        let fits = file.contains('*') && name.starts_with(before) && name.ends_with(after);
        if name.contains('/') || !(exact || fits) {
            continue;
        }
        any = true;
        let bytes = card.boot.read(&format!("dtbs/{vendor}{name}"))?;
        ensure!(
            bytes.starts_with(&DEVICE_TREE_MAGIC),
            "{name} is no device tree"
        );
        ensure!(
            bytes == card.root.read(path)?,
            "{name} is not the one of /{path}"
        );
    }
    ensure!(any, "the root file system has none");
    Ok(())
}
