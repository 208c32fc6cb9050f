//! Tests of [`super`], and the layouts that other tests are given.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn put(dir: &Path, bytes: &[u8], kind: &str) -> Value {
    let sha256 = Sha256::of(bytes);
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    crate::files::replace(&blobs.join(sha256.to_string()), bytes).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{sha256}"), "size": bytes.len() })
}

fn manifest(dir: &Path, architecture: &str, variant: &str) -> Value {
    let layers: Vec<Value> = ["one", "two"]
        .iter()
        .map(|text| {
            put(
                dir,
                format!("{text} {architecture}{variant}").as_bytes(),
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )
        })
        .collect();
    let diffs: Vec<&Value> = layers.iter().map(|l| &l["digest"]).collect();
    let mut config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": diffs } });
    if !variant.is_empty() {
        config["variant"] = variant.into();
    }
    let config = put(
        dir,
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    put(
        dir,
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    )
}

fn index(dir: &Path, manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "manifests": manifests, "x": dir.file_name().unwrap().len() })
}

/// A layout of images for these platforms.
pub(crate) fn of_platforms(dir: &Path, platforms: &[(&str, &str)]) -> PathBuf {
    let at = dir.join(format!("oci-{}", platforms.len()));
    let all: Vec<Value> = platforms.iter().map(|(a, v)| manifest(&at, a, v)).collect();
    crate::files::replace(
        &at.join("index.json"),
        index(&at, &all).to_string().as_bytes(),
    )
    .unwrap();
    at
}

/// A layout of one image.
pub(crate) fn layout(dir: &Path, architecture: &str, variant: &str) -> PathBuf {
    of_platforms(dir, &[(architecture, variant)])
}

fn runs_on(layout: &Path, arch: Arch) -> Result<String, String> {
    let layout = Layout::open(layout).map_err(|e| e.to_string())?;
    let image = layout.image(arch).map_err(|e| e.to_string())?;
    let first = image.layers[0].content.read().unwrap();
    Ok(String::from_utf8_lossy(&first).into_owned())
}

#[test]
fn of_several_images_the_one_that_runs_on_the_board_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let all = of_platforms(
        dir.path(),
        &[("amd64", ""), ("arm", "v6"), ("arm", "v7"), ("arm64", "v8")],
    );
    for (arch, want) in [
        (Arch::Arm64, "one arm64v8"),
        (Arch::Armhf, "one armv7"),
        (Arch::Armel, "one armv6"),
        (Arch::Amd64, "one amd64"),
    ] {
        assert_eq!(runs_on(&all, arch).as_deref(), Ok(want));
    }
    assert!(
        runs_on(&all, Arch::Riscv64)
            .unwrap_err()
            .contains("linux/arm/v6")
    );
    // Without a variant arm means the seventh, which a Pi Zero is not.
    let seventh = layout(dir.path(), "arm", "");
    assert!(runs_on(&seventh, Arch::Armhf).is_ok());
    assert!(runs_on(&seventh, Arch::Armel).is_err());
}

#[test]
fn a_tar_and_an_index_in_an_index_are_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let at = of_platforms(dir.path(), &[("arm", "v7"), ("arm64", "")]);
    let inner = std::fs::read(at.join("index.json")).unwrap();
    let inner = put(&at, &inner, "application/vnd.oci.image.index.v1+json");
    crate::files::replace(
        &at.join("index.json"),
        index(&at, &[inner]).to_string().as_bytes(),
    )
    .unwrap();
    assert_eq!(runs_on(&at, Arch::Arm64).as_deref(), Ok("one arm64"));
    let tar = dir.path().join("image.tar");
    let mut made = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    made.append_dir_all(".", &at).unwrap();
    made.finish().unwrap();
    assert_eq!(runs_on(&tar, Arch::Arm64).as_deref(), Ok("one arm64"));
    let hash = |path: &Path| Layout::open(path).unwrap().sha256().unwrap();
    assert_eq!(hash(&tar), hash(&at));
}

#[test]
fn a_layout_that_is_not_whole_or_not_what_it_says_is_refused() {
    type Damage = fn(&Path);
    let rows: [(&str, Damage, &str); 6] = [
        (
            "a layer is missing",
            |at| std::fs::remove_file(find(at, "two arm64")).unwrap(),
            "not whole",
        ),
        (
            "a layer has other bytes",
            |at| write(&find(at, "two arm64"), b"tow arm64"),
            "damaged",
        ),
        (
            "a layer is shorter",
            |at| write(&find(at, "two arm64"), b"two"),
            "should have",
        ),
        (
            "a manifest has other bytes",
            |at| {
                let path = find(at, "layers\":[{");
                let text = std::fs::read_to_string(&path)
                    .unwrap()
                    .replace("tar+gzip", "tar+gzap");
                write(&path, text.as_bytes());
            },
            "damaged",
        ),
        (
            "no index",
            |at| std::fs::remove_file(at.join("index.json")).unwrap(),
            "no OCI image layout",
        ),
        (
            "an index that is none",
            |at| write(&at.join("index.json"), b"[]"),
            "index.json",
        ),
    ];
    for (danger, damage, says) in rows {
        let dir = tempfile::tempdir().unwrap();
        let at = layout(dir.path(), "arm64", "");
        damage(&at);
        let e = runs_on(&at, Arch::Arm64).expect_err(danger);
        assert!(e.contains(says), "{danger}: {e}");
    }
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("image.tar");
    write(&text, b"no tar at all");
    assert!(
        runs_on(&text, Arch::Arm64)
            .unwrap_err()
            .contains("neither a folder nor a tar")
    );
    let two = of_platforms(dir.path(), &[("arm64", ""), ("arm64", "v8")]);
    assert!(runs_on(&two, Arch::Arm64).is_ok(), "the one that says more");
}

fn write(path: &Path, bytes: &[u8]) {
    crate::files::replace(path, bytes).unwrap();
}

fn find(at: &Path, holds: &str) -> PathBuf {
    let mut all = std::fs::read_dir(at.join("blobs/sha256")).unwrap();
    let found = all.find_map(|e| {
        let path = e.unwrap().path();
        std::fs::read_to_string(&path)
            .unwrap()
            .contains(holds)
            .then_some(path)
    });
    found.unwrap()
}
