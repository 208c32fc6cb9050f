//! Packages, from the records of dpkg, apk and pacman; rpm is asked.

use std::time::Duration;

use anyhow::Result;

use crate::exec::{Cmd, Exit};
use crate::files;
use crate::probe::Root;
use crate::selftest::glob;
use crate::selftest::run::{Setting, Values};

/// The status file of a thousand packages is about 1.5 MB.
const LIMIT: u64 = 32 * 1024 * 1024;
const DPKG: &str = "/var/lib/dpkg/status";
const APK: &str = "/lib/apk/db/installed";
const PACMAN: &str = "/var/lib/pacman/local";

pub(super) fn look(name: &str, setting: &Setting) -> Result<Values> {
    let root = &setting.root;
    let versions = match manager(setting) {
        "dpkg" => {
            let status = files::read(&root.path(DPKG), LIMIT)?;
            installed(&String::from_utf8_lossy(&status), name)
        }
        "apk" => apk(
            &String::from_utf8_lossy(&files::read(&root.path(APK), LIMIT)?),
            name,
        ),
        "pacman" => pacman(&root.names(PACMAN), name),
        "rpm" => rpm(name, root)?,
        other => anyhow::bail!("no package manager is called {other:?}"),
    };
    let installed = !versions.is_empty();
    let versions = if installed {
        Ok(versions.into_iter().collect())
    } else {
        Err(anyhow::anyhow!("no version is installed"))
    };
    Ok(Values::from([
        ("installed", Ok(installed.into())),
        ("versions", versions),
    ]))
}

/// The one that was named, or whose records are here.
fn manager(setting: &Setting) -> &str {
    let there = |path: &str| setting.root.path(path).exists();
    match &setting.packages {
        Some(named) => named,
        None if there(DPKG) => "dpkg",
        None if there(APK) => "apk",
        None if there(PACMAN) => "pacman",
        None if there("/var/lib/rpm") || there("/usr/lib/sysimage/rpm") => "rpm",
        None => "dpkg",
    }
}

/// apk's records: paragraphs of `P:name`, `V:version`.
fn apk(text: &str, name: &str) -> Vec<String> {
    let version = |paragraph: &str| {
        let field = |wanted: &str| paragraph.lines().find_map(|line| line.strip_prefix(wanted));
        let ours = field("P:").is_some_and(|package| package == name);
        ours.then(|| field("V:").map(str::to_owned)).flatten()
    };
    text.split("\n\n").filter_map(version).collect()
}

/// pacman's records: a directory `name-version-release` for each.
fn pacman(names: &[String], name: &str) -> Vec<String> {
    let version = |entry: &String| {
        let rest = entry.strip_prefix(name)?.strip_prefix('-')?;
        (rest.matches('-').count() == 1).then(|| rest.to_owned())
    };
    names.iter().filter_map(version).collect()
}

/// rpm keeps a database that only rpm reads. goss asks for versions without the release, too.
fn rpm(name: &str, root: &Root) -> Result<Vec<String>> {
    let output = Cmd::new("rpm")
        .arg("--root")
        .arg(root.directory())
        .args([
            "-q",
            "--nosignature",
            "--nodigest",
            "--queryformat",
            "%{VERSION}\n",
            "--",
            name,
        ])
        .timeout(Duration::from_secs(30))
        .output()?;
    if output.exit != Exit::Code(0) {
        return Ok(Vec::new());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The installed versions of `name` (one for each architecture); `name` may say which: `libc6:armhf`.
fn installed(status: &str, name: &str) -> Vec<String> {
    let (name, architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (name, None),
    };
    let mut versions = Vec::new();
    for paragraph in status.split("\n\n") {
        let field = |wanted: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(wanted)?.strip_prefix(": "))
        };
        let ours = field("Package").is_some_and(|package| glob::like(name, package))
            && architecture.is_none_or(|a| field("Architecture") == Some(a));
        // dpkg(1): desired, error flag, state; half-configured and removed ones do not count.
        if ours
            && field("Status").is_some_and(|status| {
                matches!(status, "install ok installed" | "hold ok installed")
            })
        {
            versions.extend(field("Version").map(str::to_owned));
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_packages_count() {
        let status = "Package: curl\nStatus: install ok installed\nArchitecture: arm64\nVersion: 8.14.1-2\n\n\
                      Package: libc6\nStatus: hold ok installed\nArchitecture: armhf\nVersion: 2.41-1\n\n\
                      Package: libc6\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.41-2\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: half\nStatus: install ok half-configured\nVersion: 1\n";
        assert_eq!(installed(status, "curl"), ["8.14.1-2"]);
        assert_eq!(installed(status, "libc6"), ["2.41-1", "2.41-2"]);
        assert_eq!(installed(status, "libc6:armhf"), ["2.41-1"]);
        for missing in ["gone", "half", "cur", "curl:armhf"] {
            assert!(installed(status, missing).is_empty(), "{missing}");
        }
    }

    #[test]
    fn other_managers_keep_other_records() {
        let text = "C:Q1x\nP:musl\nV:1.2.5-r0\n\nP:musl-utils\nV:9\n";
        assert_eq!(apk(text, "musl"), ["1.2.5-r0"]);
        assert!(apk(text, "mus").is_empty());
        let names = ["gcc-14.2.1-1", "gcc-libs-14.2.1-1", "ALPM_DB_VERSION"].map(str::to_owned);
        assert_eq!(pacman(&names, "gcc"), ["14.2.1-1"]);
        assert_eq!(pacman(&names, "gcc-libs"), ["14.2.1-1"]);
    }
}
