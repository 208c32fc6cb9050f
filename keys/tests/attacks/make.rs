//! Every attack as a twist of the honest repository: what the device knew before, and what it is served then.

use serde_json::{Value, json};

use crate::world::{DAY_ZERO, Files, World, plain, write};

/// One attack.
pub(crate) struct Attack {
    pub name: &'static str,
    /// What is done and why it must fail, in a line.
    pub about: &'static str,
    /// What the device had accepted before, if anything.
    pub before: Option<Files>,
    /// What it is served now.
    pub served: Files,
    /// The device's clock during the attack.
    pub clock: &'static str,
    /// The target it asks for, if the refresh should succeed.
    pub target: Option<&'static str>,
    /// A file that never ends.
    pub endless: Option<&'static str>,
}

impl Attack {
    /// A first refresh on the day everything was signed.
    pub(crate) fn new(name: &'static str, about: &'static str, served: Files) -> Self {
        Self {
            name,
            about,
            before: None,
            served,
            clock: DAY_ZERO,
            target: None,
            endless: None,
        }
    }

    pub(crate) fn before(mut self, files: Files) -> Self {
        self.before = Some(files);
        self
    }

    pub(crate) fn at(mut self, clock: &'static str) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn target(mut self, name: &'static str) -> Self {
        self.target = Some(name);
        self
    }

    pub(crate) fn endless(mut self, file: &'static str) -> Self {
        self.endless = Some(file);
        self
    }
}

pub(crate) fn honest(version: u64) -> Files {
    World::honest(version).build()
}

pub(crate) fn twisted(twist: impl FnOnce(&mut World)) -> Files {
    let mut world = World::honest(2);
    twist(&mut world);
    world.build()
}

/// Changes one served file after it was signed.
pub(crate) fn edited(file: &str, edit: impl FnOnce(&mut Value)) -> Files {
    let mut files = honest(2);
    let mut value: Value = serde_json::from_slice(&files[file]).expect("it is JSON");
    edit(&mut value);
    files.insert(file.into(), write(&value));
    files
}

/// Replaces text in one served file.
pub(crate) fn respelt(file: &str, from: &str, to: &str) -> Files {
    let mut files = honest(2);
    let text = String::from_utf8(files[file].clone()).expect("it is text");
    assert!(text.contains(from), "{file} does not contain {from}");
    files.insert(file.into(), text.replacen(from, to, 1).into_bytes());
    files
}

/// All attacks, those on the order of things first.
pub(crate) fn all() -> Vec<Attack> {
    let mut all = order();
    all.extend(crate::make_signatures::signatures());
    all.extend(crate::make_signatures::roots());
    all.extend(forms());
    all.extend(crate::make_targets::targets());
    all.extend(crate::make_delegations::all());
    all
}

