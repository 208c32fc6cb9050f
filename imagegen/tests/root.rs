//! The root tree for real: built from one lock by root and by an ordinary user, looked at, and built under bad conditions.
//! Needs root and a reachable archive; says so and ends where there is none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_imagegen::exec::{self, ExecError, Output};
use hypriot_imagegen::files;
use hypriot_imagegen::sha256::Sha256;
use hypriot_imagegen::tree::{Entry, Kind, Tree};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hypriot-imagegen");

/// A recipe with what makes most of a system's scripts, and without what makes most of its bytes.
const RECIPE: &str = "name = 'small'\nversion = '1.0.0'\npackages = ['apt', 'systemd-sysv', 'systemd-resolved', 'udev', 'dbus', \
    'openssh-server', 'ca-certificates', 'python3-minimal', 'sudo', 'avahi-daemon']\n";

fn shared_cache() -> PathBuf {
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    let path = own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"));
    std::fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

fn imagegen(cache: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Output, ExecError> {
    let cmd = exec::tool(PROGRAM)
        .args(args)
        .env("HYPRIOT_CACHE", cache)
        .timeout(Duration::from_mins(30));
    env.iter().fold(cmd, |c, (k, v)| c.env(k, v)).run()
}

/// The small recipe's file and its lock in the shared cache, everything fetched; or `None` and the reason.
fn fetched(dir: &Path) -> Option<(String, String)> {
    fetched_as(dir, RECIPE)
}

/// The same for another recipe.
fn fetched_as(dir: &Path, text: &str) -> Option<(String, String)> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let recipe = dir.join("small.toml");
    files::replace(&recipe, text.as_bytes()).unwrap();
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
fn manifest(tree: &Tree) -> BTreeMap<String, String> {
    let line = |entry: &Entry| {
        let content = match &entry.kind {
            Kind::File(content) => Sha256::of(&content.read().unwrap()).to_string(),
            Kind::Symlink(to) => String::from_utf8_lossy(to).into_owned(),
            other => other.name().to_owned(),
        };
        format!(
            "{:o} {}:{} {} {:?} {:?} {content}",
            entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs, entry.link
        )
    };
    tree.iter()
        .map(|(path, entry)| (String::from_utf8_lossy(path).into_owned(), line(entry)))
        .collect()
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

/// The arguments of a build from this lock.
fn root_args<'a>(recipe: &'a str, lock: &'a str) -> [&'a str; 8] {
    [
        "root",
        "-q",
        "--board",
        "qemu-arm64",
        "--recipe",
        recipe,
        "--lock",
        lock,
    ]
}

fn build(cache: &Path, recipe: &str, lock: &str, env: &[(&str, &str)], to: &Path) -> PathBuf {
    let to = to.display().to_string();
    let args = [&root_args(recipe, lock)[..], &["--to", &to]].concat();
    PathBuf::from(imagegen(cache, &args, env).unwrap().text())
}

#[test]
fn one_lock_gives_one_tree_whoever_builds_it_and_nothing_of_the_host_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    let seen = dir.path().join("seen");
    let first = build(
        &own_cache(dir.path(), "a"),
        &recipe,
        &lock,
        &[("TZ", "Asia/Tokyo"), ("LANG", "de_DE.UTF-8")],
        &seen,
    );
    let tree = Tree::packed(&first, u64::MAX).unwrap();
    look(&tree, &seen);

    let user = User::new(dir.path(), &[&recipe, &lock]);
    let second = user.build();
    let one = Sha256::of_file(&first).unwrap();
    let two = Sha256::of_file(&second).unwrap();
    if one != two {
        let other = Tree::packed(&second, u64::MAX).unwrap();
        panic!("{:#?}", difference(&manifest(&tree), &manifest(&other)));
    }
    user.deletes_everything();
}

/// Where a tree that was made by `--quick` may differ from the one made from nothing. Times may everywhere: dpkg on a configured system
/// gives folders the hour of the change, and its papers those of the packages.
const QUICK: [(&str, &str); 12] = [
    ("etc/passwd", ACCOUNTS),
    ("etc/group", ACCOUNTS),
    ("etc/shadow", ACCOUNTS),
    ("etc/gshadow", ACCOUNTS),
    ("etc/chrony/chrony.keys", ACCOUNTS),
    ("var/lib/chrony", ACCOUNTS),
    ("var/log/chrony", ACCOUNTS),
    ("var/lib/ucf/hashfile", UCF),
    ("var/lib/ucf/hashfile.0", UCF),
    ("var/lib/ucf/registry", UCF),
    ("var/lib/ucf/registry.0", UCF),
    ("var/lib/ucf/registry.1", UCF),
];
const UCF: &str = "ucf writes a line and keeps a backup for each file it places, in that order";
const ACCOUNTS: &str =
    "system accounts get their numbers in the order in which packages are configured";

/// Lines of a manifest without the time, their third word.
fn timeless(manifest: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let without = |line: String| {
        let words = line.split(' ').enumerate().filter(|(n, _)| *n != 2);
        words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    };
    manifest.into_iter().map(|(p, l)| (p, without(l))).collect()
}

/// Only what is said, so that what somebody tries out is what he gets.
#[test]
fn a_tree_made_quickly_differs_only_where_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let Some((recipe, lock)) = fetched(dir.path()) else {
        return;
    };
    let cache = own_cache(dir.path(), "cache");
    imagegen(&cache, &root_args(&recipe, &lock), &[]).unwrap();
    let more = RECIPE.replacen("['apt'", "['chrony', 'htop', 'apt'", 1);
    let (recipe, lock) = fetched_as(dir.path(), &more).unwrap();
    let made = |more: &[&str]| {
        let args = [&root_args(&recipe, &lock)[..], more].concat();
        let answer = imagegen(&cache, &args, &[]).unwrap().text();
        timeless(manifest(
            &Tree::packed(Path::new(&answer), u64::MAX).unwrap(),
        ))
    };
    let (quick, whole) = (made(&["--quick"]), made(&[]));
    let strange: Vec<String> = difference(&quick, &whole)
        .into_iter()
        .filter(|line| {
            let path = line.split(' ').nth(1).unwrap_or_default();
            !QUICK.iter().any(|(known, _)| path == *known)
        })
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
    assert!(quick.contains_key("usr/sbin/chronyd"));
}

