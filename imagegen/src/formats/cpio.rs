//! Writes a tree as a cpio archive in the "newc" format, which the kernel unpacks as its first root file system.
//!
//! Format: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. The same tree gives the same bytes:
//! inode numbers count from 1 in order of paths, device numbers are 0.

use anyhow::{Context, Result, ensure};

use crate::tree::{Content, Kind, Tree, show};

/// The archive's end, as its last name.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Bytes of a header: magic and 13 fields of 8 digits.
const HEADER: usize = 6 + 13 * 8;

/// The archive of `tree`. Hard links become files of their own, extended attributes are refused (newc has none).
pub fn write(tree: &Tree) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut ino = 0;
    for (path, entry) in tree.below(b"") {
        ino += 1;
        ensure!(
            entry.xattrs.is_empty(),
            "{} has extended attributes, which an initramfs cannot hold",
            show(path)
        );
        let (format, rdev, data) = match &entry.kind {
            Kind::Dir => (0o040_000, (0, 0), None),
            Kind::File(content) => (0o100_000, (0, 0), Some(content.clone())),
            Kind::Symlink(text) => (0o120_000, (0, 0), Some(Content::Bytes(text.clone()))),
            Kind::Char { major, minor } => (0o020_000, (*major, *minor), None),
            Kind::Block { major, minor } => (0o060_000, (*major, *minor), None),
            Kind::Fifo => (0o010_000, (0, 0), None),
            Kind::Socket => anyhow::bail!("{} is a socket: an archive cannot hold one", show(path)),
        };
        let data = data.map(|c| c.read()).transpose()?;
        let data = data.as_deref().unwrap_or_default();
        let len = u32::try_from(data.len())
            .with_context(|| format!("{} is too long for cpio", show(path)))?;
        let mtime = u32::try_from(entry.mtime)
            .with_context(|| format!("the time of {} is too late for cpio", show(path)))?;
        let links = if matches!(entry.kind, Kind::Dir) {
            2
        } else {
            1
        };
        header(
            &mut out,
            [
                ino,
                format | u32::from(entry.mode),
                entry.uid,
                entry.gid,
                links,
                mtime,
                len,
                rdev.0,
                rdev.1,
            ],
            path,
        )?;
        out.extend_from_slice(data);
        pad(&mut out, 4);
    }
    header(&mut out, [0, 0, 0, 0, 1, 0, 0, 0, 0], TRAILER)?;
    // Other makers of cpio fill the last block of 512 bytes; the kernel skips zeros between archives.
    pad(&mut out, 512);
    Ok(out)
}

/// Names and contents of an archive's entries, in its order.
pub fn read(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let head = archive
            .get(at..at + HEADER)
            .context("the archive has no end")?;
        ensure!(
            head.starts_with(b"070701"),
            "there is no cpio header at byte {at} of the archive"
        );
        let field = |n: usize| -> Result<usize> {
            let digits = std::str::from_utf8(&head[6 + n * 8..14 + n * 8])?;
            usize::from_str_radix(digits, 16).context("a field of a header is no number")
        };
        // c_filesize and c_namesize; the name ends with NUL.
        let (size, name_len) = (field(6)?, field(11)?);
        let name_at = at + HEADER;
        let data_at = (name_at + name_len).next_multiple_of(4);
        let parts = (
            archive.get(name_at..(name_at + name_len).saturating_sub(1)),
            archive.get(data_at..data_at + size),
        );
        let (Some(name), Some(data)) = parts else {
            anyhow::bail!("the archive is cut short in the entry at byte {at}");
        };
        if name == TRAILER {
            return Ok(out);
        }
        out.push((String::from_utf8_lossy(name).into_owned(), data.to_vec()));
        at = (data_at + size).next_multiple_of(4);
    }
}

fn header(
    out: &mut Vec<u8>,
    [ino, mode, uid, gid, nlink, mtime, size, major, minor]: [u32; 9],
    name: &[u8],
) -> Result<()> {
    let name_len = u32::try_from(name.len() + 1).context("a path is too long for cpio")?;
    out.extend_from_slice(b"070701");
    // c_devmajor and c_devminor are 0, c_check is unused in newc.
    for field in [
        ino, mode, uid, gid, nlink, mtime, size, 0, 0, major, minor, name_len, 0,
    ] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name);
    out.push(0);
    pad(out, 4);
    Ok(())
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{is_root, tool};

    #[test]
    fn cpio_unpacks_what_went_in() {
        let work = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(1_700_000_000);
        tree.insert_bytes("init", 0o755, vec![7; 100_001]).unwrap();
        tree.insert_symlink("sbin", "usr/sbin").unwrap();
        tree.insert_dir("proc", 0o555).unwrap();
        tree.insert_bytes("lib/modules/a-b.ko", 0o644, "").unwrap();
        if is_root() {
            tree.insert("dev/console", 0o600, Kind::Char { major: 5, minor: 1 })
                .unwrap();
        }
        let archive = work.path().join("a.cpio");
        std::fs::File::create(&archive)
            .and_then(|mut f| std::io::Write::write_all(&mut f, &write(&tree).unwrap()))
            .unwrap();
        let out = work.path().join("out");
        std::fs::create_dir(&out).unwrap();
        tool(
            "cpio",
            "cpio",
            &[
                "-idm",
                "--quiet",
                "-D",
                out.to_str().unwrap(),
                "-F",
                archive.to_str().unwrap(),
            ],
        );
        let theirs = Tree::scan(&out, tree.epoch()).unwrap();
        for ((path, a), (other, b)) in tree.below(b"").zip(theirs.below(b"")) {
            assert_eq!((path, a.mode, a.mtime), (other, b.mode, b.mtime));
            match (&a.kind, &b.kind) {
                (Kind::File(x), Kind::File(y)) => assert_eq!(x.read().unwrap(), y.read().unwrap()),
                (x, y) => assert_eq!(x, y),
            }
        }
        assert_eq!(tree.len(), theirs.len());
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_an_error() {
        let mut tree = Tree::new(1_700_000_000);
        tree.insert_bytes("lib/a.ko", 0o644, [1, 2, 3]).unwrap();
        tree.insert_bytes("init", 0o755, []).unwrap();
        let archive = write(&tree).unwrap();
        let names = [
            ("init".to_owned(), Vec::new()),
            ("lib".to_owned(), Vec::new()),
            ("lib/a.ko".to_owned(), vec![1, 2, 3]),
        ];
        assert_eq!(read(&archive).unwrap(), names);
        for cut in [0, 50, 115, 130, archive.len() / 2] {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
        tree.insert_bytes("long", 0o644, [b'x'; 0x777]).unwrap();
        let huge = String::from_utf8_lossy(&write(&tree).unwrap()).replace("00000777", "FFFFFFFF");
        assert!(read(huge.as_bytes()).is_err());
    }

    #[test]
    fn what_an_initramfs_cannot_hold_is_refused_by_name() {
        let mut tree = Tree::new(0);
        tree.insert("s", 0o644, Kind::Socket).unwrap();
        assert!(
            write(&tree)
                .unwrap_err()
                .to_string()
                .contains("/s is a socket")
        );
    }
}
