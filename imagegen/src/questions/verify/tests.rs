//! Blobs that are put together again, and images that say nothing of themselves. Whole images: `tests/outputs.rs`.

use super::*;
use crate::bake::tests::{PLAIN, board};

const BLOBS: &str = "raw = [{ file = \"bl1\", offset = 0, length = 442, from_user = \"ask\" }, { file = \"bl1\", offset = 512, skip = 512, from_user = \"ask\" }]";

fn card(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, HostFile) {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; 1 << 20];
    change(&mut bytes);
    let path = dir.path().join("card.img");
    files::replace(&path, &bytes).unwrap();
    let disk = HostFile::open(&path).unwrap();
    (dir, disk)
}

#[test]
fn a_blob_in_pieces_is_whole_only_if_all_of_it_is_on_the_card() {
    let board = board(&format!("{PLAIN}{BLOBS}\n").replace("from_user", "from-user"));
    let place = |blob: &[u8]| {
        let blob = blob.to_vec();
        move |card: &mut Vec<u8>| {
            card[..442].copy_from_slice(&blob[..442]);
            card[512..blob.len()].copy_from_slice(&blob[512..]);
        }
    };
    // The bytes between the two pieces are those of the partition table.
    let mut blob = vec![7; 2000];
    blob[442..512].fill(0);
    let (_dir, disk) = card(place(&blob));
    let named = Hash::of(&blob).named("bl1");
    assert_eq!(whole_blob(&board, &named, &disk).unwrap(), blob);

    blob[450] = 1;
    let named = Hash::of(&blob).named("bl1");
    let e = whole_blob(&board, &named, &disk).unwrap_err().to_string();
    assert!(e.contains("--blob bl1=FILE"), "{e}");
    let huge = Named {
        size: u64::MAX,
        ..named
    };
    assert!(whole_blob(&board, &huge, &disk).is_err());
}

#[test]
fn what_is_no_image_of_ours_is_said_to_be_none() {
    let (dir, _) = card(|bytes| bytes[..4].copy_from_slice(b"PK\x03\x04"));
    let e = board_of(&dir.path().join("card.img"), Slot::A).unwrap_err();
    let e = format!("{e:#}");
    assert!(
        e.contains("card.img") && e.contains("unpack it first"),
        "{e}"
    );
}
