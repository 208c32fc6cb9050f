//! Attacks on signatures, keys and roots.

use serde_json::{Value, json};

use crate::make::{Attack, edited, honest, respelt, twisted};
use crate::world::{DAY_ZERO, World, hash, key, role, write};

/// Wrong, missing, doubled, borrowed signatures.
pub(crate) fn signatures() -> Vec<Attack> {
    let duplicate = |file: &str| {
        edited(file, |v| {
            let first = v["signatures"][0].clone();
            v["signatures"].as_array_mut().expect("a list").push(first);
        })
    };
    vec![
        Attack::new(
            "unsigned-timestamp",
            "the list of signatures is empty",
            edited("timestamp.json", |v| v["signatures"] = json!([])),
        ),
        Attack::new("unsigned-snapshot", "the list of signatures is empty", {
            twisted(|w| w.snapshot.keys = vec![])
        }),
        Attack::new("unsigned-targets", "the list of signatures is empty", {
            twisted(|w| w.roles.get_mut("targets").expect("there").keys = vec![])
        }),
        Attack::new(
            "wrong-key-timestamp",
            "signed by a key of nobody",
            twisted(|w| w.timestamp.keys = vec![9]),
        ),
        Attack::new(
            "wrong-key-snapshot",
            "signed by a key of nobody",
            twisted(|w| w.snapshot.keys = vec![9]),
        ),
        Attack::new("wrong-key-targets", "signed by a key of nobody", {
            twisted(|w| w.roles.get_mut("targets").expect("there").keys = vec![9])
        }),
        Attack::new(
            "key-of-another-role",
            "the online timestamp key signs targets",
            twisted(|w| w.roles.get_mut("targets").expect("there").keys = vec![2]),
        ),
        Attack::new(
            "stranger-under-our-key-id",
            "a stranger's signature under the id of the right key",
            {
                let stranger = twisted(|w| w.timestamp.keys = vec![9]);
                let mut value: Value =
                    serde_json::from_slice(&stranger["timestamp.json"]).expect("JSON");
                value["signatures"][0]["keyid"] = json!(key(2).id());
                let mut files = honest(2);
                files.insert("timestamp.json".into(), write(&value));
                files
            },
        ),
        Attack::new(
            "altered-timestamp",
            "one digit of a signed file is changed",
            respelt("timestamp.json", "\"version\": 2\n", "\"version\": 3\n"),
        ),
        Attack::new(
            "altered-field-nobody-knows",
            "a field that no client reads is changed after signing",
            edited("timestamp.json", |v| v["signed"]["note"] = json!("added")),
        ),
        Attack::new(
            "duplicate-signature",
            "one signature twice",
            duplicate("timestamp.json"),
        ),
        Attack::new(
            "empty-signature",
            "a signature without digits",
            edited("timestamp.json", |v| v["signatures"][0]["sig"] = json!("")),
        ),
        Attack::new("below-threshold", "one of two holders signs", {
            twisted(|w| {
                w.next_root(&[1]);
                w.set_role("targets", &[4, 5], 2);
            })
        }),
        Attack::new(
            "same-key-under-two-ids",
            "one holder's key stands twice in the root, with an extra field and so another id",
            {
                twisted(|w| {
                    let mut twin = json!(key(2).public());
                    twin["note"] = json!("twin");
                    let id = hash(&hypriot_keys::json::canonical(&twin));
                    w.next_root(&[1])["keys"][&id] = twin;
                    w.root()["roles"]["timestamp"] =
                        json!({"keyids": [key(2).id(), id], "threshold": 2});
                })
            },
        ),
    ]
}

