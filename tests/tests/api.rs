//! Strangers judge the interface: schemathesis tries what `/openapi.json` promises on the real program, and the health+json draft's
//! schema is held against its answers. Both come from the Python package index and are fetched when they are not there.

use std::path::PathBuf;
use std::time::Duration;

use hypriot_agent::report::Status;
use hypriot_tests::glance::{self, Half};
use hypriot_tests::papers::root;
use hypriot_tests::{exec, http, workflows};

/// Its last release of 2026-11.
const SCHEMATHESIS: &str = "4.32.5";

fn schemathesis() -> PathBuf {
    workflows::python_tool(&root(), "schemathesis", SCHEMATHESIS).expect("schemathesis")
}

#[test]
fn what_the_description_promises_is_kept() {
    let half = Half::start().expect("started");
    half.keep(glance::board(Status::Warn).expect("a report"));
    until_ready(half.port);
    let mut run = exec::command(schemathesis());
    run.args([
        "run",
        &format!("http://127.0.0.1:{}/openapi.json", half.port),
    ])
    // Every documented form is tried; what is random is the same in each run.
    .args([
        "--max-examples",
        "25",
        "--generation-deterministic",
        "--max-time",
        "90",
    ])
    .args([
        "--checks",
        "all",
        "--no-color",
        "--continue-on-failure",
        "--warnings",
        "off",
    ])
    // "Accepted though it should not": unknown parameters and odd names are no errors here, by intent.
    .args(["--exclude-checks", "negative_data_rejection"])
    .current_dir(std::env::temp_dir());
    let said = exec::run(run, Duration::from_mins(4));
    let said = said.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        said.contains("No issues found") || said.contains("passed"),
        "{said}"
    );
}

#[test]
fn answers_follow_the_drafts_schema() {
    let mut texts = Vec::new();
    for worst in [
        Some(Status::Pass),
        Some(Status::Warn),
        Some(Status::Fail),
        None,
    ] {
        let half = Half::start().expect("started");
        if let Some(worst) = worst {
            half.keep(glance::board(worst).expect("a report"));
            until_ready(half.port);
        }
        for path in [
            "/health",
            "/health/memory",
            "/health/power",
            "/health?exclude=memory&exclude=nothing",
        ] {
            let answer = get(half.port, path).expect("an answer");
            if answer.body.starts_with('{') {
                texts.push(answer.body);
            }
        }
    }
    assert!(texts.len() >= 13, "{}", texts.len());
    assert_eq!(judged(&texts), "", "{texts:#?}");
    // A judge that objects to nothing judges nothing.
    let broken: Vec<String> = texts
        .iter()
        .map(|text| text.replace("\"status\":\"", "\"status\":\"x"))
        .collect();
    let said = judged(&broken);
    assert!(said.lines().count() >= texts.len(), "{said}");
}

/// What a validator objects to, one line each.
fn judged(texts: &[String]) -> String {
    const PROGRAM: &str = "import json, sys, jsonschema_rs\n\
        schema, texts = json.load(open(sys.argv[1]))\n\
        judge = jsonschema_rs.validator_for(schema, validate_formats=True)\n\
        for text in texts:\n\
        \x20   for e in judge.iter_errors(json.loads(text)):\n\
        \x20       print(e.instance_path, e.message)\n";
    let schema: serde_json::Value = serde_json::from_str(glance::DRAFT).expect("json");
    let file = tempfile::NamedTempFile::new().expect("a file");
    serde_json::to_writer(file.as_file(), &(schema, texts)).expect("written");
    let mut judge = exec::command(schemathesis().with_file_name("python"));
    judge.args(["-c", PROGRAM]).arg(file.path());
    exec::run(judge, Duration::from_mins(1)).expect("judged")
}

fn get(port: u16, path: &str) -> Option<http::Answer> {
    let url = format!("http://127.0.0.1:{port}{path}");
    http::get(&url, Duration::from_secs(5)).ok()
}

fn until_ready(port: u16) {
    for _ in 0..100 {
        if get(port, "/livez").is_some_and(|answer| answer.status == 200) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no report is shown within 10 s");
}
