//! The table as sfdisk and our own reader see it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use hypriot_updater::layout::{self, SECTOR};
use hypriot_updater::mbr::{Table, card};

use super::read;
use crate::formats::HostFile;
use crate::testing::tool;

fn disk(table: &Table) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(layout::IMAGE_SIZE).unwrap();
    for (at, sector) in table.encode().unwrap() {
        file.as_file().write_all_at(&sector, at).unwrap();
    }
    file
}

#[test]
fn sfdisk_sees_the_layout_and_finds_no_fault() {
    let file = disk(&card(0xDEAD_BEEF));
    let path = file.path().to_str().unwrap();
    // What it says on standard error follows the JSON.
    let text = tool("sfdisk", "fdisk", &["-J", path]);
    let json: serde_json::Value = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(json["partitiontable"]["id"], "0xdeadbeef");
    let theirs: Vec<(u64, u64, String)> = json["partitiontable"]["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            (
                p["start"].as_u64().unwrap(),
                p["size"].as_u64().unwrap(),
                p["type"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let ours: Vec<_> = card(0)
        .partitions
        .iter()
        .map(|p| (p.start / SECTOR, p.size / SECTOR, format!("{:x}", p.kind)))
        .collect();
    assert_eq!(theirs, ours);
    let text = tool("sfdisk", "fdisk", &["-V", path]);
    assert!(text.contains("No errors detected"), "{text}");
}

#[test]
fn what_is_written_is_read_from_a_file_and_no_further_than_the_file() {
    let table = card(0x1234_5678);
    let file = disk(&table);
    assert_eq!(read(&HostFile::open(file.path()).unwrap()).unwrap(), table);
    File::options()
        .write(true)
        .open(file.path())
        .unwrap()
        .set_len(layout::DATA.start)
        .unwrap();
    let e = read(&HostFile::open(file.path()).unwrap()).unwrap_err();
    assert!(e.to_string().contains("past the end"), "{e:#}");
    assert!(read(&[0; 512][..]).is_err());
    assert!(read(&[][..]).is_err());
}
