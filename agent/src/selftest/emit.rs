//! Tests as YAML that goss and we read: a line for each attribute, JSON for what has parts.

use std::path::Path;

use serde_json::{Value, json};

use super::suite::{Suite, Test, expanded};
use super::template::Vars;
use crate::report::Severity;

/// What a resource is called, and what is said of it, in order.
pub(super) type Fields = Vec<(String, Value)>;

/// The order in which goss writes kinds; ours come after them.
const ORDER: [&str; 15] = [
    "file",
    "package",
    "addr",
    "port",
    "service",
    "user",
    "group",
    "command",
    "dns",
    "process",
    "kernel-param",
    "mount",
    "interface",
    "http",
    "matching",
];

/// All tests in one file, after templates and includes.
pub fn rendered(suite: &Suite) -> String {
    let mut kinds: Vec<&str> = suite.tests.iter().map(|test| test.schema.name).collect();
    kinds.sort_by_key(|kind| {
        (
            ORDER.iter().position(|o| o == kind).unwrap_or(ORDER.len()),
            *kind,
        )
    });
    kinds.dedup();
    let mut text = String::new();
    for kind in kinds {
        text = text + kind + ":\n";
        let of_kind = suite.tests.iter().filter(|test| test.schema.name == kind);
        text.extend(of_kind.map(|test| block(&test.key, &fields(test))));
    }
    text
}

/// What the templates of one file become, `render --debug`.
pub fn debug(path: &Path, vars: &Vars) -> Result<String, String> {
    expanded(path, vars)
}

fn fields(test: &Test) -> Fields {
    let mut fields = Fields::new();
    let mut say = |name: &str, value: Value| fields.push((name.to_owned(), value));
    if let Some(title) = &test.title {
        say("title", title.as_str().into());
    }
    if !test.meta.is_null() {
        say("meta", test.meta.clone());
    }
    if test.name != test.key {
        say(test.schema.alias, test.name.as_str().into());
    }
    if test.severity != Severity::Required {
        say("severity", test.severity.name().into());
    }
    if !test.boards.is_empty() {
        say("boards", test.boards.clone().into());
    }
    let counted = test.settings.contains_key("retry_count");
    if let Some(wait) = test.wait.filter(|_| !counted) {
        let millis = |time: std::time::Duration| format!("{}ms", time.as_millis());
        let wait = json!({"timeout": millis(wait.timeout), "interval": millis(wait.interval)});
        say("wait-for", wait);
    }
    let asserted = test.asserts.iter();
    for assert in asserted.filter(|assert| !assert.expected.is_null()) {
        say(assert.property, assert.expected.clone());
    }
    for (name, value) in &test.settings {
        say(name, value.clone());
    }
    if test.skip {
        say("skip", true.into());
    }
    fields
}

/// A resource below its kind, four spaces for each level as goss writes it.
pub(super) fn block(key: &str, fields: &[(String, Value)]) -> String {
    let mut text = match scalar(&key.into()) {
        // YAML 1.2, 7.4: a key of one line has at most 1,024 characters.
        long if long.len() > 1000 => format!("    ? {long}\n    :"),
        short => format!("    {short}:"),
    };
    if fields.is_empty() {
        return text + " {}\n";
    }
    text.push('\n');
    for (name, value) in fields {
        text = text + "        " + name + ":";
        match value {
            Value::Array(list) if !list.is_empty() => {
                text.push('\n');
                for item in list {
                    text = text + "            - " + &scalar(item) + "\n";
                }
            }
            value => text = text + " " + &scalar(value) + "\n",
        }
    }
    text
}

/// A word without quotes where it means nothing else (YAML 1.1 and 1.2), everything else as JSON, which is YAML too.
fn scalar(value: &Value) -> String {
    let Value::String(word) = value else {
        return value.to_string();
    };
    let mut chars = word.chars();
    let begins = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let plain = chars.all(|c| c.is_ascii_alphanumeric() || "/_.+-".contains(c));
    let lower = word.to_ascii_lowercase();
    let means = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&&*lower);
    if begins && plain && !means {
        word.clone()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;
    use crate::selftest::load;

    #[test]
    fn what_is_rendered_is_read_again_as_the_same_tests() {
        let text = "file:\n  /etc/x: {exists: true, mode: '0644', contents: [\"a: b\", \"# no\", '/^\\d/'], title: 'it''s', meta: {cis: 1.2}}\n\
            command:\n  \"a 'b' # c\": {exit-status: 0, stdout: {and: [{have-prefix: x}, {not: {contain-substring: 'y'}}]}, timeout: 5, skip: true}\n  \
            l: {exec: 'yes', exit-status: {gt: 1}, wait-for: {timeout: 1m, interval: 2s}}\n\
            matching:\n  m: {content: {a: [1, null]}, matches: {have-key: a}}\n\
            slot:\n  s: {settled: true, severity: wanted, boards: [qemu-*]}\n";
        let (_dir, root) = tree(&[("/a.yaml", text)]);
        let before = load(&[root.path("/a.yaml")]);
        let text = rendered(&before);
        let (_dir, root) = tree(&[("/a.yaml", &text)]);
        let after = load(&[root.path("/a.yaml")]);
        assert_eq!(
            after.problems().chain(after.broken()).collect::<Vec<_>>(),
            Vec::<String>::new(),
            "{text}"
        );
        assert_eq!(rendered(&after), text);
        let shown = |suite: &Suite| {
            let all = suite
                .tests
                .iter()
                .map(|t| format!("{}:{} {:?}", t.schema.name, t.key, fields(t)));
            let mut all: Vec<String> = all.collect();
            all.sort();
            all
        };
        assert_eq!(shown(&after), shown(&before));
    }
}
