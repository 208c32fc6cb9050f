//! Tests of [`super`]: which way is taken, and what a machine without one is told.

use super::*;

fn some(name: &str) -> Toolchain {
    let p = PathBuf::from(name);
    Toolchain {
        cargo: p.clone(),
        rustc: p.clone(),
        sysroot: p,
    }
}

#[test]
fn ways_are_tried_in_the_order_of_the_design() {
    let full = Host {
        installed: Some(some("i")),
        cross: true,
        with_source: Some(some("s")),
    };
    let no_target = Host {
        installed: None,
        ..full.clone()
    };
    let only_source = Host {
        cross: false,
        ..no_target.clone()
    };
    for (host, want) in [
        (&full, Way::Installed(some("i"))),
        (&no_target, Way::Cross),
        (&only_source, Way::BuildStd(some("s"))),
    ] {
        assert_eq!(choose(host, Processor::Armv6).unwrap(), want);
    }
}

#[test]
fn a_machine_with_nothing_is_told_all_three_ways() {
    let e = choose(&Host::default(), Processor::Armv6)
        .unwrap_err()
        .to_string();
    for word in ["rustup target add arm-unknown", "Docker", "rust-web-src"] {
        assert!(e.contains(word), "{e}");
    }
}

#[test]
fn names_of_targets_are_read_both_ways() {
    for target in Processor::ALL {
        assert_eq!(Processor::parse(target.triple()), Some(target));
    }
    assert_eq!(Processor::parse("armel"), Some(Processor::Armv6));
    assert_eq!(Processor::parse("mips"), None);
}

#[test]
fn versions_are_read_and_old_compilers_seen() {
    for (text, want) in [
        (
            "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)",
            Some(96),
        ),
        ("cargo 1.63.1", Some(63)),
        ("rustc 2.0.0", None),
        ("", None),
    ] {
        assert_eq!(minor_version(text), want, "{text}");
    }
}

#[test]
fn targets_are_built_together_but_for_each_container() {
    for (way, want) in [
        (Way::BuildStd(some("s")), 1),
        (Way::Installed(some("i")), 1),
        (Way::Cross, 2),
    ] {
        let two = [Processor::Armv7, Processor::Armv6].map(|target| (target, way.clone()));
        assert_eq!(turns(&two).count(), want, "{way:?}");
    }
}

#[test]
fn the_crate_that_an_outer_cargo_runs_is_nothing_an_inner_one_hears_of() {
    // This test is run by cargo, so the variables are there.
    let hidden = outer_cargo();
    for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
        assert!(hidden.iter().any(|n| n == name), "{name}: {hidden:?}");
    }
    let cmd = exec::tool("env").without_env(hidden);
    let left = cmd.run().unwrap().text();
    assert!(!left.contains("CARGO_PKG_NAME="), "{left}");
}
