//! Where a layer is made: the slot's pristine root once more, beside the running system, with an overlay over it that takes what changes.
//!
//! In it are the owner's own `/etc` (settings of packages, users and enabled units are the owner's and outlast a layer), a `/dev`, `/sys` and
//! `/run` of its own, and a `policy-rc.d` that starts no service. Programs run with process ids of their own, so that nothing a script
//! leaves behind outlives it. All mounts are in a name space that ends with this process: nobody else sees them, and none is left.

use std::fs::{self, DirBuilder, create_dir_all};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use super::build::Source;
use super::debs;
use super::layer::UPPER;
use super::store::Store;
use crate::exec::Cmd;
use crate::files;
use crate::init::mount;

/// What a board's programs find in `/dev` wherever they run.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// deb-policy: services are not started here (101: forbidden by policy).
const POLICY: (&str, &str) = ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
/// The loader's cache is the layer's own and not the owner's: the next image has other libraries. It is made at the end.
const LDCONFIG: &str = "usr/sbin/ldconfig";
const LD_CACHE: &str = "run/ld.so.cache";
/// The index of the kept packages, and what apt reads it with.
const OFFLINE: &str = "run/offline";

/// Where the slot's pristine root is.
#[derive(Debug, Clone)]
pub enum Image {
    /// A block device with an EROFS on it.
    Device(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

/// What a stage is made of.
#[derive(Debug)]
pub struct Site {
    /// The pristine root.
    pub image: Image,
    /// The running system, whose `/etc` and lists of apt are used.
    pub live: PathBuf,
    /// An empty folder to mount in.
    pub at: PathBuf,
    /// Where layers lie.
    pub store: Store,
}

/// Gives this thread, and what it starts, a view of the file systems of its own.
pub fn apart() -> anyhow::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
        .context("leaving the name space of the mounts (are you root?)")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(Path::new("none"), Path::new("/"), None, flags, None)
}

impl Site {
    /// Where the pristine root can be looked at, once [`Self::open`] mounted it.
    pub fn pristine(&self) -> PathBuf {
        match &self.image {
            Image::Device(_) => self.at.join("image"),
            Image::Folder(folder) => folder.clone(),
        }
    }

    /// Makes the place, and mounts the pristine root. Only [`apart`].
    pub fn open(&self) -> anyhow::Result<()> {
        let mut private = DirBuilder::new();
        let made = private.recursive(true).mode(0o700).create(&self.at);
        made.with_context(|| format!("making {}", self.at.display()))?;
        memory(&self.at, "16m")?;
        if let Image::Device(device) = &self.image {
            let at = self.pristine();
            create_dir_all(&at)?;
            mount(device, &at, Some("erofs"), MsFlags::MS_RDONLY, None)?;
        }
        Ok(())
    }
}

fn memory(at: &Path, size: &str) -> anyhow::Result<()> {
    let options = format!("mode=0755,size={size}");
    mount(
        Path::new("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some(&options),
    )
}

/// A stage that is set up. It is taken down with this value.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    /// In the order in which they were mounted.
    mounted: Vec<PathBuf>,
    /// Its `policy-rc.d` lies in the upper directory.
    own_policy: bool,
}

impl Stage {
    /// Sets it up over the upper directory in `building`.
    pub fn set_up(site: &Site, source: Source) -> anyhow::Result<Self> {
        let (building, root) = (site.store.building(), site.at.join("root"));
        let (upper, work) = (building.join(UPPER), building.join("work"));
        for dir in [&upper, &work, &root] {
            create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let mut stage = Self {
            root,
            mounted: Vec::new(),
            own_policy: false,
        };
        // Without redirects and indices an upper directory is what it looks like, and can lie below another overlay. What it holds is synced at
        // the end, once.
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,index=off,metacopy=off,volatile",
            site.pristine().display(),
            upper.display(),
            work.display()
        );
        stage.mount(
            Path::new("overlay"),
            "",
            "overlay",
            MsFlags::empty(),
            &options,
        )?;
        stage.bind(&site.live.join("etc"), "etc")?;
        stage.mount(Path::new("sysfs"), "sys", "sysfs", MsFlags::MS_RDONLY, "")?;
        for (place, options) in [
            ("run", "mode=0755,size=25%"),
            ("tmp", "mode=1777,size=25%"),
            ("dev", "mode=0755,size=64k"),
        ] {
            stage.mount(
                Path::new("tmpfs"),
                place,
                "tmpfs",
                MsFlags::MS_NOSUID,
                options,
            )?;
        }
        stage.devices()?;
        stage.names(&site.live)?;
        stage.policy()?;
        stage.bind(&stage.root.join("usr/bin/true"), LDCONFIG)?;
        create_dir_all(site.store.fetched().join("partial"))?;
        stage.bind(&site.store.fetched(), "var/cache/apt/archives")?;
        match source {
            Source::Network => {
                debs::lend(&site.store)?;
                let lists = site.live.join("var/lib/apt/lists");
                create_dir_all(&lists)?;
                stage.bind(&lists, "var/lib/apt/lists")?;
            }
            Source::Kept => stage.offline(&site.store)?,
        }
        Ok(stage)
    }

    fn mount(
        &mut self,
        source: &Path,
        place: &str,
        kind: &str,
        flags: MsFlags,
        options: &str,
    ) -> anyhow::Result<()> {
        let target = self.root.join(place);
        mount(source, &target, Some(kind), flags, Some(options))?;
        self.mounted.push(target);
        Ok(())
    }

