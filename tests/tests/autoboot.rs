//! The agent finds `autoboot.txt` in a first partition that the image generator writes: the two programs share no code, and a
//! sector that is not the file's must never be written.
#![expect(
    clippy::unwrap_used,
    reason = "a card that cannot be made has failed the test"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use hypriot_agent::card::disk::Window;
use hypriot_agent::card::ports::Disk as _;
use hypriot_agent::card::tryboot::place_of_autoboot;
use hypriot_imagegen::formats::{Blocks as _, fat};
use hypriot_imagegen::tree::Tree;
use hypriot_updater::boot::tryboot::autoboot::{FILE, SIZE, encode};
use hypriot_updater::layout::CONFIG;
use hypriot_updater::slot::Slot;

/// A disk with a first partition of `size` bytes, in which the file comes behind `others` files with long names.
fn disk(size: u64, others: usize, file: Option<&[u8]>) -> Window {
    let mut tree = Tree::new(0);
    for n in 0..others {
        let name =
            format!("a file whose name takes more than one entry of the directory, {n:04}.bin");
        tree.insert_bytes(&name, 0o644, vec![7; 700]).unwrap();
    }
    if let Some(bytes) = file {
        tree.insert_bytes(FILE, 0o644, bytes).unwrap();
    }
    let options = fat::Options {
        label: "HypriotOS",
        volume_id: 1,
        size,
        last: &[],
    };
    let volume = fat::plan(&tree, options).unwrap();
    let disk: File = tempfile::tempfile().unwrap();
    disk.set_len(CONFIG.end()).unwrap();
    let mut at = 0;
    while at < size {
        let piece = volume.bytes(at, 1 << 20).unwrap();
        if piece.iter().any(|b| *b != 0) {
            disk.write_all_at(&piece, CONFIG.start + at).unwrap();
        }
        at += 1 << 20;
    }
    Window::new(disk, 0, CONFIG.end())
}

#[test]
fn the_sector_that_is_changed_in_place_is_the_files_own() {
    let text = encode(Slot::B);
    for (size, others) in [
        (16 << 20, 0),
        (16 << 20, 40),
        (CONFIG.size, 3),
        (CONFIG.size, 300),
    ] {
        let disk = disk(size, others, Some(&text));
        let at = place_of_autoboot(&disk).unwrap();
        let mut found = [0; SIZE];
        disk.read_at(at, &mut found).unwrap();
        assert_eq!(found, text, "{size} bytes, {others} other files");
    }
}

#[test]
fn a_file_that_an_editor_wrote_anew_is_not_touched() {
    for (danger, file, says) in [
        ("shorter", Some(&b"[all]\n"[..]), "6 bytes"),
        ("longer", Some(&[b'\n'; SIZE + 1]), "513 bytes"),
        ("gone", None, "no autoboot.txt"),
    ] {
        let e = place_of_autoboot(&disk(CONFIG.size, 2, file)).unwrap_err();
        assert!(e.to_string().contains(says), "{danger}: {e}");
    }
    let blank = File::open("/dev/zero").unwrap();
    assert!(place_of_autoboot(&Window::new(blank, 0, CONFIG.end())).is_err());
}
