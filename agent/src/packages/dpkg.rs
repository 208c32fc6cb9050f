//! dpkg's record of what is installed, as far as layers need it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::files;

/// The record below a root.
pub const STATUS: &str = "var/lib/dpkg/status";
/// That of a thousand packages is about 1.5 MB.
const LIMIT: u64 = 32 * 1024 * 1024;

/// A package in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Version.
    pub version: String,
    /// dpkg(1), "Package states": whole and configured.
    pub whole: bool,
}

/// Packages by name and architecture.
pub type Packages = BTreeMap<(String, String), Package>;

/// Reads a record.
pub fn parse(text: &str) -> Packages {
    let one = |paragraph: &str| {
        let field = |wanted: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(wanted)?.strip_prefix(": "))
        };
        let status = field("Status")?;
        let package = Package {
            version: field("Version")?.to_owned(),
            whole: status.ends_with(" ok installed"),
        };
        let arch = field("Architecture").unwrap_or_default().to_owned();
        Some(((field("Package")?.to_owned(), arch), package))
    };
    text.split("\n\n").filter_map(one).collect()
}

/// The record of the root at `root`.
pub fn load(root: &Path) -> anyhow::Result<Packages> {
    let bytes = files::read(&root.join(STATUS), LIMIT)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// Whether `name`, perhaps with an architecture, is whole there.
pub fn has(packages: &Packages, name: &str) -> bool {
    let (name, arch) = match name.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (name, None),
    };
    packages
        .iter()
        .any(|((n, a), p)| n == name && p.whole && arch.is_none_or(|arch| arch == a))
}
