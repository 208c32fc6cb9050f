//! Container images in the root tree, as Docker takes them in without a registry.
//!
//! They lie in the read-only root, so they come with every update and go back with every rollback. For each there is a folder with
//! what names it in both of the forms that `docker load` reads, `manifest.json` (Docker's own store) and an OCI layout (containerd's);
//! the files they name lie once, for all. A unit hands them to Docker, and a self-test says when one is not there.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::arch::Arch;
use crate::inputs::container::{Blob, Image, Layout};
use crate::inputs::recipe::Container;
use crate::tree::Tree;

/// Where they lie.
pub const DIR: &str = "usr/share/hypriot/containers";
const LOAD: &str = include_str!("../../containers/load");
const UNIT: &str = include_str!("../../containers/hypriot-containers.service");

/// Adds the containers of a recipe to what is laid over the tree.
pub(super) fn add(out: &mut Tree, containers: &[Container], arch: Arch) -> Result<()> {
    if containers.is_empty() {
        return Ok(());
    }
    let mut list = String::new();
    let mut tests = String::from("# The containers of the recipe.\ndocker:\n");
    for (n, container) in containers.iter().enumerate() {
        let number = n + 1;
        let name = &container.image;
        let image =
            read(container, arch).with_context(|| format!("the recipe's [[container]] {name}"))?;
        one(out, number, name, &image)?;
        writeln!(list, "{number} {} {name}", image.config.sha256)?;
        // Wanted: what runs on a board is the owner's, and no reason to throw a release away.
        write!(
            tests,
            "  {}:\n    title: the container {name} came with the image\n    exists: true\n    severity: wanted\n    \
             wait-for: {{timeout: 10m, interval: 5s}}\n",
            json!(format!("image:{name}"))
        )?;
    }
    out.insert_bytes(&format!("{DIR}/list"), 0o644, list)?;
    out.insert_bytes("usr/lib/hypriot/load-containers", 0o755, LOAD)?;
    out.insert_bytes(
        "usr/lib/systemd/system/hypriot-containers.service",
        0o644,
        UNIT,
    )?;
    out.insert_bytes(
        "usr/share/hypriot/selftest.d/70-containers.yaml",
        0o644,
        tests,
    )
}

/// The image of a container for the board.
fn read(container: &Container, arch: Arch) -> Result<Image> {
    let from = container.from.as_deref().context("it has no `from`")?;
    let layout = Layout::open(from)?;
    ensure!(
        container.sha256 == Some(layout.sha256()?),
        "{} changed while the image was built",
        from.display()
    );
    Ok(layout.image(arch)?)
}

/// One image: its files beside those of the others, and what names them.
fn one(out: &mut Tree, number: usize, name: &str, image: &Image) -> Result<()> {
    let path = |blob: &Blob| format!("blobs/sha256/{}", blob.sha256);
    let mut blobs = String::new();
    for blob in [&image.manifest, &image.config]
        .into_iter()
        .chain(&image.layers)
    {
        let at = path(blob);
        if !blobs.contains(&at) {
            writeln!(blobs, "{at}")?;
        }
        out.insert_file(&format!("{DIR}/{at}"), 0o644, blob.content.clone())?;
    }
    let layers: Vec<String> = image.layers.iter().map(path).collect();
    let docker = json!([{ "Config": path(&image.config), "RepoTags": [name], "Layers": layers }]);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": image.manifest.media_type,
            "digest": format!("sha256:{}", image.manifest.sha256),
            "size": image.manifest.content.len(),
            // containerd's images/annotations.go; OCI image-spec, annotations.md
            "annotations": { "io.containerd.image.name": whole(name), "org.opencontainers.image.ref.name": tag(name) },
        }],
    });
    for (file, text) in [
        ("blobs", blobs),
        ("manifest.json", format!("{docker}\n")),
        ("index.json", format!("{index}\n")),
        (
            "oci-layout",
            "{\"imageLayoutVersion\":\"1.0.0\"}\n".to_owned(),
        ),
    ] {
        out.insert_bytes(&format!("{DIR}/{number}/{file}"), 0o644, text)?;
    }
    Ok(())
}

fn tag(name: &str) -> &str {
    name.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

/// A name with its registry (distribution's reference/normalize.go).
fn whole(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::container::tests::{layout, of_platforms};

    fn container(from: &std::path::Path, image: &str) -> Container {
        Container {
            image: image.to_owned(),
            from: Some(from.to_owned()),
            sha256: Some(Layout::open(from).unwrap().sha256().unwrap()),
        }
    }

    #[test]
    fn what_docker_is_given_names_every_file_and_each_lies_once() {
        let dir = tempfile::tempdir().unwrap();
        let from = layout(dir.path(), "arm64", "");
        let both = [
            container(&from, "owner/one:1.0"),
            container(&from, "two:latest"),
        ];
        let mut out = Tree::new(0);
        add(&mut out, &both, Arch::Arm64).unwrap();
        let text = |path: &str| String::from_utf8(out.read(path).unwrap().to_vec()).unwrap();
        let list = text(&format!("{DIR}/list"));
        assert_eq!(list.lines().count(), 2);
        let manifest: serde_json::Value =
            serde_json::from_str(&text(&format!("{DIR}/1/manifest.json"))).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "owner/one:1.0");
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        let id = list.split(' ').nth(1).unwrap();
        assert_eq!(manifest[0]["Config"], format!("blobs/sha256/{id}"));
        for path in text(&format!("{DIR}/1/blobs")).lines() {
            assert!(out.read(&format!("{DIR}/{path}")).is_ok(), "{path}");
        }
        let blobs = out.below(format!("{DIR}/blobs/sha256").as_bytes());
        assert_eq!(blobs.count(), 4, "manifest, configuration, two layers");
        let index: serde_json::Value =
            serde_json::from_str(&text(&format!("{DIR}/1/index.json"))).unwrap();
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "docker.io/owner/one:1.0"
        );
        assert!(
            text("usr/share/hypriot/selftest.d/70-containers.yaml")
                .contains("\"image:two:latest\":")
        );
    }

    #[test]
    fn a_container_of_another_processor_or_another_content_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = of_platforms(dir.path(), &[("amd64", "")]);
        let mut given = container(&from, "one:1.0");
        let refused = |given: &Container| {
            let e = add(&mut Tree::new(0), std::slice::from_ref(given), Arch::Arm64);
            format!("{:#}", e.unwrap_err())
        };
        let said = refused(&given);
        assert!(
            said.contains("one:1.0") && said.contains("only linux/amd64"),
            "{said}"
        );
        given.sha256 = Some(crate::sha256::Sha256::of(b"another"));
        assert!(refused(&given).contains("changed"));
    }

    #[test]
    fn names_get_their_registry() {
        for (name, full) in [
            ("nginx:1", "docker.io/library/nginx:1"),
            ("owner/app:1", "docker.io/owner/app:1"),
            ("ghcr.io/owner/app:1", "ghcr.io/owner/app:1"),
            ("localhost/app:1", "localhost/app:1"),
            ("registry:5000/app:1", "registry:5000/app:1"),
        ] {
            assert_eq!(whole(name), full);
        }
    }
}
