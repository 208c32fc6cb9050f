//! Owns the reading of container images that a recipe brings: OCI image layouts (OCI image-spec 1.1, image-layout.md), as a folder
//! or as one tar, as `skopeo copy` and `docker save` (25 and newer) write them.
//!
//! A layout is content-addressed: `index.json` names everything in it by its SHA-256, so the hash of that file is the hash of all.
//! Whatever is read is compared with the name it was found by.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::Deserialize;

use crate::arch::Arch;
use crate::sha256::{Hasher, Sha256};
use crate::tree::{Content, PackedFile};

#[cfg(test)]
pub(crate) mod tests;

/// Indexes and manifests are small (the distribution-spec lets registries refuse more).
const JSON_MAX: u64 = 4 << 20;
/// Indexes in indexes.
const DEPTH: usize = 4;
/// Files of one layout.
const FILES: usize = 20_000;

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct ContainerError {
    origin: String,
    reason: String,
}

/// A layout, open.
#[derive(Debug)]
pub struct Layout {
    origin: String,
    files: BTreeMap<String, Content>,
}

/// A file of a layout, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its hash, hexadecimal.
    pub sha256: Sha256,
    /// What it says it is.
    pub media_type: String,
    /// What it holds.
    pub content: Content,
}

/// One image of a layout.
#[derive(Debug)]
pub struct Image {
    /// What names the other two.
    pub manifest: Blob,
    /// What it runs; its hash is the image's id to Docker.
    pub config: Blob,
    /// Its layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// OCI image-spec, descriptor.md.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.variant)
    }
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: Platform,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Layout {
    /// Opens a folder, or a tar of one.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        let origin = path.display().to_string();
        let wrong = |reason: String| ContainerError {
            origin: origin.clone(),
            reason,
        };
        let meta = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
        let files = if meta.is_dir() {
            folder(path)
        } else {
            archive(path)
        };
        let layout = Self {
            files: files.map_err(wrong)?,
            origin,
        };
        if !layout.files.contains_key("index.json") {
            return Err(layout.wrong(
                "this is no OCI image layout (it has no index.json); make one with `skopeo copy docker://NAME oci:FOLDER:NAME`, or `docker \
                 save` of Docker 25 or newer",
            ));
        }
        Ok(layout)
    }

    /// The hash of everything in it.
    pub fn sha256(&self) -> Result<Sha256, ContainerError> {
        let index = self.file("index.json", JSON_MAX)?;
        Ok(Sha256::of(&index))
    }

    /// The image for the boards of an architecture.
    pub fn image(&self, arch: Arch) -> Result<Image, ContainerError> {
        let index: Index = self.json(&self.file("index.json", JSON_MAX)?, "index.json")?;
        let mut found = Vec::new();
        self.leaves(&index, 0, &mut found)?;
        let rank = |(platform, _): &(Platform, Descriptor)| fits(platform, arch);
        let best = found.iter().filter_map(rank).max();
        let all: Vec<&(Platform, Descriptor)> = found
            .iter()
            .filter(|leaf| best.is_some() && rank(leaf) == best)
            .collect();
        match all.as_slice() {
            [(_, manifest)] => self.whole(manifest),
            [] => {
                let there: Vec<String> = found.iter().map(|(p, _)| p.to_string()).collect();
                Err(self.wrong(&format!(
                    "it has no image for {arch}, only {}; take the one of the board's platform (skopeo copy --override-arch)",
                    there.join(", ")
                )))
            }
            [(platform, _), ..] => Err(self.wrong(&format!(
                "it has {} images for {platform}; a layout brings one",
                all.len()
            ))),
        }
    }

    /// Every image below an index, with what it runs on.
    fn leaves(
        &self,
        index: &Index,
        depth: usize,
        found: &mut Vec<(Platform, Descriptor)>,
    ) -> Result<(), ContainerError> {
        if depth == DEPTH || found.len() + index.manifests.len() > 1000 {
            return Err(self.wrong("its indexes lead too deep"));
        }
        for entry in &index.manifests {
            let kind = entry.media_type.as_str();
            if kind.ends_with("image.index.v1+json") || kind.ends_with("manifest.list.v2+json") {
                let inner = self.blob(entry)?;
                let bytes = self.verified(&inner, JSON_MAX)?;
                self.leaves(&self.json(&bytes, &entry.digest)?, depth + 1, found)?;
            } else if kind.ends_with("image.manifest.v1+json")
                || kind.ends_with("distribution.manifest.v2+json")
            {
                let platform = match &entry.platform {
                    Some(platform) => platform.clone(),
                    // What builds record beside an image lies in the index of a registry alone, and is not copied with it.
                    None => self.config_of(entry)?.1.platform,
                };
                found.push((platform, entry.clone()));
            }
        }
        Ok(())
    }

    fn config_of(&self, manifest: &Descriptor) -> Result<(Manifest, Config), ContainerError> {
        let bytes = self.verified(&self.blob(manifest)?, JSON_MAX)?;
        let read: Manifest = self.json(&bytes, &manifest.digest)?;
        let bytes = self.verified(&self.blob(&read.config)?, JSON_MAX)?;
        let config = self.json(&bytes, &read.config.digest)?;
        Ok((read, config))
    }

    /// An image with all its files, each compared with its name.
    fn whole(&self, manifest: &Descriptor) -> Result<Image, ContainerError> {
        let (read, config) = self.config_of(manifest)?;
        if config.rootfs.diff_ids.len() != read.layers.len() {
            return Err(self.wrong(&format!(
                "the image has {} layers, and its configuration tells of {}",
                read.layers.len(),
                config.rootfs.diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for layer in &read.layers {
            let known = ["tar", "tar+gzip", "tar+zstd", "tar.gzip"];
            if !known.iter().any(|k| layer.media_type.ends_with(k)) {
                return Err(self.wrong(&format!(
                    "Docker cannot load a layer of the kind {:?}",
                    layer.media_type
                )));
            }
            let blob = self.blob(layer)?;
            self.compare(&blob)?;
            layers.push(blob);
        }
        Ok(Image {
            manifest: self.blob(manifest)?,
            config: self.blob(&read.config)?,
            layers,
        })
    }

    /// A file by its descriptor, not compared yet.
    fn blob(&self, of: &Descriptor) -> Result<Blob, ContainerError> {
        let hex = of.digest.strip_prefix("sha256:").unwrap_or_default();
        let sha256 = Sha256::parse(hex).map_err(|e| self.wrong(&e.to_string()))?;
        let Some(content) = self.files.get(&format!("blobs/sha256/{sha256}")) else {
            return Err(self.wrong(&format!(
                "blobs/sha256/{sha256} is not in it: the layout is not whole (a layer that may not be handed on?)"
            )));
        };
        if content.len() != of.size {
            return Err(self.wrong(&format!(
                "blobs/sha256/{sha256} has {} bytes and should have {}",
                content.len(),
                of.size
            )));
        }
        Ok(Blob {
            sha256,
            media_type: of.media_type.clone(),
            content: content.clone(),
        })
    }

    fn verified(&self, blob: &Blob, most: u64) -> Result<Arc<[u8]>, ContainerError> {
        let bytes = self.file(&format!("blobs/sha256/{}", blob.sha256), most)?;
        if Sha256::of(&bytes) == blob.sha256 {
            return Ok(bytes);
        }
        Err(self.damaged(blob))
    }

    /// Whether a file of any size is what its name says.
    fn compare(&self, blob: &Blob) -> Result<(), ContainerError> {
        let mut hash = Hasher::default();
        blob.content
            .chunks(|bytes| hash.update(bytes))
            .map_err(|e| self.wrong(&format!("{e:#}")))?;
        if hash.done() == blob.sha256 {
            return Ok(());
        }
        Err(self.damaged(blob))
    }

    fn damaged(&self, blob: &Blob) -> ContainerError {
        self.wrong(&format!(
            "blobs/sha256/{} is damaged: it has another hash than its name",
            blob.sha256
        ))
    }

    fn file(&self, name: &str, most: u64) -> Result<Arc<[u8]>, ContainerError> {
        let content = self.files.get(name);
        let content = content.ok_or_else(|| self.wrong(&format!("it has no {name}")))?;
        if content.len() > most {
            return Err(self.wrong(&format!(
                "{name} has {} bytes; at most {most}",
                content.len()
            )));
        }
        content.read().map_err(|e| self.wrong(&format!("{e:#}")))
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        bytes: &[u8],
        what: &str,
    ) -> Result<T, ContainerError> {
        serde_json::from_slice(bytes).map_err(|e| self.wrong(&format!("{what}: {e}")))
    }

    fn wrong(&self, reason: &str) -> ContainerError {
        ContainerError {
            origin: self.origin.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// How well programs of a platform run on an architecture; `None` if they do not. Of several the one that uses more of the
/// processor is the better.
fn fits(platform: &Platform, arch: Arch) -> Option<u8> {
    if platform.os != "linux" {
        return None;
    }
    let variant = platform.variant.trim_start_matches('v');
    // Without a word, arm means the seventh (containerd's platforms.Normalize).
    let level: u8 = match (platform.architecture.as_str(), variant) {
        ("arm", "") => 7,
        (_, text) => text.parse().unwrap_or(0),
    };
    match (arch, platform.architecture.as_str()) {
        // armel is the architecture of boards with an ARMv6 here.
        (Arch::Armel, "arm") => (level <= 6).then_some(level),
        (Arch::Armhf, "arm") => (level <= 7).then_some(level),
        (Arch::Arm64, "arm64")
        | (Arch::Amd64, "amd64")
        | (Arch::I386, "386")
        | (Arch::Riscv64, "riscv64") => Some(level),
        _ => None,
    }
}

/// The files of a folder that a layout may have.
fn folder(dir: &Path) -> Result<BTreeMap<String, Content>, String> {
    let mut files = BTreeMap::new();
    let mut todo = vec![(dir.to_owned(), String::new())];
    while let Some((at, name)) = todo.pop() {
        for entry in std::fs::read_dir(&at).map_err(|e| format!("{}: {e}", at.display()))? {
            let entry = entry.map_err(|e| e.to_string())?;
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let name = if name.is_empty() {
                own
            } else {
                format!("{name}/{own}")
            };
            let meta = std::fs::metadata(entry.path()).map_err(|e| format!("{name}: {e}"))?;
            // index.json, blobs/ALGORITHM/HASH
            if meta.is_dir() && name.matches('/').count() < 2 {
                todo.push((entry.path(), name));
            } else if meta.is_file() {
                let content = Content::Host {
                    path: entry.path().into(),
                    len: meta.len(),
                };
                files.insert(name, content);
            }
            if files.len() > FILES {
                return Err(format!("it has more than {FILES} files"));
            }
        }
    }
    Ok(files)
}

/// The files of a tar, where they lie in it.
fn archive(path: &Path) -> Result<BTreeMap<String, Content>, String> {
    let file = Arc::new(PackedFile::open(path).map_err(|e| format!("{e:#}"))?);
    let plain = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut tar = tar::Archive::new(std::io::BufReader::new(plain));
    let mut files = BTreeMap::new();
    let no_tar = |e: std::io::Error| {
        format!("it is neither a folder nor a tar ({e}); a compressed one must be unpacked before")
    };
    for entry in tar.entries_with_seek().map_err(no_tar)? {
        let entry = entry.map_err(no_tar)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(no_tar)?;
        let parts = name.components().filter(|c| *c != Component::CurDir);
        let name = parts.collect::<std::path::PathBuf>();
        let Some(name) = name.to_str() else { continue };
        let content = Content::Packed {
            file: file.clone(),
            at: entry.raw_file_position(),
            len: entry.size(),
        };
        files.insert(name.to_owned(), content);
        if files.len() > FILES {
            return Err(format!("it has more than {FILES} files"));
        }
    }
    Ok(files)
}
