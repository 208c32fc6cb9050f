//! A resource is put into a file of tests, and everything else stays as it was written: comments, order, spelling.

use serde_json::{Map, Value};

use super::emit::{Fields, block};
use super::yaml;

/// The file's text with the resource `key` of `section` in it; one of that name is replaced.
pub(super) fn put(
    text: &str,
    json: bool,
    section: &str,
    key: &str,
    fields: &Fields,
) -> Result<String, String> {
    if text.contains("{{") {
        return Err(
            "it has templates, which cannot be edited: name another file with --gossfile, and include it with `gossfile`"
                .into(),
        );
    }
    let after = if json {
        json_put(text, section, key, fields)?
    } else {
        yaml_put(text, section, key, &block(key, fields))?
    };
    // What is written must be read again, with everything that was there.
    let (old, new) = (names(text)?, names(&after)?);
    let lost = old.iter().find(|name| !new.contains(name));
    if let Some((section, key)) = lost {
        return Err(format!("{section}: {key} would be lost: add it by hand"));
    }
    Ok(after)
}

/// Which resources there are.
fn names(text: &str) -> Result<Vec<(String, String)>, String> {
    let told = |problem: yaml::Problem| format!("line {}: {}", problem.line, problem.what);
    let root = yaml::parse(text).map_err(told)?;
    let mut names = Vec::new();
    for (section, node) in root.entries().map_err(told)? {
        for (key, _) in node.entries().map_err(told)? {
            names.push((section.text.clone(), key.text.clone()));
        }
    }
    Ok(names)
}

fn json_put(text: &str, section: &str, key: &str, fields: &Fields) -> Result<String, String> {
    let mut root: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    };
    let kind = root.entry(section).or_insert_with(|| Map::new().into());
    let kind = kind.as_object_mut();
    let kind = kind.ok_or_else(|| format!("{section} is no map of resources"))?;
    let fields: Map<String, Value> = fields.iter().cloned().collect();
    kind.insert(key.to_owned(), fields.into());
    let mut out = Vec::new();
    let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
    serde::Serialize::serialize(&root, &mut writer).map_err(|error| error.to_string())?;
    out.push(b'\n');
    String::from_utf8(out).map_err(|error| error.to_string())
}

fn yaml_put(text: &str, section: &str, key: &str, block: &str) -> Result<String, String> {
    let told = |problem: yaml::Problem| format!("line {}: {}", problem.line, problem.what);
    let root = yaml::parse(text).map_err(told)?;
    let sections = root.entries().map_err(told)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(at) = sections.iter().position(|(name, _)| name.text == section) else {
        lines.push(format!("{section}:"));
        lines.extend(block.lines().map(str::to_owned));
        return Ok(lines.join("\n") + "\n");
    };
    let (name, node) = &sections[at];
    let resources = node.entries().map_err(told)?;
    if resources.is_empty() {
        lines[name.line - 1] = format!("{section}:");
    } else if resources.iter().any(|(key, _)| key.line == name.line) {
        return Err(format!(
            "line {}: {section} is written in one line: add it by hand",
            name.line
        ));
    }
    // Up to the next section, without the comment that stands above it.
    let next = sections
        .iter()
        .map(|(other, _)| other.line - 1)
        .filter(|l| *l >= name.line)
        .min();
    let mut end = next.unwrap_or(lines.len());
    while end > name.line && outside(&lines[end - 1]) {
        end -= 1;
    }
    let known = resources.iter().position(|(other, _)| other.text == key);
    let (from, to) = match known {
        None => (end, end),
        Some(one) => {
            let next = resources
                .get(one + 1)
                .map_or(end, |(other, _)| other.line - 1);
            (resources[one].0.line - 1, next)
        }
    };
    let indent = resources
        .first()
        .map_or(4, |(key, _)| width(&lines[key.line - 1]));
    let fresh = block.lines().map(|line| reindented(line, indent));
    lines.splice(from..to, fresh);
    Ok(lines.join("\n") + "\n")
}

/// Blank, or a comment at the margin: it belongs to what comes after it.
fn outside(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#') || line.starts_with("...")
}

fn width(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Levels of four spaces, as levels of `indent`.
fn reindented(line: &str, indent: usize) -> String {
    let levels = width(line) / 4;
    " ".repeat(levels * indent) + line.trim_start_matches(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::yaml::{Data, Node};

    /// The resource called `key` of `section`.
    fn find<'a>(root: &'a Node, section: &str, key: &str) -> Option<&'a Node> {
        let inner = |node: &'a Node, name: &str| match &node.data {
            Data::Map(entries) => entries.iter().find(|(k, _)| k.text == name).map(|(_, n)| n),
            _ => None,
        };
        inner(inner(root, section)?, key)
    }

    const FILE: &str = "# about the file\nfile:\n  # why\n  /a: {exists: true}\n  /b:\n    exists: false # for now\n\n# the ports\nport:\n  tcp:22: {listening: true}\n";

    fn fields() -> Fields {
        vec![
            ("exists".into(), true.into()),
            ("mode".into(), "0644".into()),
        ]
    }

    #[test]
    fn what_owners_wrote_stays_when_a_resource_is_added() {
        let cases = [
            ("file", "/c"),
            ("file", "/a"),
            ("file", "/b"),
            ("port", "tcp:80"),
            ("user", "root"),
        ];
        for (section, key) in cases {
            let after = put(FILE, false, section, key, &fields()).expect("added");
            for comment in ["# about the file", "# why", "# the ports"] {
                assert!(after.contains(comment), "{key}: {after}");
            }
            let root = yaml::parse(&after).expect("good");
            let found = find(&root, section, key).expect("there").value();
            assert_eq!(found["mode"], "0644", "{after}");
            assert!(find(&root, "port", "tcp:22").is_some(), "{after}");
        }
        let after = put(FILE, false, "file", "/c", &fields()).expect("added");
        assert!(
            after.contains(
                "# for now\n  /c:\n    exists: true\n    mode: \"0644\"\n\n# the ports\n"
            ),
            "{after}"
        );
    }

    #[test]
    fn what_cannot_be_edited_is_left_alone_and_said() {
        for (text, why) in [
            ("file: {/a: {exists: true}}\n", "by hand"),
            ("file:\n  {{ .Vars.x }}: {exists: true}\n", "templates"),
            ("file: [\n", "line "),
        ] {
            let error = put(text, false, "file", "/c", &fields()).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(
            put("", false, "file", "/c", &fields()).expect("a new file"),
            "file:\n    /c:\n        exists: true\n        mode: \"0644\"\n"
        );
        let json = put("{\"file\": {\"/a\": {}}}", true, "file", "/c", &fields()).expect("json");
        assert!(
            json.contains("\"/a\"") && json.contains("\"mode\": \"0644\""),
            "{json}"
        );
    }
}
