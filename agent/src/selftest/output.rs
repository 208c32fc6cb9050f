//! Results for people and for programs: plain lines, JSON, TAP 14, JUnit XML.

use std::fmt::Write as _;

use serde::Serialize;

use super::run::{Outcome, TestResult};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Failures in words, and a summary.
    Human,
    /// One document in the shape of goss's `json`, with `id` and `severity` added.
    Json,
    /// Test Anything Protocol, version 14.
    Tap,
    /// JUnit XML, as CI systems read it.
    Junit,
}

impl Format {
    /// The formats by name.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("human", Self::Human),
        ("json", Self::Json),
        ("tap", Self::Tap),
        ("junit", Self::Junit),
    ];

    /// The format called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, format)| *format)
    }
}

/// The text of `results`.
pub fn render(results: &[TestResult], format: Format) -> String {
    match format {
        Format::Human => human(results),
        Format::Json => json(results),
        Format::Tap => tap(results),
        Format::Junit => junit(results),
    }
}

/// Passed, failed, skipped.
pub(super) fn count(results: &[TestResult]) -> (usize, usize, usize) {
    results
        .iter()
        .fold((0, 0, 0), |(p, f, s), result| match result.outcome {
            Outcome::Pass => (p + 1, f, s),
            Outcome::Fail(_) => (p, f + 1, s),
            Outcome::Skip(_) => (p, f, s + 1),
        })
}

fn summary(results: &[TestResult]) -> String {
    let (passed, failed, skipped) = count(results);
    format!(
        "{} tests: {passed} passed, {failed} failed, {skipped} skipped",
        results.len()
    )
}

fn human(results: &[TestResult]) -> String {
    let mut text = String::new();
    for result in results {
        let Outcome::Fail(why) = &result.outcome else {
            continue;
        };
        let title = result
            .title
            .as_ref()
            .map(|title| format!(" ({title})"))
            .unwrap_or_default();
        put(
            &mut text,
            format_args!(
                "FAIL {} [{}]{title}\n     {}\n",
                result.id,
                result.severity.name(),
                why.replace('\n', "\n     ")
            ),
        );
    }
    text + &summary(results) + "\n"
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonResult<'a> {
    id: &'a str,
    severity: &'static str,
    successful: bool,
    skipped: bool,
    resource_id: &'a str,
    resource_type: &'a str,
    property: &'a str,
    title: &'a str,
    /// goss: 0 pass, 1 fail, 2 skip.
    result: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    duration: u128,
    summary_line: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonSummary {
    test_count: usize,
    failed_count: usize,
    skipped_count: usize,
    summary_line: String,
}

#[derive(Serialize)]
struct JsonDocument<'a> {
    results: Vec<JsonResult<'a>>,
    summary: JsonSummary,
}

fn json(results: &[TestResult]) -> String {
    let (_, failed, skipped) = count(results);
    let document = JsonDocument {
        results: results.iter().map(json_result).collect(),
        summary: JsonSummary {
            test_count: results.len(),
            failed_count: failed,
            skipped_count: skipped,
            summary_line: summary(results),
        },
    };
    serde_json::to_string(&document).expect("strings and numbers always have a JSON form") + "\n"
}

fn json_result(result: &TestResult) -> JsonResult<'_> {
    let (code, word, reason) = match &result.outcome {
        Outcome::Pass => (0, "ok", None),
        Outcome::Fail(why) => (1, "failed", Some(why.as_str())),
        Outcome::Skip(why) => (2, "skipped", Some(why.as_str())),
    };
    JsonResult {
        id: &result.id,
        severity: result.severity.name(),
        successful: code != 1,
        skipped: code == 2,
        resource_id: &result.resource,
        resource_type: &result.kind,
        property: &result.property,
        title: result.title.as_deref().unwrap_or_default(),
        result: code,
        reason,
        duration: result.took.as_nanos(),
        summary_line: format!("{}: {word}", result.id),
    }
}

