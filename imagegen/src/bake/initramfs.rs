//! The initramfs of a board: the agent as `/init`, the kernel modules it must load to find its root, nothing else.
//!
//! `/modules.list` names the modules one path per line, in the order to load them. Some may refuse to load (an
//! alternative for another processor); `/init` says so and goes on.

use anyhow::{Context, Result};

use crate::formats::cpio;
use crate::tree::{Content, Kind, Tree};

mod modules;
#[cfg(test)]
mod tests;

/// Compression level; the archive is small and its bytes must not depend on the host.
const LEVEL: i32 = 12;

/// Makes the compressed archive.
///
/// `root` is the configured root tree, `release` the kernel's (as in `/usr/lib/modules/<release>`), `wanted` the names
/// of the modules that must be there, `agent` the static program.
pub fn build(root: &Tree, release: &str, wanted: &[String], agent: &Content) -> Result<Vec<u8>> {
    let mut tree = Tree::new(root.epoch());
    for dir in ["dev", "proc", "sys", "run", "root"] {
        tree.insert_dir(dir, 0o755)?;
    }
    // The kernel opens /dev/console for init before anybody could mount a devtmpfs (init/main.c, console_on_rootfs).
    tree.insert("dev/console", 0o600, Kind::Char { major: 5, minor: 1 })?;
    tree.insert("dev/null", 0o666, Kind::Char { major: 1, minor: 3 })?;
    tree.insert_file("init", 0o755, agent.clone())?;
    let mut list = String::new();
    for module in modules::resolve(root, release, wanted)? {
        let path = format!("lib/modules/{release}/{}.ko", module.name);
        list.extend(["/", &path, "\n"]);
        tree.insert_bytes(&path, 0o644, module.bytes)?;
    }
    tree.insert_bytes("modules.list", 0o644, list)?;
    compress(&cpio::write(&tree)?)
}

/// What packs the archive: the bytes of a frame depend on it.
pub fn encoder() -> String {
    format!("zstd {} level {LEVEL}", zstd::zstd_safe::version_string())
}

/// The only kernel release of a tree.
pub fn kernel_release(root: &Tree) -> Result<String> {
    let dir = root
        .resolve("usr/lib/modules")
        .map(|(at, _)| at)
        .context("the tree has no /usr/lib/modules: is a kernel package installed?")?;
    let names = root
        .below(&dir)
        .filter(|(_, e)| matches!(e.kind, Kind::Dir))
        .filter_map(|(path, _)| {
            let name = &path[dir.len() + 1..];
            (!name.contains(&b'/')).then(|| String::from_utf8_lossy(name).into_owned())
        });
    let names: Vec<String> = names
        .filter(|n| {
            root.get(&format!("usr/lib/modules/{n}/modules.dep"))
                .is_some()
        })
        .collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => anyhow::bail!(
            "the tree has no /usr/lib/modules/*/modules.dep: no kernel is installed, or depmod did not run"
        ),
        more => anyhow::bail!(
            "the tree has several kernels ({}); a board file must install exactly one",
            more.join(", ")
        ),
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    // One thread: the frame of several depends on how many. A kernel with RD_ZSTD takes windows up to 128 MiB
    // (lib/decompress_unzstd.c), level 12 uses 4.
    zstd::bulk::compress(bytes, LEVEL).context("cannot compress the initramfs")
}
