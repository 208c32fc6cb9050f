//! Debian packages, from dpkg's status file.

use anyhow::Result;

use crate::files;
use crate::probe::Root;
use crate::selftest::glob;
use crate::selftest::run::Values;

/// The status file of a thousand packages is about 1.5 MB.
const LIMIT: u64 = 32 * 1024 * 1024;

pub(super) fn look(name: &str, root: &Root) -> Result<Values> {
    let status = files::read(&root.path("/var/lib/dpkg/status"), LIMIT)?;
    let versions = installed(&String::from_utf8_lossy(&status), name);
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
}
