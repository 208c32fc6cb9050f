//! U-Boot's legacy image format, as far as a script needs it (U-Boot `include/image.h`, `struct legacy_img_hdr`).

use anyhow::{Context, Result, ensure};

/// `IH_MAGIC`.
const MAGIC: u32 = 0x2705_1956;
/// `IH_OS_LINUX`, `IH_ARCH_ARM`, `IH_TYPE_SCRIPT`, `IH_COMP_NONE`; `source` looks at the type only.
const KIND: [u8; 4] = [5, 2, 6, 0];
const HEADER: usize = 64;

/// Wraps a script for U-Boot's `source`. `epoch` is what `mkimage` would take from the clock.
pub fn encode(text: &str, name: &str, epoch: u64) -> Result<Vec<u8>> {
    let len = u32::try_from(text.len()).context("the boot script is too long")?;
    let time = u32::try_from(epoch).context("the time of the boot script is too late")?;
    // A script is a list of parts: lengths up to a zero, then the parts (`image_multi_count`).
    let mut data = Vec::with_capacity(text.len() + 8);
    data.extend(len.to_be_bytes());
    data.extend([0; 4]);
    data.extend_from_slice(text.as_bytes());
    let size = u32::try_from(data.len()).context("the boot script is too long")?;

    let mut head = Vec::with_capacity(HEADER + data.len());
    head.extend(MAGIC.to_be_bytes()); // ih_magic
    head.extend([0; 4]); // ih_hcrc, set below
    head.extend(time.to_be_bytes()); // ih_time
    head.extend(size.to_be_bytes()); // ih_size
    head.extend([0; 8]); // ih_load, ih_ep
    head.extend(crc32fast::hash(&data).to_be_bytes()); // ih_dcrc
    head.extend(KIND); // ih_os, ih_arch, ih_type, ih_comp
    head.extend(name.bytes().take(31)); // ih_name
    head.resize(HEADER, 0);
    let sum = crc32fast::hash(&head);
    head[4..8].copy_from_slice(&sum.to_be_bytes());
    head.extend(data);
    Ok(head)
}

/// Reads a script back, its checksums verified.
pub fn decode(bytes: &[u8]) -> Result<String> {
    ensure!(bytes.len() > HEADER + 8, "it is too short");
    let (mut head, data) = (bytes[..HEADER].to_vec(), &bytes[HEADER..]);
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    head[4..8].fill(0);
    ensure!(
        word(0) == MAGIC
            && word(4) == crc32fast::hash(&head)
            && word(24) == crc32fast::hash(data)
            && head[28..32] == KIND,
        "its checksums are wrong"
    );
    let len = usize::try_from(word(HEADER))?;
    let text = data[8..].get(..len).context("its script is cut short")?;
    String::from_utf8(text.to_vec()).context("its script is not text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tool;

    #[test]
    fn mkimage_writes_the_same_script() {
        let work = tempfile::tempdir().unwrap();
        let (text, image) = (work.path().join("boot.cmd"), work.path().join("boot.scr"));
        crate::files::replace(&text, b"echo hello\nboot\n").unwrap();
        let (from, to) = (text.to_str().unwrap(), image.to_str().unwrap());
        tool(
            "mkimage",
            "u-boot-tools",
            &[
                "-A",
                "arm",
                "-O",
                "linux",
                "-T",
                "script",
                "-C",
                "none",
                "-n",
                "HypriotOS boot",
                "-d",
                from,
                to,
            ],
        );
        let theirs = std::fs::read(&image).unwrap();
        let time = u32::from_be_bytes([theirs[8], theirs[9], theirs[10], theirs[11]]);
        assert_eq!(
            encode("echo hello\nboot\n", "HypriotOS boot", u64::from(time)).unwrap(),
            theirs
        );
        assert_eq!(decode(&theirs).unwrap(), "echo hello\nboot\n");
    }
}
