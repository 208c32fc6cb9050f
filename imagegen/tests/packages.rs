//! Packages for real: every board's set is resolved from the archive this machine's apt knows, and compared with apt's own answer.
//! Without a reachable archive these tests say so and end: the rules themselves are tested in the crate, without a network.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::configure::Mode;
use hypriot_imagegen::exec;
use hypriot_imagegen::files;
use hypriot_imagegen::inputs::board;
use hypriot_imagegen::inputs::mirror::Asked;
use hypriot_imagegen::inputs::recipe;
use hypriot_imagegen::lock::repo::RepoError;
use hypriot_imagegen::lock::{Lock, LockError};
use hypriot_imagegen::pipeline::root_tree::{self, Options, RootError};
use hypriot_imagegen::progress::Progress;

/// The cache that all builds of this checkout share: what was fetched once is not fetched again.
fn cache() -> PathBuf {
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"))
}

#[expect(clippy::disallowed_methods, reason = "a test is the outermost place")]
fn options(cache: &Path) -> Options {
    std::fs::create_dir_all(cache).unwrap();
    Options {
        mirror: Asked::of_environment(),
        configure: Mode::Native,
        ..Options::new(
            cache.canonicalize().unwrap(),
            PathBuf::from(env!("CARGO_BIN_EXE_hypriot-imagegen")),
            SystemTime::now(),
        )
    }
}

/// True if there is an archive to ask.
fn archive_is_there() -> bool {
    let client = hypriot_imagegen::fetch::Client::default();
    let there = root_tree::mirror(&options(&cache()), &client).is_ok_and(|m| {
        client
            .text(&format!("{}/dists/trixie/InRelease", m.main))
            .is_ok()
    });
    if !there {
        println!("skipped: no Debian archive can be reached from here");
    }
    there
}

/// A lock of the default recipe. Where the mirror's lists of an architecture do not fit (a mirror in the middle of an update), the
/// same suite under its other name, which mirrors keep apart, is tried as a frozen copy, which is said. `None`: this mirror has nothing that fits.
fn lock_of(name: &str, behind: &mut BTreeSet<Arch>) -> Option<(Lock, bool)> {
    let board = board::find(name).unwrap();
    let mut recipe = recipe::load(None).unwrap();
    let mut opts = options(&cache());
    for (suite, frozen) in [(None, false), (Some("stable".to_owned()), true)] {
        if suite.is_none() && behind.contains(&board.arch) {
            continue;
        }
        recipe.suite = suite;
        opts.frozen = frozen;
        match root_tree::lock(&recipe, &board, &opts, Progress::Quiet) {
            Ok(lock) => return Some((lock, frozen)),
            Err(RootError::Lock(LockError::Repo(RepoError::MidSync { reason, .. }))) => {
                println!("{name}: {reason}");
                behind.insert(board.arch);
            }
            Err(e) => panic!("{name}: {e}"),
        }
    }
    None
}

/// What keeps apt away from everything of this machine.
fn settings(arch: &str, dir: &Path) -> Vec<String> {
    let at = |p: &str| dir.join(p).display().to_string();
    [
        format!("Dir::Etc::SourceList={}", at("sources.list")),
        format!("Dir::Etc::SourceParts={}", at("none")),
        format!("Dir::Etc::Parts={}", at("etc/apt.conf.d")),
        format!("Dir::Etc::Main={}", at("none")),
        format!("Dir::Etc::Preferences={}", at("preferences")),
        format!("Dir::Etc::PreferencesParts={}", at("etc/preferences.d")),
        format!("Dir::State={dir}", dir = dir.display()),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        format!("APT::Architecture={arch}"),
        format!("APT::Architectures={arch}"),
        "APT::Install-Recommends=false".to_owned(),
        "APT::Install-Suggests=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::Retries=3".to_owned(),
        "Acquire::Check-Valid-Until=false".to_owned(),
        "Debug::NoLocking=true".to_owned(),
    ]
    .to_vec()
}

/// The board's pins as apt's preferences (apt_preferences(5)).
fn preferences(board: &board::Board, lock: &Lock) -> String {
    let mut preferences = String::new();
    for pin in &board.pins {
        for source in &pin.sources {
            // `n=` is the suite's code name; `stable-backports` is known by `a=`
            let key = if lock.suite == "stable" { 'a' } else { 'n' };
            writeln!(
                preferences,
                "Package: src:{source}\nPin: release {key}={}-{}\nPin-Priority: 990\n",
                lock.suite, pin.pocket
            )
            .unwrap();
        }
    }
    preferences
}

