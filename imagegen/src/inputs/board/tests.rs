//! What board files must say, and that the README says the same.

use super::*;

#[test]
fn every_embedded_board_is_valid() {
    assert!(names().contains(&"qemu-arm64".to_owned()));
    for name in names() {
        find(&name).unwrap();
    }
}

#[test]
fn misspelt_board_names_its_neighbour() {
    let e = find("qemu-arm46").unwrap_err().to_string();
    assert!(e.contains("did you mean `qemu-arm64`"), "{e}");
}

#[test]
fn bad_board_files_are_refused() {
    let good = BOARDS
        .get_file("qemu-arm64.toml")
        .unwrap()
        .contents_utf8()
        .unwrap();
    for (danger, from, to, says) in [
        ("unknown key", "arch =", "colour = 1\narch =", "colour"),
        (
            "unknown architecture",
            "arch = \"arm64\"",
            "arch = \"z80\"",
            "z80",
        ),
        (
            "option smuggled into the command line",
            "\"ttyAMA0",
            "\"ttyAMA0 init=/bin/sh",
            "white space",
        ),
        (
            "package name that is a path",
            "\"linux-image-arm64\"",
            "\"../x\"",
            "../x",
        ),
        (
            "pin to a path",
            "\n[kernel]",
            "\n[[pin]]\npocket = \"../x\"\nsources = [\"linux\"]\n[kernel]",
            "no pocket",
        ),
        (
            "pin of nothing",
            "\n[kernel]",
            "\n[[pin]]\npocket = \"backports\"\nsources = []\n[kernel]",
            "names no sources",
        ),
        (
            "source pinned twice",
            "\n[kernel]",
            "\n[[pin]]\npocket = \"backports\"\nsources = [\"a1\", \"a1\"]\n[kernel]",
            "a1 is pinned twice",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{danger}");
        let e = parse("x", &bad).unwrap_err().to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
}

#[test]
fn an_exception_without_a_reason_is_refused() {
    let good = BOARDS.get_file("qemu-armhf.toml").unwrap().contents_utf8();
    let bad = format!(
        "elf-exceptions = [{{ files = \"usr/lib/x\", reason = \" \" }}]\n{}",
        good.unwrap()
    );
    let e = parse("x", &bad).unwrap_err().to_string();
    assert!(e.contains("usr/lib/x"), "{e}");
}

#[test]
fn the_readme_lists_every_board_with_what_its_file_says() {
    let readme = include_str!("../../../../README.md");
    for name in names() {
        let board = find(&name).unwrap();
        let files: Vec<String> = board.needs().into_iter().map(|n| n.file).collect();
        let needs = if files.is_empty() {
            "nothing".to_owned()
        } else {
            files.join(", ")
        };
        let row = format!(
            "| {} | {} | {} | {needs} | {} |",
            board.name, board.description, board.arch, board.proven
        );
        assert!(
            readme.lines().any(|l| l == row),
            "the README's table of boards must have this line:\n{row}"
        );
    }
}

#[test]
fn what_an_owner_must_bring_is_told_once_with_all_its_places() {
    let needs = find("odroid-c2").unwrap().needs();
    let places: Vec<_> = needs
        .iter()
        .map(|n| (n.file.as_str(), &n.offsets[..]))
        .collect();
    assert_eq!(
        places,
        [
            ("bl1.bin.hardkernel", &[0, 512][..]),
            ("u-boot.gxbb", &[49_664])
        ]
    );
    assert!(needs.iter().all(|n| n.from.contains("Hardkernel")));
    assert!(find("rpi64").unwrap().needs().is_empty());
}

#[test]
fn an_owners_kernel_takes_the_place_of_the_boards() {
    let board = find("qemu-arm64").unwrap();
    let own = board.packages.clone();
    let less = board
        .clone()
        .without(&[own[0].clone(), "nano-tiny".to_owned()]);
    assert_eq!(less.packages, own[1..]);
    assert_eq!(board.without(&[]).packages, own);
}
