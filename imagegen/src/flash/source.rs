//! Opens an image in any of the forms it is handed out in: as it is, `.img.zip`, `.img.zst`, `.img.gz`, `.img.xz`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::formats::{HostFile, pass};

/// No image is larger once it is unpacked.
const IMAGE_MAX: u64 = 64 << 30;
/// What is zero in such pieces becomes a hole.
const PIECE: usize = 1 << 16;

/// An image that can be read at any place, and the file it was unpacked to, which is gone with this.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub disk: HostFile,
    unpacked: Option<tempfile::TempDir>,
}

impl Opened {
    /// The image, and what keeps its unpacked file there.
    pub fn parts(self) -> (HostFile, impl Sized) {
        (self.disk, self.unpacked)
    }
}

/// Opens an image; `scratch` is a folder with room for an unpacked one.
pub fn open(path: &Path, scratch: &Path) -> Result<Opened> {
    let kind = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_lowercase();
    if !["zip", "zst", "gz", "xz"].contains(&kind.as_str()) {
        let disk = HostFile::open(path)?;
        return Ok(Opened {
            disk,
            unpacked: None,
        });
    }
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let reader: Box<dyn Read> = match kind.as_str() {
        "zip" => Box::new(in_zip(file).with_context(|| format!("{shown}"))?),
        "zst" => Box::new(zstd::Decoder::new(file)?),
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(xz2::read::XzDecoder::new_multi_decoder(file)),
    };
    let dir = tempfile::Builder::new()
        .prefix("image-")
        .tempdir_in(scratch)
        .with_context(|| format!("no folder can be made in {}", scratch.display()))?;
    let to = dir.path().join("image");
    let out = File::create(&to).map_err(|e| files::named(&to, &e))?;
    unpack(reader, &out).with_context(|| format!("{shown} cannot be unpacked"))?;
    let disk = HostFile::open(&to)?;
    Ok(Opened {
        disk,
        unpacked: Some(dir),
    })
}

/// Copies, and leaves holes where there is nothing.
fn unpack(mut from: impl Read, mut to: &File) -> Result<()> {
    let mut at = 0_u64;
    let mut piece = vec![0; PIECE];
    loop {
        let mut have = 0;
        while have < PIECE {
            match from.read(&mut piece[have..])? {
                0 => break,
                n => have += n,
            }
        }
        if have == 0 {
            break;
        }
        ensure!(
            at + have as u64 <= IMAGE_MAX,
            "it holds more than {} GiB",
            IMAGE_MAX >> 30
        );
        if !pass::is_zero(&piece[..have]) {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&piece[..have])?;
        }
        at += have as u64;
    }
    to.set_len(at)?;
    Ok(())
}

/// The first file of an archive, which must be the image (PKWARE APPNOTE 6.3.10, 4.3.7).
fn in_zip(mut file: File) -> Result<Box<dyn Read>> {
    let mut head = [0; 30];
    file.read_exact(&mut head)
        .context("it is shorter than a zip file's head")?;
    ensure!(head.starts_with(b"PK\x03\x04"), "it is no zip file");
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    ensure!(u16_at(6) & 1 == 0, "it is encrypted");
    let (method, name, extra) = (u16_at(8), u16_at(26), u16_at(28));
    let packed = u64::from(u32::from_le_bytes([head[18], head[19], head[20], head[21]]));
    let mut text = vec![0; usize::from(name)];
    file.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(
        text.to_lowercase().ends_with(".img"),
        "its first file is {text:?}, and no .img"
    );
    file.seek(SeekFrom::Current(i64::from(extra)))?;
    match method {
        0 => Ok(Box::new(file.take(packed))),
        8 => Ok(Box::new(flate2::read::DeflateDecoder::new(file))),
        other => bail!("it is packed by method {other}, which is not known here"),
    }
}