/// What apt would install, asked with settings and lists of its own: nothing of this machine's apt is read but its sources' address.
fn apt_says(name: &str, lock: &Lock, dir: &Path) -> BTreeSet<String> {
    let board = board::find(name).unwrap();
    let recipe = recipe::load(None).unwrap();
    let client = hypriot_imagegen::fetch::Client::default();
    let found = root_tree::mirror(&options(&cache()), &client).unwrap();
    let keyring = hypriot_imagegen::lock::repo::keyring::default_path();
    for sub in [
        "etc/apt.conf.d",
        "etc/preferences.d",
        "etc/trusted.gpg.d",
        "lists/partial",
        "cache/archives/partial",
    ] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let mut sources = String::new();
    for release in &lock.releases {
        if !release.suite.starts_with(&lock.suite) {
            continue;
        }
        let base = if release.archive == "main" {
            &found.main
        } else {
            found.security.as_ref().unwrap()
        };
        let components = board.components.join(" ");
        writeln!(
            sources,
            "deb [signed-by={}] {base} {} {components}",
            keyring.display(),
            release.suite
        )
        .unwrap();
    }
    files::replace(&dir.join("sources.list"), sources.as_bytes()).unwrap();
    files::replace(&dir.join("status"), b"").unwrap();
    files::replace(
        &dir.join("preferences"),
        preferences(&board, lock).as_bytes(),
    )
    .unwrap();
    let settings = settings(lock.arch.name(), dir);
    let apt = |args: &[&str]| {
        let cmd = settings
            .iter()
            .fold(exec::tool("apt-get"), |c, s| c.args(["-o", s]));
        cmd.args(args)
            .timeout(Duration::from_mins(5))
            .env("LC_ALL", "C")
            .run()
            .unwrap()
            .text()
    };
    // One directory serves all boards of an architecture and a list of components.
    if !dir.join("updated").exists() {
        apt(&["-qq", "update"]);
        files::replace(&dir.join("updated"), b"").unwrap();
    }
    // Essential packages are not pulled into an empty system by themselves.
    let lists = apt(&[
        "-qq",
        "indextargets",
        "--format",
        "$(FILENAME)",
        "Created-By: Packages",
    ]);
    let mut wanted: BTreeSet<String> = recipe
        .packages
        .iter()
        .chain(&board.packages)
        .cloned()
        .collect();
    for list in lists.lines() {
        let text = exec::tool("/usr/lib/apt/apt-helper")
            .args(["cat-file", list])
            .run()
            .unwrap()
            .text();
        let essential = text
            .split("\n\n")
            .filter(|p| p.contains("\nEssential: yes"));
        wanted.extend(
            essential.filter_map(|p| Some(p.lines().next()?.strip_prefix("Package: ")?.to_owned())),
        );
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let answer = apt(&[&["-s", "install"], wanted.as_slice()].concat());
    // Inst NAME (VERSION ORIGIN [ARCH])
    let one = |l: &str| {
        let rest = l.strip_prefix("Inst ")?;
        let (package, rest) = rest.split_once(' ')?;
        let package = package.split(':').next()?;
        Some(format!(
            "{package} {}",
            rest.trim_start_matches('(').split(' ').next()?
        ))
    };
    answer.lines().filter_map(one).collect()
}

/// Whether apt read the same signed tables of contents as the lock was made from.
fn of_one_day(lock: &Lock, dir: &Path) -> bool {
    let lists = std::fs::read_dir(dir.join("lists")).unwrap();
    let tables = lists.filter_map(|e| std::fs::read_to_string(e.unwrap().path()).ok());
    let all = tables.collect::<Vec<_>>().join("\n");
    let dates: BTreeSet<&str> = all
        .lines()
        .filter_map(|l| l.strip_prefix("Date: "))
        .map(str::trim)
        .collect();
    let mut ours = lock.releases.iter();
    ours.all(|r| !r.suite.starts_with(&lock.suite) || dates.contains(r.date.trim()))
}

/// What only our lock has, and what only apt would install.
fn beside_apt(name: &str, lock: &Lock, dir: &Path) -> (Vec<String>, Vec<String>) {
    let apt = apt_says(name, lock, dir);
    let ours: BTreeSet<String> = lock
        .packages
        .iter()
        .map(|p| format!("{} {}", p.name, p.version))
        .collect();
    (
        ours.difference(&apt).cloned().collect(),
        apt.difference(&ours).cloned().collect(),
    )
}

#[test]
fn every_board_gets_the_packages_apt_would_install() {
    if !archive_is_there() {
        return;
    }
    let mut asked = BTreeSet::new();
    let mut compared = 0;
    let dirs = tempfile::tempdir().unwrap();
    // Architectures whose lists do not fit on this mirror today: known after the first board.
    let mut behind = BTreeSet::new();
    for name in board::names() {
        let Some((lock, mut frozen)) = lock_of(&name, &mut behind) else {
            println!("{name}: not compared, the mirror is in the middle of an update");
            continue;
        };
        compared += 1;
        assert!(
            lock.packages.len() > 150,
            "{name}: {} packages",
            lock.packages.len()
        );
        // Boards that ask for the same need not be compared twice.
        let board = board::find(&name).unwrap();
        let pins = board.pins.clone();
        if !asked.insert((board.arch, board.packages.clone(), pins)) {
            continue;
        }
        let dir = dirs.path().join(
            format!(
                "{} {} {} {}",
                board.arch,
                lock.suite,
                board.components.join(" "),
                board
                    .pins
                    .iter()
                    .map(|p| p.pocket.as_str())
                    .collect::<String>()
            )
            .replace(' ', "-"),
        );
        let (mut more, mut less) = beside_apt(&name, &lock, &dir);
        let mut used = lock;
        if !(more.is_empty() && less.is_empty()) {
            // An archive moves on between two looks at it: what is really different is so again.
            std::fs::remove_file(dir.join("updated")).unwrap();
            let Some((lock, again)) = lock_of(&name, &mut behind) else {
                println!("{name}: not compared, the mirror is in the middle of an update");
                continue;
            };
            frozen = again;
            (more, less) = beside_apt(&name, &lock, &dir);
            used = lock;
        }
        if !(more.is_empty() && less.is_empty()) && (frozen || !of_one_day(&used, &dir)) {
            // What was signed at different times differs.
            println!(
                "{name}: the mirror is in the middle of an update: {more:?}, apt has {less:?}"
            );
            compared -= 1;
            continue;
        }
        assert!(
            more.is_empty() && less.is_empty(),
            "{name}: only ours {more:?}; only apt's {less:?}"
        );
    }
    assert!(compared > 0, "no board could be compared");
}

#[test]
fn unknown_package_is_named_with_a_suggestion() {
    if !archive_is_there() {
        return;
    }
    let text = "name='x'\nversion='1.0.0'\npackages=['avahi-deamon']\n";
    let recipe = recipe::parse("x", text).unwrap();
    let board = board::find("qemu-arm64").unwrap();
    let e = root_tree::lock(&recipe, &board, &options(&cache()), Progress::Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("avahi-deamon") && e.contains("did you mean `avahi-daemon`"),
        "{e}"
    );
}

#[test]
fn unreachable_mirror_is_named_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let mut opts = options(dir.path());
    opts.mirror = Asked {
        main: Some("http://127.0.0.1:9/debian".to_owned()),
        security: None,
    };
    let board = board::find("qemu-arm64").unwrap();
    let e =
        root_tree::lock(&recipe::load(None).unwrap(), &board, &opts, Progress::Quiet).unwrap_err();
    let text = e.to_string();
    assert!(
        matches!(e, RootError::Lock(_))
            && text.contains("127.0.0.1:9")
            && text.contains("--mirror"),
        "{text}"
    );
    assert!(
        !root_tree::lock_path(&recipe::load(None).unwrap(), &board, &opts).exists(),
        "no half-written lock"
    );
}

#[test]
fn command_line_mistakes_are_explained() {
    let run = |args: &[&str]| {
        exec::tool(env!("CARGO_BIN_EXE_hypriot-imagegen"))
            .args(args)
            .run()
            .unwrap_err()
            .to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().to_str().unwrap();
    assert!(run(&["root", "--board", "qemu-arm46", "--cache", cache]).contains("qemu-arm64"));
    let bad = dir.path().join("bad.toml");
    files::replace(
        &bad,
        b"name='x'\nversion='1.0.0'\npackages=['a']\ncolour='blue'\n",
    )
    .unwrap();
    let e = run(&[
        "root",
        "--board",
        "qemu-arm64",
        "--cache",
        cache,
        "--recipe",
        bad.to_str().unwrap(),
    ]);
    assert!(e.contains("colour") && e.contains("bad.toml"), "{e}");
    assert!(
        run(&[
            "plan",
            "--board",
            "qemu-arm64",
            "--cache",
            cache,
            "--mirror",
            "ftp://x"
        ])
        .contains("http")
    );
}
