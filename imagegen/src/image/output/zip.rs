//! `.img.zip`: one deflated file, made on all cores; the same bytes on any number of them.
//!
//! Format: PKWARE APPNOTE 6.3.10. Each piece of the image becomes deflate blocks that end on a byte and refer to nothing
//! before them (RFC 1951, flushed as zlib's `Z_FULL_FLUSH` does), so pieces can be joined.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, FlushCompress};

use crate::files;
use crate::formats::fat::DosTime;
use crate::formats::{Blocks, pass};
use crate::sha256::Sha256;

/// Bytes per piece.
const PIECE: u64 = 1 << 20;
/// Compression method 8: deflated. "Version needed" 2.0 (4.4.3).
const DEFLATED: u16 = 8;
const VERSION: u16 = 20;

/// Writes `image` as the file `name` in the archive `to`.
pub fn write<B: Blocks + ?Sized>(
    image: &B,
    name: &str,
    epoch: u64,
    level: u32,
    threads: usize,
    to: &Path,
) -> Result<()> {
    let len = u32::try_from(image.size())
        .context("an image of 4 GiB or more does not fit a plain zip file; use the .img.zst")?;
    ensure!(
        name.is_ascii() && name.len() < 200,
        "{name:?} cannot be the name of a file in the archive"
    );
    // Most of an image is nothing; that is compressed once.
    let zeros = deflate(&vec![0; usize::try_from(PIECE)?], level)?;
    let pieces = pass::each(image, PIECE, threads, |_, _, bytes| {
        let packed = if bytes.len() as u64 == PIECE && pass::is_zero(bytes) {
            zeros.clone()
        } else {
            deflate(bytes, level)?
        };
        let mut sum = crc32fast::Hasher::new();
        sum.update(bytes);
        Ok((packed, sum))
    })?;
    let mut sum = crc32fast::Hasher::new();
    for (_, piece) in &pieces {
        sum.combine(piece);
    }
    // An empty last block with the fixed codes ends the stream (RFC 1951, 3.2.6).
    let end = [0x03, 0x00];
    let packed = pieces.iter().map(|(p, _)| p.len()).sum::<usize>() + end.len();
    let packed = u32::try_from(packed).context("the archive is too big for a plain zip file")?;
    let time = DosTime::of(epoch);
    let mut common = Vec::new();
    for field in [VERSION, 0, DEFLATED, time.time, time.date] {
        common.extend(field.to_le_bytes());
    }
    for field in [sum.finalize(), packed, len] {
        common.extend(field.to_le_bytes());
    }
    common.extend(u16::try_from(name.len())?.to_le_bytes());
    common.extend([0, 0]); // no extra field

    let head = [b"PK\x03\x04", common.as_slice(), name.as_bytes()].concat();
    let mut list = [
        b"PK\x01\x02".as_slice(),
        &[VERSION.to_le_bytes()[0], 3],
        &common,
    ]
    .concat(); // made on Unix
    list.extend([0; 6]); // no comment, disk 0, internal attributes
    list.extend((0o100_644u32 << 16).to_le_bytes()); // external attributes: mode
    list.extend([0; 4]); // the file starts at 0
    list.extend(name.as_bytes());
    let at = u32::try_from(head.len())?
        .checked_add(packed)
        .context("the archive is too big for a plain zip file")?;
    let mut tail = b"PK\x05\x06".to_vec();
    tail.extend([0, 0, 0, 0, 1, 0, 1, 0]); // disks 0, one entry
    tail.extend(u32::try_from(list.len())?.to_le_bytes());
    tail.extend(at.to_le_bytes());
    tail.extend([0, 0]);
    files::replace_with(to, |file| {
        file.write_all(&head)?;
        pieces.iter().try_for_each(|(p, _)| file.write_all(p))?;
        file.write_all(&end)?;
        file.write_all(&list)?;
        file.write_all(&tail)
    })?;
    Ok(())
}

/// Deflate blocks of `bytes` that end on a byte.
fn deflate(bytes: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut packer = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(bytes.len() / 2 + 1024);
    loop {
        let rest = &bytes[usize::try_from(packer.total_in())?..];
        packer
            .compress_vec(rest, &mut out, FlushCompress::Full)
            .context("cannot compress")?;
        // Room left over means that nothing is left inside.
        if packer.total_in() == bytes.len() as u64 && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(bytes.len() / 4 + 1024);
    }
}

/// Writes `FILE.sha256` beside a file, as `sha256sum -c` reads it.
pub fn checksum(of: &Path) -> Result<()> {
    let (hash, _) = Sha256::of_file(of)?;
    let name = of
        .file_name()
        .and_then(|n| n.to_str())
        .context("the file has no name")?;
    let mut to = of.as_os_str().to_owned();
    to.push(".sha256");
    Ok(files::replace(
        Path::new(&to),
        format!("{hash}  {name}\n").as_bytes(),
    )?)
}
