//! Releases: what a board gets out of them, and that nothing but the input shows in them.

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::image::card::volumes;
use crate::tree::Content;

pub(crate) fn make_in(dir: &Path, version: &str, agent: &str, threads: usize) -> Release {
    let agent: Vec<u8> = agent.bytes().cycle().take(3 << 20).collect();
    let baked = bake_with(&board(PLAIN), version, |i| {
        i.agent = Content::Bytes(agent.into());
    })
    .unwrap();
    let version = version.parse().unwrap();
    let spec = Spec {
        board: "x",
        version: &version,
        created: 1_700_000_000,
        level: LEVEL,
        threads,
    };
    make(
        &volumes(&baked, "x", &version.to_string()).unwrap(),
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
    let table = payload::table_len(&a.index);
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
