//! Names and patterns as tables: the specification's examples, Python's fnmatch, and what must not pass.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::json;

use super::{covers, encode, is_good_role, is_safe_target, metadata, path_matches, target};
use crate::schema::{DelegatedRole, Target};

#[test]
fn patterns() {
    for (pattern, name, expected) in [
        // TUF 1.0 section 4.5, PATHPATTERN.
        ("targets/*.tgz", "targets/foo.tgz", true),
        ("targets/*.tgz", "targets/bar.tgz", true),
        ("targets/*.tgz", "targets/foo.txt", false),
        ("foo-version-?.tgz", "foo-version-2.tgz", true),
        ("foo-version-?.tgz", "foo-version-a.tgz", true),
        ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
        ("*.tgz", "foo.tgz", true),
        ("*.tgz", "bar.tgz", true),
        ("*.tgz", "targets/foo.tgz", false),
        ("foo.tgz", "foo.tgz", true),
        ("foo.tgz", "foo2tgz", false),
        // Python's fnmatch.
        ("*", "", true),
        ("?", "", false),
        ("*", "a/b", false),
        ("*/*", "a/b", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-b-b-c-d", false),
        ("[ab].json", "a.json", true),
        ("[ab].json", "c.json", false),
        ("[!ab].json", "c.json", true),
        ("[!ab].json", "a.json", false),
        ("[a-c]1", "b1", true),
        ("[a-c]1", "d1", false),
        ("[]]", "]", true),
        ("[", "[", true),
        ("[a", "[a", true),
        ("[a", "a", false),
        ("ä?", "äö", true),
        ("A*", "a", false),
        // No wildcard reaches over a separator.
        ("a?b", "a/b", false),
        ("a[/]b", "a/b", false),
        ("..", "..", true),
    ] {
        assert_eq!(
            path_matches(pattern, name),
            expected,
            "{pattern:?} {name:?}"
        );
    }
}

#[test]
fn a_hostile_pattern_takes_no_time() {
    let pattern: String = "a*".repeat(2000);
    let name: String = "a".repeat(4000) + "b";
    assert!(!path_matches(&(pattern + "c"), &name));
    let open = "*".to_owned() + &"[".repeat(100_000);
    assert!(!path_matches(&open, &"[".repeat(1000)));
}

#[test]
fn hash_prefixes_cover_what_begins_with_them() {
    let role = |prefixes: &[&str]| -> DelegatedRole {
        serde_json::from_value(
            json!({"name": "bin", "keyids": [], "threshold": 1, "path_hash_prefixes": prefixes}),
        )
        .unwrap()
    };
    // SHA-256 of "file1.txt" begins with 55ae75d9.
    assert!(covers(&role(&["00", "55ae"]), "file1.txt"));
    assert!(!covers(&role(&["55af"]), "file1.txt"));
    assert!(!covers(&role(&[]), "file1.txt"));
}

#[test]
fn file_names() {
    assert_eq!(metadata("targets", Some(3)), "3.targets.json");
    assert_eq!(metadata("../x y", None), "..%2Fx%20y.json");
    let file = |name: &str, hashes: serde_json::Value, consistent| {
        let listed: Target =
            serde_json::from_value(json!({"length": 0, "hashes": hashes})).unwrap();
        target(name, &listed, consistent)
    };
    let both = json!({"sha512": "bb", "sha256": "aa"});
    assert_eq!(
        file("a/b.json", both.clone(), true).as_deref(),
        Some("a/aa.b.json")
    );
    assert_eq!(file("b c", both, false).as_deref(), Some("b%20c"));
    assert_eq!(
        file("b", json!({"sha512": "bb"}), true).as_deref(),
        Some("bb.b")
    );
    assert_eq!(file("b", json!({"md5": "cc"}), true), None);
}

#[test]
fn role_names() {
    for name in ["targets", "a b", "../x", "ü", "."] {
        assert!(is_good_role(name), "{name:?}");
    }
    let long: String = "ü".repeat(30);
    for name in ["", "a\n", "\0", long.as_str()] {
        assert!(!is_good_role(name), "{name:?}");
    }
}

proptest! {
    #[test]
    fn encoded_names_are_harmless_and_distinct(one in any::<String>(), two in any::<String>()) {
        let harmless = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b));
        prop_assert!(harmless(&encode(&one)));
        prop_assert_eq!(one == two, encode(&one) == encode(&two));
    }

    #[test]
    fn safe_targets_stay_below_their_directory(name in any::<String>()) {
        if is_safe_target(&name) {
            let segments: Vec<&str> = name.split('/').collect();
            prop_assert!(segments.iter().all(|s| !s.is_empty() && *s != "." && *s != ".."));
        }
    }
}
