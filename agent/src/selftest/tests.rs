//! Tests of [`super`]: suites run on trees that stand for boards, and on this machine.

use std::time::Instant;

use super::*;
use crate::probe::tests::tree;
use crate::report::tests::example;

fn setting(root: Root) -> Setting {
    Setting {
        root,
        board: "qemu-arm64".into(),
        update: Some(example().update),
        built: Timestamp(1_600_000_000),
        now: Timestamp(1_700_000_000),
        packages: None,
    }
}

/// What one test came to.
pub(super) fn vote(id: &str, passed: bool) -> hypriot_updater::health::TestResult {
    hypriot_updater::health::TestResult {
        id: id.into(),
        severity: hypriot_updater::health::Severity::Required,
        passed,
        found: String::new(),
        cut_short: false,
    }
}

fn assert_flawless(suite: &Suite) {
    assert_eq!(
        suite
            .problems()
            .chain(suite.warnings())
            .chain(suite.broken())
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}

fn suite(text: &str) -> (tempfile::TempDir, Suite) {
    let (dir, root) = tree(&[("/t.yaml", text)]);
    let suite = load(&[root.path("/t.yaml")]);
    assert_flawless(&suite);
    (dir, suite)
}

fn run_on(root: &Root, text: &str) -> Vec<TestResult> {
    let (_dir, suite) = suite(text);
    run(&suite, &setting(root.clone()), Duration::from_secs(20))
}

/// `id: p`, `f` or `s` for each result.
fn marks(results: &[TestResult]) -> Vec<String> {
    let mark = |result: &TestResult| match &result.outcome {
        Outcome::Pass => format!("{} p", result.id),
        Outcome::Fail(_) => format!("{} f", result.id),
        Outcome::Skip(_) => format!("{} s", result.id),
    };
    results.iter().map(mark).collect()
}

const BOARD: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\npirate:x:1000:1000::/home/pirate:/bin/bash\n",
    ),
    (
        "/etc/group",
        "root:x:0:\ndocker:x:995:pirate\npirate:x:1000:\n",
    ),
    ("/etc/hostname", "black-pearl\n"),
    (
        "/var/lib/dpkg/status",
        "Package: docker.io\nStatus: install ok installed\nVersion: 26.1.5\n",
    ),
    (
        "/proc/self/mountinfo",
        "1 0 254:7 / / rw,noatime - ext4 /dev/vda7 rw\n",
    ),
    ("/proc/net/tcp", "h\n 0: 00000000:0016 00000000:0000 0A 0\n"),
    ("/proc/7/comm", "sshd\n"),
    ("/proc/sys/kernel/osrelease", "6.12\n"),
    ("/proc/sys/kernel/ostype", "Linux\n"),
    ("/proc/modules", "overlay 1 0 - Live\n"),
    ("/proc/device-tree/model", "linux,dummy-virt\0"),
    ("/run/systemd/timesync/synchronized", ""),
    ("/sys/class/thermal/thermal_zone0/temp", "45000\n"),
];

#[test]
fn board_is_looked_at_through_its_root() {
    let (_dir, root) = tree(BOARD);
    let results = run_on(
        &root,
        "file:\n  /etc/hostname: {exists: true, contents: [black-pearl], filetype: file, mode: '0644', sha256: {have-len: 64}}\n\
         user:\n  pirate: {exists: true, uid: 1000, groups: [docker], home: /home/pirate}\n\
         group:\n  docker: {exists: true, gid: 995}\n\
         package:\n  docker.io: {installed: true, versions: [{have-prefix: '26.'}]}\n  occi: {installed: false}\n\
         mount:\n  /: {exists: true, filesystem: ext4, opts: [rw], source: /dev/vda7, usage: {le: 100}}\n\
         port:\n  tcp:22: {listening: true, ip: [0.0.0.0]}\n  tcp:23: {listening: false}\n\
         process:\n  sshd: {running: true}\n  telnetd: {running: false}\n\
         kernel-param:\n  kernel.ostype: {value: Linux}\n\
         kernel-module:\n  overlay: {available: true, loaded: true}\n\
         device-tree:\n  /model: {exists: true, value: {contain-substring: dummy}}\n  /no: {exists: false}\n\
         clock:\n  system: {synchronized: true, after-build: true, year: {ge: 2020}}\n\
         slot:\n  this: {booted: b, default: b, on-trial: false, settled: true}\n\
         throttling:\n  power: {temperature: {lt: 80}}\n\
         docker:\n  engine: {reachable: false}\n\
         matching:\n  m: {content: {a: 1}, matches: {have-key: a}}\n",
    );
    let bad: Vec<_> = results
        .iter()
        .filter(|r| r.outcome != Outcome::Pass)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(results.len(), 40);
}

