//! The rules of the house that a compiler does not check (ARCHITECTURE.md, "Invariants, and what holds them").
#![expect(
    clippy::unwrap_used,
    reason = "a project that cannot be read has failed the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_tests::exec;

const CRATES: [&str; 7] = [
    "base", "keys", "updater", "agent", "imagegen", "fleet", "tests",
];
const MAX_LINES: usize = 500;
const MAX_MAIN_LINES: usize = 40;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A text file of the project: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

/// Every file git knows of, or would know of, whose name ends in one of these.
fn sources(endings: &[&str]) -> Vec<Source> {
    let mut git = exec::command("git");
    git.current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let names = exec::run(git, Duration::from_mins(1)).unwrap();
    let found: Vec<_> = names
        .lines()
        .filter(|name| endings.iter().any(|e| name.ends_with(e)))
        .filter_map(|name| {
            // Listed and not there: deleted and not yet committed. Not text: nothing to read in it.
            let text = std::fs::read_to_string(root().join(name)).ok()?;
            Some(Source {
                path: name.to_owned(),
                text,
            })
        })
        .collect();
    assert!(
        !found.is_empty(),
        "git lists no files ending in {endings:?}"
    );
    found
}

/// Fails with every breach at once.
fn none(rule: &str, breaches: impl IntoIterator<Item = String>) {
    let all: Vec<_> = breaches.into_iter().collect();
    assert!(all.is_empty(), "{rule}:\n  {}", all.join("\n  "));
}

/// Lines that contain one of these, as `path:line: text`. This file names what it forbids and is left out.
fn lines_with(sources: &[Source], found: impl Fn(&str) -> bool) -> Vec<String> {
    sources
        .iter()
        .filter(|s| s.path != "tests/tests/tidy.rs")
        .flat_map(|s| {
            s.text
                .lines()
                .enumerate()
                .map(move |(n, line)| (s, n, line))
        })
        .filter(|(_, _, line)| found(line))
        .map(|(s, n, line)| format!("{}:{}: {}", s.path, n + 1, line.trim()))
        .collect()
}

#[test]
fn files_are_short() {
    let too_long = |s: &Source| {
        let limit = if s.path.ends_with("src/main.rs") {
            MAX_MAIN_LINES
        } else {
            MAX_LINES
        };
        let lines = s.text.lines().count();
        (lines >= limit).then(|| format!("{}: {lines} lines, limit {limit}", s.path))
    };
    none(
        "an idea in this file has no name yet",
        sources(&[".rs"]).iter().filter_map(too_long),
    );
}

#[test]
fn modules_are_written_in_one_way_and_a_crate_begins_with_an_index() {
    let rust: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|s| s.path.contains("/src/"))
        .collect();
    let old = rust.iter().filter(|s| s.path.ends_with("/mod.rs"));
    none("write foo.rs beside foo/", old.map(|s| s.path.clone()));
    let indexes: Vec<_> = rust
        .into_iter()
        .filter(|s| s.path.ends_with("src/lib.rs") && s.path.matches('/').count() == 2)
        .collect();
    assert_eq!(indexes.len(), CRATES.len(), "one index for each crate");
    let items = [
        "fn ", "struct ", "enum ", "impl ", "trait ", "const ", "static ",
    ];
    let breaches = lines_with(&indexes, |line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").unwrap_or(line);
        items.iter().any(|item| line.starts_with(item))
    });
    none("lib.rs names the rooms, and has nothing in it", breaches);
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = sources(&[".rs"])
        .into_iter()
        .filter(|s| !s.text.starts_with("//!"));
    none("a file must begin with `//!`", silent.map(|s| s.path));
}

