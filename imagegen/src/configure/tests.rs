//! Tests of [`super`]: what dpkg says, as it says it.

use super::*;

fn heard(lines: &[&str]) -> Talk {
    let mut talk = Talk::default();
    for line in lines {
        talk.hear(line);
    }
    talk
}

#[test]
fn failing_script_is_named_with_its_last_lines() {
    let e = heard(&[
        "@step configure",
        "Setting up libc6:arm64 (2.41) ...",
        "Setting up docker.io (26.1) ...",
        "addgroup: something is wrong",
        "dpkg: error processing package docker.io (--configure):",
        " installed docker.io package post-installation script subprocess returned error exit status 1",
        "Setting up zlib1g:arm64 (1.3) ...",
        "Errors were encountered while processing:",
        " docker.io",
    ])
    .blame()
    .to_string();
    assert!(
        e.contains("package docker.io")
            && e.contains("something is wrong")
            && !e.contains("zlib1g"),
        "{e}"
    );
}

#[test]
fn failing_preinst_is_named() {
    let e = heard(&["@step preinst base-files", "cannot create directory"])
        .blame()
        .to_string();
    assert!(
        e.contains("package base-files") && e.contains("cannot create"),
        "{e}"
    );
}

#[test]
fn what_fails_before_the_first_script_blames_no_package() {
    for (danger, lines) in [
        ("sandbox", &["sandbox: cannot mount at /proc: EPERM"][..]),
        (
            "dpkg",
            &["@step preinst a", "@step configure", "dpkg: EPERM"][..],
        ),
    ] {
        let e = heard(lines).blame();
        assert!(
            matches!(&e, ConfigureError::Sandbox(why) if why.contains("EPERM")),
            "{danger}: {e}"
        );
    }
}

#[test]
fn only_a_script_is_worth_another_way_and_only_where_none_was_asked_for() {
    let script = || ConfigureError::Script {
        package: "a".to_owned(),
        lines: String::new(),
    };
    for (mode, e, want) in [
        (Mode::Auto, script(), true),
        (Mode::Native, script(), false),
        (Mode::Emulated, script(), false),
        (Mode::Auto, ConfigureError::Sandbox("no".to_owned()), false),
    ] {
        assert_eq!(mode.falls_back(&e), want, "{mode:?}: {e}");
    }
}

#[test]
fn every_board_architecture_has_an_emulator_entry() {
    for arch in [Arch::Arm64, Arch::Armhf, Arch::Armel] {
        match emulator(arch) {
            Ok(f) => assert_eq!(
                f.magic.matches(r"\x").count() + f.magic.matches("ELF").count() * 3,
                20,
                "{arch}: {}",
                f.magic
            ),
            Err(e) => assert!(e.to_string().contains("qemu-user-static"), "{e}"),
        }
    }
}