#[test]
fn failed_main_property_skips_the_others_but_not_other_tests() {
    let (_dir, root) = tree(BOARD);
    let results = run_on(
        &root,
        "file:\n  /nothing: {mode: '0644', exists: true}\n  /etc/hostname: {exists: true}\n\
         user:\n  nobody-here: {exists: false, uid: 3}\n  pirate: {exists: true, uid: 7}\n",
    );
    let expected = [
        "file:/nothing:exists f",
        "file:/nothing:mode s",
        "file:/etc/hostname:exists p",
        "user:nobody-here:exists p",
        "user:nobody-here:uid s",
        "user:pirate:exists p",
        "user:pirate:uid f",
    ];
    assert_eq!(marks(&results), expected);
    let Outcome::Fail(why) = &results[6].outcome else {
        panic!("failed")
    };
    assert_eq!(why, "expected to be numerically eq 7, found 1000");
}

#[test]
fn skipped_foreign_and_offline_tests_do_not_vote() {
    let (_dir, root) = tree(BOARD);
    let results = run_on(
        &root,
        "file:\n  /a: {exists: true, skip: true}\n  /b: {exists: true, boards: rpi3}\n\
         command:\n  touch /tmp/never: {exit-status: 0}\n\
         http:\n  http://127.0.0.1:9/: {status: 200}\n",
    );
    assert!(
        results
            .iter()
            .all(|r| matches!(r.outcome, Outcome::Skip(_))),
        "{results:#?}"
    );
    assert!(votes(&results).is_empty());
}

#[test]
fn links_of_an_image_do_not_lead_to_the_host() {
    let (_dir, root) = tree(BOARD);
    std::os::unix::fs::symlink("/etc/hostname", root.path("/absolute")).expect("linked");
    std::os::unix::fs::symlink("../../../../etc/hostname", root.path("/etc/relative"))
        .expect("linked");
    std::os::unix::fs::symlink("loop", root.path("/loop")).expect("linked");
    let results = run_on(
        &root,
        "file:\n  /absolute: {exists: true, contents: [black-pearl], linked-to: /etc/hostname, filetype: symlink}\n\
         \x20 /etc/relative: {exists: true, contents: [black-pearl]}\n  /loop: {exists: true, contents: [x]}\n",
    );
    let failed: Vec<&str> = results
        .iter()
        .filter(|r| r.outcome != Outcome::Pass)
        .map(|r| r.id.as_str())
        .collect();
    assert_eq!(failed, ["file:/loop:contents"]);
}

#[test]
fn a_pipe_or_a_device_holds_no_test_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let pipe = pipe.display();
    let text = format!(
        "file:\n  {pipe}: {{exists: true, filetype: pipe, contents: [x], sha256: x, contains: [x]}}\n\
         \x20 /dev/zero: {{exists: true, filetype: character-device, contents: [x], md5: x}}\n"
    );
    let began = Instant::now();
    let results = run_on(&Root::default(), &text);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it was waited for"
    );
    let failed: Vec<_> = results
        .iter()
        .filter_map(|r| match &r.outcome {
            Outcome::Fail(why) => Some((&*r.property, &**why)),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 5, "{failed:?}");
    assert!(
        failed
            .iter()
            .all(|(_, why)| why.contains("a device, and no file")),
        "{failed:?}"
    );
}

#[test]
fn a_pipe_among_the_files_of_tests_is_said_and_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("x.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let suite = load(&[dir.path().to_owned(), pipe]);
    assert!(suite.problems().next().is_some_and(|p| p.contains("pipe")));
}