/// Rotation of roots, and what may stand in one.
pub(crate) fn roots() -> Vec<Attack> {
    let next = |signers: &[u8], twist: &dyn Fn(&mut World)| {
        let mut world = World::honest(2);
        world.next_root(signers);
        twist(&mut world);
        world.build()
    };
    let rotated = |w: &mut World| w.set_role("root", &[7], 1);
    let nothing = |_: &mut World| {};
    vec![
        Attack::new(
            "root-signed-by-old-only",
            "root 2 names new holders who did not sign it",
            next(&[1], &rotated),
        ),
        Attack::new(
            "root-signed-by-new-only",
            "root 2 is signed by the holders it names itself",
            next(&[7], &rotated),
        ),
        Attack::new(
            "root-signed-by-both",
            "an honest rotation is accepted",
            next(&[1, 7], &rotated),
        ),
        Attack::new(
            "root-unsigned",
            "root 2 carries no signature",
            next(&[], &nothing),
        ),
        Attack::new(
            "root-skips-a-version",
            "2.root.json contains root 3 (CVE-2025-2885)",
            next(&[1], &|w| w.root()["version"] = json!(3)),
        ),
        Attack::new(
            "root-repeats-its-version",
            "2.root.json contains root 1, so the chain would never end",
            next(&[1], &|w| w.root()["version"] = json!(1)),
        ),
        Attack::new(
            "root-expired",
            "the newest root has expired",
            next(&[1], &|w| w.root()["expires"] = json!(DAY_ZERO)),
        ),
        Attack::new(
            "root-threshold-zero",
            "timestamp needs no signature at all",
            next(&[1], &|w| {
                w.root()["roles"]["timestamp"]["threshold"] = json!(0);
            }),
        ),
        Attack::new(
            "root-threshold-negative",
            "a threshold below zero",
            next(&[1], &|w| {
                w.root()["roles"]["timestamp"]["threshold"] = json!(-1);
            }),
        ),
        Attack::new(
            "root-zero-keys",
            "timestamp has no keys: nobody can sign, not everybody",
            next(&[1], &|w| w.root()["roles"]["timestamp"] = role(&[], 1)),
        ),
        Attack::new(
            "root-lists-a-key-twice",
            "one key twice in a role of threshold 2",
            next(&[1], &|w| w.root()["roles"]["timestamp"] = role(&[2, 2], 2)),
        ),
        Attack::new(
            "root-without-a-role",
            "no word about who signs snapshots",
            next(&[1], &|w| {
                w.root()["roles"]
                    .as_object_mut()
                    .expect("an object")
                    .remove("snapshot");
            }),
        ),
        Attack::new(
            "key-id-of-another-key",
            "the thief's key stands under the id of the honest one",
            next(&[1], &|w| {
                w.root()["keys"][key(2).id()] = json!(key(9).public());
            }),
        ),
        Attack::new(
            "key-id-collision",
            "two keys under one id: the honest one for the eye, the thief's for the reader",
            {
                let mut files = next(&[1], &nothing);
                let text = String::from_utf8(files["2.root.json"].clone()).expect("text");
                let thief = serde_json::to_string(key(9).public()).expect("JSON");
                let twice = format!("\"keys\": {{\n\"{}\": {thief},", key(2).id());
                files.insert(
                    "2.root.json".into(),
                    text.replacen("\"keys\": {", &twice, 1).into_bytes(),
                );
                files
            },
        ),
        Attack::new(
            "rsa-key-of-512-bits",
            "a key that can be broken at home does not count",
            next(&[1], &|w| {
                let weak = json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": WEAK_RSA}});
                let id = hash(&hypriot_keys::json::canonical(&weak));
                w.root()["keys"][&id] = weak;
                w.root()["roles"]["timestamp"] = json!({"keyids": [id], "threshold": 1});
            }),
        ),
        Attack::new(
            "unknown-key-type",
            "a scheme that nobody knows counts for nothing",
            next(&[1], &|w| {
                let odd = json!({"keytype": "none", "scheme": "none", "keyval": {"public": ""}});
                let id = hash(&hypriot_keys::json::canonical(&odd));
                w.root()["keys"][&id] = odd;
                w.root()["roles"]["timestamp"] = json!({"keyids": [id], "threshold": 1});
            }),
        ),
    ]
}

/// 512 bits, made for this file.
const WEAK_RSA: &str = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKbTbhhjPof70O/HOBd0PKLw+vpc5sFa\nJq34T4TKtzWBkw0quR36L2F5S4NNHjXdG90J4RNiJ8cf/i4XWQxPryMCAwEAAQ==\n-----END PUBLIC KEY-----\n";
