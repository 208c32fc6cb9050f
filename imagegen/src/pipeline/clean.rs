//! Owns what may be removed from the cache, and the removal. Nothing is touched that this program did not put there, and nothing
//! that a build is using.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::fetch::store::{MARK, Store};
use crate::pipeline::root_tree::make::is_current;
use crate::pipeline::root_tree::stage::{HALF, TREES, name_of, remove};
use crate::sandbox::errand::{self, Errand, ErrandError};

/// How much shall go; each takes what those before it take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// What no build will use again.
    Leftovers,
    /// Finished trees too: they are made again from the downloads.
    Trees,
    /// Downloads and locks too.
    All,
}

/// What shall be removed where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The cache.
    pub cache: PathBuf,
    /// How much of it.
    pub scope: Scope,
    /// Only say what would be removed.
    pub dry: bool,
}

/// Why something can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A build that was killed left it.
    Killed,
    /// Another version of this program made it; this one makes its own.
    OtherVersion,
    /// A finished tree.
    Tree,
    /// Downloads, and what is known of archives.
    Download,
    /// Lock files of recipes for which none was named.
    Lock,
}

impl Why {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Killed => "left by a build that was killed",
            Self::OtherVersion => "made by another version of this program",
            Self::Tree => "finished tree",
            Self::Download => "downloads",
            Self::Lock => "locks that were not named",
        }
    }
}

/// Something in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its path in the cache.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Why it can go.
    pub why: Why,
}

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What was removed, or would be.
    pub removed: Vec<Item>,
    /// What would have gone if no build were using it.
    pub in_use: Vec<Item>,
}

impl Report {
    /// What is free now.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|i| i.bytes).sum()
    }
}

/// The folders of downloads and locks, and what they hold.
const FOLDERS: [(&str, Why); 4] = [
    ("sha256", Why::Download),
    ("seen", Why::Download),
    ("locks", Why::Lock),
    ("partial", Why::Download),
];

/// Removes what the request says. A killed build of an ordinary user leaves files of his subordinate ids, which only root of his
/// namespace can remove.
pub fn clean(request: &Request, helper: &Path) -> Result<Report> {
    if nix::unistd::geteuid().is_root() {
        return here(request);
    }
    match errand::run(helper, request) {
        Ok(answer) => Ok(serde_json::from_str(&answer)?),
        // Who cannot become root of a namespace has no such files.
        Err(ErrandError::Ids(_)) => here(request),
        Err(e) => Err(e.into()),
    }
}

impl Errand for Request {
    const NAME: &'static str = "clean";

    fn work(self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&here(&self)?)?)
    }
}

/// The same, by whoever we are.
fn here(request: &Request) -> Result<Report> {
    let cache = &request.cache;
    ensure!(
        cache.join(MARK).exists(),
        "{} is no cache of hypriot-imagegen: it has no {MARK}; name one with --cache",
        cache.display()
    );
    let store = Store::open(cache)?;
    let mut report = Report::default();
    for name in names(&cache.join(TREES))? {
        let Some(why) = why(&name, request.scope) else {
            continue;
        };
        // Held until it is removed, so that nobody begins to use it meanwhile.
        let lock = store.try_lock(name_of(&name))?;
        take(
            Path::new(TREES).join(&name),
            why,
            lock.is_none(),
            request,
            &mut report,
        )?;
    }
    if request.scope == Scope::All {
        let busy = !report.in_use.is_empty() || is_downloading(&store)?;
        for (name, why) in FOLDERS {
            take(name.into(), why, busy, request, &mut report)?;
        }
    }
    Ok(report)
}

/// Why an entry of the trees goes, if it does.
fn why(name: &str, scope: Scope) -> Option<Why> {
    let stage = name_of(name);
    let ours = ["root-", "boot-", "tools-"]
        .iter()
        .any(|p| stage.starts_with(p));
    match () {
        () if !ours => None,
        () if name.starts_with(HALF) => Some(Why::Killed),
        () if !is_current(name) => Some(Why::OtherVersion),
        () => (scope >= Scope::Trees).then_some(Why::Tree),
    }
}

