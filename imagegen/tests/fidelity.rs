//! The fast way against the slow one: a tree configured with this machine's programs is, path for path, the one configured under
//! emulation alone. Here with the fewest packages; `make test-fidelity` (`HYPRIOT_FIDELITY=full`) takes the default recipe, and the
//! better part of an hour.

mod trees;

use std::path::{Path, PathBuf};

use hypriot_imagegen::configure::fidelity::Exceptions;
use hypriot_imagegen::tree::{Tree, compare};
use trees::{BOARD, System, imagegen, nothing_is_foreign, shared_cache};

#[test]
fn tree_of_the_fast_way_is_the_tree_of_the_slow_way() {
    if nothing_is_foreign() {
        return;
    }
    let full = std::env::var("HYPRIOT_FIDELITY").is_ok_and(|v| v == "full");
    let mut system = None;
    if !full {
        let Some(mut small) = System::just_one() else {
            return;
        };
        small.add("plain", "#!/bin/sh\nset -e\ndate -u -d @0 > /etc/plain\n");
        system = Some(small);
    }
    let build = |configure: &str| {
        if let Some(system) = &system {
            return system.root(configure).unwrap().0;
        }
        let args = ["root", "--board", BOARD, "--configure", configure];
        PathBuf::from(imagegen(&shared_cache(), &args).unwrap().text())
    };
    // No time is cut off: the build itself has set back what is younger than its packages.
    let read = |file: &Path| Tree::packed(file, u64::MAX).unwrap();
    let (fast, slow) = (read(&build("native")), read(&build("emulated")));
    let found = compare::compare(&fast, &slow).unwrap();
    let list = Exceptions::of_the_project().unwrap();
    let judged = list.judge(&found);
    println!(
        "{} paths, {} differences, {} of them excused",
        fast.len(),
        found.len(),
        found.len() - judged.unexcused.len()
    );
    let lines: Vec<String> = judged.unexcused.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "native | emulated\n{}", lines.join("\n"));
    // A system without most of the packages cannot need all exceptions.
    assert!(
        !full || judged.unused.is_empty(),
        "exceptions that excuse nothing: {:#?}",
        judged.unused
    );
}
