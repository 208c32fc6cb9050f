//! Tests of [`super`] on trees with planted secrets, and on the machine that runs them.

use std::io::Read as _;

use super::*;
use crate::probe::tests::tree;
use crate::report::tests::example;

const SECRET: &str = "hunter2Correct";

fn options(root: Root) -> Options {
    Options {
        root,
        program: None,
        port: 9,
        now: Timestamp(1_700_000_000),
    }
}

fn files(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("whole");
            let name = entry.path().expect("a name").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (name.replacen("hypriot-diagnose/", "", 1), text)
        })
        .collect()
}

#[test]
fn no_planted_secret_leaves_the_board() {
    let mut report = example();
    report.checks.get_mut("memory").expect("there").detail = Some(format!(
        "curl https://me:{SECRET}@host said token={SECRET}\npsk={SECRET}"
    ));
    let report = serde_json::to_string(&report).expect("json");
    let record = format!(
        "{{\"last\":{{\"reason\":\"https://u:{SECRET}@h/ refused\"}},\"api_key\":\"{SECRET}\"}}"
    );
    let (_dir, root) = tree(&[
        ("/run/hypriot/report.json", &report),
        ("/data/hypriot/record.json", &record),
        (
            "/data/hypriot/failure.json",
            &format!("torn {{\"password\": \"{SECRET}"),
        ),
        (
            "/etc/hypriot/agent.d/10-mine.toml",
            &format!(
                "[update]\nurl = \"https://me:{SECRET}@x/\"\nproxy = \"http://{SECRET}@p\"\nclient_key = '{SECRET}'\n"
            ),
        ),
        (
            "/etc/hypriot/agent.d/20-key.toml",
            &format!(
                "key = '''\n-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n'''\n"
            ),
        ),
        (
            "/etc/hypriot/client.pem",
            &format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"),
        ),
        (
            "/etc/hypriot/selftest.d/web.yaml",
            &format!("http:\n  https://x:\n    password: {SECRET}\n"),
        ),
        (
            "/boot/user-data",
            &format!(
                "#cloud-config\nhostname: pearl\nusers:\n- name: {SECRET}\n  passwd: {SECRET}\n  ssh_authorized_keys: [ssh-rsa AAAA{SECRET}]\nrunmd:\n- echo {SECRET}\n"
            ),
        ),
        (
            "/boot/network-config",
            &format!(
                "wifis:\n  wlan0:\n    access-points:\n      \"{SECRET}\": {{password: \"{SECRET}\"}}\n"
            ),
        ),
        ("/boot/config.txt", "dtparam=audio=on\n"),
        (
            "/etc/docker/daemon.json",
            &format!("{{\n  \"http-proxy\": \"http://u:{SECRET}@p\"\n}}\n"),
        ),
        (
            "/proc/cmdline",
            &format!(
                "hypriot.slot=b ds=nocloud;s=http://me:{SECRET}@seed/ systemd.setenv=TOKEN={SECRET}\n"
            ),
        ),
        (
            "/proc/cpuinfo",
            &format!("Model\t: Raspberry Pi 4\nSerial\t\t: {SECRET}\n"),
        ),
    ]);
    let bundle = collect(&options(root), &mut |_| {}).expect("packed");
    let tar = String::from_utf8_lossy(&bundle.tar);
    assert!(
        !tar.contains(SECRET),
        "{:?}",
        tar.find(SECRET).map(|at| &tar[at - 200..at + 20])
    );
    let files = files(&bundle.tar);
    let removed: usize = bundle.parts.iter().map(|part| part.removed).sum();
    assert!(removed >= 14, "{removed}: {}", files["README.txt"]);
    for (name, words) in [
        ("health/report.json", "\"board\": \"qemu-arm64\""),
        ("health/report.json", "https://[removed]@host"),
        (
            "configuration/owner.toml",
            "# /etc/hypriot/agent.d/20-key.toml",
        ),
        ("configuration/owner.toml", "url = \"https://[removed]@x/\""),
        ("configuration/user-data.outline", "hostname: [removed]"),
        ("configuration/user-data.outline", "runmd:"),
        ("configuration/config.txt", "dtparam=audio=on"),
        (
            "configuration/names.txt",
            "/etc/hypriot/selftest.d/web.yaml",
        ),
        ("system/cmdline", "hypriot.slot=b"),
        ("system/cpuinfo", "Raspberry Pi 4"),
        ("README.txt", "secrets removed"),
    ] {
        assert!(
            files[name].contains(words),
            "{name}: {words}: {}",
            files[name]
        );
    }
}

#[test]
fn what_is_missing_is_said_and_takes_nothing_along() {
    let (_dir, root) = tree(&[("/proc/uptime", "1.0 1.0\n")]);
    let bundle = collect(&options(root), &mut |_| {}).expect("packed");
    let files = files(&bundle.tar);
    assert_eq!(files["system/uptime"], "1.0 1.0\n");
    assert!(
        files["README.txt"].contains("/run/hypriot/report.json: No such file"),
        "{}",
        files["README.txt"]
    );
    assert_eq!(bundle.parts.len(), PARTS.len());
    let index: serde_json::Value = serde_json::from_str(&files["index.json"]).expect("json");
    assert_eq!(index.as_array().expect("a list").len(), PARTS.len());
}

#[test]
fn files_without_end_are_cut() {
    let long = "a line of the log\n".repeat(10_000);
    let (_dir, root) = tree(&[
        ("/boot/config.txt", &long),
        ("/proc/version", &"x".repeat(100_000)),
    ]);
    let bundle = collect(&options(root), &mut |_| {}).expect("packed");
    for name in ["configuration/config.txt", "system/version"] {
        let went = bundle
            .parts
            .iter()
            .find(|part| part.name == name)
            .expect("there");
        assert!(went.cut && went.bytes <= 64 * 1024, "{went:?}");
    }
    assert!(bundle.tar.len() < LIMIT);
}

#[test]
fn this_machine_answers_with_what_it_has_and_in_time() {
    let began = Instant::now();
    let mut heard = 0;
    let bundle = collect(&options(Root::default()), &mut |_| heard += 1).expect("packed");
    assert!(
        began.elapsed() < PATIENCE + Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(heard, PARTS.len());
    let went = |name: &str| {
        bundle
            .parts
            .iter()
            .find(|part| part.name == name)
            .expect("there")
    };
    for name in [
        "system/meminfo",
        "system/mountinfo",
        "system/cmdline",
        "system/df.txt",
    ] {
        assert!(went(name).bytes > 0, "{:?}", went(name));
    }
    // It has no slots, and nobody listens at port 9: both are said.
    for name in ["update/boot-state.txt", "health/http.txt"] {
        assert!(went(name).missing.is_some(), "{:?}", went(name));
    }
}
