//! The root tree for real: built twice from one lock under different circumstances, looked at, and built under bad conditions.
//! Needs root and a reachable archive; says so and ends where there is none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_imagegen::exec::{self, Cmd, ExecError, Output};
use hypriot_imagegen::files;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hypriot-imagegen");

/// A recipe with what makes most of a system's scripts, and without what makes most of its bytes.
const RECIPE: &str = "name = 'small'\nversion = '1'\npackages = ['apt', 'systemd-sysv', 'systemd-resolved', 'udev', 'dbus', \
    'openssh-server', 'ca-certificates', 'python3-minimal', 'sudo', 'avahi-daemon']\n";

fn shared_cache() -> PathBuf {
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    let path = own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"));
    std::fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

fn imagegen(cache: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Output, ExecError> {
    let cmd = Cmd::new(PROGRAM)
        .args(args)
        .env("HYPRIOT_CACHE", cache)
        .timeout(Duration::from_mins(30));
    exec::run(env.iter().fold(cmd, |c, (k, v)| c.env(k, v)))
}

/// The small recipe's file and its lock in the shared cache, everything fetched; or `None` and the reason.
fn fetched(dir: &Path) -> Option<(String, String)> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let recipe = dir.join("small.toml");
    files::replace(&recipe, RECIPE.as_bytes()).unwrap();
    let recipe = recipe.display().to_string();
    match imagegen(
        &shared_cache(),
        &[
            "fetch",
            "-q",
            "--json",
            "--board",
            "qemu-arm64",
            "--recipe",
            &recipe,
        ],
        &[],
    ) {
        Ok(out) => {
            let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            Some((recipe, answer["lock"].as_str().unwrap().to_owned()))
        }
        Err(e)
            if e.to_string().contains("cannot reach")
                || e.to_string().contains("middle of an update") =>
        {
            println!("skipped: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// A cache of its own that shares the downloads.
fn own_cache(dir: &Path, name: &str) -> PathBuf {
    let cache = dir.join(name);
    std::fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(shared_cache().join("sha256"), cache.join("sha256")).unwrap();
    cache
}

/// All that an image takes over from a tree, by path.
fn manifest(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = match meta.file_type() {
                t if t.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
                t if t.is_dir() => String::new(),
                _ => files::sha256_file(&path).unwrap().0,
            };
            let line = format!(
                "{:o} {}:{} {} {content}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime()
            );
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), line);
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}

fn difference(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<String> {
    let changed = a
        .iter()
        .filter(|(p, l)| b.get(*p) != Some(l))
        .map(|(p, l)| format!("- {p} {l}"));
    let added = b
        .iter()
        .filter(|(p, l)| a.get(*p) != Some(l))
        .map(|(p, l)| format!("+ {p} {l}"));
    changed.chain(added).take(20).collect()
}

fn build(cache: &Path, recipe: &str, lock: &str, env: &[(&str, &str)]) -> PathBuf {
    let args = [
        "root",
        "-q",
        "--board",
        "qemu-arm64",
        "--recipe",
        recipe,
        "--lock",
        lock,
    ];
    PathBuf::from(imagegen(cache, &args, env).unwrap().text())
}

#[test]
fn one_lock_gives_one_tree_and_nothing_of_the_host_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    let first = build(
        &own_cache(dir.path(), "a"),
        &recipe,
        &lock,
        &[("TZ", "Asia/Tokyo"), ("LANG", "de_DE.UTF-8")],
    );
    let one = manifest(&first);

    assert!(one.len() > 5000, "{} files", one.len());
    let text = |p: &str| std::fs::read_to_string(first.join(p)).unwrap();
    let records = text("var/lib/dpkg/status");
    let states: Vec<&str> = records
        .lines()
        .filter(|l| l.starts_with("Status: "))
        .collect();
    assert!(
        states.len() > 100 && states.iter().all(|s| *s == "Status: install ok installed"),
        "{states:?}"
    );
    assert_eq!(text("etc/machine-id"), "", "no identity");
    assert!(
        !one.keys().any(|p| p.starts_with("etc/ssh/ssh_host_")),
        "no keys that everybody would have"
    );
    assert!(
        !one.keys().any(|p| p.ends_with(".dpkg-new")),
        "configuration files are in their places"
    );
    assert!(
        !first.join("usr/sbin/policy-rc.d").exists()
            && !first.join("usr/lib/x86_64-linux-gnu").exists(),
        "no trace of the sandbox"
    );
    let verified = exec::run(
        Cmd::new("dpkg")
            .arg("--root")
            .arg(&first)
            .args(["--verify"]),
    )
    .unwrap();
    assert_eq!(
        verified.text(),
        "",
        "dpkg finds every file as its package says"
    );
    for dir in ["dev", "proc", "run", "sys", "tmp"] {
        assert_eq!(
            std::fs::read_dir(first.join(dir)).unwrap().count(),
            0,
            "{dir} is empty"
        );
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    assert!(
        !first.join("etc/hostname").exists() || text("etc/hostname") != host,
        "no name of this machine"
    );
    assert_eq!(
        std::fs::metadata(first.join("usr/bin/sudo"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o4755
    );
    assert!(
        text("etc/passwd").contains("sshd:") && text("etc/passwd").contains("avahi:"),
        "accounts were made"
    );
    assert!(
        !text("etc/shadow")
            .lines()
            .any(|l| l.split(':').nth(1).is_some_and(|p| p.starts_with('$'))),
        "no password"
    );

    let second = build(
        &own_cache(dir.path(), "b"),
        &recipe,
        &lock,
        &[("TZ", "UTC"), ("LC_ALL", "C"), ("HOME", "/nowhere")],
    );
    let two = manifest(&second);
    assert!(one == two, "{:#?}", difference(&one, &two));
}

#[test]
fn two_at_once_make_one_tree() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    let cache = own_cache(dir.path(), "a");
    let trees: Vec<PathBuf> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| build(&cache, &recipe, &lock, &[])))
            .collect();
        jobs.into_iter().map(|j| j.join().unwrap()).collect()
    });
    assert_eq!(trees[0], trees[1]);
    let halves = std::fs::read_dir(cache.join("trees")).unwrap().filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("half-")
    });
    assert_eq!(halves.count(), 0, "nothing half-made stays");
}