    fn bind(&mut self, source: &Path, place: &str) -> anyhow::Result<()> {
        let target = self.root.join(place);
        mount(
            source,
            &target,
            None,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            None,
        )?;
        self.mounted.push(target);
        Ok(())
    }

    /// Over one that the image has, or for as long as the stage stands.
    fn policy(&mut self) -> anyhow::Result<()> {
        let (place, ours) = (self.root.join(POLICY.0), self.root.join("run/policy-rc.d"));
        if place.exists() {
            files::replace(&ours, POLICY.1.as_bytes(), 0o755)?;
            return self.bind(&ours, POLICY.0);
        }
        self.own_policy = true;
        Ok(files::replace(&place, POLICY.1.as_bytes(), 0o755)?)
    }

    fn devices(&mut self) -> anyhow::Result<()> {
        let dev = self.root.join("dev");
        for name in NODES {
            files::replace(&dev.join(name), b"", 0o666)?;
            self.bind(&Path::new("/dev").join(name), &format!("dev/{name}"))?;
        }
        for (name, to) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
        ] {
            symlink(to, dev.join(name))?;
        }
        Ok(create_dir_all(dev.join("shm"))?)
    }

    /// `/etc/resolv.conf` leads to `/run`, which is empty here.
    fn names(&self, live: &Path) -> anyhow::Result<()> {
        let Ok(text) = fs::read(live.join("etc/resolv.conf")) else {
            return Ok(());
        };
        let dir = self.root.join("run/systemd/resolve");
        create_dir_all(&dir)?;
        for name in ["stub-resolv.conf", "resolv.conf"] {
            files::replace(&dir.join(name), &text, 0o644)?;
        }
        Ok(())
    }

    /// An archive of the kept packages alone.
    fn offline(&mut self, store: &Store) -> anyhow::Result<()> {
        let dir = self.root.join(OFFLINE);
        for name in ["lists/partial", "debs"] {
            create_dir_all(dir.join(name))?;
        }
        self.bind(&store.debs(), &format!("{OFFLINE}/debs"))?;
        let (text, names) = debs::index(store)?;
        files::replace(&dir.join("Packages"), text.as_bytes(), 0o644)?;
        for (n, name) in names.iter().enumerate() {
            symlink(format!("debs/{name}"), dir.join(format!("{n}.deb")))?;
        }
        let line = format!("deb [trusted=yes] file:/{OFFLINE}/ ./\n");
        Ok(files::replace(
            &dir.join("sources.list"),
            line.as_bytes(),
            0o644,
        )?)
    }

    /// How the merged root looks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A program in there, with process ids of its own: when it ends, all that it started ends.
    pub fn inside(&self, program: &str) -> Cmd {
        let base = Cmd::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(format!("--root={}", self.root.display()))
            .args(["--wd=/", program])
            .clear_env();
        [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("HOME", "/root"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("NEEDRESTART_SUSPEND", "1"),
        ]
        .into_iter()
        .fold(base, |cmd, (name, value)| cmd.env(name, value))
    }

    /// `apt-get` in there.
    pub fn apt_get(&self, source: Source) -> Cmd {
        let mut options = vec![
            "APT::Sandbox::User=root".to_owned(),
            "APT::Keep-Downloaded-Packages=true".to_owned(),
            "Acquire::GzipIndexes=true".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::http::Timeout=30".to_owned(),
            "Acquire::https::Timeout=30".to_owned(),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Dpkg::Use-Pty=0".to_owned(),
            "Dpkg::Options::=--force-confdef".to_owned(),
            "Dpkg::Options::=--force-confold".to_owned(),
            // what is written here is synced as a whole, or thrown away
            "Dpkg::Options::=--force-unsafe-io".to_owned(),
        ];
        if source == Source::Kept {
            options.push(format!("Dir::Etc::SourceList=/{OFFLINE}/sources.list"));
            options.push("Dir::Etc::SourceParts=/dev/null".to_owned());
            options.push(format!("Dir::State::Lists=/{OFFLINE}/lists"));
        }
        let cmd = self.inside("apt-get").args(["--assume-yes", "--quiet"]);
        options
            .iter()
            .fold(cmd, |cmd, option| cmd.args(["-o", option]))
    }

    /// Makes the loader's cache of the merged root, and gives it.
    pub fn loader_cache(&mut self) -> anyhow::Result<Vec<u8>> {
        let real = self.root.join(LDCONFIG);
        if let Some(n) = self.mounted.iter().position(|m| *m == real) {
            nix::mount::umount(&self.mounted.remove(n)).context("giving ldconfig back")?;
        }
        self.inside("ldconfig")
            .arg("-C")
            .arg(format!("/{LD_CACHE}"))
            .run()?;
        Ok(fs::read(self.root.join(LD_CACHE))?)
    }

    /// Takes it down: from now on the upper directory is whole, and nobody else's.
    pub fn leave(mut self) -> anyhow::Result<()> {
        if self.own_policy {
            files::remove(&self.root.join(POLICY.0))?;
        }
        self.take_down().context("taking the stage down")
    }

    fn take_down(&mut self) -> io::Result<()> {
        while let Some(place) = self.mounted.pop() {
            if let Err(error) = nix::mount::umount(&place) {
                // with its name space it ends at last
                nix::mount::umount2(&place, MntFlags::MNT_DETACH)?;
                tracing::debug!("{}: {error}", place.display());
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            tracing::warn!("{}: {error}", self.root.display());
        }
    }
}
