//! Results for programs: Test Anything Protocol, JUnit, JSON. What a board says can drive none of them.

use super::{Checked, Validation, Verdict};

/// Test Anything Protocol, version 14 (<https://testanything.org/tap-version-14-specification.html>): a test for each board, its
/// checks as a subtest.
pub fn tap(results: &[Validation]) -> String {
    let mut lines = vec!["TAP version 14".to_owned(), format!("1..{}", results.len())];
    for (n, result) in (1..).zip(results) {
        if !result.checks.is_empty() {
            lines.push(format!("    # Subtest: {}", plain(&result.host)));
            lines.push(format!("    1..{}", result.checks.len()));
            for (m, (name, check)) in (1..).zip(&result.checks) {
                let ok = if check.status == "fail" {
                    "not ok"
                } else {
                    "ok"
                };
                lines.push(format!(
                    "    {ok} {m} - {} {}",
                    plain(name),
                    plain(&words(check))
                ));
            }
        }
        let ok = if result.verdict == Verdict::Valid {
            "ok"
        } else {
            "not ok"
        };
        let version = result.version.as_deref().unwrap_or("-");
        lines.push(format!(
            "{ok} {n} - {} {}: {}",
            plain(&result.host),
            plain(version),
            plain(&result.note)
        ));
    }
    lines.join("\n") + "\n"
}

fn words(check: &Checked) -> String {
    let value = check
        .value
        .map_or_else(String::new, |v| format!(" {v} {}", check.unit));
    format!("{}{value} {}", check.status, check.output)
        .trim_end()
        .to_owned()
}

/// `#` would begin a directive, a backslash an escape.
fn plain(text: &str) -> String {
    text.replace(['#', '\\'], " ")
}

/// JUnit's XML, as CI servers read it: a suite for each board, a case for each check and one for the verdict.
pub fn junit(results: &[Validation]) -> String {
    let mut lines = vec![
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
        "<testsuites>".into(),
    ];
    for result in results {
        let failed = |c: &&Checked| c.status == "fail";
        let bad = result.verdict == Verdict::Invalid;
        let failures = result.checks.values().filter(failed).count() + usize::from(bad);
        let errors = usize::from(result.verdict == Verdict::Waiting);
        let host = xml(&result.host);
        lines.push(format!(
            "<testsuite name=\"{host}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">",
            result.checks.len() + 1
        ));
        let (note, case) = (xml(&result.note), |name: &str| {
            format!("<testcase classname=\"{host}\" name=\"{}\"", xml(name))
        });
        lines.push(match result.verdict {
            Verdict::Valid => case("validation") + "/>",
            Verdict::Invalid => format!(
                "{}><failure message=\"{note}\"/></testcase>",
                case("validation")
            ),
            Verdict::Waiting => format!(
                "{}><error message=\"{note}\"/></testcase>",
                case("validation")
            ),
        });
        for (name, check) in &result.checks {
            let text = xml(&words(check));
            lines.push(if check.status == "fail" {
                format!("{}><failure message=\"{text}\"/></testcase>", case(name))
            } else {
                format!("{}><system-out>{text}</system-out></testcase>", case(name))
            });
        }
        lines.push("</testsuite>".into());
    }
    lines.push("</testsuites>".into());
    lines.join("\n") + "\n"
}

/// Text for XML 1.0, which has no way to write most control characters (section 2.2).
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, of};
    use super::*;

    const HOSTILE: &str = r#""selftests:failed":[{"status":"fail","output":"x\nok 2 # skip"}],"</testsuites><a b=\"":[{"status":"fail","output":"]]>&\"'\u0001"}]"#;

    #[test]
    fn tap_counts_and_cannot_be_driven_from_the_network() {
        let text = tap(&[of("h", &document(HOSTILE))]);
        let expected = "TAP version 14\n1..1\n    # Subtest: h\n    1..2\n    not ok 1 - </testsuites><a b=\" fail ]]>&\"' \n    \
                        not ok 2 - selftests:failed fail x ok 2   skip\nnot ok 1 - h 1.0.0: x ok 2   skip\n";
        let trimmed = |t: &str| t.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&text), trimmed(expected));
    }

    #[test]
    fn junit_cannot_be_driven_from_the_network() {
        let text = junit(&[of("h", &document(HOSTILE)), of("silent", "<html>")]);
        assert_eq!(text.matches("<testsuite ").count(), 2);
        assert_eq!(text.matches("</testsuites>").count(), 1);
        assert!(
            text.contains("tests=\"3\" failures=\"3\" errors=\"0\""),
            "{text}"
        );
        assert!(text.contains("&lt;/testsuites&gt;&lt;a b=&quot;"), "{text}");
        assert!(
            text.contains("<error message=\"HTTP 200 without a health document\"/>"),
            "{text}"
        );
        assert!(
            text.chars().all(|c| !c.is_control() || c == '\n'),
            "{text:?}"
        );
    }
}
