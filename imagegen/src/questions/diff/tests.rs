//! Every kind of difference is found, and named where it is.

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::bake::{Baked, Raw};
use crate::image::card::{Card, Volumes, volumes};
use crate::tree::{Entry, Kind};

fn baked(change: impl FnOnce(&mut Baked)) -> (Baked, Volumes) {
    let mut baked = bake_with(&board(PLAIN), "1.0.0", |_| ()).unwrap();
    baked.raw.push(Raw {
        name: "spl".to_owned(),
        offset: 8192,
        bytes: vec![7; 1000].into(),
    });
    change(&mut baked);
    let volumes = volumes(&baked, "x", "1.0.0", None).unwrap();
    (baked, volumes)
}

/// A whole card in memory would be 3 GiB: bytes laid over another one.
struct Patched<'a> {
    of: &'a Card<'a>,
    patches: Vec<(u64, Vec<u8>)>,
}

impl Blocks for Patched<'_> {
    fn size(&self) -> u64 {
        self.of.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.of.read_at(at, buf)?;
        for (start, bytes) in &self.patches {
            for (n, byte) in (*start..).zip(bytes) {
                let place = n.checked_sub(at).and_then(|n| usize::try_from(n).ok());
                if let Some(room) = place.and_then(|n| buf.get_mut(n)) {
                    *room = *byte;
                }
            }
        }
        Ok(())
    }
}

fn differences<A: Blocks + ?Sized, B: Blocks + ?Sized>(a: &A, b: &B) -> Vec<String> {
    let diff = images(a, b, 2).unwrap();
    diff.differences.iter().map(ToString::to_string).collect()
}

fn edit(path: &str, change: impl FnOnce(&mut Entry)) -> impl FnOnce(&mut Baked) {
    move |baked| {
        let mut entry = baked.root.get(path).unwrap().clone();
        change(&mut entry);
        baked.root.insert_entry(path.into(), entry).unwrap();
    }
}

fn against_plain(change: impl FnOnce(&mut Baked)) -> Vec<String> {
    let (one, other) = (baked(|_| ()), baked(change));
    let diff = parts_of(&one.1, &other.1);
    diff.differences.iter().map(ToString::to_string).collect()
}

/// The partitions alone, without the gigabytes between them.
fn parts_of(a: &Volumes, b: &Volumes) -> Diff {
    let mut diff = Diff::default();
    for (name, a, b) in [
        ("config", &a.config, &b.config),
        ("boot-a", &a.boot, &b.boot),
        ("root-a", &a.root, &b.root),
    ] {
        let part = Partition {
            number: 1,
            name,
            start: 0,
            size: a.size(),
        };
        let found = parts(a, &[(part, b)], 2).unwrap();
        diff.differences.extend(found.differences);
        diff.packages.extend(found.packages);
    }
    diff
}

#[test]
fn partition_file_and_field_are_named() {
    type Change = Box<dyn FnOnce(&mut Baked)>;
    let rows: Vec<(&str, Change)> = vec![
        (
            "root-a, /etc/hostname, content at byte 0: `black-pearl` | `white`",
            Box::new(|b| {
                b.root
                    .insert_bytes("etc/hostname", 0o644, "white\n")
                    .unwrap();
            }),
        ),
        (
            "root-a, /etc/hosts, mode: 0644 | 0600",
            Box::new(edit("etc/hosts", |e| e.mode = 0o600)),
        ),
        (
            "root-a, /etc/hosts, owner: 0:0 | 0:42",
            Box::new(edit("etc/hosts", |e| e.gid = 42)),
        ),
        (
            "root-a, /etc/hosts, mtime: 1700000000 | 5",
            Box::new(edit("etc/hosts", |e| e.mtime = 5)),
        ),
        (
            "root-a, /etc/hosts, xattrs: none | user.a=62",
            Box::new(edit("etc/hosts", |e| {
                drop(e.xattrs.insert(b"user.a".to_vec(), b"b".to_vec()));
            })),
        ),
        (
            "root-a, /etc/new, only-in-b:  | file",
            Box::new(|b| b.root.insert_bytes("etc/new", 0o644, "").unwrap()),
        ),
        (
            "root-a, /etc/fstab, only-in-a: file | ",
            Box::new(|b| assert_eq!(b.root.remove("etc/fstab").unwrap(), 1)),
        ),
        (
            "root-a, /etc/os-release, content: ../usr/lib/os-release | elsewhere",
            Box::new(|b| {
                b.root
                    .insert_symlink("etc/os-release", "elsewhere")
                    .unwrap();
            }),
        ),
        (
            "root-a, /var/x, only-in-b:  | named pipe",
            Box::new(|b| b.root.insert("var/x", 0o644, Kind::Fifo).unwrap()),
        ),
        (
            "boot-a, /version, content at byte 2: `x 1.0.0` | `x 2.0.0`",
            Box::new(|b| b.boot.insert_bytes("version", 0o644, "x 2.0.0\n").unwrap()),
        ),
        (
            "config, /user-data, content at byte 0: ends after 0 bytes | `x`",
            Box::new(|b| b.config.insert_bytes("user-data", 0o644, "x").unwrap()),
        ),
    ];
    for (expected, change) in rows {
        let found = if expected.contains("/user-data") {
            let (one, other) = (
                baked(|b| b.config.insert_bytes("user-data", 0o644, "").unwrap()),
                baked(change),
            );
            parts_of(&one.1, &other.1)
                .differences
                .iter()
                .map(ToString::to_string)
                .collect()
        } else {
            against_plain(change)
        };
        // Where a path comes or goes, its folder's own data and the UUID follow.
        assert_eq!(
            found.first().map(String::as_str),
            Some(expected),
            "{found:?}"
        );
        let others: Vec<_> = found[1..]
            .iter()
            .filter(|d| !d.contains("UUID") && !d.contains("length"))
            .collect();
        assert!(others.is_empty(), "{expected}: {others:?}");
    }
}