fn tap(results: &[TestResult]) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", results.len());
    for (index, result) in results.iter().enumerate() {
        let number = index + 1;
        // TAP 14, "Escaping": a hash would begin a directive, a backslash an escape.
        let name = result
            .id
            .replace('\\', "\\\\")
            .replace('#', "\\#")
            .replace('\n', " ");
        match &result.outcome {
            Outcome::Pass => put(&mut text, format_args!("ok {number} - {name}\n")),
            Outcome::Skip(why) => put(
                &mut text,
                format_args!("ok {number} - {name} # SKIP {}\n", why.replace('\n', " ")),
            ),
            Outcome::Fail(why) => {
                let block = format!(
                    "  ---\n  severity: {}\n  message: {}\n  ...\n",
                    result.severity.name(),
                    quoted(why)
                );
                put(&mut text, format_args!("not ok {number} - {name}\n{block}"));
            }
        }
    }
    text
}

/// A JSON string is also a YAML one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn junit(results: &[TestResult]) -> String {
    let (_, failed, skipped) = count(results);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"hypriot\" errors=\"0\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">\n",
        results.len()
    );
    for result in results {
        let class = format!("{}.{}", result.kind, result.severity.name());
        let head = format!(
            "<testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\"",
            xml(&result.id),
            xml(&class),
            result.took.as_secs_f64()
        );
        match &result.outcome {
            Outcome::Pass => put(&mut text, format_args!("{head}/>\n")),
            Outcome::Skip(why) => put(
                &mut text,
                format_args!("{head}><skipped message=\"{}\"/></testcase>\n", xml(why)),
            ),
            Outcome::Fail(why) => put(
                &mut text,
                format_args!("{head}><failure message=\"{}\"/></testcase>\n", xml(why)),
            ),
        }
    }
    text + "</testsuite>\n"
}

/// XML 1.0, section 2.2, does not allow most control characters, not even escaped.
fn xml(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '"' => text += "&quot;",
            '\n' => text += "&#10;",
            '\t' => text += "&#9;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Severity;

    fn results() -> Vec<TestResult> {
        let result = |id: &str, outcome| TestResult {
            id: id.into(),
            kind: "file".into(),
            name: "/x".into(),
            resource: "/x".into(),
            property: "exists".into(),
            title: None,
            severity: Severity::Required,
            outcome,
            took: Duration::from_millis(5),
            cut_short: false,
        };
        vec![
            result("file:/x:exists", Outcome::Pass),
            result(
                "command:a # b \\ <c>:stdout",
                Outcome::Fail("expected \"x\",\nfound \u{1b}[1m\"y\" & <z>".into()),
            ),
            result("service:s:running", Outcome::Skip("skip: true".into())),
        ]
    }

    #[test]
    fn every_format_counts_and_escapes() {
        let human = render(&results(), Format::Human);
        assert!(
            human.ends_with("3 tests: 1 passed, 1 failed, 1 skipped\n"),
            "{human}"
        );
        let tap = render(&results(), Format::Tap);
        assert!(tap.starts_with("TAP version 14\n1..3\nok 1 - file:/x:exists\nnot ok 2 - command:a \\# b \\\\ <c>:stdout\n"), "{tap}");
        assert!(tap.contains("ok 3 - service:s:running # SKIP skip: true\n"));
        let junit = render(&results(), Format::Junit);
        assert!(
            junit.contains("failures=\"1\" skipped=\"1\"")
                && !junit.contains('\u{1b}')
                && !junit.contains("<c>"),
            "{junit}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&render(&results(), Format::Json)).expect("json");
        assert_eq!(json["summary"]["failed-count"], 1);
        assert_eq!(json["results"][2]["skipped"], true);
        assert_eq!(json["results"][1]["successful"], false);
    }

    #[test]
    fn formats_have_names() {
        for (name, format) in Format::NAMES {
            assert_eq!(Format::parse(name), Some(format));
        }
        assert_eq!(Format::parse("xml"), None);
    }
}