/// What every tree must be; `at` is the same, unpacked by root.
fn look(tree: &Tree, at: &Path) {
    let text = |p: &str| String::from_utf8(tree.read(p).unwrap().to_vec()).unwrap();
    assert!(tree.len() > 5000, "{} files", tree.len());
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
    let paths = || tree.iter().map(|(p, _)| String::from_utf8_lossy(p));
    assert!(
        !paths().any(|p| p.starts_with("etc/ssh/ssh_host_")),
        "no keys that everybody would have"
    );
    assert!(
        !paths().any(|p| p.ends_with(".dpkg-new")),
        "configuration files are in their places"
    );
    assert!(
        tree.get("usr/sbin/policy-rc.d").is_none()
            && tree.get("usr/lib/x86_64-linux-gnu").is_none(),
        "no trace of the sandbox"
    );
    let verified = exec::tool("dpkg")
        .arg("--root")
        .arg(at)
        .args(["--verify"])
        .run()
        .unwrap();
    assert_eq!(
        verified.text(),
        "",
        "dpkg finds every file as its package says"
    );
    let again = Tree::scan(at, u64::MAX).unwrap();
    let (packed, unpacked) = (manifest(tree), manifest(&again));
    assert!(packed == unpacked, "{:#?}", difference(&packed, &unpacked));
    for dir in ["dev", "proc", "run", "sys", "tmp"] {
        assert_eq!(tree.below(dir.as_bytes()).count(), 0, "{dir} is empty");
    }
    for name in ["etc/hostname", "etc/resolv.conf", "etc/mailname"] {
        let host = std::fs::read(Path::new("/").join(name)).unwrap_or_default();
        let same = tree.read(name).is_ok_and(|ours| *ours == host[..]);
        assert!(!same || host.is_empty(), "{name} of this machine");
    }
    assert_eq!(tree.get("usr/bin/sudo").unwrap().mode, 0o4755);
    assert!(
        text("etc/passwd").contains("sshd:") && text("etc/passwd").contains("avahi:"),
        "accounts were made"
    );
    assert!(
        tree.iter().any(|(_, e)| e.gid == 42),
        "files of the group `shadow` are its own"
    );
    assert!(
        !text("etc/shadow")
            .lines()
            .any(|l| l.split(':').nth(1).is_some_and(|p| p.starts_with('$'))),
        "no password"
    );
}

