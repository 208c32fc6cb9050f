//! Every thing that lies on a card, with its place: partition tables, boot state, blobs, and the inside of each file system.

use std::collections::BTreeSet;

use anyhow::Result;
use hypriot_updater::layout::{self, BLANK, BOOT_STATE, BOOT_STATE_SIZE, Partition, SECTOR};
use hypriot_updater::slot::Slot;

use super::owners::Owners;
use super::{Kind, Said, Span};
use crate::formats::erofs::read::Erofs;
use crate::formats::fat::read::Fat;
use crate::formats::{Blocks, Window};
use crate::imagecheck::window;
use hypriot_updater::mbr;

/// The super block of EROFS: place and length (Linux fs/erofs/erofs_fs.h).
const SUPER_BLOCK: (u64, u64) = (1024, 128);

/// The things that a span may touch; those of file systems that it does not reach into are left out.
pub(super) fn of<B: Blocks + ?Sized>(disk: &B, span: Span) -> Result<Vec<Said>> {
    // The root of slot A knows the packages; on a card in use it may be that of slot B only.
    let windows = Slot::ALL.map(|slot| window(disk, layout::root(slot)));
    let roots: Vec<Option<Erofs<'_, _>>> = windows.iter().map(|w| Erofs::open(w).ok()).collect();
    let owners = Owners::of(roots.iter().flatten().next());

    let mut out = outside(&owners)?;
    let touched = |p: &Partition| p.start < span.end() && span.start < p.end();
    for part in layout::PARTITIONS.into_iter().filter(touched) {
        let inside = window(disk, part);
        let root = Slot::ALL.iter().position(|s| layout::root(*s) == part);
        if let Some(n) = root {
            if let Some(root) = &roots[n] {
                erofs(part, root, &owners, &mut out);
            }
        } else if let Ok(fs) = Fat::open(&inside) {
            fat(part, &fs, &owners, &mut out)?;
        }
    }
    Ok(out)
}

fn thing(part: Option<Partition>, kind: Kind, at: u64, len: u64, name: &str) -> Said {
    Said {
        start: part.map_or(0, |p| p.start) + at,
        len,
        partition: part.map(|p| p.number),
        area: part.map_or("card", |p| p.name),
        kind,
        name: name.to_owned(),
        offset: 0,
        package: None,
        made: None,
    }
}

/// Everything that lies in no partition.
fn outside<B: Blocks + ?Sized>(owners: &Owners<'_, B>) -> Result<Vec<Said>> {
    let (code, entries) = (mbr::SIGNATURE_AT as u64, mbr::ENTRIES_AT as u64);
    let metadata = |at, len, name: &str| thing(None, Kind::Metadata, at, len, name);
    let mut out = vec![
        metadata(code, 4, "the disk signature (MBR)"),
        metadata(510, 2, "the mark of a partition table (MBR)"),
    ];
    for n in 0..4 {
        let name = format!("the entry of partition {} (MBR)", n + 1);
        out.push(metadata(entries + 16 * n, 16, &name));
    }
    let links = mbr::card(0).encode()?.into_iter().skip(1);
    for (n, (at, _)) in links.enumerate() {
        let name = format!("the link of partition {} in the chain (EBR)", n + 5);
        out.push(metadata(at, SECTOR, &name));
    }
    out.push(thing(
        None,
        Kind::State,
        BLANK,
        SECTOR,
        "the mark of a blank card",
    ));
    for (n, at) in BOOT_STATE.into_iter().enumerate() {
        let name = format!("the boot state, copy {}", n + 1);
        out.push(thing(None, Kind::State, at, BOOT_STATE_SIZE as u64, &name));
    }
    for (at, len, name, (package, made)) in owners.blobs() {
        out.push(Said {
            package,
            made,
            ..thing(None, Kind::Blob, at, len, &name)
        });
    }
    Ok(out)
}

fn erofs<B: Blocks + ?Sized>(
    part: Partition,
    root: &Erofs<'_, Window<'_, B>>,
    owners: &Owners<'_, Window<'_, B>>,
    out: &mut Vec<Said>,
) {
    let of = |kind, (at, len), name: &str| thing(Some(part), kind, at, len, name);
    out.push(of(Kind::Metadata, SUPER_BLOCK, "the super block (EROFS)"));
    let mut seen = BTreeSet::new();
    for (path, node) in &root.names {
        // The other names of a file with several are told by the first.
        if !seen.insert(node.record.0) {
            continue;
        }
        let name = format!("the inode of /{path} (EROFS)");
        out.push(of(Kind::Metadata, node.record, &name));
        let mut offset = 0;
        for run in node.data() {
            let said = if node.is_dir() {
                of(
                    Kind::Metadata,
                    run,
                    &format!("the names in the directory /{path} (EROFS)"),
                )
            } else if node.is_file() {
                let (package, made) = owners.root(path);
                Said {
                    package,
                    made,
                    ..of(Kind::File, run, &format!("/{path}"))
                }
            } else {
                of(
                    Kind::Metadata,
                    run,
                    &format!("the text of the link /{path} (EROFS)"),
                )
            };
            out.push(Said { offset, ..said });
            offset += run.1;
        }
    }
}

fn fat<B: Blocks + ?Sized>(
    part: Partition,
    fs: &Fat<'_, Window<'_, B>>,
    owners: &Owners<'_, Window<'_, B>>,
    out: &mut Vec<Said>,
) -> Result<()> {
    for (at, len, name) in fs.areas() {
        let name = format!("{name} (FAT)");
        out.push(thing(Some(part), Kind::Metadata, *at, *len, &name));
    }
    for (path, found) in &fs.names {
        let mut offset = 0;
        for (at, len) in fs.data(found)? {
            let said = if found.dir {
                let name = format!("the names in the directory /{path} (FAT)");
                thing(Some(part), Kind::Metadata, at, len, &name)
            } else {
                let (package, made) = if part == layout::CONFIG {
                    owners.config(path)
                } else {
                    owners.boot(path)
                };
                Said {
                    package,
                    made,
                    ..thing(Some(part), Kind::File, at, len, &format!("/{path}"))
                }
            };
            out.push(Said { offset, ..said });
            offset += len;
        }
    }
    Ok(())
}
