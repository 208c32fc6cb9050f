//! Tests of [`super`] on directory trees that stand for boards.

use super::*;
use crate::report::tests::example;

/// A tree with these files, and the directory that keeps it alive.
pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Root::new(dir.path());
    for (path, text) in files {
        let path = root.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        crate::files::replace(&path, text.as_bytes(), 0o644).expect("written");
    }
    (dir, root)
}

pub(crate) fn context(previous: Option<&Report>) -> Context<'_> {
    Context {
        board: "qemu-arm64".into(),
        version: "1.2.3".into(),
        update: example().update,
        selftests: None,
        owner_tests: OwnerTests::None,
        canary: Known::default(),
        time_floor: Timestamp(1_600_000_000),
        vitals: Vitals {
            memory_total: 1000 * 1024,
            memory_available: 600 * 1024,
            load1: Some(0.1),
            processors: 2,
            ..Vitals::default()
        },
        previous,
    }
}

const NOW: Timestamp = Timestamp(1_700_000_000);

const BOARD: &[(&str, &str)] = &[
    ("/proc/sys/kernel/random/boot_id", "0001\n"),
    ("/proc/uptime", "1000.25 2000.00\n"),
    ("/proc/sys/kernel/tainted", "0\n"),
    ("/proc/diskstats", ""),
    (
        "/proc/self/mountinfo",
        "1 0 254:7 / /data rw - ext4 /dev/vda7 rw\n",
    ),
    ("/data/x", ""),
    ("/run/systemd/timesync/synchronized", ""),
    ("/sys/class/thermal/thermal_zone0/temp", "45000\n"),
];

#[test]
fn whole_board_is_seen_without_touching_the_host() {
    let (_dir, root) = tree(BOARD);
    let report = collect(&root, &context(None), NOW);
    let names: Vec<&str> = report.checks.keys().map(String::as_str).collect();
    let expected = [
        "card-canary",
        "card-latency",
        "clock",
        "disk-data",
        "kernel",
        "load",
        "memory",
        "network",
        "power",
        "slot",
        "temperature",
        "update",
        "uptime",
        "watchdog",
    ];
    assert_eq!(names, expected);
    assert_eq!((report.boot_id.as_str(), report.uptime), ("0001", 1000.25));
    assert_eq!(report.checks["memory"].observed, Some(40.0));
    let available = report.gauges["memory_available_bytes"];
    assert!((available - 600.0 * 1024.0).abs() < 0.5, "{available}");
    assert!(
        report
            .checks
            .values()
            .all(|check| check.knowledge != Knowledge::Broken)
    );
    Report::parse(&serde_json::to_vec(&report).expect("json")).expect("its own reader takes it");
}

#[test]
fn system_without_slots_is_judged_without_them_and_with_its_self_tests() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /data rw - ext4 /dev/sdb1 ro\n";
    let (_dir, root) = tree(BOARD);
    crate::files::replace(&root.path("/proc/self/mountinfo"), mounts.as_bytes(), 0o644)
        .expect("written");
    let mut context = context(None);
    context.update = crate::system::Plain::view();
    context.selftests = Some(TestsView {
        ran_at: NOW,
        passed: 3,
        failed: 1,
        failed_required: vec!["file:/x:exists".into()],
        failed_wanted: Vec::new(),
        flaky: Vec::new(),
    });
    let mut report = collect(&root, &context, NOW);
    assert!(!report.checks.contains_key("slot") && !report.checks.contains_key("update"));
    assert_eq!(report.slot, None);
    // an owner's own disk at /data is not the data partition of a card
    assert!(!report.checks.contains_key("disk-data"));
    // the tree lies on a disk of this machine: how full that is must not decide
    assert!(report.checks.remove("disk-root").is_some());
    assert_eq!(report.checks["selftests"].status, Status::Fail);
    assert_eq!(report.status(), Status::Warn);
}

#[test]
fn broken_probe_warns_alone() {
    let (_dir, root) = tree(BOARD);
    let mut context = context(None);
    context.vitals = Vitals::default();
    let report = collect(&root, &context, NOW);
    let memory = &report.checks["memory"];
    assert_eq!(memory.knowledge, Knowledge::Broken);
    assert_eq!(memory.status, Status::Warn);
    assert!(
        memory
            .detail
            .as_deref()
            .expect("a reason")
            .contains("how much memory")
    );
    assert_eq!(report.checks["clock"].status, Status::Pass);
}

#[test]
fn stand_in_for_the_data_partition_is_a_failure() {
    let (_dir, root) = tree(BOARD);
    std::fs::create_dir_all(root.path("/run/hypriot")).expect("made");
    let lost = root.path("/run/hypriot/data-lost");
    crate::files::replace(&lost, b"local\n/home: read-only\n", 0o644).expect("written");
    let report = collect(&root, &context(None), NOW);
    assert_eq!(report.status(), Status::Fail);
    let check = &report.checks["disk-data"];
    assert!(check.output.contains("in memory"));
    assert_eq!(check.detail.as_deref(), Some("/home: read-only\n"));
}

#[test]
fn empty_root_yields_a_report_of_warnings() {
    let (_dir, root) = tree(&[]);
    let report = collect(&root, &context(None), NOW);
    assert_eq!(report.status(), Status::Warn);
    assert_eq!(report.checks["disk"].knowledge, Knowledge::Broken);
}

#[test]
fn since_is_kept_while_the_status_stays() {
    let (_dir, root) = tree(BOARD);
    let first = collect(&root, &context(None), NOW);
    let later = NOW.plus(60);
    let second = collect(&root, &context(Some(&first)), later);
    assert_eq!(second.checks["memory"].since, NOW);
    let mut context = context(Some(&second));
    context.vitals.memory_available = 1024;
    let third = collect(&root, &context, later);
    assert_eq!(third.checks["memory"].since, later);
}

#[test]
fn costly_checks_are_kept_for_a_while_unless_bad_or_from_another_boot() {
    let (_dir, root) = tree(BOARD);
    let mut previous = collect(&root, &context(None), NOW);
    let docker = Check {
        status: Status::Pass,
        measurement: "state".into(),
        checked_at: NOW,
        ..previous.checks["memory"].clone()
    };
    previous.checks.insert("docker".into(), docker.clone());
    previous.checks.insert("docker-containers".into(), docker);
    previous.gauges.insert("docker_containers".into(), 3.0);
    // The tree has no Docker: a check that is there was taken over.
    let seen = |previous: &Report, now| {
        let report = collect(&root, &context(Some(previous)), now);
        report.checks.contains_key("docker-containers")
            && report.gauges.contains_key("docker_containers")
    };
    assert!(seen(&previous, NOW.plus(29)));
    assert!(!seen(&previous, NOW.plus(30)));
    assert!(
        !seen(&previous, Timestamp(NOW.0 - 1)),
        "the clock went back"
    );
    let mut bad = previous.clone();
    bad.checks.get_mut("docker").expect("there").status = Status::Fail;
    assert!(!seen(&bad, NOW.plus(1)));
    let mut reboot = previous.clone();
    reboot.boot_id = "0002".into();
    assert!(!seen(&reboot, NOW.plus(1)));
}

#[test]
fn paths_do_not_leave_the_root() {
    let root = Root::new("/tree");
    for (path, full) in [
        ("/etc/passwd", "/tree/etc/passwd"),
        ("../../etc", "/tree/etc"),
        ("/a/../../../b/./c", "/tree/b/c"),
        ("/", "/tree"),
    ] {
        assert_eq!(root.path(path), std::path::Path::new(full), "{path}");
    }
}
