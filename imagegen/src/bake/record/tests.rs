//! The record reads back as it was written, and names what is other.

use super::*;
use crate::bake::tests::{PLAIN, board};
use crate::sha256::Sha256;

fn record() -> Record {
    Record {
        format: Record::format(),
        board: "x".to_owned(),
        version: "1.0.0".to_owned(),
        suite: "trixie".to_owned(),
        epoch: 1_700_000_000,
        kernel: "6.12.1-arm64".to_owned(),
        update_url: Some("http://updates/".to_owned()),
        poll_seconds: None,
        layout: Some(Laid {
            version: "0.9.0".to_owned(),
            content: "00".repeat(32),
        }),
        builder: Builder::this(&board(PLAIN), "native", 6).unwrap(),
        recipe: crate::inputs::recipe::load(None).unwrap(),
        recipe_files: None,
        agent: Hash::of(b"agent"),
        trust_root: Some(Hash::of(b"{}")),
        user_data: None,
        overlays: vec![Hash::of(b"units").named("systemd")],
        blobs: vec![Hash::of(b"bl1").named("bl1.bin")],
    }
}

#[test]
fn a_record_reads_back_and_has_no_folder_of_the_builder_in_it() {
    let mut with_files = record();
    with_files.recipe.files = Some("/home/somebody/files".into());
    let text = with_files.to_text().unwrap();
    assert!(!text.contains("somebody"), "{text}");
    let back = parse(text.as_bytes()).unwrap();
    assert_eq!(back.to_text().unwrap(), text);
    assert_eq!(others(&with_files, &back), []);
}

#[test]
fn records_of_other_formats_and_other_things_are_refused() {
    let text = record().to_text().unwrap();
    for (danger, bad, says) in [
        (
            "later format",
            text.replacen("format = 1", "format = 2", 1),
            "format is 2",
        ),
        (
            "unknown key",
            text.replacen("format = 1", "format = 1\ncolour = 1", 1),
            "colour",
        ),
        ("nothing", String::new(), "format"),
    ] {
        let e = format!("{:#}", parse(bad.as_bytes()).unwrap_err());
        assert!(e.contains(says), "{danger}: {e}");
    }
    assert!(parse(&[0xFF]).is_err());
}

#[test]
fn every_input_that_is_other_is_named() {
    type Change = fn(&mut Record);
    let rows: [(&str, Change); 9] = [
        ("builder's way to a tree", |r| r.builder.tree += 1),
        ("files compiled into the builder", |r| {
            r.builder.embedded = Sha256::of(b"another");
        }),
        ("agent", |r| r.agent = Hash::of(b"other")),
        ("trust root", |r| r.trust_root = None),
        ("user-data", |r| r.user_data = Some(Hash::of(b"mine"))),
        ("files of the recipe", |r| {
            r.recipe_files = Some(Hash::of(b"x"));
        }),
        ("overlay systemd", |r| {
            r.overlays[0].sha256 = Sha256::of(b"another");
        }),
        ("overlay more", |r| {
            r.overlays.push(Hash::of(b"").named("more"));
        }),
        ("blob bl1.bin", |r| r.blobs.clear()),
    ];
    for (input, change) in rows {
        let mut now = record();
        change(&mut now);
        let found = others(&record(), &now);
        let names: Vec<&str> = found.iter().map(|o| o.input.as_str()).collect();
        assert_eq!(names, [input]);
    }
}

type Edit = fn(&mut Tree) -> Result<()>;

#[test]
fn a_folder_has_one_hash_whatever_its_dates_and_another_for_every_change() {
    let tree = |epoch| {
        let mut tree = Tree::new(epoch);
        tree.insert_bytes("etc/a", 0o644, "text").unwrap();
        tree.insert_symlink("etc/b", "a").unwrap();
        tree
    };
    let first = Hash::of_tree(&tree(1)).unwrap();
    assert_eq!((first.size, &first), (4, &Hash::of_tree(&tree(2)).unwrap()));
    let rows: [Edit; 5] = [
        |t| t.insert_bytes("etc/a", 0o755, "text"),
        |t| t.insert_bytes("etc/a", 0o644, "texT"),
        |t| t.insert_symlink("etc/b", "c"),
        |t| t.insert_dir("etc/c", 0o755),
        |t| t.remove("etc/b").map(drop),
    ];
    for (n, change) in rows.into_iter().enumerate() {
        let mut other = tree(1);
        change(&mut other).unwrap();
        assert_ne!(first, Hash::of_tree(&other).unwrap(), "row {n}");
    }
}
