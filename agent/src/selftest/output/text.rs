//! For people: goss's `rspecish` and `documentation`, and our own.

use super::{Style, Times, compact, count, long, put, summary};
use crate::selftest::run::{Outcome, TestResult};

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const END: &str = "\u{1b}[0m";

pub(super) fn human(results: &[&TestResult]) -> String {
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
                plain(&result.id),
                result.severity.name(),
                plain(why).replace('\n', "\n     ")
            ),
        );
    }
    let (passed, failed, skipped) = count(results);
    put(
        &mut text,
        format_args!(
            "{} tests: {passed} passed, {failed} failed, {skipped} skipped\n",
            results.len()
        ),
    );
    text
}

pub(super) fn rspecish(results: &[&TestResult], style: Style, times: Times) -> String {
    let mut text: String = results
        .iter()
        .map(|result| match result.outcome {
            Outcome::Pass => coloured(".", GREEN, style),
            Outcome::Fail(_) => coloured("F", RED, style),
            Outcome::Skip(_) => coloured("S", YELLOW, style),
        })
        .collect();
    text += "\n\n";
    text += &not_passed(results, style);
    text + &end(results, style, times)
}

pub(super) fn documentation(results: &[&TestResult], style: Style, times: Times) -> String {
    let mut text = String::new();
    for result in results {
        text += &told(result, style, !matches!(result.outcome, Outcome::Pass));
    }
    text += "\n\n";
    text += &not_passed(results, style);
    text + &end(results, style, times)
}

/// What failed or was skipped, resource by resource.
fn not_passed(results: &[&TestResult], style: Style) -> String {
    let mut text = String::new();
    let mut before: Option<&TestResult> = None;
    for result in results.iter().filter(|r| r.outcome != Outcome::Pass) {
        let same = before.is_some_and(|b| (&b.kind, &b.name) == (&result.kind, &result.name));
        if before.is_none() {
            text += "Failures/Skipped:\n\n";
        } else if !same {
            text.push('\n');
        }
        text += &told(result, style, !same);
        before = Some(result);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// One result, with what its author said of it.
fn told(result: &TestResult, style: Style, with_title: bool) -> String {
    let mut text = String::new();
    if with_title {
        if let Some(title) = &result.title {
            put(&mut text, format_args!("Title: {}\n", plain(title)));
        }
        if let Some(meta) = result.meta.as_object() {
            text += "Meta:\n";
            for (name, value) in meta {
                let value = crate::selftest::matcher::word(value);
                put(
                    &mut text,
                    format_args!("    {}: {}\n", plain(name), plain(&value)),
                );
            }
        }
    }
    let colour = match result.outcome {
        Outcome::Pass => GREEN,
        Outcome::Fail(_) => RED,
        Outcome::Skip(_) => YELLOW,
    };
    let words = if result.outcome == Outcome::Pass {
        compact(result)
    } else {
        long(result)
    };
    text += &coloured(&plain(&words), colour, style);
    text.push('\n');
    text
}

fn end(results: &[&TestResult], style: Style, times: Times) -> String {
    let (_, failed, _) = count(results);
    let colour = if failed > 0 { RED } else { GREEN };
    format!(
        "Total Duration: {:.3}s\n{}\n",
        times.took.as_secs_f64(),
        coloured(&summary(results), colour, style)
    )
}

fn coloured(text: &str, colour: &str, style: Style) -> String {
    if style.color {
        format!("{colour}{text}{END}")
    } else {
        text.to_owned()
    }
}

/// What a test prints must not steer the terminal of who reads it.
fn plain(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}
