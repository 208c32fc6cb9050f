//! Attacks by the names, hashes and bytes of targets.

use serde_json::{Value, json};

use crate::make::{Attack, honest, twisted};
use crate::world::hash;

/// What may be said about a target, and its bytes.
pub(crate) fn targets() -> Vec<Attack> {
    let named = |name: &str| {
        twisted(|w| {
            let target = json!({"length": 1, "hashes": {"sha256": hash(b"x")}});
            w.role("targets")["targets"][name] = target;
        })
    };
    let hashed =
        |hashes: Value| twisted(|w| w.role("targets")["targets"]["board.json"]["hashes"] = hashes);
    let bytes = |to: &[u8]| {
        let mut files = honest(2);
        files.insert(format!("{}.board.json", hash(b"release 2")), to.to_vec());
        files
    };
    vec![
        Attack::new(
            "name-climbs-out",
            "a target named ../../etc/passwd",
            named("../../etc/passwd"),
        ),
        Attack::new(
            "name-is-absolute",
            "a target named /etc/passwd",
            named("/etc/passwd"),
        ),
        Attack::new(
            "name-with-a-dot-segment",
            "a target named a/./b",
            named("a/./b"),
        ),
        Attack::new("name-is-empty", "a target without a name", named("")),
        Attack::new(
            "name-with-nul",
            "a name that C would cut short",
            named("a\0.json"),
        ),
        Attack::new(
            "name-with-line-end",
            "a name that forges lines in a log",
            named("a\r\nb"),
        ),
        Attack::new(
            "name-with-backslash",
            "a name that other systems take for a path",
            named("..\\a"),
        ),
        Attack::new(
            "name-runs-backwards",
            "a name that shows nosj.exe as exe.json",
            named("a\u{202e}nosj.exe"),
        ),
        Attack::new(
            "name-too-long",
            "a name that no file system takes",
            named(&"a".repeat(4000)),
        ),
        Attack::new(
            "name-not-ascii",
            "an honest name of another alphabet is one encoded file name",
            twisted(|w| w.add_target("targets", "plaît-il/ünïcode.json", b"bonjour")),
        )
        .target("plaît-il/ünïcode.json"),
        Attack::new(
            "hash-empty-list",
            "a target without any hash",
            hashed(json!({})),
        ),
        Attack::new(
            "hash-blank",
            "a hash of no digits (as CVE-2020-7982)",
            hashed(json!({"sha256": ""})),
        ),
        Attack::new(
            "hash-after-a-space",
            "a leading space must not read as no hash (CVE-2020-7982)",
            hashed(json!({"sha256": format!(" {}", hash(b"release 2"))})),
        ),
        Attack::new(
            "hash-upper-case",
            "one spelling of a hash only",
            hashed(json!({"sha256": hash(b"release 2").to_uppercase()})),
        ),
        Attack::new(
            "hash-unknown",
            "a hash of a kind that nobody can check",
            hashed(json!({"md5": "0123"})),
        )
        .target("board.json"),
        Attack::new("hash-second-differs", "of two hashes one is wrong", {
            hashed(json!({"sha256": hash(b"release 2"), "sha512": "0".repeat(128)}))
        })
        .target("board.json"),
        Attack::new(
            "target-altered",
            "other bytes of the same length",
            bytes(b"release 3"),
        )
        .target("board.json"),
        Attack::new("target-truncated", "the end is missing", bytes(b"release"))
            .target("board.json"),
        Attack::new("target-endless", "more bytes than were signed", honest(2))
            .target("board.json")
            .endless("<target>"),
        Attack::new(
            "target-of-two-to-the-63",
            "a signed length that no memory holds",
            {
                twisted(|w| {
                    w.role("targets")["targets"]["board.json"]["length"] = json!(1u64 << 63);
                })
            },
        )
        .target("board.json"),
        Attack::new("target-of-negative-length", "a length below zero", {
            twisted(|w| w.role("targets")["targets"]["board.json"]["length"] = json!(-1))
        }),
        Attack::new("target-unknown", "a name that nobody lists", honest(2)).target("nothing.json"),
        Attack::new("target-missing", "the mirror drops the target", {
            let mut files = honest(2);
            files.remove(&format!("{}.board.json", hash(b"release 2")));
            files
        })
        .target("board.json"),
    ]
}
