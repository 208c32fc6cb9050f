//! What the tests of whole trees share: the program, the cache, and a system that is only just one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::exec::{self, ExecError, Output};
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::lock::{self, Lock};
use hypriot_imagegen::sha256::Sha256;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_hypriot-imagegen");
pub(crate) const BOARD: &str = "qemu-arm64";

/// The cache that all builds of this checkout share.
pub(crate) fn shared_cache() -> PathBuf {
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    let path = own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"));
    std::fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

pub(crate) fn imagegen(cache: &Path, args: &[&str]) -> Result<Output, ExecError> {
    let cmd = exec::tool(PROGRAM)
        .args(args)
        .env("HYPRIOT_CACHE", cache)
        .timeout(Duration::from_hours(2));
    cmd.run()
}

/// Whether the board's programs run here as they are, so that there is nothing to test; then it is said.
pub(crate) fn nothing_is_foreign() -> bool {
    let same = Arch::host() == Some(Arch::Arm64);
    if same {
        println!("skipped: nothing is foreign here");
    }
    same
}

/// What gives a machine of its own: the fewest packages that dpkg can configure, and with it a script that calls programs.
const JUST: [&str; 30] = [
    "base-files",
    "base-passwd",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "gcc-14-base",
    "grep",
    "libacl1",
    "libattr1",
    "libbz2-1.0",
    "libc-bin",
    "libc6",
    "libcap2",
    "libdebconfclient0",
    "libgcc-s1",
    "libgmp10",
    "liblzma5",
    "libmd0",
    "libpcre2-8-0",
    "libselinux1",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "mawk",
    "openssl-provider-legacy",
    "sed",
    "tar",
    "zlib1g",
];

/// A recipe with what makes most of a system's scripts, and without what makes most of its bytes; `tests/root.rs` has the same.
const RECIPE: &str = "name = 'small'\nversion = '1.0.0'\npackages = ['apt', 'systemd-sysv', 'systemd-resolved', 'udev', 'dbus', \
    'openssh-server', 'ca-certificates', 'python3-minimal', 'sudo', 'avahi-daemon']\n";

/// A system in a directory of its own, with a cache of its own that shares the downloads.
pub(crate) struct System {
    dir: tempfile::TempDir,
    recipe: PathBuf,
    lock: Lock,
    store: Store,
}

impl System {
    /// A system of the fewest packages; or `None`, and the reason is printed.
    pub(crate) fn just_one() -> Option<Self> {
        if nothing_is_foreign() {
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let recipe = dir.path().join("small.toml");
        files::replace(&recipe, RECIPE.as_bytes()).unwrap();
        let text = recipe.display().to_string();
        let args = ["fetch", "-q", "--json", "--board", BOARD, "--recipe", &text];
        let answer = match imagegen(&shared_cache(), &args) {
            Ok(out) => serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap(),
            Err(e)
                if e.to_string().contains("cannot reach")
                    || e.to_string().contains("middle of an update") =>
            {
                println!("skipped: {e}");
                return None;
            }
            Err(e) => panic!("{e}"),
        };
        let mut lock = lock::load(Path::new(answer["lock"].as_str().unwrap())).unwrap();
        lock.packages.retain(|p| JUST.contains(&p.name.as_str()));
        lock.tools.retain(|p| JUST.contains(&p.name.as_str()));
        lock.boot_packages.clear();
        let missing = JUST
            .iter()
            .filter(|n| !lock.packages.iter().any(|p| p.name == **n));
        assert_eq!(missing.count(), 0, "{:?}", lock.packages);
        // Only links: what tests make up must not stay in the cache that is shared.
        let (own, shared) = (
            Store::open(&dir.path().join("cache")),
            Store::open(&shared_cache()),
        );
        let (own, shared) = (own.unwrap(), shared.unwrap());
        for p in lock.all() {
            std::fs::create_dir_all(own.path(p.sha256).parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(shared.path(p.sha256), own.path(p.sha256)).unwrap();
        }
        Some(Self {
            dir,
            recipe,
            lock,
            store: own,
        })
    }

    /// Adds a package of one script, built by dpkg-deb. It stands in for a kernel too, which every tree must have.
    pub(crate) fn add(&mut self, name: &str, postinst: &str) {
        let needs = "Depends: dash, coreutils\n";
        self.package(name, needs, &[("postinst", postinst)]);
    }

    /// Adds a package that needs others, with its scripts.
    pub(crate) fn package(&mut self, name: &str, needs: &str, scripts: &[(&str, &str)]) {
        let files_of = self.dir.path().join(name);
        let put = |path: &str, text: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            let path = files_of.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            files::replace(&path, text.as_bytes()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a test <test@example.invalid>\n{needs}\
             Description: a test\n"
        );
        put("DEBIAN/control", &control, 0o644);
        for (script, text) in scripts {
            put(&format!("DEBIAN/{script}"), text, 0o755);
        }
        put(&format!("usr/lib/modules/1/{name}"), "", 0o644);
        let deb = self.dir.path().join(format!("{name}.deb"));
        let build = exec::tool("dpkg-deb").args(["--root-owner-group", "--build"]);
        build.arg(&files_of).arg(&deb).run().unwrap();
        let bytes = std::fs::read(&deb).unwrap();
        let sha256 = Sha256::of(&bytes);
        files::replace(&self.store.path(sha256), &bytes).unwrap();
        self.lock.packages.push(lock::LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: "all".to_owned(),
            source: name.to_owned(),
            archive: "main".to_owned(),
            filename: "none".to_owned(),
            size: bytes.len() as u64,
            installed_kib: 1,
            sha256,
        });
    }

    /// Builds the tree; gives its file and what was said meanwhile.
    pub(crate) fn root(&self, configure: &str) -> Result<(PathBuf, String), ExecError> {
        let lock = self.dir.path().join("small.lock.toml");
        files::replace(&lock, self.lock.to_text().unwrap().as_bytes()).unwrap();
        let (lock, recipe) = (
            lock.display().to_string(),
            self.recipe.display().to_string(),
        );
        let args = ["root", "--board", BOARD, "--configure", configure];
        let named = ["--lock", &lock, "--recipe", &recipe];
        let out = imagegen(self.store.root(), &[&args[..], &named].concat())?;
        Ok((PathBuf::from(out.text()), out.last))
    }
}
