//! Programs of others that ours are judged by, out of Debian's packages. They are unpacked into a folder of their own, not installed:
//! installing some starts servers, and the machine's own release may have older ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::inputs::mirror::Asked;
use hypriot_imagegen::lock;
use hypriot_imagegen::lock::repo::archive::{self, Sources};
use hypriot_imagegen::lock::repo::index::Candidate;
use hypriot_imagegen::lock::repo::keyring;
use hypriot_imagegen::lock::resolve::{Universe, resolve};
use hypriot_imagegen::pipeline::root_tree;
use hypriot_imagegen::progress::Progress;

use crate::exec;
use crate::papers::root;

/// The release whose programs we compare with.
pub const SUITE: &str = "trixie";

/// A package of [`SUITE`] without what it depends on: enough for programs in Go and modules in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Debian's name of it.
    pub package: &'static str,
    /// What is used of it, from the root directory; shows that the package was unpacked whole.
    pub file: &'static str,
}

/// goss, whose files we read.
pub const GOSS: Peer = Peer {
    package: "goss",
    file: "usr/bin/goss",
};
/// The judge of metrics, alerts and rules.
pub const PROMTOOL: Peer = Peer {
    package: "promtool",
    file: "usr/bin/promtool",
};
/// The parser of OpenMetrics in Python.
pub const OPENMETRICS: Peer = Peer {
    package: "python3-prometheus-client",
    file: "usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py",
};

/// zstd, whose whole-image patch is the measure of deltas.
pub const ZSTD: Peer = Peer {
    package: "zstd",
    file: "usr/bin/zstd",
};
/// Content-addressed synchronisation, which RAUC can stream with.
pub const CASYNC: Peer = Peer {
    package: "casync",
    file: "usr/bin/casync",
};
/// VCDIFF deltas, which Mender and Rugix use.
pub const XDELTA3: Peer = Peer {
    package: "xdelta3",
    file: "usr/bin/xdelta3",
};
/// Chunked zstd, which SWUpdate uses.
pub const ZCHUNK: Peer = Peer {
    package: "zchunk",
    file: "usr/bin/zck",
};

/// The updater with the most users: bundles, slots, D-Bus.
pub const RAUC: Peer = Peer {
    package: "rauc",
    file: "usr/bin/rauc",
};
/// The updater that writes a slot while it downloads.
pub const SWUPDATE: Peer = Peer {
    package: "swupdate",
    file: "usr/bin/swupdate",
};

/// The other exporter of a machine's numbers.
pub const NODE_EXPORTER: Peer = Peer {
    package: "prometheus-node-exporter",
    file: "usr/bin/prometheus-node-exporter",
};

/// A peer with all that it depends on, the C library too: it runs whatever this machine has.
#[derive(Debug, Clone)]
pub struct Whole {
    /// A root directory of its own.
    pub home: PathBuf,
}

impl Whole {
    /// A program of it, by its path from the root directory.
    pub fn command(&self, program: &str) -> Result<Command> {
        let arch = Arch::host().context("Debian has no programs for this machine")?;
        let (triple, loader) = match arch.name() {
            "amd64" => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
            "arm64" => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
            other => anyhow::bail!("nobody said where the loader of {other} is"),
        };
        let libraries = self.home.join("usr/lib").join(triple);
        let mut command = exec::command(libraries.join(loader));
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(self.home.join(program));
        Ok(command)
    }

    /// A shell script with this root directory, and `work` at `/bench`. It sees this machine's devices; what it mounts and what it
    /// writes elsewhere is gone with it.
    pub fn script(&self, work: &Path, script: &str) -> Result<Command> {
        let layer = work.join("layer");
        std::fs::create_dir_all(&layer)?;
        let mut command = exec::command("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", WORLD, "sh"])
            .args([&self.home, work, &layer])
            .arg(script);
        Ok(command)
    }
}

/// The root directory of a peer's own packages. Links of the merged `/usr` come with a package that not every one needs.
const WORLD: &str = r#"set -e
home=$1 work=$2 layer=$3 script=$4
mount --make-rprivate /
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/up" "$layer/work" "$layer/root"
root=$layer/root
mount -t overlay overlay -o "lowerdir=$home,upperdir=$layer/up,workdir=$layer/work" "$root"
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/bench"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --bind "$work" "$root/bench"
for dir in bin sbin lib lib64; do
    [ -e "$root/$dir" ] || ln -s "usr/$dir" "$root/$dir"
