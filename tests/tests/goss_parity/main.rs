//! The goss program and we look at the same files on the same machine, and say the same of every property.
//!
//! `corpus/` is of our own. What we say otherwise on purpose stands in [`DIFFERENCES`] with the reason; a
//! difference that is not listed fails, and so does a listed one that is none any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_agent::exec::Cmd;
use hypriot_agent::probe::Root;
use hypriot_agent::selftest::{self, Outcome, Setting};
use hypriot_keys::time::Timestamp;
use hypriot_tests::peers;
use serde_json::Value;

mod formats;
mod servers;

/// File, resource, property (`*`: every one), and why.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "lists",
        "lines-*",
        "*",
        "a list for text is its lines, as goss's documentation says",
    ),
    (
        "files",
        "octal-unquoted*",
        "mode",
        "0644 without quotes is what its author sees, not 420",
    ),
    (
        "accounts",
        "exact-groups*",
        "groups",
        "`equal` on a list can never hold in goss: its two lists are of different types",
    ),
    (
        "mounts",
        "/goss-nowhere",
        "exists",
        "`exists: false` can never hold in goss",
    ),
    (
        "scalars",
        "date",
        "matches",
        "a date stays the word that was written; in goss it becomes a moment with a time of day",
    ),
    (
        "gjson",
        "big-*",
        "matches",
        "a number keeps its digits; in goss a million is the text 1e+06",
    ),
    (
        "semver",
        "*in 8",
        "matches",
        "`!1.2.x` can never hold in goss: it asks for below and above at once",
    ),
    (
        "ports",
        "udp4:*",
        "reachable",
        "goss dials udp4 and unix from an address of TCP, which fails",
    ),
    (
        "ports",
        "unix: *",
        "reachable",
        "goss dials udp4 and unix from an address of TCP, which fails",
    ),
    (
        "ports",
        "any-*",
        "*",
        "a socket on :: that answers IPv4 counts as tcp",
    ),
];

/// What became of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
}

type Verdicts = BTreeMap<(String, String, String), (Verdict, String)>;

fn theirs(goss: &Path, file: &Path, port: &servers::Ports) -> Verdicts {
    let output = Cmd::new(goss)
        .args(["--gossfile", &file.display().to_string()])
        .args(["--vars-inline", &port.vars()])
        .args(["validate", "--format", "json"])
        .timeout(Duration::from_mins(2))
        .keep(16 * 1024 * 1024)
        .output()
        .expect("goss runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text
        .lines()
        .find_map(|line| serde_json::from_str::<Value>(line).ok());
    let json = json.unwrap_or_else(|| {
        panic!(
            "{}: goss says {text} {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let word = |r: &Value, key: &str| r[key].as_str().unwrap_or_default().to_owned();
    let results = json["results"].as_array().expect("results");
    results
        .iter()
        .map(|r| {
            let verdict = match r["result"].as_u64() {
                Some(0) => Verdict::Pass,
                Some(2) => Verdict::Skip,
                _ => Verdict::Fail,
            };
            let kind = match word(r, "resource-type").as_str() {
                "KernelParam" => "kernel-param".into(),
                kind => kind.to_lowercase(),
            };
            let property = match word(r, "property").to_lowercase().as_str() {
                "linkedto" => "linked-to".into(),
                "version" => "versions".into(),
                other => other.to_owned(),
            };
            (
                (kind, word(r, "resource-id"), property),
                (verdict, word(r, "summary-line-compact")),
            )
        })
        .collect()
}

fn ours(file: &Path, port: &servers::Ports) -> Verdicts {
    let vars = selftest::vars(None, Some(&port.vars())).expect("variables");
    let suite = selftest::load_with(&[file.to_owned()], &vars);
    assert_eq!(
        suite.problems().collect::<Vec<_>>(),
        Vec::<String>::new(),
        "{}",
        file.display()
    );
    let setting = Setting {
        root: Root::default(),
        board: "none".into(),
        update: None,
        built: Timestamp(0),
        now: Timestamp(1_700_000_000),
        packages: None,
    };
    let results = selftest::run(&suite, &setting, Duration::from_mins(2));
    results
        .into_iter()
        .map(|r| {
            let verdict = match r.outcome {
                Outcome::Pass => (Verdict::Pass, String::new()),
                Outcome::Fail(why) => (Verdict::Fail, why),
                Outcome::Skip(why) => (Verdict::Skip, why),
            };
            ((r.kind, r.resource, r.property), verdict)
        })
        .collect()
}

fn listed(file: &str, name: &str, property: &str) -> Option<usize> {
    let like =
        |pattern: &str, text: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(start), _) => text.starts_with(start),
            (_, Some(end)) => text.ends_with(end),
            _ => pattern == text,
        };
    DIFFERENCES
        .iter()
        .position(|(f, n, p, _)| *f == file && like(n, name) && like(p, property))
}

#[test]
fn every_property_has_the_verdict_that_goss_gives_it() {
    let goss = peers::GOSS.get().expect("the goss program");
    let ports = servers::start();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goss_parity/corpus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the corpus")
        .map(|e| e.expect("an entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"));
    files.sort();
    let (mut properties, mut same, mut unlisted) = (0, 0, Vec::new());
    let mut used = vec![false; DIFFERENCES.len()];
    for file in files {
        let name = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let (theirs, ours) = (theirs(&goss, &file, &ports), ours(&file, &ports));
        let all: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for key in all {
            properties += 1;
            let (a, b) = (theirs.get(key), ours.get(key));
            if a.map(|v| v.0) == b.map(|v| v.0) {
                same += 1;
            } else if let Some(at) = listed(&name, &key.1, &key.2) {
                used[at] = true;
            } else {
                unlisted.push(format!("{name}: {key:?}\n    goss {a:?}\n    ours {b:?}"));
            }
        }
    }
    let listed = properties - same - unlisted.len();
    println!("goss-parity: properties={properties} same={same} listed={listed}");
    assert!(
        unlisted.is_empty(),
        "{} of {properties} differ:\n{}",
        unlisted.len(),
        unlisted.join("\n")
    );
    let stale: Vec<_> = DIFFERENCES
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(d, _)| d)
        .collect();
    assert!(stale.is_empty(), "no difference any more: {stale:?}");
    assert!(properties >= 400, "{properties}");
}
