//! What lies where on a small card, byte by byte and in spans.

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::bake::{AGENT, Input};
use crate::formats::erofs::read::Erofs;
use crate::formats::fat::read::Fat;
use crate::image::card::{self, Card, Volumes};
use crate::imagecheck::window;
use crate::tree::Tree;
use hypriot_updater::layout::{BLANK, BOOT_STATE, CONFIG, DATA, EXTENDED_START};
use hypriot_updater::slot::Slot;

const MORE: &str = "files = [{ from = \"usr/lib/fw/start.elf\" }]\nraw = [{ file = \"usr/lib/u-boot/spl.bin\", offset = 8192 }]\n";

/// dpkg's records of one package with one list.
fn records(tree: &mut Tree, name: &str, source: &str, list: &str) {
    let status = format!(
        "Package: {name}\nStatus: install ok installed\nVersion: 1.2-3\nSource: {source}\n\n"
    );
    tree.insert_bytes("var/lib/dpkg/status", 0o644, status)
        .unwrap();
    tree.insert_bytes(&format!("var/lib/dpkg/info/{name}.list"), 0o644, list)
        .unwrap();
}

fn made() -> (Volumes, Vec<crate::bake::Raw>) {
    let mut boot_files = Tree::new(0);
    boot_files
        .insert_bytes("usr/lib/fw/start.elf", 0o644, "firmware")
        .unwrap();
    boot_files
        .insert_bytes("usr/lib/u-boot/spl.bin", 0o644, vec![7; 40_000])
        .unwrap();
    records(
        &mut boot_files,
        "u-boot-x",
        "u-boot",
        "/usr/lib/u-boot/spl.bin\n/usr/lib/fw/start.elf\n",
    );
    let boot_files = Box::leak(Box::new(boot_files));
    let big = vec![b'o'; 9000];
    let baked = bake_with(
        &board(&(PLAIN.to_owned() + MORE)),
        "1.0.0",
        |i: &mut Input<'_>| {
            i.boot_files = boot_files;
            i.root.insert_bytes("usr/bin/tool", 0o755, big).unwrap();
            records(
                &mut i.root,
                "tool",
                "tools",
                "/bin/tool\n/boot/vmlinuz-6.12.1-arm64\n",
            );
        },
    )
    .unwrap();
    (
        card::volumes(&baked, "x", "1.0.0", None).unwrap(),
        baked.raw,
    )
}

/// Places that the layout alone decides.
const FIXED: [(u64, &str); 17] = [
    (0, "card: nothing"),
    (441, "card: the disk signature (MBR)"),
    (446 + 17, "card: the entry of partition 2 (MBR)"),
    (511, "card: the mark of a partition table (MBR)"),
    (8191, "card: nothing"),
    (
        8192 + 100,
        "card: byte 100 of usr/lib/u-boot/spl.bin, package u-boot-x 1.2-3, source u-boot",
    ),
    (8192 + 40_000, "card: nothing"),
    (BLANK, "card: the mark of a blank card"),
    (BOOT_STATE[0] + 1, "card: the boot state, copy 1"),
    (BOOT_STATE[1], "card: the boot state, copy 2"),
    (
        EXTENDED_START,
        "card: the link of partition 5 in the chain (EBR)",
    ),
    (
        layout::root(Slot::A).end(),
        "card: the link of partition 6 in the chain (EBR)",
    ),
    (CONFIG.start, "config (partition 1): the boot sector (FAT)"),
    (
        CONFIG.start + 600,
        "config (partition 1): the information sector (FSInfo) (FAT)",
    ),
    (
        CONFIG.start + 6 * 512,
        "config (partition 1): the backup of the boot sector (FAT)",
    ),
    (
        CONFIG.start + 32 * 512,
        "config (partition 1): the file allocation table (FAT)",
    ),
    (CONFIG.end() - 1, "config (partition 1): nothing"),
];

