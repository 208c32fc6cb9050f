//! python-tuf and this crate over the same repositories: both accept what either writes, both refuse what was altered.
//!
//! python-tuf is installed from PyPI into `.cache/python-tuf` of the project, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hypriot_keys::client::Client;
use hypriot_keys::repo::{NewDelegation, Options, Repository, Rotation};
use hypriot_keys::source::FileSource;
use hypriot_keys::time::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{self, Run};
use crate::python;
use crate::world::{DAY_ZERO, Files, honest_root, key};

/// What ours says: `ok`, or a refusal.
fn ours(root: &[u8], files: &Path, targets: &[String]) -> Result<(), hypriot_keys::Error> {
    let store = tempfile::tempdir().unwrap();
    let source = FileSource::new(files);
    let mut client = Client::open(store.path(), root, Timestamp(0))?;
    client.refresh(&source, Timestamp::parse(DAY_ZERO).unwrap())?;
    for name in targets {
        client.download(&source, name)?;
    }
    Ok(())
}

fn case(name: &str, root: &Path, served: &Path, targets: &[String]) -> Value {
    json!({"name": name, "root": root, "served": served, "clock": DAY_ZERO, "targets": targets})
}

/// Every altered copy of a served directory: one letter changed in one file.
fn altered(files: &Path, place: &Path) -> Vec<(String, PathBuf)> {
    let all = fixture::tree(files);
    let mut copies = Vec::new();
    for name in all.keys() {
        let mut copy: Files = all.clone();
        let bytes = copy.get_mut(name).unwrap();
        // In metadata inside the signed part, so that it matters; in targets anywhere.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let at = text
            .find("\"expires\"")
            .map_or(0, |at| at + text[at..].find("20").unwrap() + 3);
        bytes[at] ^= 1;
        let directory = place.join(name.replace('/', "_"));
        fixture::put(&directory, &copy);
        copies.push((name.clone(), directory));
    }
    copies
}

#[test]
fn we_accept_what_python_tuf_writes_and_both_refuse_it_altered() {
    let place = tempfile::tempdir().unwrap();
    python::run("write.py", &[place.path().to_str().unwrap()]);
    let mut variants = Vec::new();
    let mut altered_cases = Vec::new();
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let variant = entry.unwrap().path();
        let name = variant.file_name().unwrap().to_str().unwrap().to_owned();
        let root_file = variant.join("root.json");
        let root = std::fs::read(&root_file).unwrap();
        let expected: BTreeMap<String, String> =
            serde_json::from_slice(&std::fs::read(variant.join("targets.json")).unwrap()).unwrap();
        let targets: Vec<String> = expected.keys().cloned().collect();
        let files = variant.join("files");
        ours(&root, &files, &targets).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (file, directory) in altered(&files, &variant.join("altered")) {
            // The first root is baked in and not fetched; a hash that is not asked for is not looked at.
            let unused =
                file == "1.root.json" || (name == "both-hashes" && file.ends_with(".board.json"));
            if !unused {
                let refused = ours(&root, &directory, &targets);
                assert!(refused.is_err(), "{name}: {file} was altered and accepted");
                altered_cases.push(case(
                    &format!("{name}/{file}"),
                    &root_file,
                    &directory,
                    &targets,
                ));
            }
        }
        variants.push(name);
    }
    assert_eq!(variants.len(), 10, "{variants:?}");
    let accepted: Vec<_> = python::play(&altered_cases)
        .into_iter()
        .filter(|(_, r)| r == "ok")
        .collect();
    assert!(accepted.is_empty(), "python-tuf accepts {accepted:?}");
}

