//! Images that keep the layout of another one.

use super::*;

fn files(rows: &[(&str, usize, u8)]) -> Tree {
    let mut tree = Tree::new(EPOCH);
    for (path, size, with) in rows {
        tree.insert_bytes(path, 0o644, vec![*with; *size]).unwrap();
    }
    tree
}

fn after(tree: &Tree, before: Option<&Layout>) -> (Vec<u8>, Layout) {
    let options = Options {
        last: &["last"],
        before,
        ..OPTIONS
    };
    let volume = plan(tree, options).unwrap();
    let bytes = volume.bytes(0, usize::try_from(volume.size()).unwrap());
    let layout = Layout::of(&read::Erofs::open(&volume).unwrap());
    (bytes.unwrap(), layout)
}

#[test]
fn what_did_not_change_keeps_its_place_and_the_same_layout_gives_the_same_image() {
    let old: &[(&str, usize, u8)] = &[
        ("a/one", 300, 1),
        ("b/big", 900_000, 2),
        ("b/gone", 40_000, 3),
        ("c/grows", 9_000, 4),
        ("c/small", 700, 5),
        ("d/end", 300_001, 6),
        ("last", 50_000, 7),
    ];
    let (_, layout) = after(&files(old), None);
    let mut new: Vec<_> = old.iter().copied().filter(|r| r.0 != "b/gone").collect();
    new.extend([
        ("a/new", 20_000, 8),
        ("a/tiny", 5, 9),
        ("e/deep/er", 4_000, 10),
    ]);
    for row in &mut new {
        match row.0 {
            "c/grows" => row.1 = 90_000,
            "c/small" => row.1 = 2_900,
            "last" => row.1 = 60_000,
            _ => {}
        }
    }
    let tree = files(&new);
    let (image, next) = after(&tree, Some(&layout));
    for path in ["b/big", "d/end", "a/one"] {
        let path = path.as_bytes();
        assert_eq!(next.get(path), layout.get(path), "/{}", show(path));
    }
    // the gap that a file left is filled: by new inodes first, then by new data
    let gap = layout.get(b"b/gone").unwrap();
    let gap = gap.body..gap.body + gap.body_len;
    let fills = next.get(b"a/new").unwrap();
    assert!(
        gap.contains(&fills.body) && fills.body + fills.body_len <= gap.end,
        "{fills:?} is not in {gap:?}"
    );
    let erofs = read::Erofs::open(&image[..]).unwrap();
    for (path, size, with) in &new {
        assert_eq!(erofs.read(path).unwrap(), vec![*with; *size], "/{path}");
    }
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("i");
    replace(&file, &image).unwrap();
    let text = tool(
        "fsck.erofs",
        "erofs-utils",
        &["-d3", file.to_str().unwrap()],
    );
    assert!(text.contains("No error"), "{text}");
    // what `verify` does
    assert!(after(&tree, Some(&next)).0 == image);
}

/// Changes a spot, given that of another file and that of the root.
type Lie = fn(&mut layout::Spot, layout::Spot, layout::Spot);

#[test]
fn a_layout_that_cannot_be_is_not_followed() {
    let rows: &[(&str, usize, u8)] = &[("a", 9_000, 1), ("b", 9_000, 2), ("c", 700, 3)];
    let tree = files(rows);
    let (fresh, honest) = after(&tree, None);
    let (a, root) = (*honest.get(b"a").unwrap(), *honest.get(b"").unwrap());
    let lies: [(&str, Lie); 7] = [
        ("data on another's data", |b, a, _| b.body = a.body),
        ("data within another's", |b, a, _| b.body = a.body + BLOCK),
        ("an inode on the super block", |b, _, _| b.at = 1024),
        ("an inode on the root's", |b, _, root| b.at = root.at),
        ("an inode between two", |b, _, _| b.at += 7),
        ("an inode over a block's end", |b, _, _| {
            b.at = 5 * BLOCK - 32;
        }),
        ("data at the end of the world", |b, _, _| {
            b.body = u64::MAX / BLOCK * BLOCK;
        }),
    ];
    for (danger, lie) in lies {
        let mut spots = honest.clone();
        lie(spots.get_mut(b"b"), a, root);
        let (image, _) = after(&tree, Some(&spots));
        let erofs = read::Erofs::open(&image[..]).unwrap();
        for (path, size, with) in rows {
            assert_eq!(
                erofs.read(path).unwrap(),
                vec![*with; *size],
                "{danger}: /{path}"
            );
        }
        assert!(
            image.len() < fresh.len() * 2,
            "{danger}: {} bytes",
            image.len()
        );
    }
}

#[test]
fn a_layout_that_wastes_much_is_given_up() {
    let many: Vec<_> = (0..40).map(|n| (format!("f{n:02}"), 50_000, 1)).collect();
    let rows = |all: &[(String, usize, u8)]| {
        let rows: Vec<_> = all.iter().map(|(p, s, w)| (p.as_str(), *s, *w)).collect();
        files(&rows)
    };
    let (_, layout) = after(&rows(&many), None);
    let few = rows(&many[20..]);
    assert!(after(&few, Some(&layout)).0 == after(&few, None).0);
}
