//! Tests of [`super`]: what to do about what is missing, on machines of every kind.

use super::*;

const ROOT: Machine = Machine {
    debian_like: true,
    root: true,
    sudo: false,
};

#[test]
fn nothing_missing_needs_nothing() {
    assert_eq!(plan(&missing(&[Test], |_| true), ROOT), Plan::Nothing);
}

#[test]
fn only_what_the_purpose_needs_is_installed() {
    let plan = plan(&missing(&[Board], |_| false), ROOT);
    let Plan::Apt {
        packages,
        sudo: false,
    } = plan
    else {
        panic!("{plan:?}")
    };
    assert!(packages.contains(&"qemu-system-arm"), "{packages:?}");
    assert!(!packages.contains(&"rustc-web"), "{packages:?}");
}

#[test]
fn who_cannot_install_is_told_what_to_install() {
    for (debian_like, root, word) in [
        (true, false, "apt-get install"),
        (false, true, "own package manager"),
    ] {
        let machine = Machine {
            debian_like,
            root,
            sudo: false,
        };
        let Plan::Tell(words) = plan(&missing(&[Board, Image], |_| false), machine) else {
            panic!("nothing was told");
        };
        for w in [word, "u-boot-qemu", "QEMU"] {
            assert!(words.contains(w), "{words}");
        }
    }
}

#[test]
fn old_package_lists_are_refreshed() {
    let refresh = |pause| After::Refresh { pause };
    for (danger, installed, enough, tries, want) in [
        ("none: it is there", true, true, 1, After::End),
        ("apt knows no such package", false, false, 1, refresh(false)),
        (
            "apt installs an old version",
            true,
            false,
            1,
            refresh(false),
        ),
        (
            "mirror in the middle of an update",
            false,
            false,
            2,
            refresh(true),
        ),
        ("it never comes", false, false, TRIES, After::End),
        ("no version is new enough", true, false, TRIES, After::End),
    ] {
        assert_eq!(after(installed, || enough, tries), want, "{danger}");
    }
}

#[test]
fn relatives_of_debian_are_recognised() {
    for (text, want) in [
        ("ID=debian\n", true),
        ("ID=ubuntu\nID_LIKE=debian\n", true),
        ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true),
        ("ID=fedora\nVERSION=\"not debian\"\n", false),
        ("", false),
    ] {
        assert_eq!(is_debian_like(text), want, "{text}");
    }
}