#[test]
fn no_test_is_switched_off_and_no_lint_silenced_without_a_reason() {
    let rust = sources(&[".rs"]);
    let words = [
        "#[ignore",
        "#[should_panic",
        "#[allow(",
        "#![allow(",
        "todo!(",
        "unimplemented!(",
    ];
    none(
        "use assertions on errors, and #[expect(.., reason)]",
        lines_with(&rust, |l| words.iter().any(|w| l.contains(w))),
    );
    let text = |s: &Source| s.text.replace(['\n', ' '], "");
    let unreasoned = rust
        .iter()
        .filter(|s| s.path != "tests/tests/tidy.rs")
        .filter(|s| {
            text(s).split("#[expect(").skip(1).any(|after| {
                !after
                    .split(")]")
                    .next()
                    .unwrap_or_default()
                    .contains("reason=")
            })
        });
    none(
        "every #[expect] has a reason",
        unreasoned.map(|s| s.path.clone()),
    );
}

#[test]
fn processes_are_started_in_one_place_of_each_crate() {
    let rust = sources(&[".rs"]);
    let elsewhere: Vec<_> = rust
        .into_iter()
        // Tests of a crate's program, beside its sources, run it as anybody would.
        .filter(|s| s.path.contains("/src/") && !s.path.ends_with("src/exec.rs"))
        .collect();
    none(
        "use exec",
        lines_with(&elsewhere, |l| {
            l.contains("Command::new(") && !l.contains("clap::")
        }),
    );
}

#[test]
fn files_are_replaced_in_one_place() {
    let rust = sources(&[".rs"]);
    let elsewhere: Vec<_> = rust
        .into_iter()
        .filter(|s| {
            s.path != "base/src/files.rs"
                && !s.path.starts_with("tests/")
                && !s.path.contains("tests")
        })
        .collect();
    let breaches = lines_with(&elsewhere, |l| {
        l.contains("fs::rename(") && !l.trim_start().starts_with("//")
    });
    none("use hypriot_base::files", breaches);
}

#[test]
fn the_core_cannot_do_io() {
    let lib = std::fs::read_to_string(root().join("updater/src/lib.rs")).unwrap();
    assert!(
        lib.contains("\n#![no_std]"),
        "updater must be no_std in every build"
    );
    let core: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|s| s.path.starts_with("updater/src/"))
        .collect();
    let breaches = lines_with(&core, |l| {
        l.contains("extern crate std") || l.trim_start().starts_with("use std::")
    });
    none(
        "updater names std",
        breaches.into_iter().filter(|b| !b.contains("tests")),
    );
}

/// What cargo knows of the workspace.
fn metadata() -> Vec<serde_json::Value> {
    let mut cargo = exec::command(env!("CARGO"));
    cargo.current_dir(root()).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let text = exec::run(cargo, Duration::from_mins(1)).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Normal and build dependencies of each of our crates on each other.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let short = |v: &serde_json::Value| {
        v.as_str()
            .unwrap()
            .trim_start_matches("hypriot-")
            .to_owned()
    };
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter()
            .filter(|d| d["kind"] != "dev" && d["name"].as_str().unwrap().starts_with("hypriot-"))
            .map(|d| short(&d["name"]))
            .collect()
    };
    metadata()
        .iter()
        .map(|p| (short(&p["name"]), of(p)))
        .collect()
}

#[test]
fn no_harness_is_linked_for_programs_that_have_no_tests() {
    let harness = metadata().into_iter().flat_map(|package| {
        let targets = package["targets"].as_array().unwrap().clone();
        targets
            .into_iter()
            .filter(|t| t["kind"][0] == "bin" && t["test"] == true)
            .map(|t| t["name"].to_string())
    });
    none("say `test = false` in its [[bin]]", harness);
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("base", &[][..]),
        ("keys", &["base"]),
        ("updater", &["keys"]),
        ("agent", &["base", "keys", "updater"]),
        ("imagegen", &["base", "keys", "updater"]),
        ("fleet", &["keys", "updater"]),
        ("tests", &["keys", "updater", "agent", "imagegen", "fleet"]),
    ]);
    let real = dependencies();
    assert_eq!(real.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut names = CRATES.to_vec();
        names.sort_unstable();
        names
    });
    let wrong = real
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let wrong = wrong.filter(|(from, to)| !allowed[from.as_str()].contains(&to.as_str()));
    none(
        "base <- keys <- updater <- {agent, imagegen, fleet} <- tests",
        wrong.map(|(from, to)| format!("{from} -> {to}")),
    );
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without = CRATES.iter().filter(|c| {
        let text = std::fs::read_to_string(root().join(c).join("Cargo.toml")).unwrap();
        !text.contains("[lints]\nworkspace = true")
    });
    none(
        "add [lints] workspace = true",
        without.map(ToString::to_string),
    );
}