/// An ordinary user who has subordinate ids, for as long as the test lasts: the machine's own files do not know him.
struct User {
    home: PathBuf,
    files: Vec<PathBuf>,
}

impl User {
    const ID: u32 = 23_456;

    /// Gives him a home, the program, and these files.
    fn new(dir: &Path, wanted: &[&str]) -> Self {
        let home = dir.join("home");
        std::fs::create_dir_all(home.join("cache/sha256")).unwrap();
        let give = |from: &str, name: &str| {
            let to = home.join(name);
            std::fs::copy(from, &to).unwrap();
            to
        };
        give(PROGRAM, "hypriot-imagegen");
        let numbered = |(n, from): (usize, &&str)| give(from, &format!("file-{n}"));
        let files = wanted.iter().enumerate().map(numbered).collect();
        let entry = format!("builder:{id}:{id}::", id = Self::ID);
        for (name, line) in [
            ("passwd", entry.replacen(':', ":x:", 1) + "/nowhere:/bin/sh"),
            ("subuid", "builder:300000:65536".to_owned()),
            // By number, and another range than for users.
            ("subgid", format!("{}:500000:65536", Self::ID)),
        ] {
            files::replace(&dir.join(name), format!("{line}\n").as_bytes()).unwrap();
        }
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir, open).unwrap();
        let owner = format!("{id}:{id}", id = Self::ID);
        exec::tool("chown")
            .args(["-R", &owner])
            .arg(&home)
            .run()
            .unwrap();
        Self { home, files }
    }

    /// A shell that is his, in which `/etc` knows him and the downloads lie in his cache.
    fn run(&self, script: &str) -> Output {
        let dir = self.home.parent().unwrap().display().to_string();
        // A private copy, so that the machine's own files stay as they are.
        let outside = format!(
            "cp -a /etc {dir}/etc; cp {dir}/passwd {dir}/subuid {dir}/subgid {dir}/etc; mount --bind {dir}/etc /etc; \
             mount --bind {shared}/sha256 {dir}/home/cache/sha256; \
             exec setpriv --reuid={id} --regid={id} --clear-groups sh -c 'umask 077; cd /; {script}'",
            shared = shared_cache().display(),
            id = Self::ID,
        );
        let cmd = exec::tool("unshare").args(["-m", "sh", "-ec", &outside]);
        cmd.timeout(Duration::from_mins(30)).run().unwrap()
    }

    fn build(&self) -> PathBuf {
        let file = |n: usize| self.files[n].display().to_string();
        let args = root_args(&file(0), &file(1)).map(str::to_owned).join(" ");
        let home = self.home.display();
        let out = self.run(&format!(
            "env -i PATH=/usr/bin:/bin TZ=UTC LC_ALL=C HOME=/nowhere {home}/hypriot-imagegen {args} --cache {home}/cache"
        ));
        PathBuf::from(out.text())
    }

    /// Nothing of his builds is anybody else's.
    fn deletes_everything(&self) {
        let cache = self.home.join("cache");
        let foreign = exec::tool("find")
            .arg(&cache)
            .args(["!", "-uid", &Self::ID.to_string()])
            .run();
        assert_eq!(foreign.unwrap().text(), "", "files of subordinate ids");
        let id = Self::ID.to_string();
        let rm = exec::tool("setpriv").args([
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "rm",
            "-rf",
        ]);
        rm.arg(&cache).run().unwrap();
        assert!(!cache.exists());
    }
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
            .map(|_| scope.spawn(|| imagegen(&cache, &root_args(&recipe, &lock), &[])))
            .collect();
        jobs.into_iter()
            .map(|j| PathBuf::from(j.join().unwrap().unwrap().text()))
            .collect()
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
         ls {small}/c/trees | sed 's/^/left: /' >&2; exit $code",
        small = small.display(),
        shared = shared_cache().display(),
    );
    let e = exec::tool("unshare")
        .args(["-m", "sh", "-c", &script])
        .run()
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("No space left") && e.contains("free some room"),
        "{e}"
    );
    // The message names the place that was too small; what counts is what the listing says after it.
    assert!(
        !e.contains("left: half-") && !e.contains("left: root-"),
        "{e}"
    );
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
    let cut = exec::tool(PROGRAM)
        .args(args)
        .env("HYPRIOT_CACHE", &cache)
        .timeout(Duration::from_millis(2500));
    let first = cut.run();
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
            &Sha256::of_file(path).unwrap().0.to_string(),
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
