//! What goes with an image: the release, the tests to validate a card with, and the papers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Request, agent};
use crate::bake::{Baked, expectations};
use crate::files;
use crate::image::output::papers;
use crate::lock::LockedPackage;
use crate::release::Release;
use crate::sha256::Sha256;

/// The files beside the image: the release, the tests to validate a card with, and the papers, of which the manifest lists all.
pub(super) fn beside(
    request: &Request<'_>,
    baked: &Baked,
    release: &Release,
    stem: &str,
    epoch: u64,
    images: &[PathBuf],
) -> Result<Vec<PathBuf>> {
    let version = &request.version;
    let mut made = vec![
        request.out.join(&release.index_name),
        release.payload.clone(),
    ];
    made.extend(release.deltas.iter().cloned());
    let tests = request.out.join(format!("{stem}.selftest.yaml"));
    files::replace(&tests, &baked.root.read(expectations::PATH)?)?;
    made.push(tests);
    let sbom = request.out.join(format!("{stem}.spdx.json"));
    let facts = Papers::of(request)?;
    files::replace(
        &sbom,
        &papers::sbom(&facts.facts(request, epoch, &version.to_string()))?,
    )?;
    made.push(sbom);
    let manifest = request.out.join(format!("{stem}.manifest.json"));
    let listed = images
        .iter()
        .chain(&made)
        .filter(|p| p.extension().is_none_or(|e| e != "img"))
        .map(|p| listed(p))
        .collect::<Result<Vec<_>>>()?;
    files::replace(
        &manifest,
        &papers::manifest(&facts.facts(request, epoch, &version.to_string()), &listed)?,
    )?;
    made.push(manifest);
    Ok(made)
}

/// Name, SHA-256 and length of a finished file. The raw image is left out of manifests: its segments are in the index.
fn listed(path: &Path) -> Result<(String, Sha256, u64)> {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .context("made from a name")?
        .to_owned();
    let (hash, len) = Sha256::of_file(path)?;
    Ok((name, hash, len))
}

/// What the papers need in their own words.
struct Papers {
    packages: Vec<papers::Package>,
    boot: Vec<papers::Package>,
    agent: String,
}

impl Papers {
    fn of(request: &Request<'_>) -> Result<Self> {
        let rows = |packages: &[LockedPackage]| -> Vec<papers::Package> {
            let row = |p: &LockedPackage| papers::Package {
                name: p.name.clone(),
                version: p.version.clone(),
                arch: p.arch.clone(),
                source: p.source.clone(),
                sha256: p.sha256,
                size: p.size,
            };
            packages.iter().map(row).collect()
        };
        let lock = &request.tree.lock;
        let agent = blake3::hash(&agent(&request.agent)?.read()?)
            .to_hex()
            .to_string();
        Ok(Self {
            packages: rows(&lock.packages),
            boot: rows(&lock.boot_packages),
            agent,
        })
    }

    fn facts<'a>(
        &'a self,
        request: &'a Request<'_>,
        created: u64,
        version: &'a str,
    ) -> papers::Facts<'a> {
        papers::Facts {
            board: &request.board.name,
            version,
            suite: &request.tree.lock.suite,
            created,
            kernel: &request.tree.kernel_version,
            packages: &self.packages,
            boot_packages: &self.boot,
            agent: &self.agent,
        }
    }
}