/// Rollback, freeze, mix-and-match, fast-forward, endless data.
fn order() -> Vec<Attack> {
    let stale = "2026-12-01T00:00:00Z";
    let far = twisted(|w| {
        w.timestamp.signed["version"] = json!(4_000_000_000u64);
        w.timestamp.signed["x-signed"] = json!("2026-11-29T00:00:00Z");
    });
    let recovered = |rotate: bool| {
        let mut world = World::honest(3);
        world.next_root(&[1]);
        if rotate {
            world.set_role("timestamp", &[8], 1);
            world.timestamp.keys = vec![8];
        }
        world.build()
    };
    vec![
        Attack::new(
            "rollback-timestamp",
            "an older timestamp is replayed",
            honest(1),
        )
        .before(honest(2)),
        Attack::new(
            "rollback-snapshot",
            "a new timestamp, signed with the stolen key, lists an older snapshot",
            {
                let mut world = World::honest(1);
                world.timestamp.signed["version"] = json!(3);
                world.build()
            },
        )
        .before(honest(2)),
        Attack::new("rollback-targets", "a new snapshot lists older targets", {
            let mut world = World::honest(1);
            world.timestamp.signed["version"] = json!(3);
            world.snapshot.signed["version"] = json!(3);
            world.build()
        })
        .before(honest(2)),
        Attack::new(
            "same-version-other-snapshot",
            "the snapshot's version stays, its bytes change",
            {
                let mut files = honest(2);
                let other =
                    twisted(|w| w.snapshot.signed["expires"] = json!("2026-12-24T12:00:00Z"));
                files.insert("2.snapshot.json".into(), other["2.snapshot.json"].clone());
                files
            },
        )
        .before(honest(1)),
        Attack::new(
            "same-version-other-timestamp",
            "another timestamp of the trusted version is ignored, the trusted one stays",
            {
                twisted(|w| w.timestamp.signed["meta"] = json!({"snapshot.json": {"version": 100}}))
            },
        )
        .before(honest(2)),
        Attack::new(
            "freeze-timestamp",
            "an expired timestamp is served",
            honest(2),
        )
        .before(honest(1))
        .at(stale),
        Attack::new(
            "freeze-known-timestamp",
            "the timestamp that the device trusts is served for ever",
            honest(2),
        )
        .before(honest(2))
        .at(stale),
        Attack::new(
            "freeze-snapshot",
            "an expired snapshot stands behind a fresh timestamp",
            twisted(|w| w.snapshot.signed["expires"] = json!(DAY_ZERO)),
        )
        .before(honest(1)),
        Attack::new(
            "freeze-targets",
            "expired targets stand behind a fresh snapshot",
            twisted(|w| w.role("targets")["expires"] = json!(DAY_ZERO)),
        )
        .before(honest(1)),
        Attack::new(
            "freeze-root",
            "new roots are withheld until the old one has expired",
            twisted(|w| w.timestamp.signed["expires"] = json!("2029-01-01T00:00:00Z")),
        )
        .at("2027-11-23T12:00:00Z"),
        Attack::new(
            "freeze-with-clock-at-1970",
            "the clock stands at 1970, but the device has seen a later signed time",
            honest(2),
        )
        .before({
            let mut world = World::honest(1);
            world.next_root(&[1])["x-signed"] = json!("2026-12-02T00:00:00Z");
            world.timestamp.signed["expires"] = json!("2026-12-09T00:00:00Z");
            world.build()
        })
        .at("1970-01-01T00:00:00Z"),
        Attack::new(
            "clock-at-1970",
            "without a clock a valid update is not blocked",
            honest(2),
        )
        .at("1970-01-01T00:00:00Z"),
        Attack::new(
            "clock-at-2038",
            "the clock is far ahead: refused while it is, and nothing is spoilt",
            honest(2),
        )
        .before(honest(1))
        .at("2038-01-19T03:14:08Z"),
        Attack::new(
            "fast-forward",
            "after a stolen timestamp key pushed the version up, the honest repository is refused",
            honest(3),
        )
        .before(far.clone()),
        Attack::new(
            "fast-forward-without-rotation",
            "a new root alone does not forget the pushed version",
            recovered(false),
        )
        .before(far.clone()),
        Attack::new(
            "fast-forward-recovered",
            "a root that rotates the timestamp key makes the device forget it",
            recovered(true),
        )
        .before(far),
        Attack::new(
            "fast-forwarded-time-recovered",
            "the same for a signed time in the far future",
            recovered(true),
        )
        .before(twisted(|w| {
            w.timestamp.signed["x-signed"] = json!("2027-01-01T00:00:00Z");
            w.timestamp.signed["expires"] = json!("2027-11-01T00:00:00Z");
        })),
        Attack::new(
            "mix-and-match-snapshot",
            "the snapshot of another release, under the listed name",
            {
                let mut files = honest(2);
                files.insert(
                    "2.snapshot.json".into(),
                    honest(1)["1.snapshot.json"].clone(),
                );
                files
            },
        ),
        Attack::new(
            "mix-and-match-targets",
            "the targets of another release, under the listed name",
            {
                let mut files = honest(2);
                let other = twisted(|w| w.add_target("targets", "board.json", b"release 9"));
                files.insert("2.targets.json".into(), other["2.targets.json"].clone());
                files
            },
        ),
        Attack::new(
            "mix-and-match-without-hashes",
            "no hashes are listed, the version inside tells",
            {
                let mut world = World::honest(2);
                world.hashes = false;
                let mut files = world.build();
                files.insert("2.targets.json".into(), honest(1)["1.targets.json"].clone());
                files
            },
        ),
        Attack::new(
            "mix-and-match-snapshot-without-hashes",
            "the same one level up",
            {
                let mut world = World::honest(2);
                world.hashes = false;
                let mut files = world.build();
                files.insert(
                    "2.snapshot.json".into(),
                    honest(1)["1.snapshot.json"].clone(),
                );
                files
            },
        ),
        Attack::new("truncated-targets", "the end is missing", {
            let mut files = honest(2);
            files
                .get_mut("2.targets.json")
                .expect("there")
                .truncate(512);
            files
        }),
        Attack::new("padded-targets", "bytes were appended", {
            let mut files = honest(2);
            files
                .get_mut("2.targets.json")
                .expect("there")
                .extend_from_slice(b"  ");
            files
        }),
        Attack::new("endless-root", "2.root.json never ends", honest(2)).endless("2.root.json"),
        Attack::new("endless-timestamp", "timestamp.json never ends", honest(2))
            .endless("timestamp.json"),
        Attack::new(
            "endless-snapshot",
            "the snapshot is longer than listed",
            honest(2),
        )
        .endless("2.snapshot.json"),
        Attack::new(
            "endless-targets",
            "no length is listed and the targets never end",
            twisted(|w| w.hashes = false),
        )
        .endless("2.targets.json"),
        Attack::new(
            "hundred-megabytes",
            "a listed length of 100 MB does not widen the bound",
            {
                twisted(|w| {
                    w.timestamp.signed["meta"] =
                        json!({"snapshot.json": {"version": 2, "length": 104_857_600}});
                })
            },
        )
        .endless("2.snapshot.json"),
        Attack::new("missing-timestamp", "the mirror drops the timestamp", {
            let mut files = honest(2);
            files.remove("timestamp.json");
            files
        })
        .before(honest(1)),
        Attack::new("missing-snapshot", "the mirror drops the snapshot", {
            let mut files = honest(2);
            files.remove("2.snapshot.json");
            files
        })
        .before(honest(1)),
    ]
}

