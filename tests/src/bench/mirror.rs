//! Owns an archive in a directory: the packages of a lock as apt wants to find them, so that others build from exactly the same
//! versions and nothing is downloaded while a clock runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::lock::Lock;
use hypriot_imagegen::sha256::Sha256;

use crate::exec;

/// Makes the archive in `dir`, which must not exist yet. Every package is read and checked.
pub fn make(lock: &Lock, store: &Store, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut index = String::new();
    for package in &lock.packages {
        let name = &package.name;
        let stored = store
            .get(package.sha256, package.size)
            .with_context(|| format!("{name} is not in the cache any more"))?;
        let (sha256, size) = Sha256::of_file(&stored)?;
        ensure!(
            sha256 == package.sha256,
            "{name} is damaged in the cache: {} has another SHA-256 than the lock says; delete it",
            stored.display()
        );
        let file = format!("{name}_{}.deb", package.arch);
        // A copy: the cache may lead elsewhere by links, which a sandbox does not see.
        fs::copy(&stored, dir.join(&file)).with_context(|| format!("copying {name}"))?;
        let mut deb = exec::command("dpkg-deb");
        deb.arg("--field").arg(&stored);
        let control = exec::run(deb, Duration::from_mins(1))?;
        writeln!(
            index,
            "{}\nFilename: ./{file}\nSize: {size}\nSHA256: {sha256}\n",
            control.trim_end()
        )?;
    }
    put(&dir.join("Packages"), &index)?;
    // apt-secure(8): unsigned, for the one who writes `trusted=yes` because he made it himself. mmdebstrap takes the essential
    // packages of the suite that it was asked for.
    put(
        &dir.join("Release"),
        &format!(
            "Suite: {suite}\nCodename: {suite}\nArchitectures: {arch}\nSHA256:\n {} {} Packages\n",
            Sha256::of(index.as_bytes()),
            index.len(),
            suite = lock.suite,
            arch = lock.arch,
        ),
    )
}

/// The line of sources.list(5) for an archive.
pub fn source(dir: &Path) -> String {
    format!("deb [trusted=yes] copy:{} ./", dir.display())
}

/// What dpkg's records say is installed, as `name version`, sorted; an error if anything is installed by half.
pub fn installed(records: &Path) -> Result<Vec<String>> {
    let mut query = exec::command("dpkg-query");
    query.arg("--admindir").arg(records).args([
        "-W",
        "-f",
        "${Package} ${Version} ${db:Status-Status}\n",
    ]);
    let text = exec::run(query, Duration::from_mins(1))?;
    let mut all = Vec::new();
    for line in text.lines() {
        let what = line.strip_suffix(" installed");
        all.push(
            what.with_context(|| format!("{}: {line}", records.display()))?
                .to_owned(),
        );
    }
    all.sort();
    Ok(all)
}

/// What a lock says shall be installed, in the same form.
pub fn wanted(lock: &Lock) -> Vec<String> {
    let mut all: Vec<String> = lock
        .packages
        .iter()
        .map(|p| format!("{} {}", p.name, p.version))
        .collect();
    all.sort();
    all
}

/// Where a program's files can be made again.
pub fn fresh(dir: PathBuf) -> Result<PathBuf> {
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(dir),
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    Ok(files::replace(path, text.as_bytes())?)
}
