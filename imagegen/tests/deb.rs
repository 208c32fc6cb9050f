//! The agent's package under the real dpkg: installed, changed, upgraded, refused, removed, purged. In a root of its own
//! whose dpkg knows no other package; its `/usr` is this machine's, with everything written kept in memory.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hypriot_imagegen::agent_deb::{self, Spec};
use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::debian::deb::write::Package;
use hypriot_imagegen::exec;
use hypriot_imagegen::files;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const CONFFILE: &str = "etc/hypriot/agent.d/10-health.toml";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";
const UNITS: [&str; 2] = ["hypriot-agent.service", "hypriot-health.service"];

/// A root for dpkg. Its mounts are seen by this thread and what it starts, and end with it.
struct Root(PathBuf);

impl Root {
    fn make(dir: &Path) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("none"), dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let root = dir.join("root");
        let places = [
            "usr",
            "etc",
            "tmp",
            "run",
            "dev",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
        ];
        for place in places {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        fs::create_dir(dir.join("upper")).unwrap();
        fs::create_dir(dir.join("work")).unwrap();
        let parts = format!(
            "lowerdir=/usr,upperdir={0}/upper,workdir={0}/work",
            dir.display()
        );
        let usr = root.join("usr");
        mount(
            Some("none"),
            &usr,
            Some("overlay"),
            MsFlags::empty(),
            Some(&*parts),
        )
        .unwrap();
        for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, root.join(name)).unwrap();
            }
        }
        files::replace(&root.join("dev/null"), b"").unwrap();
        mount(
            Some("/dev/null"),
            &root.join("dev/null"),
            none,
            MsFlags::MS_BIND,
            none,
        )
        .unwrap();
        for name in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
            files::replace(&root.join(name), b"").unwrap();
        }
        Self(root)
    }

    fn dpkg(&self, args: &[&str]) -> Result<String, String> {
        let cmd = exec::tool("chroot").arg(&self.0).arg("dpkg").args(args);
        let cmd = cmd
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        // dpkg looks for programs of the system directories
        let cmd = cmd.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        cmd.run().map(|out| out.text()).map_err(|e| e.to_string())
    }

    /// Installs it. Where dpkg would ask about a conffile, that is an error: nobody is there.
    fn install(&self, package: &Package) -> Result<String, String> {
        self.install_with(&[], package)
    }

    /// Installs it as an owner does who answers that the own conffile shall stay.
    fn keep(&self, package: &Package) -> Result<String, String> {
        self.install_with(&["--force-confold"], package)
    }

    fn install_with(&self, options: &[&str], package: &Package) -> Result<String, String> {
        files::replace(&self.0.join("x.deb"), &package.encode().unwrap()).unwrap();
        let done = self.dpkg(&[options, &["--install", "/x.deb"]].concat());
        fs::remove_file(self.0.join("x.deb")).unwrap();
        done
    }

    /// `install ok installed 0.1.0`, or nothing.
    fn state(&self) -> String {
        let form = "--showformat=${Status} ${Version}";
        let cmd = [
            "--admindir",
            "var/lib/dpkg",
            "--show",
            form,
            "hypriot-agent",
        ];
        exec::tool("dpkg-query")
            .args(cmd)
            .directory(&self.0)
            .run()
            .map_or(String::new(), |o| o.text())
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.0.join(path).parent().unwrap()).unwrap();
        files::replace(&self.0.join(path), text.as_bytes()).unwrap();
    }

    fn enabled(&self) -> [bool; 2] {
        UNITS.map(|unit| self.0.join(WANTS).join(unit).symlink_metadata().is_ok())
    }

    /// Everything but this machine's `/usr` and dpkg's own records.
    fn all(&self) -> BTreeSet<PathBuf> {
        let upper = self.0.join("../upper");
        let mut found = BTreeSet::new();
        let mut todo = ["etc", "run", "tmp", "var"]
            .map(|d| self.0.join(d))
            .to_vec();
        todo.push(upper.clone());
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("var/lib/dpkg") {
                    continue;
                }
                // a directory of this machine is in the upper layer too once something below it was written
                let host = path.strip_prefix(&upper).map(|p| Path::new("/usr").join(p));
                if path.is_dir() && !path.is_symlink() {
                    todo.push(path.clone());
                    if host.is_ok_and(|host| host.is_dir()) {
                        continue;
                    }
                }
                found.insert(path);
            }
        }
        found
    }
}

