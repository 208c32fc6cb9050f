//! The kernel and its device trees: found in the root tree, in the form that the board's U-Boot starts.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use crate::inputs::board::Addresses;
use crate::tree::{Content, Kind, Tree};

/// A bigger kernel is none.
const KERNEL_MAX: u64 = 256 << 20;

/// The bytes of the kernel image at `pattern`, in which `*` stands for the kernel's release.
pub(super) fn image(root: &Tree, pattern: &str, release: &str) -> Result<Vec<u8>> {
    let path = pattern.replace('*', release);
    let bytes = root
        .read(&path)
        .with_context(|| format!("the kernel image /{path} (board file, kernel.image)"))?;
    Ok(bytes.to_vec())
}

/// U-Boot's `booti` and `bootz` want the image itself. Debian's arm64 kernels come as such, gzip-compressed, or as an EFI
/// program that unpacks itself, depending on the release.
pub(super) fn for_uboot(image: &[u8]) -> Result<Vec<u8>> {
    let le = |at: usize| {
        image
            .get(at..at + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    if image.starts_with(&[0x1f, 0x8b]) {
        return unpack(flate2::read::GzDecoder::new(image));
    }
    // Linux drivers/firmware/efi/libstub/zboot-header.S: "MZ", "zimg", payload offset and size, type of compression.
    if image.starts_with(b"MZ") && image.get(4..8) == Some(b"zimg") {
        let (Some(at), Some(len), Some(kind)) = (le(8), le(12), image.get(24..32)) else {
            bail!("its EFI header is cut short");
        };
        let packed = at
            .checked_add(len)
            .and_then(|end| image.get(at..end))
            .context("its EFI payload is cut short")?;
        let kind = kind.split(|b| *b == 0).next().unwrap_or_default();
        return match kind {
            b"gzip" => unpack(flate2::read::GzDecoder::new(packed)),
            b"zstd22" | b"zstd" => unpack(zstd::stream::read::Decoder::new(packed)?),
            b"xzkern" => unpack(xz2::read::XzDecoder::new(packed)),
            other => bail!(
                "its EFI payload is compressed with {}, which is not known here",
                String::from_utf8_lossy(other)
            ),
        };
    }
    Ok(image.to_vec())
}

fn unpack(from: impl Read) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let n = from
        .take(KERNEL_MAX + 1)
        .read_to_end(&mut out)
        .context("it cannot be unpacked")?;
    ensure!(
        n as u64 <= KERNEL_MAX,
        "it unpacks to more than {KERNEL_MAX} bytes"
    );
    Ok(out)
}

/// Refuses a kernel that would come to lie on its device tree.
pub(super) fn fits(image: &[u8], at: Addresses) -> Result<()> {
    // Linux Documentation/arch/arm64/booting.rst: "ARM\x64" at 56, what it needs in memory at 16, more than the file has.
    let needs = match (image.get(56..60), image.get(16..24)) {
        (Some(b"ARM\x64"), Some(size)) => u64::from_le_bytes(size.try_into()?),
        _ => image.len() as u64,
    };
    let room = at.device_tree - at.kernel;
    ensure!(
        needs <= room,
        "the kernel needs {needs} bytes of memory; from {:#x} to the device tree at {:#x} there are {room} (board file, boot.addresses)",
        at.kernel,
        at.device_tree
    );
    Ok(())
}

/// The device trees at `patterns` with their names below `dtbs/`: what follows the directory of the kernel's release.
pub(super) fn device_trees(
    root: &Tree,
    patterns: &[String],
    release: &str,
) -> Result<Vec<(String, Content)>> {
    let mut out = Vec::new();
    for pattern in patterns {
        let (dir, found) = files(root, pattern, release).context("board file, kernel.dtbs")?;
        let vendor = dir
            .split_once(&format!("{release}/"))
            .map_or("", |(_, rest)| rest);
        // Debian's kernels from 7 on keep them in the modules' own folder, below `dtb`.
        let vendor = vendor.strip_prefix("dtb/").unwrap_or(vendor);
        out.extend(found.into_iter().map(|(name, content)| {
            if vendor.is_empty() {
                (name, content)
            } else {
                (format!("{vendor}/{name}"), content)
            }
        }));
    }
    Ok(out)
}

/// The files at a pattern, by name, and the folder they lie in. The first `*` may stand for the kernel's release in the
/// folder's name, one more for anything within a file's name.
pub(super) fn files(
    tree: &Tree,
    pattern: &str,
    release: &str,
) -> Result<(String, Vec<(String, Content)>)> {
    let (dir, file) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let dir = dir.replace('*', release);
    let (at, _) = tree
        .resolve(&dir)
        .with_context(|| format!("there is no /{dir} for /{pattern}"))?;
    let cut = if at.is_empty() { 0 } else { at.len() + 1 };
    let mut out = Vec::new();
    for (path, _) in tree.below(&at) {
        let name = String::from_utf8_lossy(&path[cut..]).into_owned();
        if !matches(file, &name) {
            continue;
        }
        // A link to a file is that file: the first partition has no links.
        match tree
            .resolve(&String::from_utf8_lossy(path))
            .map(|(_, e)| &e.kind)
        {
            Some(Kind::File(content)) => out.push((name, content.clone())),
            Some(Kind::Dir) => {}
            Some(other) => bail!("/{dir}/{name} is a {}", other.name()),
            None => bail!("/{dir}/{name} is a link to nothing"),
        }
    }
    ensure!(!out.is_empty(), "nothing matches /{pattern}");
    Ok((dir, out))
}

/// Whether `name` (without `/`) is `pattern`, in which one `*` stands for anything.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    if name.contains('/') {
        return false;
    }
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}
