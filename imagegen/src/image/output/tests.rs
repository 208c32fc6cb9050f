//! What comes out of every form is the image that went in.

use super::papers::{Facts, Package};
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::formats::{Blocks, pass};
use crate::image::card::{Card, volumes};
use crate::release::{self, Spec};
use crate::sha256::Sha256;
use crate::testing::tool;
use crate::tree::Content;

/// 5 MiB and a bit: nothing, noise, text, nothing.
fn picture() -> Vec<u8> {
    let mut bytes = vec![0; (5 << 20) + 777];
    let mut state = 1u32;
    for b in &mut bytes[1 << 20..(2 << 20) + 5] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *b = state.to_le_bytes()[3];
    }
    for (n, b) in bytes[3 << 20..4 << 20].iter_mut().enumerate() {
        *b = b"HypriotOS "[n % 10];
    }
    bytes
}

#[test]
fn unzip_gives_the_image_and_cores_do_not_show() {
    let work = tempfile::tempdir().unwrap();
    let (one, two) = (work.path().join("one.zip"), work.path().join("two.zip"));
    let picture = picture();
    super::zip::write(&picture[..], "x.img", 1_700_000_000, 6, 1, &one).unwrap();
    super::zip::write(&picture[..], "x.img", 1_700_000_000, 6, 3, &two).unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert!(std::fs::metadata(&one).unwrap().len() < 1_200_000);
    tool("unzip", "unzip", &["-tq", one.to_str().unwrap()]);
    tool(
        "unzip",
        "unzip",
        &[
            "-q",
            one.to_str().unwrap(),
            "-d",
            work.path().to_str().unwrap(),
        ],
    );
    assert!(std::fs::read(work.path().join("x.img")).unwrap() == picture);
    super::zip::checksum(&one).unwrap();
    let text = std::fs::read_to_string(work.path().join("one.zip.sha256")).unwrap();
    assert_eq!(
        text,
        format!("{}  one.zip\n", Sha256::of(&std::fs::read(&one).unwrap()))
    );
}

#[test]
fn zstd_gives_the_card_out_of_the_payload() {
    let work = tempfile::tempdir().unwrap();
    let agent: Vec<u8> = picture();
    let baked = bake_with(&board(PLAIN), "1.0.0", |i| {
        i.agent = Content::Bytes(agent.into());
    })
    .unwrap();
    let volumes = volumes(&baked, "x", "1.0.0", None).unwrap();
    let version = "1.0.0".parse().unwrap();
    let spec = Spec {
        board: "x",
        version: &version,
        state_version: 0,
        created: 1,
        level: 3,
        threads: 2,
        bases: &[],
    };
    let made = release::make(&volumes, &spec, work.path(), |_, _, _| Ok(())).unwrap();
    let card = Card::plan(&volumes, &[], 1).unwrap();
    let to = work.path().join("x.zst");
    super::zst::write(&card, made.frames(), 3, 2, &to).unwrap();
    let mut plain = zstd::stream::read::Decoder::new(std::fs::File::open(&to).unwrap()).unwrap();
    let mut at = 0;
    let mut theirs = vec![0; 1 << 20];
    while at < card.size() {
        let len = usize::try_from((card.size() - at).min(1 << 20)).unwrap();
        std::io::Read::read_exact(&mut plain, &mut theirs[..len]).unwrap();
        assert!(card.bytes(at, len).unwrap() == theirs[..len], "at {at}");
        at += len as u64;
    }
    assert_eq!(std::io::Read::read(&mut plain, &mut theirs).unwrap(), 0);
}

#[test]
fn a_bmap_covers_everything_that_is_not_zero() {
    let work = tempfile::tempdir().unwrap();
    let mut picture = picture();
    picture.resize(6 << 20, 0);
    let mapped = [(1 << 20, (1 << 20) + 4096), (3 << 20, 1 << 20)];
    let to = work.path().join("x.bmap");
    super::bmap::write(&picture[..], &mapped, 2, &to).unwrap();
    let text = std::fs::read_to_string(&to).unwrap();
    assert!(
        text.contains("<MappedBlocksCount> 513 </MappedBlocksCount>")
            && text.contains(">256-512</Range>"),
        "{text}"
    );
    let mut left = picture.clone();
    for line in text.lines().filter(|l| l.contains("<Range")) {
        let parts: Vec<&str> = line
            .split(['"', '>', '<', '-'])
            .filter(|p| !p.trim().is_empty())
            .collect();
        let (hash, first, last): (&str, usize, usize) = (
            parts[1],
            parts[2].parse().unwrap(),
            parts[3].parse().unwrap(),
        );
        assert_eq!(
            hash,
            Sha256::of(&picture[first * 4096..(last + 1) * 4096]).to_string()
        );
        left[first * 4096..(last + 1) * 4096].fill(0);
    }
    assert!(pass::is_zero(&left));
    let own = text.split("<BmapFileChecksum> ").nth(1).unwrap()[..64].to_owned();
    assert_eq!(
        own,
        Sha256::of(text.replacen(&own, &"0".repeat(64), 1).as_bytes()).to_string()
    );
}

#[test]
fn papers_name_every_package_once() {
    let package = |name: &str, version: &str| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "arm64".to_owned(),
        source: name.to_owned(),
        sha256: Sha256::of(b""),
        size: 1,
    };
    let packages = [
        package("libstdc++6", "14.2.0-19"),
        package("docker.io", "26.1.5+dfsg1-9+b1"),
        package("a", "1:2~3"),
        package("a-", "1-2-3"),
    ];
    let facts = Facts {
        board: "x",
        version: "1.0.0",
        suite: "trixie",
        created: 1_700_000_000,
        kernel: "6.12",
        packages: &packages,
        boot_packages: &[],
        agent: "ff",
    };
    let sbom: serde_json::Value =
        serde_json::from_slice(&super::papers::sbom(&facts).unwrap()).unwrap();
    let ids: std::collections::BTreeSet<&str> = sbom["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["SPDXID"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), packages.len() + 1);
    for id in &ids {
        assert!(
            id.strip_prefix("SPDXRef-")
                .unwrap()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)),
            "{id}"
        );
    }
    for relation in sbom["relationships"].as_array().unwrap() {
        let target = relation["relatedSpdxElement"].as_str().unwrap();
        assert!(ids.contains(target), "{target}");
    }
    assert_eq!(
        sbom["packages"][1]["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=arm64&distro=trixie"
    );
    assert_eq!(
        super::papers::sbom(&facts).unwrap(),
        super::papers::sbom(&facts).unwrap()
    );
    let manifest: serde_json::Value = serde_json::from_slice(
        &super::papers::manifest(&facts, &[("f".to_owned(), Sha256::of(b""), 1)]).unwrap(),
    )
    .unwrap();
    assert_eq!(manifest["packages"].as_array().unwrap().len(), 4);
}
