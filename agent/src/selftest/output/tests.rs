//! Tests of [`super`].

use std::time::Duration;

use super::*;
use crate::report::Severity;
use crate::selftest::run::Seen;

fn results() -> Vec<TestResult> {
    let result = |kind: &str, name: &str, property: &str, outcome, seen| TestResult {
        id: format!("{kind}:{name}:{property}"),
        kind: kind.into(),
        name: name.into(),
        resource: name.into(),
        property: property.into(),
        title: Some("a title".into()),
        severity: Severity::Required,
        outcome,
        meta: serde_json::json!({"cis": "1.2"}),
        seen,
        began: Duration::from_millis(1500),
        took: Duration::from_millis(5),
        cut_short: false,
    };
    let failed = Seen {
        expected: "x".into(),
        actual: "\u{1b}[1m\"y\" & <z>".into(),
        message: "to equal".into(),
        ..Seen::default()
    };
    let why = "expected \"x\",\nfound \u{1b}[1m\"y\" & <z>";
    vec![
        result("file", "/x", "linked-to", Outcome::Pass, Seen::default()),
        result(
            "kernel-param",
            "a # b \\ <c>",
            "value",
            Outcome::Fail(why.into()),
            failed,
        ),
        result(
            "service",
            "s",
            "running",
            Outcome::Skip("skip: true".into()),
            Seen::default(),
        ),
    ]
}

fn shown(format: Format) -> String {
    let times = Times {
        began: Timestamp(0),
        took: Duration::from_millis(12),
    };
    render(&results(), format, Style::default(), times)
}

#[test]
fn every_format_counts_and_what_tests_print_steers_nothing() {
    for (name, format) in Format::NAMES {
        let text = shown(format);
        assert!(!text.contains('\u{1b}'), "{name}: {text}");
        assert!(text.is_empty() == (format == Format::Silent), "{name}");
    }
    let human = shown(Format::Human);
    assert!(
        human.ends_with("3 tests: 1 passed, 1 failed, 1 skipped\n"),
        "{human}"
    );
    for format in [Format::Rspecish, Format::Documentation] {
        let text = shown(format);
        assert!(
            text.ends_with("Total Duration: 0.012s\nCount: 3, Failed: 1, Skipped: 1\n"),
            "{text}"
        );
    }
}

#[test]
fn tap_escapes_what_would_be_a_directive() {
    let tap = shown(Format::Tap);
    assert!(
        tap.starts_with("1..3\nok 1 - File: /x: linkedto: matches expectation: null\nnot ok 2 - KernelParam: a \\# b \\\\ <c>: value: Expected "),
        "{tap}"
    );
    assert!(
        tap.contains("\nok 3 - Service: s: running # SKIP skip: true\n"),
        "{tap}"
    );
}

#[test]
fn json_has_the_fields_of_goss() {
    let json: Value = serde_json::from_str(&shown(Format::Json)).expect("json");
    assert_eq!(json["summary"]["failed-count"], 1);
    assert_eq!(json["results"][2]["skipped"], true);
    assert_eq!(json["results"][2]["successful"], true);
    assert_eq!(json["results"][1]["successful"], false);
    assert_eq!(
        json["results"][1]["start-time"],
        "1970-01-01T00:00:01.500000000Z"
    );
    assert_eq!(json["results"][1]["meta"]["cis"], "1.2");
    let structured: Value = serde_json::from_str(&shown(Format::Structured)).expect("json");
    assert_eq!(structured["results"][2]["successful"], false);
}
