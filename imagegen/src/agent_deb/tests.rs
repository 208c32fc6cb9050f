//! Tests of [`super`]: what is in the package, and that other people's programs read it.

use super::*;
use crate::debian::deb;
use crate::testing::tool;

fn version() -> semver::Version {
    env!("CARGO_PKG_VERSION").parse().unwrap()
}

fn made(arch: Arch) -> Package {
    package(&Spec {
        arch,
        version: &version(),
        agent: vec![7; 3000],
        maintainer: None,
        date: None,
    })
    .unwrap()
}

#[test]
fn same_content_gives_the_same_bytes_for_every_architecture() {
    for arch in Arch::PACKAGED {
        let one = made(arch).encode().unwrap();
        assert_eq!(one, made(arch).encode().unwrap());
        assert_eq!(Arch::packaged(arch.name()), Some(arch));
        let mut later = made(arch);
        later.date += 1;
        assert_ne!(one, later.encode().unwrap(), "the date counts");
    }
}

#[test]
fn dpkg_deb_reads_it_and_lists_what_belongs_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.deb");
    crate::files::replace(&path, &made(Arch::Armhf).encode().unwrap()).unwrap();
    let path = path.display().to_string();
    let ask = |args: &[&str]| tool("dpkg-deb", "dpkg", args);
    let fields = format!(
        "Package: hypriot-agent\nVersion: {}\nArchitecture: armhf",
        env!("CARGO_PKG_VERSION")
    );
    let told = ask(&["--field", &path, "Package", "Version", "Architecture"]);
    assert!(told.starts_with(&fields), "{told}");
    let listed = ask(&["--contents", &path]);
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    for (mode, name) in [
        ("drwxr-xr-x", "./"),
        ("-rwxr-xr-x", "./usr/bin/hypriot-agent"),
        ("-rw-r--r--", "./etc/hypriot/agent.d/10-health.toml"),
        (
            "-rw-r--r--",
            "./usr/lib/systemd/system/hypriot-agent.service",
        ),
        (
            "-rw-r--r--",
            "./usr/lib/systemd/system/hypriot-health.service",
        ),
        ("-rw-r--r--", "./usr/share/doc/hypriot-agent/copyright"),
    ] {
        let line = lines.iter().find(|l| l[5] == name).expect(name);
        assert_eq!((line[0], line[1]), (mode, "root/root"), "{name}");
    }
    // Facts of an image: with one of them here, the agent would take the board for HypriotOS.
    for foreign in [
        "agent.toml",
        "trial",
        "identity",
        "system.conf.d",
        "journald.conf.d",
        "root.json",
    ] {
        assert!(!listed.contains(foreign), "{foreign}");
    }
    for (name, text) in made(Arch::Armhf).scripts {
        let file = dir.path().join(&name);
        crate::files::replace(&file, &text).unwrap();
        tool("sh", "dash", &["-n", &file.display().to_string()]);
    }
}

#[test]
fn sums_and_conffiles_are_those_of_the_files() {
    use std::io::Read as _;
    let package = made(Arch::Arm64);
    let bytes = package.encode().unwrap();
    let parsed = deb::parse(&bytes).unwrap();
    let mut control = BTreeMap::new();
    for entry in tar::Archive::new(parsed.control().unwrap())
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        control.insert(name, text);
    }
    assert_eq!(
        control["./conffiles"],
        "/etc/hypriot/agent.d/10-health.toml\n"
    );
    // MD5 of 3000 bytes of 7, by md5sum(1)
    let sum = "c9b1bae2bf93c8b9b87b914640dc969c  usr/bin/hypriot-agent\n";
    assert!(
        control["./md5sums"].contains(sum),
        "{}",
        control["./md5sums"]
    );
    assert_eq!(
        control["./md5sums"].lines().count(),
        package.files.len() - 1
    );
    let fields = debian_packaging::control::ControlParagraphReader::new(std::io::Cursor::new(
        control["./control"].as_bytes(),
    ));
    let fields = fields.map(Result::unwrap).next().unwrap();
    assert_eq!(fields.field_str("Architecture"), Some("arm64"));
    assert!(fields.field_u64("Installed-Size").unwrap().unwrap() > 10);
    assert!(
        fields.field_str("Depends").is_none(),
        "a static program needs nothing"
    );
}

#[test]
fn changelog_gives_version_date_and_maintainer() {
    let signed = newest(own("packed/changelog").unwrap()).unwrap();
    assert_eq!(
        signed.version,
        debian_version(&version()),
        "write an entry for the new version"
    );
    for (danger, text) in [
        ("empty", ""),
        (
            "no version",
            "hypriot-agent unstable\n -- A <a@b>  Wed, 25 Nov 2026 00:00:00 +0000\n",
        ),
        ("not signed", "hypriot-agent (1) unstable\n"),
        (
            "local time",
            "hypriot-agent (1) unstable\n -- A <a@b>  Wed, 25 Nov 2026 00:00:00 +0100\n",
        ),
        (
            "no such month",
            "hypriot-agent (1) unstable\n -- A <a@b>  Wed, 25 Nop 2026 00:00:00 +0000\n",
        ),
    ] {
        assert!(newest(text).is_err(), "{danger}");
    }
    let good = "hypriot-agent (1) unstable\n\n -- A <a@b>  Thu, 1 Jan 1970 00:01:00 +0000\n";
    assert_eq!(newest(good).unwrap().date, 60);
}

#[test]
fn prereleases_come_before_their_release() {
    for (ours, theirs) in [
        ("1.2.3", "1.2.3"),
        ("1.2.3-rc.1", "1.2.3~rc.1"),
        ("1.0.0-a-b", "1.0.0~a.b"),
    ] {
        assert_eq!(debian_version(&ours.parse().unwrap()), theirs);
    }
    let spec = Spec {
        arch: Arch::Amd64,
        version: &"99.0.0".parse().unwrap(),
        agent: Vec::new(),
        maintainer: None,
        date: None,
    };
    let e = package(&spec).unwrap_err().to_string();
    assert!(e.contains("write an entry for 99.0.0"), "{e}");
}

#[test]
fn maintainer_that_would_break_the_control_file_is_refused() {
    for bad in ["me", "A <a@b>\nDepends: x", "<a@b>"] {
        let spec = Spec {
            arch: Arch::Amd64,
            version: &version(),
            agent: Vec::new(),
            maintainer: Some(bad),
            date: None,
        };
        assert!(package(&spec).is_err(), "{bad:?}");
    }
}