#[test]
fn every_byte_has_a_name() {
    let (volumes, raw) = made();
    let card = Card::plan(&volumes, &raw, 1).unwrap();
    let (root, boot, config) = (
        window(&card, layout::root(Slot::A)),
        window(&card, layout::boot(Slot::A)),
        window(&card, CONFIG),
    );
    let (erofs, boot, config) = (
        Erofs::open(&root).unwrap(),
        Fat::open(&boot).unwrap(),
        Fat::open(&config).unwrap(),
    );
    let file = |path: &str| layout::root(Slot::A).start + erofs.names[path].data()[0].0;
    let inode = |path: &str| layout::root(Slot::A).start + erofs.names[path].record.0;
    let boot_file =
        |path: &str| layout::boot(Slot::A).start + boot.data(&boot.names[path]).unwrap()[0].0;
    let config_file = |path: &str| CONFIG.start + config.data(&config.names[path]).unwrap()[0].0;
    let tail = erofs.names["usr/bin/tool"].data()[1].0 + layout::root(Slot::A).start;
    let found = [
        (
            config_file("start.elf") + 2,
            "config (partition 1): byte 2 of /start.elf, package u-boot-x 1.2-3, source u-boot",
        ),
        (
            config_file("user-data"),
            "config (partition 1): byte 0 of /user-data, the owner's to edit",
        ),
        (
            config_file("boot.scr"),
            "config (partition 1): byte 0 of /boot.scr, made by hypriot-imagegen",
        ),
        (
            boot_file("vmlinuz") + 1,
            "boot-a (partition 2): byte 1 of /vmlinuz, package tool 1.2-3, source tools",
        ),
        (
            boot_file("initrd.zst"),
            "boot-a (partition 2): byte 0 of /initrd.zst, made by hypriot-imagegen of the agent",
        ),
        (layout::boot(Slot::B).start, "boot-b (partition 3): nothing"),
        (
            layout::root(Slot::A).start + 1024,
            "root-a (partition 5): the super block (EROFS)",
        ),
        (
            file("usr/bin/tool") + 4100,
            "root-a (partition 5): byte 4100 of /usr/bin/tool, package tool 1.2-3, source tools",
        ),
        (
            tail + 1,
            "root-a (partition 5): byte 8193 of /usr/bin/tool, package tool",
        ),
        (
            inode("usr/bin/tool"),
            "root-a (partition 5): the inode of /usr/bin/tool (EROFS)",
        ),
        (
            file("usr/bin"),
            "root-a (partition 5): the names in the directory /usr/bin (EROFS)",
        ),
        (
            file("etc/os-release"),
            "root-a (partition 5): the text of the link /etc/os-release (EROFS)",
        ),
        (file(AGENT), "the agent of this image"),
        (
            file("etc/hostname"),
            "root-a (partition 5): byte 0 of /etc/hostname, of no package",
        ),
        (DATA.end() - 1, "data (partition 7): nothing"),
    ];
    for (at, says) in FIXED.into_iter().chain(found) {
        let said = explain(&card, Span { start: at, len: 1 }).unwrap();
        assert_eq!(said.len(), 1, "{at}");
        assert!(
            line(&said[0]).contains(says),
            "{at}: {} is not {says}",
            line(&said[0])
        );
    }
}

#[test]
fn a_span_is_told_without_gaps() {
    let (volumes, raw) = made();
    let card = Card::plan(&volumes, &raw, 1).unwrap();
    for (start, len) in [
        (0, 1 << 20),
        (CONFIG.start - 100, 40 << 20),
        (layout::boot(Slot::A).end() - 5, 10),
        (EXTENDED_START - 1, 8 << 20),
        (card.size() - 10, 10),
    ] {
        let said = explain(&card, Span { start, len }).unwrap();
        let mut at = start;
        for one in &said {
            assert_eq!(one.start, at, "{}", line(one));
            assert!(one.len > 0);
            at += one.len;
        }
        assert_eq!(at, start + len);
    }
    let json = serde_json::to_value(explain(&card, span("8192+1").unwrap()).unwrap()).unwrap();
    assert_eq!(json[0]["package"]["name"], "u-boot-x");
    assert_eq!(json[0]["kind"], "blob");
    let e = explain(
        &card,
        Span {
            start: card.size(),
            len: 1,
        },
    )
    .unwrap_err();
    assert!(e.to_string().contains("past the end"), "{e}");
}

#[test]
fn spans_are_read_as_people_write_them() {
    for (text, start, len) in [
        ("0", 0, 1),
        ("0x1a2b", 0x1a2b, 1),
        ("100-199", 100, 100),
        ("0x10-0x1f", 16, 16),
        ("8MiB+512", 8 << 20, 512),
        ("0x10 + 4KiB", 16, 4096),
    ] {
        assert_eq!(span(text).unwrap(), Span { start, len }, "{text}");
    }
    for text in [
        "",
        "x",
        "0x",
        "-1",
        "9-1",
        "1+0",
        "1.5",
        "18446744073709551615",
        "18446744073709551615+2",
        "99999999999GiB",
        "0-18446744073709551615",
    ] {
        assert!(span(text).is_err(), "{text}");
    }
}
