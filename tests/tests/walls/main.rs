//! The agent's unit, and the unit that its self-tests run in, under a real systemd: what they may and may not, and that they work.
//!
//! systemd runs as process 1 of name spaces of its own, with this machine's files under a layer in memory. That takes root and a
//! cgroup hierarchy of version 2; the virtual board shows the rest.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_tests::exec;
use hypriot_tests::papers::root;
use serde_json::Value;

/// Where cgroups of version 2 are mounted (proc(5), /proc/pid/mounts).
fn cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut words| {
        let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| at.into())
    })
}

/// A cgroup that is removed with everything below it.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        fn remove(group: &Path) {
            for entry in fs::read_dir(group).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            // one that somebody is left in stays, and costs a name
            drop(fs::remove_dir(group));
        }
        // processes end a moment after their process 1
        for _ in 0..50 {
            remove(&self.0);
            if !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn report(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("a report")
}

#[test]
fn the_agent_works_within_its_walls_and_its_tests_see_over_them() {
    let (Some(cgroups), 0) = (cgroups(), fs::metadata("/proc/self").unwrap().uid()) else {
        println!("skipped: it takes root and cgroups of version 2");
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let group = Group(cgroups.join(format!("hypriot-walls-{}", std::process::id())));
    fs::create_dir(&group.0).unwrap();
    for (name, text) in [
        ("inside.sh", include_str!("inside.sh")),
        ("look.sh", include_str!("look.sh")),
        ("tests.yaml", include_str!("tests.yaml")),
    ] {
        hypriot_imagegen::files::replace(&work.path().join(name), text.as_bytes()).unwrap();
    }
    let out = work.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut c = exec::command("sh");
    c.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
        .arg(&group.0)
        .args(["unshare", "--fork", "--kill-child", "--pid", "--mount"])
        .args(["--uts", "--ipc", "--net", "--cgroup", "sh"])
        .arg(work.path().join("inside.sh"))
        .arg(work.path())
        .arg(exec::workspace_program("hypriot-agent").unwrap())
        .arg(root().join("systemd/usr/lib/systemd/system"));
    // process 1 is ended by force, so its exit says nothing; what was seen does
    let ended = exec::run(c, Duration::from_mins(4));
    drop(group);
    let said = fs::read_to_string(out.join("log")).unwrap_or_default();
    assert!(said.ends_with("looked\n"), "{said}\n{ended:?}");
    assert!(!said.contains("/hypriot-look can be written"), "{said}");
    assert!(!said.contains("/panic can be written"), "{said}");
    assert!(said.contains("its memory can be written"), "{said}");
    for line in [
        // to read what is another's, and to restart the board
        "CapEff:\t0000000000400004",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "NRestarts=0",
        "NRestarts=1",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}: {said}");
    }
    assert_eq!(said.matches("ActiveState=active\n").count(), 2, "{said}");
    // the second time after the agent died and left its tests running
    for name in ["first.json", "second.json"] {
        let tests = &report(&out.join(name))["selftests"];
        assert_eq!(tests["failed"], 0, "{name}: {tests}");
        assert!(tests["passed"].as_u64() >= Some(12), "{name}: {tests}");
    }
}