#[test]
fn python_tuf_accepts_what_we_write_and_both_refuse_it_altered() {
    let place = tempfile::tempdir().unwrap();
    let (work, out) = (place.path().join("work"), place.path().join("out"));
    let now = Timestamp::parse(DAY_ZERO).unwrap();
    let mut repo = Repository::init(&work, &Options::single(key(1).public()), now).unwrap();
    let custom = json!({"board": "rpi-4", "version": "1.0.0", "note": "ü \" \\ \n"});
    repo.add_target("board.json", b"one", custom).unwrap();
    repo.publish(&out, &[&key(1)]).unwrap();
    let root = place.path().join("root.json");
    fixture::put(
        place.path(),
        &[("root.json".into(), repo.first_root().unwrap())].into(),
    );
    let rotation = Rotation {
        add: vec![key(2).public().clone()],
        remove: vec![],
        threshold: Some(2),
    };
    for role in ["root", "targets"] {
        repo.rotate(role, &rotation).unwrap();
    }
    let team = NewDelegation {
        name: "community".into(),
        keys: vec![key(5).public().clone()],
        threshold: 1,
        paths: vec!["c-*".into()],
        hash_prefixes: vec![],
        terminating: true,
    };
    repo.delegate("targets", &team).unwrap();
    repo.add_target_to("community", "c-board.json", b"theirs", Value::Null)
        .unwrap();
    repo.publish(&out, &[&key(1), &key(2), &key(5)]).unwrap();
    repo.refresh_timestamp(&out, &[&key(1)]).unwrap();

    let targets: Vec<String> = vec!["board.json".into(), "c-board.json".into()];
    let mut cases = vec![case("honest", &root, &out, &targets)];
    let root_bytes = std::fs::read(&root).unwrap();
    // Superseded versions lie beside the current ones and are not asked for.
    let current =
        |file: &str| !matches!(file, "1.root.json" | "1.snapshot.json" | "1.targets.json");
    for (file, directory) in altered(&out, &place.path().join("altered")) {
        if current(&file) {
            assert!(
                ours(&root_bytes, &directory, &targets).is_err(),
                "{file} was altered and accepted"
            );
            cases.push(case(&file, &root, &directory, &targets));
        }
    }
    assert!(cases.len() >= 7, "{}", cases.len());
    for (name, result) in python::play(&cases) {
        assert_eq!(result == "ok", name == "honest", "{name}: {result}");
    }
}

/// Where this crate is stricter than python-tuf 7, each with its reason.
const STRICTER: &[(&str, &str)] = &[
    ("freeze-with-clock-at-1970", "it has no time floor"),
    (
        "hash-after-a-space",
        "it looks at a target's hash only when the target is fetched",
    ),
    ("hash-blank", "the same"),
    ("hash-upper-case", "the same"),
    (
        "key-id-collision",
        "its JSON reader keeps the last of two equal names",
    ),
    (
        "name-climbs-out",
        "it leaves the names of targets to applications",
    ),
    ("name-is-absolute", "the same"),
    ("name-is-empty", "the same"),
    ("name-runs-backwards", "the same"),
    ("name-too-long", "the same"),
    ("name-with-a-dot-segment", "the same"),
    ("name-with-backslash", "the same"),
    ("name-with-line-end", "the same"),
    ("name-with-nul", "the same"),
];

#[test]
fn python_tuf_agrees_on_the_attacks() {
    let place = tempfile::tempdir().unwrap();
    fixture::put(place.path(), &[("root.json".into(), honest_root())].into());
    let mut cases = Vec::new();
    let mut ours = BTreeMap::new();
    for name in fixture::directories() {
        cases.push(fixture::expand(&name, place.path()));
        ours.insert(name.clone(), Run::of(&name).outcome.is_ok());
    }
    let mut differ = Vec::new();
    let mut agreed = 0;
    for (name, result) in python::play(&cases) {
        let accepted = ours[&name];
        let listed = STRICTER.iter().any(|(n, _)| *n == name);
        if (result == "ok") == accepted {
            agreed += 1;
            assert!(
                !listed,
                "{name}: python-tuf agrees by now, take it off the list"
            );
        } else if accepted || !listed {
            differ.push(format!(
                "{name}: we {} it, python-tuf says {result}",
                if accepted { "accept" } else { "refuse" }
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "agreed on {agreed}; differences:\n{}",
        differ.join("\n")
    );
}
