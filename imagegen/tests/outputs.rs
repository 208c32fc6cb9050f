//! Whole outputs out of one small tree: the same bytes under other circumstances, verified against their own record, and
//! what was changed named. How a tree is made the same is the matter of `root.rs`. One program, one test: it changes its
//! umask, its folder and its processors, which belong to a whole process.

#![expect(clippy::unwrap_used, reason = "a test: helpers may panic")]

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hypriot_imagegen::files;
use hypriot_imagegen::formats::HostFile;
use hypriot_imagegen::inputs::board;
use hypriot_imagegen::inputs::recipe::{self, Recipe};
use hypriot_imagegen::lock::{self, Lock};
use hypriot_imagegen::pipeline::artifacts::{self, Forms, Request};
use hypriot_imagegen::pipeline::root_tree::{RootTree, Workshop};
use hypriot_imagegen::progress::Progress;
use hypriot_imagegen::questions::verify::{self, Answer, Question};
use hypriot_imagegen::release::After;
use hypriot_imagegen::sha256::Sha256;
use hypriot_imagegen::tree::Tree;
use hypriot_updater::layout;
use hypriot_updater::slot::Slot;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

const BOARD: &str = "qemu-arm64";
const KERNEL: &str = "6.12.1-arm64";
const EPOCH: i64 = 1_700_000_000;

fn put(dir: &Path, path: &str, bytes: &[u8], mode: u32) {
    let to = dir.join(path);
    files::replace(&to, bytes).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What the packages would have given, below `dir`.
fn lay_out(dir: &Path) {
    let board = board::find(BOARD).unwrap();
    let modules: Vec<String> = board
        .kernel
        .modules
        .iter()
        .map(|m| format!("kernel/x/{m}.ko\n"))
        .collect();
    let noise: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.wrapping_mul(n).to_le_bytes()[1])
        .collect();
    let root = dir.join("root");
    for (path, bytes) in [
        ("usr/lib/os-release", b"ID=debian\n".as_slice()),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/group", b"root:x:0:\n"),
        (
            "var/lib/dpkg/status",
            b"Package: dpkg\nStatus: install ok installed\nVersion: 1.22.21\n",
        ),
        ("usr/bin/dockerd", &noise),
        (&format!("boot/vmlinuz-{KERNEL}"), &noise[..200_000]),
        (&format!("usr/lib/modules/{KERNEL}/modules.dep"), b""),
        (
            &format!("usr/lib/modules/{KERNEL}/modules.builtin"),
            modules.concat().as_bytes(),
        ),
    ] {
        put(&root, path, bytes, 0o644);
    }
    let boot = dir.join("boot");
    put(&boot, "usr/lib/u-boot/README", b"x", 0o644);
}

/// What lies below `dir`, as the builder gives it.
fn tree(dir: &Path) -> RootTree {
    let (root, boot) = (dir.join("root"), dir.join("boot"));
    let board = board::find(BOARD).unwrap();
    let epoch = u64::try_from(EPOCH).unwrap();
    RootTree {
        root: Tree::scan(&root, epoch).unwrap(),
        boot: Tree::scan(&boot, epoch).unwrap(),
        file: root,
        boot_file: boot,
        key: "made up".to_owned(),
        packages: Vec::new(),
        kernel_version: KERNEL.to_owned(),
        source_date: EPOCH,
        lock: locked(&board, &recipe::load(None).unwrap()),
        workshop: Workshop {
            cache: dir.to_owned(),
            helper: env!("CARGO_BIN_EXE_hypriot-imagegen").into(),
            progress: Progress::Quiet,
        },
    }
}

fn locked(board: &board::Board, recipe: &Recipe) -> Lock {
    let text = format!(
        "format = 1\nboard = '{}'\narch = '{}'\nsuite = 'trixie'\nrequest = '{}'\npackage = []\n\
         [[release]]\narchive = 'main'\nsuite = 'trixie'\ndate = 'x'\nseconds = {EPOCH}\n",
        board.name,
        board.arch,
        lock::request(board, recipe),
    );
    lock::parse("made up", &text).unwrap()
}