/// The package as it would be released under another version.
fn version(number: &str) -> Package {
    let spec = Spec {
        arch: Arch::Amd64,
        version: &env!("CARGO_PKG_VERSION").parse().unwrap(),
        // No script runs the program: any bytes do.
        agent: format!("agent {number}").into_bytes(),
        maintainer: None,
        date: None,
    };
    let mut package = agent_deb::package(&spec).unwrap();
    for (name, value) in &mut package.fields {
        match *name {
            "Version" => number.clone_into(value),
            // The dpkg of this machine must take it, whatever this machine is; and it knows no other package.
            "Architecture" => "all".clone_into(value),
            _ => {}
        }
    }
    package
}

/// Runs `test` in a root of its own.
fn in_root(test: impl FnOnce(&Root) + Send) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        // A thread of its own: the mounts are gone when it ends.
        let job = scope.spawn(|| test(&Root::make(dir.path())));
        job.join().unwrap();
    });
}

#[test]
fn installed_upgraded_downgraded_removed_and_purged() {
    in_root(|root| {
        let before = root.all();
        let installed = |n: &str| assert_eq!(root.state(), format!("install ok installed {n}"));

        root.install(&version("1.0")).unwrap();
        installed("1.0");
        assert_eq!(root.enabled(), [true; 2]);
        assert_eq!(
            root.dpkg(&["--verify"]).unwrap(),
            "",
            "its sums are those of its files"
        );
        assert_eq!(root.dpkg(&["--audit"]).unwrap(), "");
        let shipped = root.text(CONFFILE);
        assert!(shipped.contains("[health]"));

        // again, and what the owner switched off stays off
        root.install(&version("1.0")).unwrap();
        installed("1.0");
        fs::remove_file(root.0.join(WANTS).join(UNITS[1])).unwrap();
        root.install(&version("1.1")).unwrap();
        installed("1.1");
        assert_eq!(root.text("usr/bin/hypriot-agent"), "agent 1.1");
        assert_eq!(
            root.enabled(),
            [true, false],
            "what was disabled stays disabled"
        );

        // the owner's conffile is kept when the package's did not change; nobody is asked
        let own = "[health]\nlisten = \"127.0.0.1:8080\"\n";
        root.write(CONFFILE, own);
        root.install(&version("1.2")).unwrap();
        assert_eq!(root.text(CONFFILE), own);
        // and when it did, beside the new one
        let mut changed = version("1.3");
        let new = changed.files.get_mut(CONFFILE).unwrap();
        new.bytes.extend_from_slice(b"# new\n");
        let e = root.install(&changed).unwrap_err();
        assert!(e.contains("conffile prompt"), "{e}");
        root.keep(&changed).unwrap();
        installed("1.3");
        assert_eq!(root.text(CONFFILE), own);
        assert!(
            root.text(&format!("{CONFFILE}.dpkg-dist"))
                .ends_with("# new\n")
        );

        root.keep(&version("1.0~rc1")).unwrap();
        installed("1.0~rc1");
        assert_eq!(root.text(CONFFILE), own);

        // removed: settings stay, and so does what was switched off
        root.write("run/hypriot/report.json", "{}");
        root.write("etc/hypriot/selftest.d/mine.yaml", "{}");
        root.dpkg(&["--remove", "hypriot-agent"]).unwrap();
        assert!(
            root.state().starts_with("deinstall ok config-files"),
            "{}",
            root.state()
        );
        assert_eq!(root.text(CONFFILE), own);
        assert!(
            !root.0.join("usr/bin/hypriot-agent").exists() && !root.0.join("run/hypriot").exists()
        );
        root.keep(&version("1.0")).unwrap();
        assert_eq!(root.text(CONFFILE), own);
        assert_eq!(root.enabled(), [true, false]);

        // purged: nothing stays but what was the owner's own
        root.dpkg(&["--purge", "hypriot-agent"]).unwrap();
        assert_eq!(root.state(), "");
        let left: Vec<_> = root.all().difference(&before).cloned().collect();
        let mine = [
            "etc/hypriot",
            "etc/hypriot/selftest.d",
            "etc/hypriot/selftest.d/mine.yaml",
        ];
        let ours: Vec<_> = left
            .iter()
            .filter(|p| !mine.iter().any(|m| root.0.join(m) == **p))
            .filter(|p| !directory_of_systemd(p))
            .collect();
        assert_eq!(ours, Vec::<&PathBuf>::new());
        assert_eq!(root.text("etc/hypriot/selftest.d/mine.yaml"), "{}");
    });
}