#[test]
fn commands_run_on_the_live_board_with_a_limit() {
    let results = run_on(
        &Root::default(),
        "command:\n  echo hi; echo oops >&2; exit 3: {exit-status: 3, stdout: [hi, '!ho'], stderr: [/^oo/]}\n\
         \x20 hang: {exec: sleep 600, exit-status: 0, timeout: 200}\n\
         \x20 missing-program-x: {exit-status: 127}\n",
    );
    let expected = [
        "command:echo hi; echo oops >&2; exit 3:exit-status p",
        "command:echo hi; echo oops >&2; exit 3:stdout p",
        "command:echo hi; echo oops >&2; exit 3:stderr p",
        "command:hang:exit-status f",
        "command:missing-program-x:exit-status p",
    ];
    assert_eq!(marks(&results), expected);
    let Outcome::Fail(why) = &results[3].outcome else {
        panic!("failed")
    };
    assert!(why.contains("killed after 0.2 s"), "{why}");
}

#[test]
fn local_network_is_looked_at_on_the_live_board() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        // addr twice, then one request.
        for stream in listener.incoming().take(3) {
            use std::io::{Read, Write};
            let mut stream = stream.expect("a client");
            let mut request = [0; 2048];
            if stream.read(&mut request).is_ok_and(|n| n > 0) {
                stream.write_all(b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nX-Kind: pot\r\nConnection: close\r\n\r\nshort").expect("written");
            }
        }
    });
    let text = format!(
        "addr:\n  tcp://127.0.0.1:{port}: {{reachable: true}}\n  local: {{address: tcp://127.0.0.1:{port}, reachable: true, local-address: 127.0.0.1}}\n\
         \x20 tcp://127.0.0.1:1: {{reachable: false}}\n\
         interface:\n  lo: {{exists: true, addrs: [127.0.0.1/8], mtu: {{gt: 1000}}}}\n  no0: {{exists: false}}\n\
         dns:\n  localhost: {{resolvable: true, addrs: [127.0.0.1], timeout: 3000}}\n"
    );
    let results = run_on(&Root::default(), &text);
    let bad: Vec<_> = results
        .iter()
        .filter(|r| r.outcome != Outcome::Pass)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let text = format!(
        "http:\n  http://127.0.0.1:{port}/tea: {{status: 418, headers: ['X-Kind: pot'], body: [short, '!stout']}}\n"
    );
    let results = run_on(&Root::default(), &text);
    assert!(
        results.iter().all(|r| r.outcome == Outcome::Pass),
        "{results:#?}"
    );
    server.join().expect("ended");
}

