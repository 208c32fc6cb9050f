//! Results for people and for programs: goss's formats, with its names of fields, kinds and properties, and one of our own.

mod json;
mod lines;
mod text;
mod xml;

use std::time::Duration;

use hypriot_keys::time::Timestamp;
use serde_json::Value;

use super::run::{Outcome, TestResult};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Failures in words, and a summary.
    Human,
    /// goss: every test in words.
    Documentation,
    /// goss: one document, with `id` and `severity` added.
    Json,
    /// JUnit XML, as CI systems read it.
    Junit,
    /// One line and the exit codes of a Nagios plugin.
    Nagios,
    /// Prometheus' text, with goss's names.
    Prometheus,
    /// goss: a dot for each test, then what failed.
    Rspecish,
    /// Nothing: the exit code tells.
    Silent,
    /// goss: the fields of `json` in another order.
    Structured,
    /// Test Anything Protocol.
    Tap,
}

impl Format {
    /// The formats by name.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("human", Self::Human),
        ("documentation", Self::Documentation),
        ("json", Self::Json),
        ("junit", Self::Junit),
        ("nagios", Self::Nagios),
        ("prometheus", Self::Prometheus),
        ("rspecish", Self::Rspecish),
        ("silent", Self::Silent),
        ("structured", Self::Structured),
        ("tap", Self::Tap),
    ];
}

/// What else is asked of a format, as goss's `--format-options`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line, each for itself"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Numbers for graphs, of `nagios`.
    pub perfdata: bool,
    /// JSON in lines.
    pub pretty: bool,
    /// In the order of their names.
    pub sort: bool,
    /// What failed, of `nagios`; what waited, of others.
    pub verbose: bool,
    /// Colours of a terminal.
    pub color: bool,
}

impl Style {
    /// The options by name.
    pub const NAMES: [&'static str; 4] = ["perfdata", "pretty", "sort", "verbose"];

    /// With the option called `name` set.
    #[must_use]
    pub fn with(mut self, name: &str) -> Self {
        match name {
            "perfdata" => self.perfdata = true,
            "pretty" => self.pretty = true,
            "sort" => self.sort = true,
            "verbose" => self.verbose = true,
            _ => {}
        }
        self
    }
}

/// When a run was, and how long it took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Its beginning.
    pub began: Timestamp,
    /// All of it.
    pub took: Duration,
}

/// The text of `results`.
pub fn render(results: &[TestResult], format: Format, style: Style, times: Times) -> String {
    let mut order: Vec<&TestResult> = results.iter().collect();
    if style.sort {
        order.sort_by(|a, b| (&a.kind, &a.resource).cmp(&(&b.kind, &b.resource)));
    }
    match format {
        Format::Human => text::human(&order),
        Format::Documentation => text::documentation(&order, style, times),
        Format::Rspecish => text::rspecish(&order, style, times),
        Format::Json => json::json(&order, style, times),
        Format::Structured => json::structured(&order, style, times),
        Format::Junit => xml::junit(&order, times),
        Format::Nagios => lines::nagios(&order, style, times),
        Format::Prometheus => lines::prometheus(&order, times),
        Format::Tap => lines::tap(&order),
        Format::Silent => String::new(),
    }
}

/// Passed, failed, skipped.
pub(super) fn count(results: &[&TestResult]) -> (usize, usize, usize) {
    results
        .iter()
        .fold((0, 0, 0), |(p, f, s), result| match result.outcome {
            Outcome::Pass => (p + 1, f, s),
            Outcome::Fail(_) => (p, f + 1, s),
            Outcome::Skip(_) => (p, f, s + 1),
        })
}

/// goss's number of an outcome.
fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Pass => 0,
        Outcome::Fail(_) => 1,
        Outcome::Skip(_) => 2,
    }
}

/// goss's name of a kind.
fn kind(result: &TestResult) -> String {
    match result.kind.as_str() {
        "dns" => "DNS".into(),
        "http" => "HTTP".into(),
        other => other
            .split('-')
            .map(|word| {
                let (first, rest) = word.split_at(word.len().min(1));
                first.to_ascii_uppercase() + rest
            })
            .collect(),
    }
}

/// goss's name of a property.
fn property(result: &TestResult) -> &str {
    match (result.kind.as_str(), result.property.as_str()) {
        ("file", "linked-to") => "linkedto",
        ("package", "versions") => "version",
        ("http", "body") => "Body",
        ("http", "headers") => "Headers",
        (_, other) => other,
    }
}

/// `Kind: name: property:` and the parts of goss's message: a heading, and what stands under it.
fn message(result: &TestResult) -> (String, Vec<(String, Option<String>)>) {
    let name = format!(
        "{}: {}: {}:",
        kind(result),
        result.resource,
        property(result)
    );
    let seen = &result.seen;
    let json = |value: &Value| Some(value.to_string());
    let parts = match &result.outcome {
        Outcome::Pass => vec![(format!("matches expectation: {}", seen.expected), None)],
        Outcome::Skip(_) => vec![("skipped".to_owned(), None)],
        Outcome::Fail(why) if seen.message.is_empty() => {
            let why = seen.error.as_ref().unwrap_or(why);
            vec![("Error".to_owned(), Some(why.clone()))]
        }
        Outcome::Fail(_) => {
            let mut parts = vec![
                ("Expected".to_owned(), json(&seen.actual)),
                (seen.message.clone(), json(&seen.expected)),
            ];
            if !seen.missing.is_empty() {
                let missing = Value::from(seen.missing.clone());
                parts.push(("the missing elements were".to_owned(), json(&missing)));
            }
            parts
        }
    };
    (name, parts)
}

/// goss's message in one line.
fn compact(result: &TestResult) -> String {
    let (mut text, parts) = message(result);
    for (head, under) in parts {
        text = text + " " + &head;
        if let Some(under) = under {
            text = text + " " + &under;
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// goss's message in several lines.
fn long(result: &TestResult) -> String {
    let (mut text, parts) = message(result);
    let mut first = true;
    for (head, under) in parts {
        text += if first && under.is_none() { " " } else { "\n" };
        text += &head;
        if let Some(under) = under {
            text = text + "\n    " + &under.replace('\n', "\n    ");
        }
        first = false;
    }
    text
}

fn summary(results: &[&TestResult]) -> String {
    let (_, failed, skipped) = count(results);
    format!(
        "Count: {}, Failed: {failed}, Skipped: {skipped}",
        results.len()
    )
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(text, what).expect("a String takes any text");
}

#[cfg(test)]
mod tests;
