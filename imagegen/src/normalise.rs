//! Owns what makes two builds of one lock the same tree: nothing of this run stays in it, neither secrets nor times nor traces.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::files;
use crate::files::inroot::{Hand, Spot};

/// Files that go, each with the reason. A `*` stands for anything within one name.
const REMOVED: [(&str, &str); 26] = [
    ("etc/ssh/ssh_host_*", "every device makes its own keys"),
    (
        "var/lib/dbus/machine-id",
        "every device makes its own identity",
    ),
    (
        "var/lib/systemd/random-seed",
        "every device has its own randomness",
    ),
    (
        "var/lib/systemd/credential.secret",
        "every device has its own secret",
    ),
    (
        "etc/ssl/private/*",
        "keys made at build time would be everybody's",
    ),
    (
        "etc/ssl/certs/ssl-cert-snakeoil.pem",
        "belongs to such a key",
    ),
    ("etc/passwd-", "backup"),
    ("etc/group-", "backup"),
    ("etc/shadow-", "backup"),
    ("etc/gshadow-", "backup"),
    ("etc/subuid-", "backup"),
    ("etc/subgid-", "backup"),
    ("etc/.pwd.lock", "lock of this run"),
    ("etc/mailname", "name of the building machine"),
    ("etc/hostname", "name of the building machine"),
    ("etc/adjtime", "clock of the building machine"),
    ("var/lib/dpkg/*-old", "backup"),
    ("var/lib/dpkg/lock*", "lock of this run"),
    ("var/lib/dpkg/triggers/Lock", "lock of this run"),
    ("var/cache/debconf/*-old", "backup"),
    (
        "var/cache/ldconfig/aux-cache",
        "holds inode numbers and times of the building machine",
    ),
    ("var/cache/apt/*.bin", "made anew by apt"),
    ("var/lib/apt/lists/*", "made anew by apt"),
    (
        "var/lib/apt/extended_states*",
        "no package is marked as installed by itself",
    ),
    (
        "initrd.img*",
        "points to an initramfs that another stage makes elsewhere",
    ),
    ("boot/initrd.img*", "made by another stage"),
];

/// Directories whose files go and whose directories stay, empty.
const EMPTIED: [&str; 2] = ["var/log", "var/backups"];

/// What was taken out or changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Paths removed.
    pub removed: Vec<String>,
    /// Files whose content was set.
    pub changed: Vec<String>,
    /// Number of entries whose time was set back to the newest the lock allows.
    pub clamped: usize,
}

/// Brings a configured tree into the form that depends on the lock alone.
pub fn run(root: &Path, source_date: i64) -> io::Result<Report> {
    let mut report = Report::default();
    let tree = Hand::new(root)?;
    for (pattern, _reason) in REMOVED {
        for spot in matching(&tree, pattern)? {
            if spot.meta()?.is_some_and(|m| m.is_dir()) {
                continue;
            }
            spot.remove()?;
            report.removed.push(spot.shown().display().to_string());
        }
    }
    for dir in EMPTIED {
        empty(&tree, Path::new(dir), &mut report)?;
    }
    // Empty and not absent: machine-id(5), "uninitialized" is for images whose /etc is writable at that time.
    set(&tree, "etc/machine-id", b"", 0o444, &mut report)?;
    shadow(&tree, source_date, &mut report)?;
    clamp(root, source_date, &mut report)?;
    Ok(report)
}

/// Sets back the times alone: for files that no script has touched.
pub fn run_times(root: &Path, source_date: i64) -> io::Result<()> {
    clamp(root, source_date, &mut Report::default())
}

/// What a pattern stands for in the tree, sorted. Only the last part may hold a `*`.
fn matching(tree: &Hand, pattern: &str) -> io::Result<Vec<Spot>> {
    let path = Path::new(pattern);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let Some((before, after)) = name.split_once('*') else {
        let spot = tree.spot(path)?;
        return Ok(match spot {
            Some(spot) if spot.meta()?.is_some() => vec![spot],
            _ => Vec::new(),
        });
    };
    let Some(folder) = tree.folder(dir)? else {
        return Ok(Vec::new());
    };
    let fits = |n: &str| {
        n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after)
    };
    let names = folder.names()?;
    let fitting = names.iter().filter(|n| n.to_str().is_some_and(fits));
    fitting
        .filter_map(|name| tree.spot(&dir.join(name)).transpose())
        .collect()
}

fn empty(tree: &Hand, dir: &Path, report: &mut Report) -> io::Result<()> {
    let Some(folder) = tree.folder(dir)? else {
        return Ok(());
    };
    for name in folder.names()? {
        let path = dir.join(&name);
        let Some(spot) = tree.spot(&path)? else {
            continue;
        };
        match spot.meta()?.map(|m| m.file_type()) {
            Some(kind) if kind.is_dir() => empty(tree, &path, report)?,
            Some(kind) if !kind.is_symlink() && name != "README" => {
                spot.remove()?;
                report.removed.push(path.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

fn set(tree: &Hand, path: &str, bytes: &[u8], mode: u32, report: &mut Report) -> io::Result<()> {
    let path = Path::new(path);
    let spot = tree
        .make(path.parent().unwrap_or(Path::new("")))?
        .spot(path.file_name().unwrap_or_default());
    let old = spot.meta()?;
    let same_mode = |m: &fs::Metadata| m.permissions().mode() & 0o7777 == mode;
    if old.as_ref().is_some_and(same_mode) && spot.read()?.is_some_and(|old| old == bytes) {
        return Ok(());
    }
    spot.replace(bytes, mode)?;
    if let Some(meta) = old {
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::lchown(spot.path(), Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(spot.path(), fs::Permissions::from_mode(mode))?;
    }
    report.changed.push(path.display().to_string());
    Ok(())
}

/// shadow(5): the third field is the day of the last change, which would be today.
fn shadow(tree: &Hand, source_date: i64, report: &mut Report) -> io::Result<()> {
    let path = "etc/shadow";
    let Some(spot) = tree.spot(Path::new(path))? else {
        return Ok(());
    };
    let (Some(meta), Some(bytes)) = (spot.meta()?, spot.read()?) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&bytes);
    let day = (source_date / 86_400).to_string();
    let fixed: String = text
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.len() > 2 && !fields[2].is_empty() {
                fields[2] = &day;
            }
            fields.join(":") + "\n"
        })
        .collect();
    let mode = meta.permissions().mode() & 0o7777;
    set(tree, path, fixed.as_bytes(), mode, report)
}

/// Sets back every time that is newer than the newest release: those are from this run. Only what is a directory itself is
/// gone into, never a link to one.
fn clamp(dir: &Path, source_date: i64, report: &mut Report) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).map_err(|e| files::named(dir, &e))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            clamp(&path, source_date, report)?;
        }
        let meta = fs::symlink_metadata(&path)?;
        if meta.mtime() > source_date || meta.mtime_nsec() != 0 {
            let seconds = meta.mtime().min(source_date);
            stamp(&path, seconds)?;
            report.clamped += 1;
        }
    }
    stamp(dir, fs::metadata(dir)?.mtime().min(source_date))
}

fn stamp(path: &Path, seconds: i64) -> io::Result<()> {
    let when = TimeSpec::new(seconds, 0);
    utimensat(
        AT_FDCWD,
        path,
        &when,
        &when,
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(|e| files::named(path, &e.into()))
}
