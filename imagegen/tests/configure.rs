//! Configuring for real: a script that does not bear this machine's programs gets emulated ones, one that fails anyway is named.

mod trees;

use hypriot_imagegen::tree::Tree;
use trees::System;

/// It is of one mind with the emulated machine only.
const FUSSY: &str = "#!/bin/sh\nset -e\nif [ \"$(uname -m)\" != aarch64 ]; then\n  echo \"this is no aarch64 but $(uname -m)\"\n  exit 1\nfi\n";
/// It changes a program that one of this machine lies over: the tree's own would not get the mode.
const CHANGES: &str = "#!/bin/sh\nset -e\nchmod 2755 /usr/bin/sed\n";
/// Nothing helps it.
const BROKEN: &str = "#!/bin/sh\necho 'the flux is not capacitated' >&2\nexit 3\n";

#[test]
fn script_that_fails_with_native_programs_is_run_emulated_and_one_that_always_fails_is_named() {
    let Some(mut system) = System::just_one() else {
        return;
    };
    system.add("fussy", FUSSY);
    let e = system.root("native").unwrap_err().to_string();
    assert!(
        e.contains("package fussy: its script failed") && e.contains("this is no aarch64"),
        "{e}"
    );
    let (tree, said) = system.root("auto").unwrap();
    assert!(
        said.contains("note: package fussy") && said.contains("this is no aarch64"),
        "{said}"
    );
    assert!(
        said.contains("native, emulated: fussy"),
        "the others were not run anew: {said}"
    );
    let tree = Tree::packed(&tree, u64::MAX).unwrap();
    let status = tree.read("var/lib/dpkg/status").unwrap();
    let status = String::from_utf8_lossy(&status);
    let wrong = status
        .lines()
        .filter(|l| l.starts_with("Status: ") && !l.ends_with("install ok installed"));
    assert_eq!(wrong.count(), 0, "{status}");
    let e = system.root("native").unwrap_err().to_string();
    assert!(
        e.contains("package fussy"),
        "the other way's tree does not pass as a native one: {e}"
    );

    let mut system = System::just_one().unwrap();
    system.add("broken", BROKEN);
    let e = system.root("auto").unwrap_err().to_string();
    let words = "package broken: its script failed";
    assert!(
        e.matches(words).count() >= 2 && e.contains("the flux is not capacitated"),
        "once for each way: {e}"
    );
}

#[test]
fn script_that_would_change_a_program_of_this_machine_fails_instead_of_being_lost() {
    let Some(mut system) = System::just_one() else {
        return;
    };
    system.add("changes", CHANGES);
    let e = system.root("native").unwrap_err().to_string();
    assert!(
        e.contains("package changes: its script failed") && e.contains("Read-only"),
        "{e}"
    );
}

#[test]
fn what_a_package_pre_depends_on_is_configured_before_its_preinst() {
    let Some(mut system) = System::just_one() else {
        return;
    };
    let ready = "#!/bin/sh\nset -e\nmkdir -p /etc/first\necho ready > /etc/first/state\n";
    let asks = "#!/bin/sh\nset -e\ngrep ready /etc/first/state\n";
    let needs = "Depends: dash, coreutils\n";
    system.package("zz-first", needs, &[("postinst", ready)]);
    system.package("middle", "Depends: zz-first\n", &[]);
    // Debian policy 7.2; by name alone the first would be the last.
    system.package("aa-second", "Pre-Depends: middle\n", &[("preinst", asks)]);
    for how in ["native", "emulated"] {
        let (tree, _) = system.root(how).unwrap();
        let tree = Tree::packed(&tree, u64::MAX).unwrap();
        let status = tree.read("var/lib/dpkg/status").unwrap();
        let status = String::from_utf8_lossy(&status).into_owned();
        let waits = status
            .lines()
            .find(|l| l.starts_with("Status: ") && !l.ends_with(" installed"));
        assert_eq!(waits, None, "{how}: {status}");
    }
}