/// The head of a static program for arm64: 64 bits, little-endian, `ET_EXEC`, `EM_AARCH64`, no further headers.
fn program() -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[16..20].copy_from_slice(&[2, 0, 183, 0]);
    head
}

/// The inputs of one checkout: the same bytes, with the modes of another umask.
fn checkout(dir: &Path, group: u32) -> PathBuf {
    let overlay = dir.join("units");
    put(
        &overlay,
        "usr/lib/systemd/system/x.service",
        b"[Install]\nWantedBy=multi-user.target\n",
        0o600 | group & 0o66,
    );
    put(&overlay, "usr/bin/tool", b"#!/bin/sh\n", 0o700 | group);
    put(
        dir,
        "agent",
        &[program(), vec![1; 300_000]].concat(),
        0o700 | group,
    );
    put(dir, "root.json", b"{}", 0o600);
    put(dir, "user-data", b"#cloud-config\n", 0o600);
    dir.to_owned()
}

fn make(tree: &RootTree, inputs: &Path, out: &Path) -> BTreeMap<String, String> {
    make_after(tree, inputs, out, "1.0.0", None)
}

/// A release, after another if there is one.
fn make_after(
    tree: &RootTree,
    inputs: &Path,
    out: &Path,
    version: &str,
    base: Option<&Path>,
) -> BTreeMap<String, String> {
    let request = Request {
        board: &board::find(BOARD).unwrap(),
        version: version.parse().unwrap(),
        recipe: &recipe::load(None).unwrap(),
        configure: "native",
        tree,
        agent: inputs.join("agent"),
        overlays: vec![inputs.join("units")],
        trust_root: Some(inputs.join("root.json")),
        update_url: Some("http://updates/".to_owned()),
        poll_seconds: Some(60),
        user_data: Some(std::fs::read(inputs.join("user-data")).unwrap()),
        blobs: BTreeMap::new(),
        out: out.to_owned(),
        image: true,
        bases: base.iter().map(|b| b.to_path_buf()).collect(),
        after: base.and_then(|b| After::of(b).unwrap()),
        inspect: false,
        level: 1,
        forms: Forms {
            zip: true,
            zst: true,
        },
    };
    artifacts::make(&request, Progress::Quiet).unwrap();
    let names = std::fs::read_dir(out).unwrap().map(|e| e.unwrap());
    let all = names.map(|e| {
        let mode = e.metadata().unwrap().permissions().mode() & 0o7777;
        let hash = Sha256::of_file(&e.path()).unwrap().0;
        (
            e.file_name().into_string().unwrap(),
            format!("{hash} {mode:o}"),
        )
    });
    all.collect()
}