/// JSON that is not what it seems.
fn forms() -> Vec<Attack> {
    vec![
        Attack::new(
            "deep-json",
            "lists in lists, until a reader's stack is gone",
            {
                let mut files = honest(2);
                let deep = ["[".repeat(5000), "]".repeat(5000)].concat();
                files.insert("timestamp.json".into(), deep.into_bytes());
                files
            },
        ),
        Attack::new(
            "duplicate-json-key",
            "two versions in one object: one reader sees 2, another 1",
            {
                respelt(
                    "timestamp.json",
                    "\"version\": 2,",
                    "\"version\": 2, \"version\": 1,",
                )
            },
        ),
        Attack::new("not-json", "an HTML page of a captive portal", {
            let mut files = honest(2);
            files.insert(
                "timestamp.json".into(),
                b"<!DOCTYPE html><html>Please log in</html>".to_vec(),
            );
            files
        }),
        Attack::new("empty-file", "nothing at all", {
            let mut files = honest(2);
            files.insert("timestamp.json".into(), vec![]);
            files
        }),
        Attack::new("not-utf-8", "a byte that is no text", {
            let mut files = honest(2);
            files.insert("timestamp.json".into(), b"{\"signed\": \"\xff\"}".to_vec());
            files
        }),
        Attack::new(
            "fraction",
            "numbers that two readers round differently",
            respelt("timestamp.json", "\"version\": 2,", "\"version\": 2.0,"),
        ),
        Attack::new(
            "number-beyond-64-bits",
            "a version of 2^64 wraps to 0 in careless readers",
            {
                respelt(
                    "timestamp.json",
                    "\"version\": 2,",
                    "\"version\": 18446744073709551616,",
                )
            },
        ),
        Attack::new(
            "version-zero",
            "a version that is none",
            twisted(|w| w.timestamp.signed["version"] = json!(0)),
        ),
        Attack::new(
            "wrong-type",
            "a snapshot signed by a key that both roles have, served as the timestamp",
            {
                twisted(|w| {
                    w.timestamp.signed = plain("snapshot", 3);
                    w.timestamp.signed["meta"] =
                        json!({"targets.json": {"version": 2}, "snapshot.json": {"version": 2}});
                })
            },
        ),
        Attack::new(
            "unknown-specification",
            "metadata of TUF 2",
            twisted(|w| w.timestamp.signed["spec_version"] = json!("2.0.0")),
        ),
        Attack::new(
            "date-in-another-form",
            "an expiry that a lenient reader takes for local time",
            twisted(|w| w.timestamp.signed["expires"] = json!("2026-11-30 12:00:00")),
        ),
        Attack::new(
            "signatures-not-a-list",
            "an object where a list belongs",
            edited("timestamp.json", |v| v["signatures"] = json!({})),
        ),
    ]
}
