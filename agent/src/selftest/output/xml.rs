//! JUnit's XML.

use super::{Times, compact, count, kind, long, property, put};
use crate::selftest::run::{Outcome, TestResult};

pub(super) fn junit(results: &[&TestResult], times: Times) -> String {
    let (_, failed, skipped) = count(results);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"goss\" errors=\"0\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\">\n",
        results.len(),
        times.took.as_secs_f64(),
        times.began
    );
    for result in results {
        let name = format!("{} {} {}", kind(result), result.resource, property(result));
        let class = format!("{}.{}", result.kind, result.severity.name());
        put(
            &mut text,
            format_args!(
                "<testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\">\n",
                escaped(&name),
                escaped(&class),
                result.took.as_secs_f64()
            ),
        );
        let line = escaped(&compact(result));
        match &result.outcome {
            Outcome::Pass => put(&mut text, format_args!("<system-out>{line}</system-out>\n")),
            Outcome::Skip(why) => put(
                &mut text,
                format_args!(
                    "<skipped message=\"{}\"/><system-out>{line}</system-out>\n",
                    escaped(why)
                ),
            ),
            Outcome::Fail(_) => put(
                &mut text,
                format_args!(
                    "<system-err>{line}</system-err>\n<failure message=\"{line}\">{}</failure>\n",
                    escaped(&long(result))
                ),
            ),
        }
        text += "</testcase>\n";
    }
    text + "</testsuite>\n"
}

/// XML 1.0, section 2.2, does not allow most control characters, not even escaped.
fn escaped(raw: &str) -> String {
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
