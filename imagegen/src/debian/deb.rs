//! Owns the format of a `.deb`: its members, their compression, and bounds on what they may grow to.

use std::io::{self, Read};

pub mod write;

/// Largest decompressed size of the control member.
const MAX_CONTROL: u64 = 32 << 20;
/// Largest decompressed list of packages.
const MAX_INDEX: u64 = 512 << 20;
/// Memory an xz stream may ask for: Debian's largest asks for 64 MiB dictionaries at most.
const XZ_MEMORY: u64 = 256 << 20;
/// The magic of an `ar` archive.
const AR_MAGIC: &[u8] = b"!<arch>\n";
/// Length of the header before each member.
const AR_HEADER: usize = 60;

/// Why a `.deb` cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// It is not one, or it is cut.
    #[error("not a Debian package: {0}")]
    Malformed(String),
    /// Its content decompresses to more than it may.
    #[error("its content grows beyond {limit} bytes: refused")]
    Bomb {
        /// The bound.
        limit: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The two tar archives of a `.deb`, still compressed.
#[derive(Debug, Clone, Copy)]
pub struct Deb<'a> {
    control: Member<'a>,
    data: Member<'a>,
}

#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

/// Finds the members of a `.deb` (deb(5)): `debian-binary`, `control.tar…`, `data.tar…`, in this order.
pub fn parse(bytes: &[u8]) -> Result<Deb<'_>, DebError> {
    let bad = |why: &str| DebError::Malformed(why.to_owned());
    let mut rest = bytes
        .strip_prefix(AR_MAGIC)
        .ok_or_else(|| bad("no ar archive"))?;
    let mut members = Vec::new();
    while rest.len() >= AR_HEADER && members.len() < 16 {
        let (header, tail) = rest.split_at(AR_HEADER);
        if &header[58..60] != b"`\n" {
            return Err(bad("damaged member header"));
        }
        let text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(&header[range])
                .map(str::trim_end)
                .map_err(|_e| bad("header is not text"))
        };
        let name = text(0..16)?.trim_end_matches('/');
        let size: usize = text(48..58)?
            .parse()
            .map_err(|_e| bad("member size is no number"))?;
        let content = tail.get(..size).ok_or_else(|| bad("cut off"))?;
        members.push(Member {
            name,
            bytes: content,
        });
        // Members begin at even offsets.
        rest = tail.get(size + size % 2..).unwrap_or_default();
    }
    match members.first() {
        Some(Member {
            name: "debian-binary",
            bytes,
        }) if bytes.starts_with(b"2.") => {}
        _ => return Err(bad("no debian-binary 2.x member first")),
    }
    let find = |prefix: &str| members.iter().find(|m| m.name.starts_with(prefix)).copied();
    Ok(Deb {
        control: find("control.tar").ok_or_else(|| bad("no control.tar"))?,
        data: find("data.tar").ok_or_else(|| bad("no data.tar"))?,
    })
}

impl<'a> Deb<'a> {
    /// The tar archive of control files.
    pub fn control(&self) -> Result<impl Read + use<'a>, DebError> {
        open(self.control, MAX_CONTROL)
    }

    /// The tar archive of files, at most `limit` bytes of it.
    pub fn data(&self, limit: u64) -> Result<impl Read + use<'a>, DebError> {
        open(self.data, limit)
    }
}

fn open(member: Member<'_>, limit: u64) -> Result<Bounded<Box<dyn Read + '_>>, DebError> {
    let suffix = member.name.rsplit_once(".tar").map_or("", |(_, s)| s);
    let inner: Box<dyn Read + '_> = match suffix {
        "" => Box::new(member.bytes),
        ".gz" => Box::new(flate2::read::GzDecoder::new(member.bytes)),
        ".xz" => Box::new(xz(member.bytes)?),
        ".zst" => Box::new(zstd::Decoder::with_buffer(member.bytes)?),
        other => {
            return Err(DebError::Malformed(format!(
                "compression `{other}` is none that dpkg knows"
            )));
        }
    };
    Ok(Bounded {
        inner,
        left: limit,
        limit,
    })
}

fn xz(bytes: &[u8]) -> Result<xz2::bufread::XzDecoder<&[u8]>, DebError> {
    let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, xz2::stream::CONCATENATED)
        .map_err(io::Error::from)?;
    Ok(xz2::bufread::XzDecoder::new_stream(bytes, stream))
}

/// The text of a list of packages, packed as its name says: `Packages.xz`, `Packages.gz` or `Packages`.
pub fn index_text(name: &str, bytes: &[u8]) -> Result<String, DebError> {
    text_within(name, bytes, MAX_INDEX)
}

fn text_within(name: &str, bytes: &[u8], limit: u64) -> Result<String, DebError> {
    let mut text = String::new();
    let inner: Box<dyn Read + '_> = match name.rsplit_once('.') {
        Some((_, "xz")) => Box::new(xz(bytes)?),
        Some((_, "gz")) => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    Bounded {
        inner,
        left: limit,
        limit,
    }
    .read_to_string(&mut text)?;
    Ok(text)
}

/// Reads so much and no more: the end of the bound is an error, not the end of the file.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = match self.left.checked_sub(n as u64) {
            Some(left) => left,
            None => return Err(io::Error::other(DebError::Bomb { limit: self.limit })),
        };
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
