//! Writes a tree as one file: a tar archive, the same bytes for the same tree, that `tar tvf` shows and `tar xf` unpacks.
//!
//! POSIX.1-2017 (pax, "ustar Interchange Format"), each directory followed by all that is in it. A path or link of more than 100 bytes and
//! extended attributes stand in a pax header before the entry (`path`, `linkpath`, `SCHILY.xattr.*` as GNU tar and libarchive write them);
//! a number too big for its octal field is written in base 256, as GNU tar does.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use tar::{EntryType, Header};

use super::{Content, Entry, Kind, Tree, show};
use crate::files;

/// Unit of a tar archive.
pub(super) const BLOCK: u64 = 512;
/// What ends an archive: two blocks of zeros.
pub(super) const END: u64 = 2 * BLOCK;
/// How a pax header names extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
/// Longest name and link text in a header itself.
const SHORT: usize = 100;
/// How much is written at once.
const ROOM: usize = 1 << 20;

/// Writes the whole tree, content included.
pub(super) fn pack(tree: &Tree, to: &mut File) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(ROOM, to);
    let mut first: HashMap<u32, &[u8]> = HashMap::new();
    let mut buf = vec![0; ROOM];
    let mut entries: Vec<_> = tree.iter().collect();
    // In byte order of whole paths `a-b` comes between `a` and `a/b`, and tar would set the time of `a` too early.
    entries.sort_by(|(a, _), (b, _)| walked(a).cmp(walked(b)));
    for (path, entry) in entries {
        let known = entry.link.and_then(|n| first.get(&n).copied());
        if let (None, Some(n)) = (known, entry.link) {
            first.insert(n, path);
        }
        if let Some(target) = known {
            put_header(
                &mut out,
                path,
                entry,
                EntryType::Link,
                &[b"./", target].concat(),
                0,
            )?;
            continue;
        }
        match &entry.kind {
            Kind::File(content) => {
                put_header(
                    &mut out,
                    path,
                    entry,
                    EntryType::Regular,
                    b"",
                    content.len(),
                )?;
                put_content(&mut out, content, &mut buf)?;
            }
            Kind::Dir => put_header(&mut out, path, entry, EntryType::Directory, b"", 0)?,
            Kind::Symlink(text) => put_header(&mut out, path, entry, EntryType::Symlink, text, 0)?,
            Kind::Char { .. } => put_header(&mut out, path, entry, EntryType::Char, b"", 0)?,
            Kind::Block { .. } => put_header(&mut out, path, entry, EntryType::Block, b"", 0)?,
            Kind::Fifo => put_header(&mut out, path, entry, EntryType::Fifo, b"", 0)?,
            Kind::Socket => {
                return Err(io::Error::other(format!(
                    "{} is a socket: it cannot be packed",
                    show(path)
                )));
            }
        }
    }
    zeros(&mut out, END)?;
    out.flush()
}

/// A path in the order of a walk: what ends a name sorts before all that a name can hold.
fn walked(path: &[u8]) -> impl Iterator<Item = u8> {
    path.iter().map(|b| if *b == b'/' { 0 } else { *b })
}

/// Writes an entry's header, and the pax header before it if one is needed.
fn put_header(
    out: &mut impl Write,
    path: &[u8],
    entry: &Entry,
    kind: EntryType,
    link: &[u8],
    size: u64,
) -> io::Result<()> {
    let slash: &[u8] = if kind == EntryType::Directory && !path.is_empty() {
        b"/"
    } else {
        b""
    };
    let name = [b"./", path, slash].concat();
    let mut pax = Vec::new();
    if link.len() > SHORT {
        pax.extend(record(b"linkpath", link));
    }
    if name.len() > SHORT {
        pax.extend(record(b"path", &name));
    }
    for (key, value) in &entry.xattrs {
        pax.extend(record(&[XATTR, &escaped(key)].concat(), value));
    }
    if !pax.is_empty() {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_size(pax.len() as u64);
        fill(&mut header.as_old_mut().name, b"./PaxHeader");
        finish(out, header)?;
        out.write_all(&pax)?;
        pad(out, pax.len() as u64)?;
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(entry.mode.into());
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(entry.mtime);
    header.set_size(size);
    fill(&mut header.as_old_mut().name, &name);
    fill(&mut header.as_old_mut().linkname, link);
    if let Kind::Char { major, minor } | Kind::Block { major, minor } = entry.kind {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    finish(out, header)
}

fn finish(out: &mut impl Write, mut header: Header) -> io::Result<()> {
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// As much of the text as there is room for; the rest is in the pax header.
fn fill(field: &mut [u8; SHORT], text: &[u8]) {
    let len = text.len().min(SHORT);
    field[..len].copy_from_slice(&text[..len]);
}

/// pax, "pax Extended Header": `"%d %s=%s\n"`, length, keyword, value; the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + b" =\n".len();
    let mut len = rest;
    loop {
        let next = rest + len.to_string().len();
        if next == len {
            return [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat();
        }
        len = next;
    }
}

/// A keyword ends at the first `=`, so GNU tar writes one inside a name as `%3D` (`xattr_encode_keyword`).
fn escaped(name: &[u8]) -> Vec<u8> {
    let one = |b: &u8| match b {
        b'%' => b"%25".to_vec(),
        b'=' => b"%3D".to_vec(),
        b => vec![*b],
    };
    name.iter().flat_map(one).collect()
}

/// The name that [`escaped`] wrote.
pub(super) fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((b, after)) = rest.split_first() {
        let (byte, skip) = match rest.get(..3) {
            Some(b"%3D") => (b'=', 3),
            Some(b"%25") => (b'%', 3),
            _ => (*b, 1),
        };
        out.push(byte);
        rest = if skip == 3 { &rest[3..] } else { after };
    }
    out
}

fn put_content(out: &mut impl Write, content: &Content, buf: &mut [u8]) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes)?,
        Content::Host { path, len } => {
            let mut file = File::open(path).map_err(|e| files::named(path, &e))?;
            let mut left = *len;
            loop {
                let n = file.read(buf).map_err(|e| files::named(path, &e))?;
                match left.checked_sub(n as u64) {
                    Some(rest) if n > 0 || rest == 0 => left = rest,
                    _ => {
                        return Err(io::Error::other(format!(
                            "{} changed while it was packed: {len} bytes were expected",
                            path.display()
                        )));
                    }
                }
                if n == 0 {
                    break;
                }
                out.write_all(&buf[..n])?;
            }
        }
        Content::Packed { file, at, len } => {
            let mut done = 0;
            while done < *len {
                let n = usize::try_from(*len - done).map_or(buf.len(), |n| n.min(buf.len()));
                file.read_at(at + done, &mut buf[..n])
                    .map_err(|e| io::Error::other(format!("{e:#}")))?;
                out.write_all(&buf[..n])?;
                done += n as u64;
            }
        }
    }
    pad(out, content.len())
}

fn pad(out: &mut impl Write, len: u64) -> io::Result<()> {
    zeros(out, len.next_multiple_of(BLOCK) - len)
}

fn zeros(out: &mut impl Write, n: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(n), out).map(drop)
}
