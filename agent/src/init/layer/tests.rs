//! Layers over a root, with the kernel's own overlays, in a name space that ends with the test's thread.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::packages::layer::Record;
use crate::packages::stage::apart;
use crate::packages::wanted::Wanted;

/// A root with a data partition, and a layer made for it.
struct Board {
    dir: tempfile::TempDir,
    layer: layer::Layer,
}

fn put(path: &Path, text: &str) {
    create_dir_all(path.parent().unwrap()).unwrap();
    files::replace(path, text.as_bytes(), 0o755).unwrap();
}

fn memory(at: &Path) {
    create_dir_all(at).unwrap();
    let options = Some("size=16m,mode=0755");
    mount(
        Path::new("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
}

impl Board {
    fn new() -> Self {
        apart().unwrap();
        memory(Path::new("/run"));
        create_dir_all("/run/hypriot").unwrap();
        // the words are for a board's console, not for this machine's
        mount(
            Path::new("/dev/null"),
            Path::new("/dev/kmsg"),
            None,
            MsFlags::MS_BIND,
            None,
        )
        .unwrap();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        memory(dir.path());
        let root = dir.path().join("root");
        memory(&root);
        for (path, text) in [
            ("sbin/init", "systemd"),
            ("usr/bin/hypriot-agent", "the image's"),
            ("usr/bin/tool", "the image's"),
            ("var/lib/dpkg/status", "Package: base-files\n"),
            ("var/lib/there/x", "the image's"),
            ("var/log/x", ""),
            ("etc/hostname", "pearl"),
        ] {
            put(&root.join(path), text);
        }
        for name in KERNEL.iter().chain(&[
            "data",
            "home",
            "root",
            "opt",
            "srv",
            "usr/local",
            "var/lib/cloud",
        ]) {
            create_dir_all(root.join(name)).unwrap();
        }
        for name in [
            "var/lib/docker",
            "var/lib/containerd",
            "var/lib/systemd/timesync",
        ] {
            create_dir_all(root.join(name)).unwrap();
        }
        memory(&root.join("data"));
        let store = Store::new(root.join("data/packages"));
        let mut wanted = Wanted::default();
        wanted.add(&["nginx".parse().unwrap()]);
        let upper = store.building().join("upper");
        for (path, text) in [
            ("usr/bin/nginx", "the layer's"),
            ("usr/bin/tool2", "the layer's"),
            ("var/lib/nginx/state", "first"),
            ("var/lib/there/y", "the layer's"),
            ("var/log/nginx/access.log", ""),
            (
                "var/lib/dpkg/status",
                "Package: base-files\n\nPackage: nginx\n",
            ),
        ] {
            put(&upper.join(path), text);
        }
        create_dir_all(store.layers()).unwrap();
        let id = release::id(&root).unwrap();
        let record = Record::new(
            &id,
            &wanted,
            BTreeMap::from([("nginx".into(), "1".into())]),
            Vec::new(),
        );
        let layer = layer::appear(&store, &record, &store.building()).unwrap();
        Self { dir, layer }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn lay(&self, state: Option<&BootState>) -> Kept {
        lay(&self.root(), &self.dir.path().join("merged"), state)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root().join(path)).ok()
    }

    /// The board starts as if there were no layer, and says why.
    fn is_left_out(&self, danger: &str, says: &str) {
        let why = fs::read_to_string(LAYER_LEFT).unwrap_or_default();
        assert!(why.contains(says), "{danger}: {why:?}");
        assert!(!Path::new(LAYER).exists(), "{danger}");
        assert_eq!(self.read("usr/bin/nginx"), None, "{danger}");
        assert_eq!(
            self.read("usr/bin/hypriot-agent").as_deref(),
            Some("the image's"),
            "{danger}"
        );
        assert!(
            self.root().join("data/packages").is_dir(),
            "{danger}: /data is where it was"
        );
        assert!(self.root().join("proc/self").exists() || !danger.is_empty());
    }
}

fn state(starts: u8) -> BootState {
    BootState {
        starts,
        ..BootState::fresh()
    }
}

/// Each row has a thread, and so a name space, of its own.
fn on_a_board(what: impl FnOnce(Board) + Send + 'static) {
    if let Err(panic) = std::thread::spawn(move || what(Board::new())).join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_layer_of_this_release_lies_over_the_root_and_what_it_keeps_outlasts_it() {
    on_a_board(|board| {
        let kept = board.lay(Some(&state(1)));
        assert_eq!(kept.state, ["var/lib/nginx"]);
        assert_eq!(fs::read_to_string(LAYER).unwrap(), board.layer.name);
        assert!(!Path::new(LAYER_LEFT).exists());
        assert_eq!(board.read("usr/bin/nginx").as_deref(), Some("the layer's"));
        assert_eq!(board.read("usr/bin/tool").as_deref(), Some("the image's"));
        assert!(board.read("var/lib/dpkg/status").unwrap().contains("nginx"));
        assert!(
            board.root().join("proc/self").exists() && board.root().join("data/packages").is_dir()
        );
        let refused = files::replace(&board.root().join("usr/bin/new"), b"", 0o755);
        assert!(refused.is_err(), "nothing is ever written there");

        super::super::mounts::state(&board.root(), false, &kept).unwrap();
        put(&board.root().join("var/lib/nginx/state"), "second");
        put(&board.root().join("var/lib/there/z"), "of this start");
        put(&board.root().join("etc/hostname"), "ruby");
        assert_eq!(
            board.read("data/var/lib/nginx/state").as_deref(),
            Some("second")
        );
        assert_eq!(board.read("data/var/lib/there/z"), None);
        assert!(board.root().join("var/log/nginx/access.log").is_file());
        assert!(board.root().join("data/var/log/nginx").is_dir());
    });
}

#[test]
fn a_board_starts_without_a_layer_that_is_not_for_it_or_not_whole() {
    for (danger, says, spoil) in [
        (
            "its record is garbage",
            "record",
            &(|b: &Board| put(&b.layer.dir.join("layer.json"), "{\"format\""))
                as &(dyn Fn(&Board) + Sync),
        ),
        ("its record is of a later agent", "format", &|b| {
            let text = fs::read_to_string(b.layer.dir.join("layer.json")).unwrap();
            put(
                &b.layer.dir.join("layer.json"),
                &text.replace("\"format\": 1", "\"format\": 7"),
            );
        }),
        ("its record is gone", "layer.json", &|b| {
            fs::remove_file(b.layer.dir.join("layer.json")).unwrap();
        }),
        ("its files are gone", "No such file", &|b| {
            fs::remove_dir_all(b.layer.upper()).unwrap();
        }),
        ("its files are a link elsewhere", "no folder", &|b| {
            fs::remove_dir_all(b.layer.upper()).unwrap();
            std::os::unix::fs::symlink("/", b.layer.upper()).unwrap();
        }),
        ("it hides the agent", "/usr/bin/hypriot-agent", &|b| {
            put(
                &b.layer.upper().join("usr/bin/hypriot-agent"),
                "the layer's",
            );
        }),
        ("it hides the agent's settings", "/usr/lib/hypriot", &|b| {
            put(&b.layer.upper().join("usr/lib/hypriot/agent.toml"), "");
        }),
        ("it hides systemd", "systemd", &|b| {
            put(&b.layer.upper().join("usr/lib/systemd/systemd"), "");
        }),
        ("it hides where processes are", "", &|b| {
            put(&b.layer.upper().join("proc"), "");
        }),
        ("it removes what is started first", "init", &|b| {
            let at = b.layer.upper().join("sbin");
            create_dir_all(&at).unwrap();
            let (kind, mode) = (
                nix::sys::stat::SFlag::S_IFCHR,
                nix::sys::stat::Mode::empty(),
            );
            nix::sys::stat::mknod(&at.join("init"), kind, mode, 0).unwrap();
        }),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let board = Board::new();
                spoil(&board);
                assert_eq!(board.lay(Some(&state(1))), Kept::default(), "{danger}");
                board.is_left_out(danger, says);
                super::super::mounts::state(&board.root(), false, &Kept::default()).unwrap();
            });
        });
    }
}