#[test]
fn areas_that_hold_no_files_are_compared_too() {
    let (baked, volumes) = baked(|_| ());
    let card = Card::plan(&volumes, &baked.raw, 5).unwrap();
    let state = |default: &str| {
        let bytes = card.bytes(BOOT_STATE[1], BOOT_STATE_SIZE).unwrap();
        let all = env::parse(&bytes).unwrap();
        let all: Vec<(&str, String)> = all
            .iter()
            .map(|(k, v)| {
                (
                    k.as_str(),
                    if k == "hy_default" {
                        default.to_owned()
                    } else {
                        v.clone()
                    },
                )
            })
            .collect();
        env::encode(&all).unwrap()
    };
    let root = layout::PARTITIONS[3].start;
    let signature = mbr::SIGNATURE_AT as u64;
    // In the order of the card. A pass over a card is a second, so many rows share one.
    let rows = [
        (
            signature,
            vec![6],
            "partition table, disk signature: 00000005 | 00000006",
        ),
        (
            466,
            vec![0x83],
            "partition table, partition 2, type: 12 | 131",
        ),
        (
            8200,
            vec![8],
            "boot loaders, 1 bytes differ, the first at byte 8200: 07070707070707070707070707070707 | 08070707070707070707070707070707",
        ),
        (
            BOOT_STATE[0],
            vec![1, 2, 3, 4],
            "boot state, copy 1, 4 bytes differ, the first at byte 4194304",
        ),
        (
            BOOT_STATE[1],
            state("b"),
            "boot state, copy 2, hy_default: `a` | `b`",
        ),
        (BLANK, vec![0], "mark of a blank card, 1 bytes differ"),
        (
            layout::CONFIG.start + 3,
            b"mkfs".to_vec(),
            "config, structure at byte 20971523: the boot sector",
        ),
        (
            root + 1024 + 100,
            vec![9],
            "root-a, structure at byte 427820132: the super block | the super block",
        ),
        (
            layout::DATA.start,
            vec![1],
            "data, file system: nothing | nothing that is known here",
        ),
    ];
    let late = [
        (
            root,
            vec![0xEB],
            "root-a, structure at byte 427819008: room that nothing uses",
        ),
        (
            layout::DATA.end() - 1,
            vec![1],
            "data, structure at byte 3388997631: bytes where nothing should be",
        ),
    ];
    for rows in [&rows[..], &late, &[]] {
        let patches = rows
            .iter()
            .map(|(at, bytes, _)| (*at, bytes.clone()))
            .collect();
        let found = differences(&card, &Patched { of: &card, patches });
        assert_eq!(found.len(), rows.len(), "{found:?}");
        for (found, (_, _, expected)) in found.iter().zip(rows) {
            assert!(found.starts_with(expected), "{expected}: {found}");
        }
    }
}

#[test]
fn shorter_images_and_other_packages_are_told() {
    let status = |version: &str| {
        format!(
            "Package: dpkg\nStatus: install ok installed\nVersion: {version}\n\nPackage: a{version}\nVersion: 1\n"
        )
    };
    let make = |version: &str| {
        let text = status(version);
        baked(move |b| {
            b.root
                .insert_bytes("var/lib/dpkg/status", 0o644, text)
                .unwrap();
        })
    };
    let diff = parts_of(&make("1").1, &make("2").1);
    let rows: Vec<_> = diff
        .packages
        .iter()
        .map(|p| (p.name.as_str(), p.a.as_deref(), p.b.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            ("a1", Some("1"), None),
            ("a2", None, Some("1")),
            ("dpkg", Some("1"), Some("2"))
        ]
    );

    let short = vec![0; 1 << 20];
    let found = differences(&short[..], &short[..1 << 19]);
    assert_eq!(found, ["image, size: 1048576 | 524288"]);
}
