//! Locks: what a list says of a package is checked before it is believed.

use super::*;
use crate::lock::repo::index::Index;

#[test]
fn what_a_list_says_of_a_package_is_checked() {
    let hash = "ab".repeat(32);
    let list = |fields: &str| {
        let text = format!("Package: a\nVersion: 1\nArchitecture: arm64\n{fields}\n");
        let index = Index::new("main", "sid", text);
        locked(&index.named("a").unwrap()[0])
    };
    let good = format!("Filename: pool/a.deb\nSize: 3\nSHA256: {hash}\n");
    assert_eq!(list(&good).unwrap().filename, "pool/a.deb");
    for (danger, from, to) in [
        ("absolute path", "pool/a.deb", "/etc/passwd"),
        ("climbing path", "pool/a.deb", "pool/../../a.deb"),
        ("no path", "Filename: pool/a.deb\n", ""),
        ("no hash", "SHA256", "MD5sum"),
        ("hash that is none", hash.as_str(), "abcd"),
        ("hash that is a path", hash.as_str(), "../../x"),
        ("size that is none", "Size: 3", "Size: -3"),
        ("size beyond all", "Size: 3", "Size: 99999999999999999999"),
    ] {
        let e = list(&good.replacen(from, to, 1)).unwrap_err();
        assert!(matches!(e, RepoError::Malformed { .. }), "{danger}: {e}");
    }
}