#[test]
fn full_disk_is_said_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    // A file system of its own that is too small, gone with the shell that mounted it.
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=24m none {small} && mkdir {small}/c && ln -s {shared}/sha256 {small}/c/sha256 && \
         {PROGRAM} root -q --board qemu-arm64 --recipe {recipe} --lock {lock} --cache {small}/c; code=$?; \
         ls {small}/c/trees; exit $code",
        small = small.display(),
        shared = shared_cache().display(),
    );
    let e = exec::run(Cmd::new("unshare").args(["-m", "sh", "-c", &script]))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("No space left") && e.contains("free some room"),
        "{e}"
    );
    assert!(!e.contains("half-") && !e.contains("root-"), "{e}");
}

#[test]
fn download_killed_in_the_middle_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    let cache = dir.path().join("own");
    let args = [
        "fetch",
        "-q",
        "--board",
        "qemu-arm64",
        "--recipe",
        &recipe,
        "--lock",
        &lock,
    ];
    let cut = Cmd::new(PROGRAM)
        .args(args)
        .env("HYPRIOT_CACHE", &cache)
        .timeout(Duration::from_millis(2500));
    let first = exec::run(cut);
    let there = || walk(&cache.join("sha256"));
    let before = there();
    imagegen(&cache, &args, &[]).unwrap();
    let after = there();
    assert!(
        first.is_ok() || before.len() < after.len(),
        "it was killed before the end"
    );
    assert!(
        before.keys().all(|f| after.contains_key(f)),
        "what was complete is kept"
    );
    for (name, path) in &after {
        assert_eq!(
            &files::sha256_file(path).unwrap().0,
            name,
            "what is in the store is what its name says"
        );
    }
}

fn walk(dir: &Path) -> BTreeMap<String, PathBuf> {
    let list = |d: &Path| {
        std::fs::read_dir(d)
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().path())
            .collect::<Vec<_>>()
    };
    let named = |p: PathBuf| (p.file_name().unwrap().to_string_lossy().into_owned(), p);
    list(dir).iter().flat_map(|d| list(d)).map(named).collect()
}