#[test]
fn every_forbidden_function_names_its_replacement() {
    let text = std::fs::read_to_string(root().join("clippy.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let methods = config["disallowed-methods"].as_array().unwrap();
    let bare = methods.iter().filter(|m| {
        m.get("reason")
            .and_then(|r| r.as_str())
            .is_none_or(str::is_empty)
    });
    none(
        "clippy.toml: a reason is missing",
        bare.map(|m| format!("{m:?}")),
    );
}

/// Texts in which a host or path of somebody's machine could hide.
const TEXTS: [&str; 12] = [
    ".rs", ".toml", ".md", ".lock", ".service", ".conf", ".yaml", ".yml", ".json", "Makefile",
    ".ci/run", ".cmd",
];

#[test]
fn no_mirror_is_written_into_the_project() {
    // Every URL is allowed but those of package archives: they come from options, environment or the host's own sources.
    let own: Vec<String> = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"]
        .iter()
        .flat_map(|p| {
            let path = PathBuf::from(p);
            let inside = std::fs::read_dir(&path)
                .map(|d| d.flatten().map(|e| e.path()).collect())
                .unwrap_or_default();
            if path.is_file() { vec![path] } else { inside }
        })
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(host)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let archive = |host: &str| {
        let first = host.split('.').next().unwrap_or_default();
        matches!(
            first,
            "deb" | "ftp" | "archive" | "security" | "ports" | "mirror" | "mirrors" | "snapshot"
        ) && !matches!(
            host.rsplit('.').next(),
            Some("example" | "invalid" | "test")
        )
    };
    let breaches = lines_with(&sources(&TEXTS), |line| {
        line.split("://")
            .skip(1)
            .filter_map(|after| host(&format!("http://{after}")).map(str::to_owned))
            .any(|host| archive(&host) || own.contains(&host))
    });
    none("a package archive is named", breaches);
}

/// The host of a URL.
fn host(url: &str) -> Option<&str> {
    let after = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let end = after
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .unwrap_or(after.len());
    Some(&after[..end]).filter(|h| !h.is_empty())
}

/// What a tool or a session leaves at the top is committed with the rest by whoever commits everything: it happened twice.
#[test]
fn nothing_lies_at_the_top_that_the_house_does_not_name() {
    const TOP: &str = ".ci .github .gitignore ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml LICENSE Makefile \
                       README.md agent base clippy.toml cross.toml deny.toml docs fleet imagegen keys rust-toolchain.toml systemd \
                       tests updater";
    let mut git = exec::command("git");
    git.current_dir(root()).args(["ls-files"]);
    let names = exec::run(git, Duration::from_mins(1)).unwrap();
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let top: BTreeSet<_> = names.lines().map(first).collect();
    let strange = |name: &String| !TOP.split_whitespace().any(|known| known == name);
    none("at the top of the project", top.into_iter().filter(strange));
}

#[test]
fn no_path_of_this_machine_is_written_into_the_project() {
    let here = format!("{}/", root().display());
    none(
        "a path of this machine",
        lines_with(&sources(&TEXTS), |l| l.contains(&here)),
    );
}

#[test]
fn programs_of_the_makefile_are_programs_of_the_workspace() {
    let text = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let long = text.lines().filter(|l| l.len() > 130).map(str::to_owned);
    none("a recipe of the Makefile is too long to be thin", long);
    // The last one is what brings Rust itself, before any program of ours can run.
    let (targets, _) = text.split_once("\nneed-rust:").unwrap();
    let recipes = targets.lines().collect::<Vec<_>>();
    let thick = recipes
        .split(|line| !line.starts_with('\t'))
        .filter(|recipe| recipe.len() > 4)
        .map(|recipe| recipe[0].to_owned());
    none("a target calls one program of the workspace", thick);
}