fn ask(dir: &Path, tree: &RootTree, change: impl FnOnce(&mut Question)) -> Answer {
    let mut question = Question {
        image: dir.join("out/hypriotos-qemu-arm64-1.0.0.img"),
        slot: Slot::A,
        agent: None,
        overlays: vec![dir.join("units")],
        trust_root: None,
        user_data: None,
        blobs: BTreeMap::new(),
        recipe: None,
        cached_trees: false,
    };
    change(&mut question);
    let answer = verify::verify_with(&question, dir, Progress::Quiet, |job| {
        assert_eq!(
            *job.lock, tree.lock,
            "the lock in the image is the one it was made from"
        );
        Ok(tree.clone())
    });
    let left = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|n| n.to_string_lossy().starts_with("verify-"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    answer.unwrap()
}

fn first(answer: &Answer) -> String {
    answer
        .diff
        .differences
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// One changed configuration file: the next release costs next to nothing, says whose layout it keeps, and is made again from
/// what it says.
fn an_update_keeps_the_layout_says_so_and_verifies(one: &Path, packed: &RootTree) {
    let (out, base) = (
        one.join("out-1"),
        one.join("out/hypriotos-qemu-arm64-1.0.0.json"),
    );
    put(one, "units/etc/app.conf", b"workers = 4\n", 0o644);
    make_after(packed, one, &out, "1.0.1", Some(&base));
    let delta = out.join("hypriotos-qemu-arm64-1.0.1-from-1.0.0.payload");
    let size = std::fs::metadata(&delta).unwrap().len();
    assert!(size < 50_000, "one changed file costs {size} bytes");
    let answer = ask(one, packed, |q| {
        q.image = out.join("hypriotos-qemu-arm64-1.0.1.img");
    });
    assert!(answer.is_verified(), "{answer:?}");
    let laid = answer.record.layout.unwrap();
    assert_eq!((laid.version.as_str(), laid.content.len()), ("1.0.0", 64));
    let taken: Vec<_> = answer.taken.iter().map(|t| t.input.as_str()).collect();
    assert!(taken.contains(&"layout, after 1.0.0"), "{taken:?}");
    std::fs::remove_file(one.join("units/etc/app.conf")).unwrap();
    std::fs::remove_dir(one.join("units/etc")).unwrap();
}

#[test]
fn outputs_are_the_same_everywhere_and_verify_against_their_own_record() {
    let work = tempfile::tempdir().unwrap();
    let (one, other) = (work.path().join("one"), work.path().join("another/place"));
    let laid = work.path().join("tree");
    lay_out(&laid);
    let packed = tree(&laid);
    umask(Mode::from_bits_truncate(0o022));
    let first_made = make(&packed, &checkout(&one, 0o055), &one.join("out"));

    umask(Mode::from_bits_truncate(0o077));
    std::env::set_current_dir(work.path()).unwrap();
    let mut single = CpuSet::new();
    single.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &single).unwrap();
    let second_made = make(&packed, &checkout(&other, 0), &other.join("out"));
    assert_eq!(first_made, second_made);
    assert_eq!(first_made.len(), 11, "{first_made:?}");

    let answer = ask(&one, &packed, |_| ());
    assert!(answer.is_verified() && !answer.slot_only, "{answer:?}");
    let from_image: Vec<_> = answer
        .taken
        .iter()
        .filter(|t| t.from.contains("not made again"))
        .map(|t| t.input.as_str())
        .collect();
    assert_eq!(from_image, ["agent", "trust root", "user-data"]);

    // Inputs that are others are named, and nothing is built for them.
    put(&other, "agent", b"another", 0o755);
    put(&other, "units/usr/bin/tool", b"#!/bin/bash\n", 0o755);
    let answer = ask(&one, &packed, |q| {
        q.agent = Some(other.join("agent"));
        q.overlays = vec![other.join("units")];
    });
    let named: Vec<_> = answer.others.iter().map(|o| o.input.as_str()).collect();
    assert_eq!(named, ["agent", "overlay units"]);

    an_update_keeps_the_layout_says_so_and_verifies(&one, &packed);

    // A tree that came out otherwise, an image that was changed, a card that was started.
    let image = one.join("out/hypriotos-qemu-arm64-1.0.0.img");
    let passwd = |shell: &str| {
        let line = format!("root:x:0:0:root:/root:{shell}\n");
        put(&laid.join("root"), "etc/passwd", line.as_bytes(), 0o644);
    };
    passwd("/bin/sh");
    assert_eq!(
        first(&ask(&one, &tree(&laid), |_| ())),
        "root-a, /etc/passwd, content at byte 27: `root:x:0:0:root:/root:/bin/bash` | `root:x:0:0:root:/root:/bin/sh`"
    );
    passwd("/bin/bash");
    let disk = std::fs::File::options().write(true).open(&image).unwrap();
    disk.write_all_at(b"x", layout::RAW_END - 1).unwrap();
    assert!(
        first(&ask(&one, &packed, |_| ()))
            .starts_with("boot loaders, 1 bytes differ, the first at byte 12582911: 78 | 00")
    );
    disk.write_all_at(&[0; 16], layout::BLANK).unwrap();
    let answer = ask(&one, &packed, |_| ());
    assert!(answer.is_verified() && answer.slot_only, "{answer:?}");
    assert!(HostFile::open(&image).is_ok(), "the image is only read");
}