/// Directories that deb-systemd-helper makes for links and records of all packages, and leaves.
fn directory_of_systemd(path: &Path) -> bool {
    path.is_dir() && path.components().any(|c| c.as_os_str() == "systemd")
}

#[test]
fn image_is_refused_and_a_refused_upgrade_leaves_the_old_version_whole() {
    in_root(|root| {
        let before = root.all();
        root.write("usr/lib/hypriot/agent.toml", "board = 'x'\n");
        let e = root.install(&version("1.0")).unwrap_err();
        assert!(e.contains("this is a HypriotOS image"), "{e}");
        assert!(
            root.state().is_empty() || root.state().contains("not-installed"),
            "{}",
            root.state()
        );
        fs::remove_dir_all(root.0.join("usr/lib/hypriot")).unwrap();
        let left: Vec<_> = root.all().difference(&before).cloned().collect();
        assert!(
            !left.iter().any(|p| p.to_string_lossy().contains("hypriot")),
            "{left:?}"
        );

        root.install(&version("1.0")).unwrap();
        root.write("run/hypriot/card", "/dev/vda\n");
        let e = root.install(&version("2.0")).unwrap_err();
        assert!(e.contains("/run/hypriot/card"), "{e}");
        assert_eq!(root.state(), "install ok installed 1.0");
        assert_eq!(root.text("usr/bin/hypriot-agent"), "agent 1.0");
        assert_eq!(root.enabled(), [true; 2]);
        fs::remove_file(root.0.join("run/hypriot/card")).unwrap();

        // a new version whose scripts break on the way: every script takes the argument it then gets
        for (script, broken) in [("preinst", "2.1"), ("prerm", "2.2"), ("postrm", "2.3")] {
            let mut bad = version(broken);
            bad.scripts
                .insert(script.into(), b"#!/bin/sh\nexit 1\n".to_vec());
            let done = root.install(&bad);
            let stopped = script == "preinst";
            assert_eq!(done.is_err(), stopped, "{script}: {done:?}");
            let expected = if stopped { "1.0" } else { broken };
            assert_eq!(
                root.state(),
                format!("install ok installed {expected}"),
                "{script}"
            );
        }
        // the broken prerm and postrm of an installed version are overcome by the new one's (failed-upgrade)
        root.install(&version("3.0")).unwrap();
        assert_eq!(root.state(), "install ok installed 3.0");
        assert_eq!(root.enabled(), [true; 2]);
        for script in ["preinst", "postinst", "prerm", "postrm"] {
            let path = root.0.join("tmp").join(script);
            files::replace(&path, &version("3.0").scripts[script]).unwrap();
            let strange = exec::tool("sh").arg(&path).arg("strange");
            let e = strange.run().unwrap_err().to_string();
            assert!(e.contains("unknown argument"), "{e}");
        }
    });
}
