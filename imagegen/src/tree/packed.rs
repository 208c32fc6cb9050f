//! Reads the index of a packed tree: every header once, no content. The content stays where it is until an image is written.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use tar::{Archive, EntryType, Header};

use super::content::PackedFile;
use super::pack::{BLOCK, END, XATTR, unescaped};
use super::{Content, ENTRIES_MAX, Entry, Kind, Tree, Xattrs, key, scan, show};

/// Headers lie close together where files are small; a bigger buffer would read content for nothing.
const ROOM: usize = 8192;
/// More than all extended attributes of a file together (`XATTR_LIST_MAX` names, each with a value).
const PAX_MAX: u64 = 16 << 20;

pub(super) fn read(path: &Path, epoch: u64) -> Result<Tree> {
    let file = Arc::new(PackedFile::open(path)?);
    index(&file, epoch).with_context(|| {
        format!(
            "the packed tree {} is damaged; remove it and build again",
            path.display()
        )
    })
}

fn index(file: &Arc<PackedFile>, epoch: u64) -> Result<Tree> {
    let mut tree = Tree::new(epoch);
    tree.entries.clear();
    let mut archive = Archive::new(BufReader::with_capacity(ROOM, file.file()));
    let mut pax = BTreeMap::new();
    let mut links = 0;
    let mut end = 0;
    for item in archive.entries_with_seek()?.raw(true) {
        let mut item = item?;
        let at = item.raw_file_position();
        end = at + item.size().next_multiple_of(BLOCK);
        if item.header().entry_type() == EntryType::XHeader {
            ensure!(
                item.size() <= PAX_MAX,
                "a pax header of {} bytes",
                item.size()
            );
            let mut bytes = Vec::new();
            item.read_to_end(&mut bytes)?;
            pax = records(&bytes)?;
            continue;
        }
        let (path, entry) = entry(
            &mut tree,
            item.header(),
            std::mem::take(&mut pax),
            at,
            file,
            &mut links,
        )?;
        ensure!(
            tree.entries.len() < ENTRIES_MAX,
            "it has more than {ENTRIES_MAX} entries"
        );
        ensure!(
            tree.entries.insert(path.clone(), entry).is_none(),
            "{} is in it twice",
            show(&path)
        );
    }
    ensure!(
        matches!(tree.entries.get(&b""[..]), Some(root) if matches!(root.kind, Kind::Dir)),
        "it has no root directory"
    );
    let len = file.file().metadata()?.len();
    ensure!(
        len == end + END,
        "it has {len} bytes instead of {}",
        end + END
    );
    scan::number_links(&mut tree);
    Ok(tree)
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One entry and its path. A further name of a file gives both names the same link number.
fn entry(
    tree: &mut Tree,
    header: &Header,
    mut pax: Records,
    at: u64,
    file: &Arc<PackedFile>,
    links: &mut u32,
) -> Result<(Vec<u8>, Entry)> {
    let text = |pax: &mut Records, name: &[u8], short: &[u8]| {
        pax.remove(name).unwrap_or_else(|| short.to_vec())
    };
    let path = text(&mut pax, b"path", &header.path_bytes());
    let path = inner(&path)?;
    let parent = path
        .iter()
        .rposition(|b| *b == b'/')
        .map_or(&b""[..], |i| &path[..i]);
    ensure!(
        path.is_empty()
            || matches!(tree.entries.get(parent), Some(p) if matches!(p.kind, Kind::Dir)),
        "{} has no directory to lie in",
        show(&path)
    );
    let link = text(
        &mut pax,
        b"linkpath",
        &header.link_name_bytes().unwrap_or_default(),
    );
    let device = || -> Result<(u32, u32)> {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        Ok((major.unwrap_or(0), minor.unwrap_or(0)))
    };
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Dir,
        EntryType::Regular => Kind::File(Content::Packed {
            file: file.clone(),
            at,
            len: header.entry_size()?,
        }),
        EntryType::Symlink => Kind::Symlink(link.into()),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::Char { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block { major, minor })?,
        EntryType::Link => {
            let target = inner(&link)?;
            let Some(first) = tree.entries.get_mut(&target) else {
                bail!(
                    "{} is a name of {}, which is not there",
                    show(&path),
                    show(&target)
                );
            };
            if first.link.is_none() {
                first.link = Some(*links);
                *links += 1;
            }
            return Ok((path, first.clone()));
        }
        other => bail!(
            "{} is of a kind that trees do not have ({other:?})",
            show(&path)
        ),
    };
    Ok((
        path,
        Entry {
            kind,
            mode: u16::try_from(header.mode()? & 0o7777).context("a mode has twelve bits")?,
            uid: u32::try_from(header.uid()?).context("an owner has 32 bits")?,
            gid: u32::try_from(header.gid()?).context("a group has 32 bits")?,
            mtime: header.mtime()?.min(tree.epoch),
            xattrs: xattrs(pax),
            link: None,
        },
    ))
}

/// `./usr/bin/` as `usr/bin`, `./` as nothing.
fn inner(name: &[u8]) -> Result<Vec<u8>> {
    let path = name.strip_prefix(b"./").unwrap_or(name);
    key(path)
}

fn xattrs(pax: Records) -> Xattrs {
    let one = |(key, value): (Vec<u8>, Vec<u8>)| {
        let name = key.strip_prefix(XATTR)?;
        Some((unescaped(name), value))
    };
    pax.into_iter().filter_map(one).collect()
}

/// The records of a pax header. Values may hold any byte, so they are taken by their length and not by lines.
fn records(bytes: &[u8]) -> Result<Records> {
    let mut found = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let record = || -> Option<(&[u8], &[u8], &[u8])> {
            let space = rest.iter().position(|b| *b == b' ')?;
            let len: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
            let text = rest.get(space + 1..len)?.strip_suffix(b"\n")?;
            let equals = text.iter().position(|b| *b == b'=')?;
            Some((&text[..equals], &text[equals + 1..], &rest[len..]))
        };
        let Some((key, value, after)) = record() else {
            bail!("a pax header is malformed");
        };
        found.insert(key.to_vec(), value.to_vec());
        rest = after;
    }
    Ok(found)
}