/// Removes one thing, or says why not.
fn take(path: PathBuf, why: Why, busy: bool, request: &Request, report: &mut Report) -> Result<()> {
    let at = request.cache.join(&path);
    if fs::symlink_metadata(&at).is_err() {
        return Ok(());
    }
    let bytes = size(&at)?;
    let item = Item { path, bytes, why };
    if busy {
        report.in_use.push(item);
        return Ok(());
    }
    if !request.dry {
        remove(&at)?;
    }
    report.removed.push(item);
    Ok(())
}

/// Whether a build holds any lock of the store.
fn is_downloading(store: &Store) -> io::Result<bool> {
    for name in names(&store.root().join("partial"))? {
        if let Some(name) = name.strip_suffix(".lock")
            && store.try_lock(name)?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names in a directory, sorted; none if it is not there.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let list = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(|e| crate::files::named(dir, &e))?,
    };
    let mut names: Vec<String> = list
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// What a file, or a directory with all in it, takes on the disk. Links are not followed.
fn size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path).map_err(|e| crate::files::named(path, &e))?;
    // stat(2): `st_blocks` counts in 512 bytes.
    let mut sum = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(|e| crate::files::named(path, &e))? {
            sum += size(&entry?.path())?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::root_tree::BUILDER;

    fn cache() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        for name in [
            format!("root-{BUILDER}-aa.tar"),
            "half-root-1-bb/tree/etc".to_owned(),
            "root-0123".to_owned(),
            format!("tools-{BUILDER}-cc/usr"),
            "somebody's".to_owned(),
        ] {
            fs::create_dir_all(dir.path().join(TREES).join(name)).unwrap();
        }
        dir
    }

    fn cleaned(dir: &Path, scope: Scope, dry: bool) -> (Vec<String>, Vec<String>) {
        let request = Request {
            cache: dir.to_owned(),
            scope,
            dry,
        };
        let report = here(&request).unwrap();
        let shown = |items: &[Item]| {
            let one = |i: &Item| format!("{} {:?}", i.path.display(), i.why);
            items.iter().map(one).collect()
        };
        (shown(&report.removed), shown(&report.in_use))
    }

    #[test]
    fn only_what_no_build_uses_again_goes_unless_more_is_asked_for() {
        let dir = cache();
        let old = [
            "trees/half-root-1-bb Killed",
            "trees/root-0123 OtherVersion",
        ];
        assert_eq!(cleaned(dir.path(), Scope::Leftovers, true).0, old);
        assert_eq!(cleaned(dir.path(), Scope::Leftovers, false).0, old);
        assert_eq!(cleaned(dir.path(), Scope::Leftovers, false).0, [""; 0]);
        assert_eq!(
            cleaned(dir.path(), Scope::Trees, false).0,
            [
                format!("trees/root-{BUILDER}-aa.tar Tree"),
                format!("trees/tools-{BUILDER}-cc Tree")
            ]
        );
        assert_eq!(names(&dir.path().join(TREES)).unwrap(), ["somebody's"]);
    }

    #[test]
    fn what_a_build_uses_stays_and_then_the_downloads_do_too() {
        let dir = cache();
        let store = Store::open(dir.path()).unwrap();
        let used = store.lock_shared(&format!("tools-{BUILDER}-cc")).unwrap();
        let (removed, in_use) = cleaned(dir.path(), Scope::All, false);
        assert_eq!(removed.len(), 3, "{removed:?}");
        assert_eq!(
            in_use,
            [
                format!("trees/tools-{BUILDER}-cc Tree"),
                "sha256 Download".to_owned(),
                "seen Download".to_owned(),
                "partial Download".to_owned()
            ]
        );
        drop(used);
        assert_eq!(cleaned(dir.path(), Scope::All, false).0.len(), 4);
        assert!(!dir.path().join("sha256").exists());
    }

    #[test]
    fn a_folder_that_is_no_cache_is_not_cleaned() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sha256")).unwrap();
        let request = Request {
            cache: dir.path().to_owned(),
            scope: Scope::All,
            dry: false,
        };
        let e = here(&request).unwrap_err().to_string();
        assert!(e.contains("is no cache"), "{e}");
        assert!(dir.path().join("sha256").exists());
    }
}
