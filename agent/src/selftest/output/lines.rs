//! A line for each thing: TAP, a Nagios plugin's output, Prometheus' text.

use std::collections::BTreeMap;

use super::{Style, Times, compact, count, kind, property, put, summary};
use crate::selftest::run::{Outcome, TestResult};

/// Without a version line, which older harnesses refuse when it is newer than they are; a reason is a comment.
pub(super) fn tap(results: &[&TestResult]) -> String {
    let mut text = format!("1..{}\n", results.len());
    for (index, result) in results.iter().enumerate() {
        let number = index + 1;
        match &result.outcome {
            Outcome::Pass => put(
                &mut text,
                format_args!("ok {number} - {}\n", described(&compact(result))),
            ),
            Outcome::Skip(why) => {
                let name = format!(
                    "{}: {}: {}",
                    kind(result),
                    result.resource,
                    property(result)
                );
                let (name, why) = (described(&name), described(why));
                put(
                    &mut text,
                    format_args!("ok {number} - {name} # SKIP {why}\n"),
                );
            }
            Outcome::Fail(why) => {
                let name = described(&compact(result));
                put(&mut text, format_args!("not ok {number} - {name}\n"));
                let weight = result.severity.name();
                put(&mut text, format_args!("# {weight}: {}\n", flat(why)));
            }
        }
    }
    text
}

/// A hash would begin a directive, a backslash an escape (TAP 14, "Escaping").
fn described(text: &str) -> String {
    flat(text).replace('\\', "\\\\").replace('#', "\\#")
}

fn flat(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// The Monitoring Plugins' guidelines: one line, `|`, numbers; more lines with `verbose`.
pub(super) fn nagios(results: &[&TestResult], style: Style, times: Times) -> String {
    let (_, failed, skipped) = count(results);
    let (state, took) = (
        if failed > 0 { "CRITICAL" } else { "OK" },
        times.took.as_secs_f64(),
    );
    let mut text = format!("GOSS {state} - {}, Duration: {took:.3}s", summary(results));
    if style.perfdata {
        put(
            &mut text,
            format_args!(
                "|total={} failed={failed} skipped={skipped} duration={took:.3}s",
                results.len()
            ),
        );
    }
    text.push('\n');
    if style.verbose {
        let bad = results
            .iter()
            .filter(|r| matches!(r.outcome, Outcome::Fail(_)));
        for (index, result) in bad.enumerate() {
            // What comes after a bar would be numbers.
            let words = flat(&compact(result)).replace('|', "!");
            put(&mut text, format_args!("Fail {} - {words}\n", index + 1));
        }
    }
    text
}

pub(super) fn prometheus(results: &[&TestResult], times: Times) -> String {
    let mut outcomes: BTreeMap<(&str, String), (u64, u128)> = BTreeMap::new();
    for result in results {
        let outcome = match result.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail(_) => "fail",
            Outcome::Skip(_) => "skip",
        };
        let (number, took) = outcomes
            .entry((outcome, kind(result).to_lowercase()))
            .or_default();
        *number += 1;
        *took += result.took.as_millis();
    }
    let (_, failed, _) = count(results);
    let whole = if failed > 0 { "fail" } else { "pass" };
    let mut text = String::new();
    let mut family = |name: &str, help: &str, rows: Vec<(String, u128)>| {
        put(
            &mut text,
            format_args!("# HELP goss_tests_{name} {help}\n# TYPE goss_tests_{name} counter\n"),
        );
        for (labels, value) in rows {
            put(
                &mut text,
                format_args!("goss_tests_{name}{{{labels}}} {value}\n"),
            );
        }
    };
    let each = |value: fn(&(u64, u128)) -> u128| {
        let row = |((outcome, kind), found): (&(&str, String), &(u64, u128))| {
            let labels = format!("outcome=\"{outcome}\",type=\"{kind}\"");
            (labels, value(found))
        };
        outcomes.iter().map(row).collect::<Vec<_>>()
    };
    let once = |value: u128| vec![(format!("outcome=\"{whole}\""), value)];
    family(
        "outcomes_duration_milliseconds",
        "The duration of tests from this run. Note; tests run concurrently.",
        each(|(_, took)| *took),
    );
    family(
        "outcomes_total",
        "The number of test-outcomes from this run.",
        each(|(number, _)| u128::from(*number)),
    );
    family(
        "run_duration_milliseconds",
        "The end-to-end duration of this run.",
        once(times.took.as_millis()),
    );
    family(
        "run_outcomes_total",
        "The outcomes of this run as a whole.",
        once(1),
    );
    text
}
