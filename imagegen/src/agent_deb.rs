//! Owns what the agent's own `.deb` holds: the package that brings health and self-tests to a plain Debian or Raspberry Pi OS
//! board, without slots. Pure: from values to a [`Package`].

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use hypriot_keys::time::Timestamp;
use include_dir::{Dir, include_dir};

use crate::arch::Arch;
use crate::bake::AGENT;
use crate::debian::deb::write::{File, Package};

#[cfg(test)]
mod tests;

/// The package's own files: scripts, files as they are installed, files that are installed compressed.
static OWN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/deb");

/// The units of an image that make sense without slots.
const UNITS: [(&str, &str); 2] = [
    (
        "hypriot-agent.service",
        include_str!("../../systemd/usr/lib/systemd/system/hypriot-agent.service"),
    ),
    (
        "hypriot-health.service",
        include_str!("../../systemd/usr/lib/systemd/system/hypriot-health.service"),
    ),
];

/// Where each file of `packed/` goes.
const PACKED: [(&str, &str); 2] = [
    ("changelog", "usr/share/doc/hypriot-agent/changelog.gz"),
    ("hypriot-agent.8", "usr/share/man/man8/hypriot-agent.8.gz"),
];

const DESCRIPTION: &str = "health over HTTP and self-tests of a small board
 Looks at memory, disk, card, clock, temperature, failed units and Docker
 every few seconds, and answers over HTTP whether the board is well: for
 people, for monitoring (OpenMetrics) and for load balancers.
 .
 Runs self-tests in goss's vocabulary, those of the package and the owner's.
 .
 This is the agent of HypriotOS for boards that run another system. It has
 no slots to update there; HypriotOS images bring their own agent.";

/// What differs from one package to the next.
#[derive(Debug)]
pub struct Spec<'a> {
    /// For which boards.
    pub arch: Arch,
    /// Version of the agent.
    pub version: &'a semver::Version,
    /// The static agent.
    pub agent: Vec<u8>,
    /// `Name <address>`; without it, whoever signed the changelog.
    pub maintainer: Option<&'a str>,
    /// The date of everything in it; without it, that of the changelog.
    pub date: Option<u64>,
}

/// `hypriot-agent_0.1.0_arm64.deb`
pub fn file_name(spec: &Spec<'_>) -> String {
    let version = debian_version(spec.version);
    format!("hypriot-agent_{version}_{}.deb", spec.arch.name())
}

/// Puts the package together.
pub fn package(spec: &Spec<'_>) -> Result<Package> {
    let version = debian_version(spec.version);
    let signed = newest(own("packed/changelog")?)?;
    ensure!(
        signed.version == version,
        "imagegen/deb/packed/changelog ends at {}; write an entry for {version}",
        signed.version
    );
    let maintainer = spec.maintainer.unwrap_or(&signed.maintainer);
    ensure!(
        maintainer.contains(" <") && maintainer.ends_with('>') && !maintainer.contains('\n'),
        "maintainer {maintainer:?}: it must be of the form Name <address>"
    );
    let fields = [
        ("Package", "hypriot-agent"),
        ("Version", &version),
        ("Architecture", spec.arch.name()),
        ("Maintainer", maintainer),
        ("Section", "admin"),
        ("Priority", "optional"),
        // the units start it, and health looks at units and the clock; the program itself needs nothing
        ("Recommends", "systemd, systemd-timesyncd | time-daemon"),
        ("Suggests", "docker.io"),
        ("Description", DESCRIPTION),
    ];
    Ok(Package {
        fields: fields.map(|(k, v)| (k, v.to_owned())).into(),
        scripts: scripts()?,
        files: files(spec.agent.clone())?,
        date: spec.date.unwrap_or(signed.date),
    })
}

/// SemVer's pre-releases come before the release, as `~` does in Debian's order (Debian policy 5.6.12).
fn debian_version(version: &semver::Version) -> String {
    let text = version.to_string();
    match text.split_once('-') {
        Some((release, pre)) => format!("{release}~{}", pre.replace('-', ".")),
        None => text,
    }
}

fn own(path: &str) -> Result<&'static str> {
    let file = OWN.get_file(path).and_then(|f| f.contents_utf8());
    file.with_context(|| format!("imagegen/deb/{path} is missing or no text (a bug)"))
}

fn scripts() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut scripts = BTreeMap::new();
    for name in ["preinst", "postinst", "prerm", "postrm"] {
        let text = own(&format!("control/{name}"))?;
        scripts.insert(name.to_owned(), text.as_bytes().to_vec());
    }
    Ok(scripts)
}

fn files(agent: Vec<u8>) -> Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    let mut put = |path: &str, mode, bytes: Vec<u8>| {
        files.insert(path.to_owned(), File { mode, bytes });
    };
    put(AGENT, 0o755, agent);
    for (name, text) in UNITS {
        put(
            &format!("usr/lib/systemd/system/{name}"),
            0o644,
            text.into(),
        );
    }
    for (name, path) in PACKED {
        put(path, 0o644, gzip(own(&format!("packed/{name}"))?)?);
    }
    let mut todo = vec![
        OWN.get_dir("root")
            .context("imagegen/deb/root is missing (a bug)")?,
    ];
    while let Some(dir) = todo.pop() {
        for file in dir.files() {
            let path = file.path().strip_prefix("root")?;
            let path = path.to_str().context("names of embedded files are ASCII")?;
            put(path, 0o644, file.contents().to_vec());
        }
        todo.extend(dir.dirs());
    }
    Ok(files)
}

/// As `gzip -9n` (Debian policy 12.7).
fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut packer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    packer.write_all(text.as_bytes())?;
    Ok(packer.finish()?)
}

/// What the newest entry of a Debian changelog says of itself.
struct Signed {
    version: String,
    maintainer: String,
    date: u64,
}

/// Reads the newest entry (deb-changelog(5)): `package (version) …`, and the line that signs it. The date must be in UTC.
fn newest(changelog: &str) -> Result<Signed> {
    let head = changelog.lines().next().unwrap_or_default();
    let version = head
        .split_once(" (")
        .and_then(|(_, rest)| rest.split_once(')'));
    let (version, _) = version.with_context(|| format!("changelog: no version in {head:?}"))?;
    let line = changelog.lines().find_map(|l| l.strip_prefix(" -- "));
    let signed = line.and_then(|l| l.split_once("  "));
    let (maintainer, date) = signed.context("changelog: its newest entry is not signed")?;
    let date = seconds(date).with_context(|| format!("changelog: no date in UTC: {date:?}"))?;
    Ok(Signed {
        version: version.to_owned(),
        maintainer: maintainer.to_owned(),
        date,
    })
}

/// `Wed, 25 Nov 2026 00:00:00 +0000`
fn seconds(date: &str) -> Option<u64> {
    let names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let words: Vec<&str> = date.split_whitespace().collect();
    let [_, day, month, year, time, "+0000"] = words.as_slice() else {
        return None;
    };
    let month = names.split(' ').position(|name| name == *month)? + 1;
    let text = format!("{year}-{month:02}-{day:0>2}T{time}Z");
    Timestamp::parse(&text).map(|t| t.0)
}
