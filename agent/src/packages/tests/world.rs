//! A board for the tests of layers: this machine's root as the image, a copy of its `/etc`, and an archive of packages made here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::MsFlags;

use crate::exec::Cmd;
use crate::files;
use crate::init::mount;
use crate::packages::apt::Plan;
use crate::packages::build::{self, Limit, Order, Source, Tell};
use crate::packages::debs;
use crate::packages::layer::Layer;
use crate::packages::stage::{self, Image, Site};
use crate::packages::store::Store;
use crate::packages::wanted::Wanted;

/// Overlays over `/` and dpkg's scripts need root. Who is not, runs the test once more as root, and is told that it was done.
pub(super) fn as_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    Cmd::new("sudo")
        .arg("--non-interactive")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("packages::tests::{test}")])
        .timeout(Duration::from_mins(10))
        .run()
        .expect("the test, as root");
    true
}

pub(super) fn architecture() -> String {
    Cmd::new("dpkg")
        .arg("--print-architecture")
        .run()
        .expect("dpkg")
        .text()
}

/// A package to be made.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    name: String,
    fields: Vec<(String, String)>,
    files: Vec<(String, String)>,
    conffiles: String,
    scripts: Vec<(String, String)>,
}

impl Pack {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let fields = [
            ("Package", name),
            ("Version", version),
            ("Architecture", "all"),
            ("Maintainer", "An Owner <owner@example.org>"),
            ("Description", "made for a test"),
        ];
        Self {
            name: name.to_owned(),
            fields: fields.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            files: Vec::new(),
            conffiles: String::new(),
            scripts: Vec::new(),
        }
    }

    pub(super) fn arch(mut self, arch: &str) -> Self {
        self.fields[2].1 = arch.to_owned();
        self
    }

    pub(super) fn depends(self, on: &str) -> Self {
        self.depends_field("Depends", on)
    }

    pub(super) fn depends_field(mut self, field: &str, on: &str) -> Self {
        self.fields.push((field.to_owned(), on.to_owned()));
        self
    }

    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    pub(super) fn conffile(mut self, path: &str, text: &str) -> Self {
        self.conffiles.extend(["/", path, "\n"]);
        self.file(path, text)
    }

    pub(super) fn script(mut self, which: &str, lines: &str) -> Self {
        self.scripts
            .push((which.to_owned(), format!("#!/bin/sh\nset -e\n{lines}")));
        self
    }

    fn make(&self, scratch: &Path, archive: &Path) {
        let dir = scratch.join(&self.name);
        let put = |path: &str, text: &str, mode| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            files::replace(&path, text.as_bytes(), mode).expect("written");
        };
        let mut control = String::new();
        for (key, value) in &self.fields {
            control.extend([
                key.as_str(),
                ": ",
                value,
                "
",
            ]);
        }
        put("DEBIAN/control", &control, 0o644);
        if !self.conffiles.is_empty() {
            put("DEBIAN/conffiles", &self.conffiles, 0o644);
        }
        for (which, text) in &self.scripts {
            put(&format!("DEBIAN/{which}"), text, 0o755);
        }
        for (path, text) in &self.files {
            put(path, text, 0o755);
        }
        fs::set_permissions(dir.join("DEBIAN"), fs::Permissions::from_mode(0o755)).expect("mode");
        Cmd::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "--build"])
            .arg(&dir)
            .arg(archive)
            .run()
            .expect("a package");
    }
}

/// The board. What it writes is in memory, and gone with the test.
pub(super) struct World {
    // outside of /tmp, /run and /dev, which a stage has of its own: apt in there reads the archive through the image
    dir: tempfile::TempDir,
    pub(super) site: Site,
}

impl World {
    pub(super) fn new(packs: &[Pack]) -> Self {
        Self::of_size(packs, "600m")
    }

    pub(super) fn of_size(packs: &[Pack], memory: &str) -> Self {
        stage::apart().expect("a name space");
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let archive = Store::new(dir.path().join("archive"));
        archive.make().expect("folders");
        for pack in packs {
            pack.make(&dir.path().join("made"), &archive.debs());
        }
        index(&archive);
        let data = dir.path().join("data");
        fs::create_dir_all(&data).expect("made");
        let options = format!("mode=0755,size={memory}");
        mount(
            Path::new("tmpfs"),
            &data,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(&options),
        )
        .expect("memory");
        let live = data.join("live");
        for name in ["var/lib/apt/lists/partial", "data", "run/hypriot"] {
            fs::create_dir_all(live.join(name)).expect("made");
        }
        Cmd::new("cp")
            .arg("--archive")
            .arg("/etc")
            .arg(&live)
            .run()
            .expect("a copy");
        let apt = live.join("etc/apt");
        for name in ["sources.list.d", "preferences.d"] {
            if apt.join(name).exists() {
                fs::remove_dir_all(apt.join(name)).expect("removed");
            }
            fs::create_dir_all(apt.join(name)).expect("made");
        }
        // copy: as a fetched package, not used where it lies
        let source = format!(
            "deb [trusted=yes] copy:{} ./\n",
            archive.directory().display()
        );
        files::replace(&apt.join("sources.list"), source.as_bytes(), 0o644).expect("written");
        let site = Site {
            image: Image::Folder(PathBuf::from("/")),
            at: data.join("stage"),
            store: Store::new(live.join("data/packages")),
            live,
        };
        site.open().expect("a place");
        Self { dir, site }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(super) fn store(&self) -> &Store {
        &self.site.store
    }

    pub(super) fn live(&self) -> &Path {
        &self.site.live
    }

    pub(super) fn network_is_gone(&self) {
        fs::remove_dir_all(self.dir.path().join("archive")).expect("removed");
    }

    fn order<T>(
        &self,
        names: &[&str],
        source: Source,
        limit: Duration,
        what: impl FnOnce(&mut Order<'_>) -> T,
    ) -> T {
        let names: Vec<_> = names
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect();
        let mut wanted = Wanted::default();
        wanted.add(&names);
        let mut said = Vec::new();
        let done = what(&mut Order {
            site: &self.site,
            wanted: &wanted,
            source,
            limit: Limit::of(limit),
            tell: &mut |told| {
                said.extend(match told {
                    Tell::Stage(what) => Some(format!("== {what}")),
                    Tell::Line(line) => Some(line.to_owned()),
                });
            },
        });
        println!("{}", said.join("\n"));
        done
    }

    pub(super) fn rehearse(&self, names: &[&str]) -> anyhow::Result<Plan> {
        self.order(
            names,
            Source::Network,
            Duration::from_mins(2),
            build::rehearse,
        )
    }

    pub(super) fn build(&self, names: &[&str]) -> anyhow::Result<Layer> {
        self.build_of(names, Source::Network, Duration::from_mins(2))
    }

    pub(super) fn build_of(
        &self,
        names: &[&str],
        source: Source,
        limit: Duration,
    ) -> anyhow::Result<Layer> {
        self.order(names, source, limit, build::build)
    }
}

/// The index of a flat archive.
fn index(archive: &Store) {
    let mut text = String::new();
    for file in debs::present(&archive.debs()) {
        let deb = debs::look(&archive.debs(), &file).expect("a package");
        let control = debs::control(&archive.debs().join(&file)).expect("its control file");
        let (size, hash) = (deb.size.to_string(), &deb.sha256);
        text.extend([
            &*control,
            "Filename: ./debs/",
            &file,
            "
Size: ",
            &size,
            "
SHA256: ",
            hash,
            "

",
        ]);
    }
    files::replace(
        &archive.directory().join("Packages"),
        text.as_bytes(),
        0o644,
    )
    .expect("written");
}
