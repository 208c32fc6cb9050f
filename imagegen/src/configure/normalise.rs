//! Owns what makes two builds of one lock the same tree: nothing of this run stays in it, neither secrets nor times nor traces.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::files;

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
    for (pattern, _reason) in REMOVED {
        for path in matching(root, pattern)? {
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                continue;
            }
            fs::remove_file(&path).map_err(|e| files::named(&path, &e))?;
            report.removed.push(shown(root, &path));
        }
    }
    for dir in EMPTIED {
        empty(root, &root.join(dir), &mut report)?;
    }
    // Empty and not absent: machine-id(5), "uninitialized" is for images whose /etc is writable at that time.
    set(root, "etc/machine-id", b"", 0o444, &mut report)?;
    shadow(root, source_date, &mut report)?;
    clamp(root, source_date, &mut report)?;
    Ok(report)
}

/// Sets back the times alone: for files that no script has touched.
pub fn run_times(root: &Path, source_date: i64) -> io::Result<()> {
    clamp(root, source_date, &mut Report::default())
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// What a pattern stands for in the tree, sorted. Only the last part may hold a `*`.
fn matching(root: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let path = root.join(pattern);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let Some((before, after)) = name.split_once('*') else {
        return Ok(fs::symlink_metadata(&path)
            .is_ok()
            .then(|| path.clone())
            .into_iter()
            .collect());
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(files::named(dir, &e)),
    };
    let fits = |n: &str| {
        n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after)
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_str().is_some_and(fits))
        .map(|e| e.path())
        .collect();
    found.sort();
    Ok(found)
}

fn empty(root: &Path, dir: &Path, report: &mut Report) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| files::named(dir, &e))?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty(root, &entry.path(), report)?;
        } else if !(entry.file_type()?.is_symlink() || entry.file_name() == "README") {
            fs::remove_file(entry.path())?;
            report.removed.push(shown(root, &entry.path()));
        }
    }
    Ok(())
}

fn set(root: &Path, path: &str, bytes: &[u8], mode: u32, report: &mut Report) -> io::Result<()> {
    let at = root.join(path);
    if fs::read(&at).is_ok_and(|old| old == bytes)
        && fs::metadata(&at)?.permissions().mode() & 0o7777 == mode
    {
        return Ok(());
    }
    let owner = fs::symlink_metadata(&at).ok();
    files::replace(&at, bytes)?;
    fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
    if let Some(meta) = owner {
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::chown(&at, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
    }
    report.changed.push(path.to_owned());
    Ok(())
}

/// shadow(5): the third field is the day of the last change, which would be today.
fn shadow(root: &Path, source_date: i64, report: &mut Report) -> io::Result<()> {
    let path = root.join("etc/shadow");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
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
    let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
    set(root, "etc/shadow", fixed.as_bytes(), mode, report)
}

/// Sets back every time that is newer than the newest release: those are from this run.
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
