//! Programs of others that ours are judged by, out of Debian's packages. They are unpacked into a folder of their own, not installed:
//! installing some starts servers, and the machine's own release may have older ones.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::configure::Mode;
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::inputs::mirror::Asked;
use hypriot_imagegen::lock;
use hypriot_imagegen::lock::repo::archive::{self, Sources};
use hypriot_imagegen::lock::repo::keyring;
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

/// The other exporter of a machine's numbers.
pub const NODE_EXPORTER: Peer = Peer {
    package: "prometheus-node-exporter",
    file: "usr/bin/prometheus-node-exporter",
};

impl Peer {
    /// Where its file is; fetched and unpacked when it is not there. What comes is signed by Debian.
    pub fn get(self) -> Result<PathBuf> {
        let cache = root().join(".cache");
        let home = cache.join("peers").join(SUITE);
        let (folder, file) = (
            home.join(self.package),
            home.join(self.package).join(self.file),
        );
        if file.is_file() {
            return Ok(file);
        }
        let store = Store::open(&cache)?;
        // Several test programs may want the same one at the same time.
        let _alone = store.lock(&format!("peer-{}", self.package))?;
        if file.is_file() {
            return Ok(file);
        }
        std::fs::create_dir_all(&home)?;
        let work = tempfile::tempdir_in(&home)?;
        let deb = self
            .fetch(&cache, &store)
            .with_context(|| format!("fetching {} of {SUITE}, to compare with it", self.package))?;
        let mut unpack = exec::command("dpkg-deb");
        unpack.arg("-x").args([&deb, work.path()]);
        exec::run(unpack, Duration::from_mins(5))?;
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
        Ok(file)
    }

    fn fetch(self, cache: &Path, store: &Store) -> Result<PathBuf> {
        #[expect(
            clippy::disallowed_methods,
            reason = "signatures are judged by today's date"
        )]
        let now = SystemTime::now();
        let options = root_tree::Options {
            cache: cache.to_owned(),
            mirror: Asked {
                main: std::env::var("HYPRIOT_MIRROR").ok(),
                security: std::env::var("HYPRIOT_SECURITY_MIRROR").ok(),
            },
            keyring: None,
            lock: None,
            update: false,
            frozen: false,
            configure: Mode::Auto,
            helper: PathBuf::new(),
            now,
        };
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
        let found = universe
            .newest(self.package)?
            .context("the archive does not have it")?;
        let wanted = lock::locked(&found)?.wanted(&mirror, &[])?;
        Ok(client.fetch(store, &wanted, None)?)
    }
}
