//! goss's `json` and `structured`: the same fields, in the order of the alphabet and in that of its source.

use std::time::Duration;

use hypriot_keys::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Style, Times, code, compact, count, kind, long, property, summary};
use crate::selftest::run::{Outcome, TestResult};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct One<'a> {
    successful: bool,
    skipped: bool,
    resource_id: &'a str,
    resource_type: String,
    property: &'a str,
    title: &'a str,
    meta: &'a Value,
    result: u8,
    err: Option<&'a str>,
    matcher_result: Matched<'a>,
    start_time: String,
    end_time: String,
    duration: u64,
    summary_line: String,
    summary_line_compact: String,
    /// Ours: the stable name, the weight, and why it was skipped or failed.
    id: &'a str,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The fields that goss has and we have nothing for are null there, too, for most matchers.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Matched<'a> {
    actual: &'a Value,
    message: &'a str,
    expected: &'a Value,
    missing_elements: Option<&'a [Value]>,
    found_elements: Option<()>,
    extra_elements: Option<()>,
    transform_chain: Option<()>,
    untransformed_value: Option<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    test_count: usize,
    failed_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped_count: Option<usize>,
    total_duration: u64,
    #[serde(rename = "summary-line", skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    results: Vec<One<'a>>,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_line: Option<String>,
}

pub(super) fn json(results: &[&TestResult], style: Style, times: Times) -> String {
    let (_, failed, skipped) = count(results);
    let line = format!(
        "{}, Duration: {:.3}s",
        summary(results),
        times.took.as_secs_f64()
    );
    let document = Document {
        results: results.iter().map(|r| one(r, times, true)).collect(),
        summary: Summary {
            test_count: results.len(),
            failed_count: failed,
            skipped_count: Some(skipped),
            total_duration: nanos(times.took),
            line: Some(line),
        },
        summary_line: None,
    };
    // A map of serde_json has its names in the order of the alphabet, as Go's have.
    let sorted = serde_json::to_value(document).expect(FORM);
    written(&sorted, style, b"    ")
}

pub(super) fn structured(results: &[&TestResult], style: Style, times: Times) -> String {
    let (_, failed, _) = count(results);
    let line = format!(
        "Count: {}, Failed: {failed}, Duration: {:.3}s",
        results.len(),
        times.took.as_secs_f64()
    );
    let document = Document {
        results: results.iter().map(|r| one(r, times, false)).collect(),
        summary: Summary {
            test_count: results.len(),
            failed_count: failed,
            skipped_count: None,
            total_duration: nanos(times.took),
            line: None,
        },
        summary_line: Some(line),
    };
    written(&document, style, b"  ")
}

const FORM: &str = "strings, numbers and values always have a JSON form";

fn written(document: &impl Serialize, style: Style, indent: &[u8]) -> String {
    let mut bytes = Vec::new();
    let done = if style.pretty {
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent);
        document.serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, pretty,
        ))
    } else {
        document.serialize(&mut serde_json::Serializer::new(&mut bytes))
    };
    done.expect(FORM);
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// RFC 3339 with nanoseconds.
fn moment(times: Times, after: Duration) -> String {
    let whole = Timestamp(times.began.0 + after.as_secs()).to_string();
    format!(
        "{}.{:09}Z",
        whole.trim_end_matches('Z'),
        after.subsec_nanos()
    )
}

fn one(result: &TestResult, times: Times, skipped_is_successful: bool) -> One<'_> {
    let reason = match &result.outcome {
        Outcome::Pass => None,
        Outcome::Fail(why) | Outcome::Skip(why) => Some(why.as_str()),
    };
    let seen = &result.seen;
    let skipped = matches!(result.outcome, Outcome::Skip(_));
    One {
        successful: result.outcome == Outcome::Pass || (skipped && skipped_is_successful),
        skipped,
        resource_id: &result.resource,
        resource_type: kind(result),
        property: property(result),
        title: result.title.as_deref().unwrap_or_default(),
        meta: &result.meta,
        result: code(&result.outcome),
        err: seen.error.as_deref(),
        matcher_result: Matched {
            actual: &seen.actual,
            message: &seen.message,
            expected: &seen.expected,
            missing_elements: Some(seen.missing.as_slice()).filter(|m| !m.is_empty()),
            found_elements: None,
            extra_elements: None,
            transform_chain: None,
            untransformed_value: None,
        },
        start_time: moment(times, result.began),
        end_time: moment(times, result.began + result.took),
        duration: nanos(result.took),
        summary_line: long(result),
        summary_line_compact: compact(result),
        id: &result.id,
        severity: result.severity.name(),
        reason,
    }
}