done
mkdir -p "$root/etc"
[ -e "$root/etc/passwd" ] || echo "root:x:0:0::/:/bin/sh" > "$root/etc/passwd"
[ -e "$root/etc/group" ] || echo "root:x:0:" > "$root/etc/group"
exec chroot "$root" /bin/sh -c "$script"
"#;

impl Peer {
    /// Where its file is; fetched and unpacked when it is not there. What comes is signed by Debian.
    pub fn get(self) -> Result<PathBuf> {
        let home = self.unpacked(self.package, |universe| {
            let found = universe.newest(self.package)?;
            Ok(vec![found.context("the archive does not have it")?])
        })?;
        Ok(home.join(self.file))
    }

    /// The same, with everything that it depends on.
    pub fn whole(self) -> Result<Whole> {
        self.whole_with(&[])
    }

    /// The same, with other packages in the same root directory.
    pub fn whole_with(self, others: &[&str]) -> Result<Whole> {
        let name = [&[self.package, "whole"], others].concat().join("-");
        let home = self.unpacked(&name, |universe| {
            let wanted: Vec<_> = [&[self.package], others].concat();
            let wanted: Vec<_> = wanted.into_iter().map(str::to_owned).collect();
            Ok(resolve(universe, &wanted, &[])?.into_values().collect())
        })?;
        Ok(Whole { home })
    }

    /// The folder in which these packages are unpacked.
    fn unpacked(
        self,
        name: &str,
        choose: impl FnOnce(&Universe) -> Result<Vec<Candidate>>,
    ) -> Result<PathBuf> {
        let cache = root().join(".cache");
        let home = cache.join("peers").join(SUITE);
        let folder = home.join(name);
        let file = folder.join(self.file);
        if file.is_file() {
            return Ok(folder);
        }
        let store = Store::open(&cache)?;
        // Several test programs may want the same one at the same time.
        let _alone = store.lock(&format!("peer-{name}"))?;
        if file.is_file() {
            return Ok(folder);
        }
        std::fs::create_dir_all(&home)?;
        let work = tempfile::tempdir_in(&home)?;
        let debs = fetch(&cache, &store, choose)
            .with_context(|| format!("fetching {} of {SUITE}, to compare with it", self.package))?;
        for deb in debs {
            let mut unpack = exec::command("dpkg-deb");
            unpack.arg("-x").args([&deb, work.path()]);
            exec::run(unpack, Duration::from_mins(5))?;
        }
        ensure!(
            work.path().join(self.file).is_file(),
            "{} of {SUITE} has no {}",
            self.package,
            self.file
        );
        drop(std::fs::remove_dir_all(&folder));
        #[expect(
            clippy::disallowed_methods,
            reason = "a whole directory gets its name at once; what a power cut leaves is fetched anew"
        )]
        std::fs::rename(work.path(), &folder)?;
        Ok(folder)
    }
}

/// The chosen packages of [`SUITE`], as files.
fn fetch(
    cache: &Path,
    store: &Store,
    choose: impl FnOnce(&Universe) -> Result<Vec<Candidate>>,
) -> Result<Vec<PathBuf>> {
    let options = options(cache);
    let client = root_tree::client();
    let mirror = root_tree::mirror(&options, &client)?;
    let sources = Sources {
        mirror: &mirror,
        keyring: &keyring::load(&keyring::default_path())?,
        store,
        client: &client,
        frozen: false,
        now: options.now,
        progress: Progress::auto(),
    };
    let arch = Arch::host().context("Debian has no programs for this machine")?;
    let universe = archive::universe(&sources, SUITE, arch.name(), &["main"], &mut Vec::new())?;
    let one = |found: &Candidate| {
        let wanted = lock::locked(found)?.wanted(&mirror, &[])?;
        Ok(client.fetch(store, &wanted, None)?)
    };
    choose(&universe)?.iter().map(one).collect()
}

/// How this machine reaches Debian's archive.
#[expect(
    clippy::disallowed_methods,
    reason = "benches and peers are the outermost place; signatures are judged by today's date"
)]
pub fn options(cache: &Path) -> root_tree::Options {
    root_tree::Options {
        mirror: Asked::of_environment(),
        ..root_tree::Options::new(cache.to_owned(), PathBuf::new(), SystemTime::now())
    }
}
