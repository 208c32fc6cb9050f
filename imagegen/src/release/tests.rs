//! Releases: what a board gets out of them, and that nothing but the input shows in them.

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::image::card::volumes;
use crate::tree::Content;

pub(crate) fn make_in(dir: &Path, version: &str, agent: &str, threads: usize) -> Release {
    let agent: Vec<u8> = agent.bytes().cycle().take(3 << 20).collect();
    make_with(dir, version, agent, threads, &[])
}

fn make_with(
    dir: &Path,
    version: &str,
    agent: Vec<u8>,
    threads: usize,
    bases: &[PathBuf],
) -> Release {
    let baked = bake_with(&board(PLAIN), version, |i| {
        i.agent = Content::Bytes(agent.into());
    })
    .unwrap();
    let after = bases.first().and_then(|index| After::of(index).unwrap());
    let layout = after.map(|a| a.layout);
    let version = version.parse().unwrap();
    let spec = Spec {
        board: "x",
        version: &version,
        state_version: 0,
        created: 1_700_000_000,
        level: LEVEL,
        threads,
        bases,
    };
    make(
        &volumes(&baked, "x", &version.to_string(), layout.as_ref()).unwrap(),
        &spec,
        dir,
        |_, _, _| Ok(()),
    )
    .unwrap()
}

#[test]
fn a_board_gets_exactly_the_images() {
    let work = tempfile::tempdir().unwrap();
    let release = make_in(work.path(), "1.0.0", "agent", 2);
    let total = verify(work.path(), &release.index_bytes).unwrap();
    assert_eq!(
        total,
        release.index.images.iter().map(|i| i.size).sum::<u64>()
    );
    assert_eq!(Index::parse(&release.index_bytes).unwrap(), release.index);
    assert_eq!(release.index_name, "hypriotos-x-1.0.0.json");
}

#[test]
fn cores_and_earlier_releases_do_not_show() {
    let (cold, warm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = make_in(cold.path(), "2.0.0", "agent two", 1);
    assert_eq!(a.reused, 0);
    make_in(warm.path(), "1.0.0", "agent one", 2);
    make_in(warm.path(), "2.0.0", "agent two", 2);
    let b = make_in(warm.path(), "2.0.0", "agent two", 2);
    assert!(b.reused > 0);
    assert_eq!(a.index_bytes, b.index_bytes);
    assert_eq!(
        std::fs::read(a.payload).unwrap(),
        std::fs::read(b.payload).unwrap()
    );
}

#[test]
fn a_damaged_earlier_release_is_not_used() {
    let work = tempfile::tempdir().unwrap();
    let a = make_in(work.path(), "1.0.0", "agent", 2);
    let good = std::fs::read(&a.payload).unwrap();
    let mut bad = good.clone();
    let table = usize::try_from(a.index.payloads[0].table_size).unwrap();
    for byte in &mut bad[table..] {
        *byte ^= 0x55;
    }
    files::replace(&a.payload, &bad).unwrap();
    let e = verify(work.path(), &a.index_bytes).unwrap_err().to_string();
    assert!(e.contains("segment"), "{e}");
    let b = make_in(work.path(), "1.0.0", "agent", 2);
    assert_eq!(b.reused, 0);
    assert_eq!(std::fs::read(&b.payload).unwrap(), good);
}

#[test]
fn another_encoder_is_not_reused() {
    let work = tempfile::tempdir().unwrap();
    make_in(work.path(), "1.0.0", "agent", 2);
    files::replace(&work.path().join("hypriotos-x-1.0.0.encoder"), b"zstd 0").unwrap();
    assert_eq!(make_in(work.path(), "1.0.0", "agent", 2).reused, 0);
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut x = seed;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_delta_costs_what_changed_and_gives_the_same_slot() {
    let work = tempfile::tempdir().unwrap();
    let old = noise(1, 5 << 20);
    // a page is inserted, a few bytes change far behind it: nothing lies on its block any more
    let mut new = old.clone();
    new.splice((1 << 20)..(1 << 20), noise(2, 1000));
    new[3 << 20..][..16].fill(7);
    make_with(work.path(), "1.0.0", old, 2, &[]);
    let version = "1.1.0".parse().unwrap();
    let bases = earlier_of(work.path(), "x", &version, DELTAS);
    assert_eq!(bases, [work.path().join("hypriotos-x-1.0.0.json")]);
    let release = make_with(work.path(), "1.1.0", new.clone(), 2, &bases);
    verify(work.path(), &release.index_bytes).unwrap();
    let [full, delta] = &release.index.payloads[..] else {
        panic!("{:?}", release.index.payloads)
    };
    assert!(full.size > 5 << 20, "{}", full.size);
    assert!(delta.size < 40 << 10, "{}", delta.size);

    let base = Base::open(&bases[0], work.path()).unwrap();
    assert_eq!(delta.base.as_ref().unwrap().content, base.content);
    assert_eq!(
        applied(work.path(), &release.index, delta, &base).unwrap(),
        release.index.content()
    );
    // nothing but the input shows in it
    let again = make_with(work.path(), "1.1.0", new, 1, &bases);
    assert_eq!(again.index_bytes, release.index_bytes);
}

/// A release of another world: nothing of it is like anything of ours.
fn stranger(dir: &Path, version: &str) -> PathBuf {
    let images = [noise(77, 1 << 20), noise(78, 2 << 20)];
    let segments: Vec<&[u8]> = images.iter().flat_map(|i| i.chunks(1 << 20)).collect();
    let rows: Vec<_> = segments.iter().map(|s| (&Operation::Raw, *s)).collect();
    let stem = format!("hypriotos-x-{version}");
    let full = write_payload(dir, format!("{stem}.payload"), &rows, None).unwrap();
    let image = |target, bytes: &Vec<u8>| Image {
        target,
        size: bytes.len() as u64,
        segments: bytes.chunks(1 << 20).map(SegmentHash::of).collect(),
    };
    let index = Index {
        format: FORMAT.into(),
        board: "x".into(),
        version: version.parse().unwrap(),
        state_version: 0,
        created: Timestamp(0),
        images: vec![
            image(Target::Boot, &images[0]),
            image(Target::Root, &images[1]),
        ],
        payloads: vec![full],
    };
    let path = dir.join(format!("{stem}.json"));
    files::replace(&path, &index.encode().unwrap()).unwrap();
    path
}

#[test]
fn a_delta_that_saves_next_to_nothing_is_not_offered() {
    let work = tempfile::tempdir().unwrap();
    make_with(work.path(), "1.0.0", noise(9, 3 << 20), 2, &[]);
    let alike = work.path().join("hypriotos-x-1.0.0.json");
    let bases = [stranger(work.path(), "0.9.0"), alike];
    let release = make_with(work.path(), "1.1.0", noise(9, 3 << 20), 2, &bases);
    let from: Vec<_> = release.index.payloads.iter().map(|p| &p.base).collect();
    let [None, Some(base)] = from[..] else {
        panic!("the full payload and one delta: {from:?}")
    };
    assert_eq!(base.version.to_string(), "1.0.0");
    assert_eq!(release.deltas.len(), 1);
    let left = work.path().join("hypriotos-x-1.1.0-from-0.9.0.payload");
    assert!(!left.exists());
}
