//! Any bytes as any role: never a panic, and whatever is accepted says again what it said.

use hypriot_keys::check;
use hypriot_keys::schema::{Listing, Root, Targets};
use hypriot_keys::signed::Signed;
use hypriot_keys::{names, workflow};

/// # Panics
///
/// When something is wrong: that is what a fuzzer looks for.
pub fn target(bytes: &[u8]) {
    drop(workflow::load_root(bytes));
    let Ok(file) = Signed::parse("fuzz", bytes) else {
        return;
    };
    let root = check::read::<Root>("fuzz", "root", file.signed.clone());
    if let Ok(root) = root {
        for role in ["root", "timestamp", "snapshot", "targets"] {
            file.count(&workflow::root_signers(&root, role, "fuzz"));
        }
        let value = serde_json::to_value(&root).expect("it is written");
        let again = check::read::<Root>("fuzz", "root", value).expect("what was written is read");
        assert_eq!(again, root, "a field was lost");
    }
    for kind in ["timestamp", "snapshot"] {
        if let Ok(listing) = check::read::<Listing>("fuzz", kind, file.signed.clone()) {
            drop(workflow::listed(&listing, "snapshot.json"));
        }
    }
    if let Ok(targets) = check::read::<Targets>("fuzz", "targets", file.signed) {
        for (name, target) in &targets.targets {
            if let Some(file) = names::target(name, target, true) {
                assert!(!file.starts_with('/') && !file.split('/').any(|s| s == ".."));
            }
            for role in targets.delegations.iter().flat_map(|d| &d.roles) {
                names::covers(role, name);
            }
        }
    }
}
