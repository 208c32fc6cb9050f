//! The packages that layers were made of, kept so that a layer for the next release can be made without a network.
//!
//! They are believed as far as their hashes go, which were taken when apt had verified them: apt holds them against the files again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use sha2::Sha256;

use super::layer::{self, Deb};
use super::store::Store;
use crate::exec::Cmd;
use crate::files;
use crate::sums;

/// A control file is no larger.
const CONTROL: usize = 256 * 1024;

/// All that are in a folder.
pub fn present(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "deb"))
        .collect();
    names.sort();
    names
}

/// One of them, with its hash.
pub fn look(folder: &Path, file: &str) -> anyhow::Result<Deb> {
    let path = folder.join(file);
    let from = files::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let (sha256, size) =
        sums::of::<Sha256>(from).with_context(|| format!("reading {}", path.display()))?;
    Ok(Deb {
        file: file.to_owned(),
        size,
        sha256,
    })
}

/// What a package says of itself.
pub fn control(path: &Path) -> anyhow::Result<String> {
    let said = Cmd::new("dpkg-deb")
        .arg("--field")
        .arg(path)
        .whole(CONTROL)
        .run()?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Bytes that a package takes when it is installed (deb-control(5), `Installed-Size`).
pub fn installed_size(control: &str) -> u64 {
    let kib = control
        .lines()
        .find_map(|line| line.strip_prefix("Installed-Size: "));
    kib.and_then(|n| n.trim().parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

/// Those that records know of: only they have a hash that can be trusted.
pub fn known(store: &Store) -> anyhow::Result<BTreeMap<String, Deb>> {
    let debs = layer::all(store)?
        .into_iter()
        .flat_map(|layer| layer.record.debs);
    Ok(debs.map(|deb| (deb.file.clone(), deb)).collect())
}

/// An archive's index of those that are kept, for apt: the n-th is called `n.deb` there, because apt reads `%` in a name as an escape.
pub fn index(store: &Store) -> anyhow::Result<(String, Vec<String>)> {
    let (mut text, mut names) = (Vec::new(), Vec::new());
    for (file, deb) in known(store)? {
        let path = store.debs().join(&file);
        if !path.is_file() {
            continue;
        }
        let Ok(control) = control(&path) else {
            tracing::warn!("{} is damaged, and not used", path.display());
            continue;
        };
        let ours = ["Filename", "Size", "SHA256", "MD5sum", "SHA1"];
        let said = control
            .lines()
            .filter(|line| !ours.iter().any(|o| line.starts_with(&format!("{o}:"))));
        for line in said.filter(|line| !line.is_empty()) {
            writeln!(text, "{line}")?;
        }
        writeln!(
            text,
            "Filename: ./{}.deb\nSize: {}\nSHA256: {}\n",
            names.len(),
            deb.size,
            deb.sha256
        )?;
        names.push(file);
    }
    Ok((String::from_utf8(text)?, names))
}

/// Lends apt those that are still what they were, so that it fetches none of them again: apt itself looks at the size of a file alone.
pub fn lend(store: &Store) -> anyhow::Result<()> {
    for (file, deb) in known(store)? {
        let (from, to) = (store.debs().join(&file), store.fetched().join(&file));
        if look(&store.debs(), &file).is_ok_and(|found| found == deb) && !to.exists() {
            fs::hard_link(&from, &to).with_context(|| format!("lending {}", from.display()))?;
        }
    }
    Ok(())
}

/// Keeps what apt fetched and verified, before anything is done with it.
pub fn keep(store: &Store, file: &str) -> anyhow::Result<Deb> {
    let deb = look(&store.fetched(), file)?;
    let kept = store.debs().join(file);
    if look(&store.debs(), file).is_ok_and(|found| found == deb) {
        return Ok(deb);
    }
    let fresh = store.building().join("keep");
    fs::hard_link(store.fetched().join(file), &fresh).with_context(|| format!("keeping {file}"))?;
    files::appear(&fresh, &kept)?;
    Ok(deb)
}

/// Removes those that no layer was made of.
pub fn prune(store: &Store) -> anyhow::Result<()> {
    let known = known(store)?;
    for file in present(&store.debs())
        .iter()
        .filter(|file| !known.contains_key(*file))
    {
        files::remove(&store.debs().join(file))?;
    }
    Ok(())
}