#[test]
fn a_board_that_does_not_come_up_with_a_layer_starts_without_it_before_the_slot_is_given_up() {
    // hypriot_updater::boot::start: three starts of the default, three of the other, then the default for ever
    for (starts, laid) in [
        (0, true),
        (1, true),
        (2, true),
        (3, false),
        (4, true),
        (5, true),
        (6, false),
    ] {
        on_a_board(move |board| {
            board.lay(Some(&state(starts)));
            assert_eq!(
                board.read("usr/bin/nginx").is_some(),
                laid,
                "start {starts}"
            );
            if !laid {
                board.is_left_out("too many starts", "did not come up");
            }
        });
    }
    on_a_board(|board| {
        board.lay(None);
        board.is_left_out("nobody counts", "boot state");
    });
}

#[test]
fn a_layer_of_another_release_is_never_laid() {
    on_a_board(|board| {
        put(
            &board.root().join("usr/lib/os-release"),
            "HYPRIOT_OS_VERSION=v2\n",
        );
        assert_eq!(board.lay(Some(&state(1))), Kept::default());
        assert!(!Path::new(LAYER).exists() && !Path::new(LAYER_LEFT).exists());
        assert_eq!(board.read("usr/bin/nginx"), None);
        assert_ne!(
            fs::read_to_string(RELEASE).unwrap(),
            board.layer.record.release
        );
    });
}

#[test]
fn an_empty_layer_costs_nothing_and_takes_the_older_ones_out_of_use() {
    on_a_board(|board| {
        let store = Store::new(board.root().join("data/packages"));
        create_dir_all(store.building().join("upper")).unwrap();
        let record = Record::new(
            &board.layer.record.release,
            &Wanted::default(),
            BTreeMap::new(),
            Vec::new(),
        );
        layer::appear(&store, &record, &store.building()).unwrap();
        assert_eq!(board.lay(Some(&state(1))), Kept::default());
        assert_eq!(board.read("usr/bin/nginx"), None);
        assert!(!Path::new(LAYER).exists() && !Path::new(LAYER_LEFT).exists());
    });
}
