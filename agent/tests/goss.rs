//! An owner's goss file runs unchanged: every result it gives under goss, it gives here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_agent::probe::Root;
use hypriot_agent::selftest::{self, Outcome, Setting};
use hypriot_keys::time::Timestamp;

fn setting() -> Setting {
    Setting {
        root: Root::default(),
        board: "none".into(),
        update: None,
        built: Timestamp(0),
        now: Timestamp(1_700_000_000),
        packages: None,
    }
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goss/goss.yaml")
}

#[test]
fn sample_of_an_owner_is_read_and_holds_on_any_linux() {
    let suite = selftest::load(&[sample()]);
    assert_eq!(suite.problems().collect::<Vec<_>>(), Vec::<String>::new());
    let results = selftest::run(&suite, &setting(), Duration::from_mins(1));
    let bad: Vec<_> = results
        .iter()
        .filter(|r| matches!(r.outcome, Outcome::Fail(_)))
        .collect();
    // A machine without dpkg has no packages to ask for.
    let bad: Vec<_> = bad
        .into_iter()
        .filter(|r| r.kind != "package" || Path::new("/var/lib/dpkg/status").exists())
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // What is skipped is skipped for a reason that goss has too: skip, and lists that assert nothing.
    let skipped: Vec<&str> = results
        .iter()
        .filter(|r| matches!(r.outcome, Outcome::Skip(_)))
        .map(|r| r.id.as_str())
        .collect();
    let expected = ["file:never:exists", "port:tcp:1:ip"];
    let mut skipped = skipped;
    skipped.sort_unstable();
    let mut expected = expected;
    expected.sort_unstable();
    assert_eq!(skipped, expected);
    assert!(
        results
            .iter()
            .any(|r| r.id == "file:/etc/group:sha256" && r.outcome == Outcome::Pass)
    );
}

#[test]
fn mutilated_files_are_problems_not_panics() {
    let text = std::fs::read_to_string(sample()).expect("the sample");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("goss.yaml");
    // Cut anywhere, and with one character replaced anywhere by those that mean something to YAML.
    let mut variants: Vec<String> = (0..text.len())
        .step_by(7)
        .filter_map(|at| text.get(..at).map(str::to_owned))
        .collect();
    for (index, sign) in "{}[]:-&*!|>'\"%@`,#?~\t\0"
        .chars()
        .cycle()
        .enumerate()
        .take(400)
    {
        let at = index * text.len() / 400;
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            variants.push(format!("{}{sign}{}", &text[..at], &text[at + 1..]));
        }
    }
    for variant in variants {
        hypriot_agent::files::replace(&path, variant.as_bytes(), 0o644).expect("written");
        // Whatever it is, it is read to its end.
        let suite = selftest::load(std::slice::from_ref(&path));
        drop(suite);
    }
}