#[test]
fn waiting_test_passes_once_it_is_true_and_does_not_hold_up_the_others() {
    let (dir, root) = tree(BOARD);
    let marker = dir.path().join("marker");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        crate::files::replace(&marker, b"", 0o644).expect("written");
    });
    let started = Instant::now();
    let results = run_on(
        &root,
        "file:\n  /marker: {exists: true, wait-for: {timeout: 10s, interval: 100ms}}\n\
         \x20 /never: {exists: true, wait-for: {timeout: 300ms, interval: 100ms}}\n  /etc/hostname: {exists: true}\n",
    );
    thread.join().expect("ended");
    assert_eq!(
        marks(&results),
        [
            "file:/marker:exists p",
            "file:/never:exists f",
            "file:/etc/hostname:exists p"
        ]
    );
    assert!(
        results[2].took < Duration::from_millis(400),
        "{:?}",
        results[2].took
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn budget_ends_everything_and_what_was_not_reached_fails() {
    let slow: Vec<String> = (0..400)
        .map(|n| format!("  t{n}: {{exec: sleep 0.3, exit-status: 0}}"))
        .collect();
    let (_dir, suite) = suite(&format!("command:\n{}\n", slow.join("\n")));
    let started = Instant::now();
    let results = run(
        &suite,
        &setting(Root::default()),
        Duration::from_millis(500),
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(results.len(), 400);
    let late = results
        .iter()
        .filter(|r| matches!(&r.outcome, Outcome::Fail(why) if why.contains("time for all tests")));
    assert!(late.count() >= 8);
    // none of them found anything out, so none excuses a regression later on
    let baseline = hypriot_updater::health::baseline(&votes(&results));
    assert!(baseline.iter().all(|vote| vote.passed), "{baseline:?}");
}

#[test]
fn unusable_file_is_a_failed_result_with_a_stable_id() {
    let (_dir, root) = tree(&[
        ("/t/1.yaml", "file: {[{"),
        ("/t/2.yaml", "file:\n  /: {exists: true}\n"),
    ]);
    let suite = load(&[root.path("/t")]);
    let results = run(&suite, &setting(root), Duration::from_secs(5));
    let (passed, failed, _) = output::count(&results.iter().collect::<Vec<_>>());
    assert_eq!((passed, failed), (1, 1));
    assert!(results[1].id.starts_with("suite:") && results[1].id.ends_with("/1.yaml:usable"));
    // A slip of the owner does not throw a release away; one of the image does.
    assert_eq!(results[1].severity, Severity::Wanted);
}

#[test]
fn exit_codes_are_those_of_goss() {
    let code = |files: &[(&str, &str)], dir: &str| {
        let (_dir, root) = tree(files);
        let options = Options {
            dirs: if dir.is_empty() {
                Vec::new()
            } else {
                vec![root.path(dir)]
            },
            root: root.directory().to_owned(),
            board: "x".into(),
            built: Timestamp(0),
            format: Format::Tap,
            style: Style::default(),
            budget: Duration::from_secs(5),
            workers: 4,
            retry: Duration::ZERO,
            sleep: Duration::ZERO,
            packages: None,
        };
        validate(&options, &Vars::default(), &|| Timestamp(1), &mut |_| {})
    };
    let there = (
        "/usr/share/hypriot/selftest.d/a.yaml",
        "file:\n  /: {exists: true}\n",
    );
    assert_eq!(code(&[there], ""), exit::HOLDS);
    assert_eq!(
        code(
            &[
                there,
                (
                    "/etc/hypriot/selftest.d/b.yaml",
                    "file:\n  /x: {exists: true}\n"
                )
            ],
            ""
        ),
        exit::FAILED
    );
    assert_eq!(
        code(
            &[
                there,
                (
                    "/etc/hypriot/selftest.d/b.yaml",
                    "file:\n  /x: {exists: true, severity: wanted}\n"
                )
            ],
            ""
        ),
        exit::HOLDS
    );
    assert_eq!(
        code(
            &[there, ("/etc/hypriot/selftest.d/b.yaml", "file: [/x]\n")],
            ""
        ),
        exit::CONFIG
    );
    assert_eq!(code(&[], ""), exit::CONFIG);
    assert_eq!(code(&[there], "/nowhere"), exit::CONFIG);
}

#[test]
fn votes_carry_ids_weights_and_reasons() {
    let (_dir, root) = tree(BOARD);
    let results = run_on(
        &root,
        "file:\n  /x: {exists: true, severity: wanted}\n  /etc/hostname: {exists: true}\n",
    );
    let votes = votes(&results);
    assert_eq!(votes.len(), 2);
    assert_eq!(
        (votes[0].id.as_str(), votes[0].passed, votes[0].severity),
        ("file:/x:exists", false, Weight::Wanted)
    );
    assert_eq!(votes[0].found, "expected to equal true, found false");
    let view = summarise(&votes, Timestamp(5));
    assert_eq!(
        (view.passed, view.failed, view.failed_required.len()),
        (1, 1, 0)
    );
    assert_eq!(
        view.failed_wanted,
        ["file:/x:exists"],
        "a number names nothing"
    );
}

#[test]
fn tests_of_the_package_are_good_files_and_know_no_slots() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../imagegen/deb/root/usr/share/hypriot/selftest.d");
    let suite = load(&[dir]);
    assert_flawless(&suite);
    assert!(suite.len() > 15, "{}", suite.len());
    let (_tree, root) = tree(BOARD);
    let results = run(&suite, &setting(root), Duration::from_secs(3));
    assert!(!results.iter().any(|r| r.id.starts_with("slot:")));
}

#[test]
fn tests_of_the_image_are_good_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/usr/share/hypriot/selftest.d");
    let suite = load(&[dir]);
    assert_flawless(&suite);
    assert!(suite.len() > 90, "{}", suite.len());
    // On a tree that is no board most of them fail, but none breaks the run.
    let (_tree, root) = tree(BOARD);
    let results = run(&suite, &setting(root), Duration::from_secs(3));
    assert!(results.len() >= suite.len());
}
