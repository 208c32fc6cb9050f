//! Tests of [`super`].

use super::*;
use crate::probe::tests::tree;

fn ours(text: &str) -> Result<Parsed, Problem> {
    parse(text, Dialect::Ours)
}

#[test]
fn whole_vocabulary_is_read() {
    let (tests, includes) = ours(
        "file:\n  /etc/passwd:\n    exists: true\n    mode: '0644'\n    severity: wanted\n    boards: [rpi3, qemu-*]\n\
         command:\n  label:\n    exec: echo hi\n    exit-status: 0\n    stdout: [hi]\n    timeout: 500\n\
         service:\n  docker:\n    running: true\n    wait-for: {timeout: 5m, interval: 5s}\n\
         dns:\n  localhost:\n    resolvable: true\n    retry_count: 3\n    retry_delay: 500ms\n\
         gossfile:\n  more.yaml: {}\n  label: {file: else.yaml}\n  none.yaml: {skip: true}\n",
    )
    .expect("good");
    assert_eq!(includes, ["more.yaml", "else.yaml"]);
    let named = |name: &str| tests.iter().find(|t| t.key == name).expect(name);
    let file = named("/etc/passwd");
    assert_eq!(
        (file.severity, file.asserts[0].0),
        (Severity::Wanted, "exists")
    );
    assert!(file.is_for("rpi3") && file.is_for("qemu-arm64") && !file.is_for("rpi4"));
    let command = named("label");
    assert_eq!(
        (command.name.as_str(), command.timeout(10_000)),
        ("echo hi", Duration::from_millis(500))
    );
    assert_eq!(command.id("stdout"), "command:label:stdout");
    let wait = named("docker").wait.expect("waits");
    assert_eq!(
        (wait.timeout, wait.interval),
        (Duration::from_mins(5), Duration::from_secs(5))
    );
    assert_eq!(
        named("localhost").wait.expect("retries").timeout,
        Duration::from_millis(1500)
    );
}

#[test]
fn every_kind_takes_its_properties_and_settings() {
    for schema in schema::KINDS {
        for (property, _) in schema.properties {
            let text = format!(
                "{}:\n  x:\n    {property}: y\n    title: t\n    meta: {{a: 1}}\n    skip: true\n",
                schema.name
            );
            let (tests, _) = ours(&text).expect(&text);
            assert!(tests[0].wants(property) && tests[0].skip);
        }
        for setting in schema.settings.iter().filter(|s| !s.starts_with("retry")) {
            let text = format!(
                "{}:\n  x:\n    {}: y\n    {setting}: 1\n",
                schema.name, schema.properties[0].0
            );
            assert!(ours(&text).is_ok(), "{text}");
        }
    }
}

#[test]
fn mistakes_are_errors_with_line_and_remedy() {
    for (text, line, what) in [
        (
            "files:\n  /x: {exists: true}\n",
            1,
            "no resource \"files\"; known are",
        ),
        (
            "file:\n  /x:\n    exist: true\n",
            3,
            "file has no \"exist\"; it has exists, mode",
        ),
        ("file:\n  /x:\n    title: nothing\n", 2, "asserts nothing"),
        ("file:\n  /x:\n", 2, "asserts nothing"),
        ("file:\n  /x:\n    exists:\n", 3, "asserts nothing"),
        ("file:\n  /x:\n    contents: []\n", 3, "asserts nothing"),
        (
            "file:\n  /x: {exists: true}\n  /x: {exists: false}\n",
            3,
            "twice",
        ),
        (
            "file:\n  /x:\n    exists: true\n    exists: false\n",
            4,
            "twice",
        ),
        (
            "file:\n  /x: {exists: true}\nfile:\n  /y: {exists: true}\n",
            3,
            "twice",
        ),
        (
            "file:\n  /x: {exists: true, severity: fatal}\n",
            2,
            "required, wanted or info",
        ),
        (
            "file:\n  /x: {exists: true, skip: maybe}\n",
            2,
            "true or false",
        ),
        (
            "file:\n  /x: {exists: true, wait-for: {interval: 1s}}\n",
            2,
            "needs a timeout",
        ),
        ("file:\n  /x: {exists: true, wait-for: 5}\n", 2, "500ms"),
        (
            "file:\n  /x: {exists: true, wait-for: 9999h}\n",
            2,
            "at most a day",
        ),
        (
            "dns:\n  x: {resolvable: true, retry_count: 1000000}\n",
            2,
            "up to 1000",
        ),
        ("file:\n  {{range mkSlice \"a\"}}\n", 2, "goss render"),
        ("file: [a]\n", 1, "expected a map"),
        ("file:\n  /x: true\n", 2, "expected a map"),
        ("- file\n", 1, "expected a map"),
    ] {
        let problem = ours(text).expect_err(text);
        assert!(problem.what.contains(what), "{text}: {}", problem.what);
        assert_eq!(problem.line, line, "{text}: {}", problem.what);
    }
}

#[test]
fn empty_lists_of_goss_add_are_skipped_there_and_errors_here() {
    let text = "command:\n  x:\n    exit-status: 0\n    stdout: []\n    stderr: []\n";
    assert!(ours(text).is_err());
    let (tests, _) = parse(text, Dialect::Goss).expect("good");
    assert_eq!(tests[0].vacuous, ["stdout", "stderr"]);
}

#[test]
fn owner_replaces_masks_and_adds_by_file_name() {
    let (_dir, root) = tree(&[
        ("/image/10-a.yaml", "file:\n  /a: {exists: true}\n"),
        ("/image/20-b.yaml", "file:\n  /b: {exists: true}\n"),
        ("/image/30-c.yaml", "file:\n  /c: {exists: true}\n"),
        ("/owner/10-a.yaml", "file:\n  /a: {exists: false}\n"),
        ("/owner/20-b.yaml", ""),
        ("/owner/40-d.yml", "file:\n  /d: {exists: true}\n"),
        ("/owner/README", "not a test"),
        ("/owner/.hidden.yaml", "not: a test"),
    ]);
    let suite = load(&[
        root.path("/image"),
        root.path("/owner"),
        root.path("/nowhere"),
    ]);
    let names: Vec<&str> = suite.tests.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["/a", "/c", "/d"]);
    assert!(suite.problems.is_empty(), "{:?}", suite.problems);
}

#[test]
fn one_bad_file_loses_only_itself_and_is_reported() {
    let (_dir, root) = tree(&[
        ("/t/1.yaml", "file:\n  /a: {exists: true}\n"),
        ("/t/2.yaml", "file: {{{"),
        ("/t/3.yaml", "file:\n  /a: {exists: false}\n"),
        ("/t/4.yaml", "gossfile: {missing.yaml: {}}\n"),
        ("/t/5.yaml", "gossfile: {5.yaml: {}}\n"),
        ("/t/6.yaml", "gossfile: {'sub/?-*.yaml': {}}\n"),
        ("/t/sub/x-1.yaml", "file:\n  /sub1: {exists: true}\n"),
        ("/t/sub/y-2.yaml", "file:\n  /sub2: {exists: true}\n"),
    ]);
    let suite = load(&[root.path("/t")]);
    let names: Vec<&str> = suite.tests.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["/a", "/sub1", "/sub2"]);
    let problems: Vec<String> = suite.problems().collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("file:/a:exists is asserted in another file too")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|p| p.contains("more than 8 levels")),
        "{problems:?}"
    );
}
