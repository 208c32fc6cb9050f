//! Scripts stay in the sandbox: this test's own program is laid into a root and plays the ways out that are known. Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: helpers may panic, and its files last as long as it does"
)]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_imagegen::sandbox::{self, Guest, Plan, Step, Sync};

mod plays;

use plays::PLAYS;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hypriot-imagegen");
/// The variable that names what is played inside.
const PLAY: &str = "SANDBOX_PLAY";
/// What nobody inside may read.
const SECRET: &str = "the host's secret";

#[test]
fn scripts_cannot_get_out_of_the_sandbox_and_can_do_their_work_in_it() {
    if let Ok(name) = std::env::var(PLAY) {
        let play = PLAYS.iter().find(|p| p.name == name).unwrap();
        println!("\nplay {name}: {:?}", (play.act)());
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::new();
    // A folder of the host that somebody left open for whoever comes: a shell, make's jobserver, a lock.
    let left_open = fs::File::open("/").unwrap();
    let fd = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
    nix::fcntl::fcntl(&left_open, fd).unwrap();
    let before = host.state();
    let mut said = Vec::new();
    let ran = sandbox::run(
        Path::new(PROGRAM),
        &host.plan(),
        Duration::from_mins(5),
        |line| {
            said.push(line.to_owned());
        },
    );
    assert!(ran.is_ok(), "{ran:?}\n{}", said.join("\n"));
    assert!(left_open.as_raw_fd() > 2);
    let wrong = PLAYS.iter().filter_map(|play| {
        let mark = format!("play {}: ", play.name);
        let got = said.iter().find_map(|l| l.strip_prefix(&mark));
        let right = got.is_some_and(|got| got.starts_with(if play.allowed { "Ok" } else { "Err" }));
        (!right).then(|| format!("{} ({}): {got:?}", play.name, play.danger))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(before, host.state(), "something outside was changed");
}

/// What lies outside, and the root that scripts get.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(host.secret(), SECRET).unwrap();
        fs::set_permissions(host.secret(), fs::Permissions::from_mode(0o600)).unwrap();
        let root = host.root();
        for dir in ["usr", "proc", "sys", "dev", "run", "tmp", "etc", "var"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            let there = Path::new("/").join(link);
            match fs::read_link(&there) {
                Ok(to) => symlink(to, root.join(link)).unwrap(),
                Err(_) => fs::create_dir(root.join(link)).unwrap(),
            }
        }
        fs::copy(std::env::current_exe().unwrap(), root.join("play")).unwrap();
        // As a package might ship one: a device of the host, /dev/zero here.
        let zero = nix::sys::stat::makedev(1, 5);
        let (kind, mode) = (
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::from_bits_truncate(0o666),
        );
        nix::sys::stat::mknod(&root.join("planted"), kind, mode, zero).unwrap();
        host
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn secret(&self) -> PathBuf {
        self.dir.path().join("secret")
    }

    /// What a script that gets out would change.
    fn state(&self) -> (Vec<String>, String, u32, String) {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        (
            names,
            fs::read_to_string(self.secret()).unwrap(),
            fs::metadata("/dev/null").unwrap().mode(),
            fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(),
        )
    }

    fn plan(&self) -> Plan {
        let mut covers = vec![(PathBuf::from("/usr"), PathBuf::from("usr"))];
        for dir in ["bin", "sbin", "lib", "lib64"] {
            let there = Path::new("/").join(dir);
            if fs::read_link(&there).is_err() && there.is_dir() {
                covers.push((there, PathBuf::from(dir)));
            }
        }
        let disk = fs::metadata("/").unwrap().dev().to_string();
        let own = self.dir.path().display().to_string();
        let step = |play: &plays::Play| Step {
            what: play.name.to_owned(),
            argv: [
                "/play",
                "--exact",
                "--nocapture",
                "--test-threads=1",
                "scripts_cannot_get_out_of_the_sandbox_and_can_do_their_work_in_it",
            ]
            .map(str::to_owned)
            .to_vec(),
            env: vec![
                (PLAY.to_owned(), play.name.to_owned()),
                (plays::OUTSIDE.to_owned(), own.clone()),
                (plays::DISK.to_owned(), disk.clone()),
            ],
            seconds: 30,
        };
        Plan {
            root: self.root(),
            covers,
            foreign: None,
            sync: Sync::Ignored,
            guest: Guest::Scripts,
            steps: PLAYS.iter().map(step).collect(),
        }
    }
}
