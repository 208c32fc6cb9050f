//! Tests of [`super`].

use super::*;
use crate::probe::tests::tree;

use crate::selftest::schema;
use crate::selftest::yaml::Problem;

fn ours(text: &str) -> Result<(Vec<Test>, Vec<String>), Problem> {
    read::parse(text, false).map(|read| (read.tests, read.includes))
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
        (file.severity, file.asserts[0].property),
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
            let value = if setting.contains("insecure")
                || setting.contains("follow")
                || setting.contains("reader")
            {
                "yes"
            } else {
                "1"
            };
            let text = format!(
                "{}:\n  x:\n    {}: y\n    {setting}: {value}\n",
                schema.name, schema.properties[0].0
            );
            assert!(ours(&text).expect(&text).0[0].broken.is_none(), "{text}");
        }
    }
}

#[test]
fn one_bad_resource_fails_alone_and_says_why() {
    for (bad, what) in [
        (
            "file:\n  /x: {exists: true, moode: '1'}",
            "file has no \"moode\"; it has exists, mode",
        ),
        (
            "file:\n  /x:\n    title: nothing",
            "Missing required attribute: exists",
        ),
        ("file:\n  /x:", "nothing is said of it"),
        (
            "file:\n  /x: {mode: '0644'}",
            "Missing required attribute: exists",
        ),
        (
            "file:\n  /x: {exists: }",
            "Missing required attribute: exists",
        ),
        (
            "file:\n  /x: {exists: true, contents: {no-such: 1}}",
            "Unknown matcher: no-such",
        ),
        (
            "file:\n  /x: {exists: true, contents: ['/(/']}",
            "error parsing regexp",
        ),
        (
            "file:\n  /x: {exists: true, severity: fatal}",
            "required, wanted or info",
        ),
        ("file:\n  /x: {exists: true, skip: maybe}", "true or false"),
        (
            "file:\n  /x: {exists: true, wait-for: {interval: 1s}}",
            "needs a timeout",
        ),
        ("file:\n  /x: {exists: true, wait-for: 5}", "500ms"),
        (
            "file:\n  /x: {exists: true, wait-for: 9999h}",
            "at most a day",
        ),
        ("file:\n  /x: true", "expected a map"),
        (
            "dns:\n  x: {resolvable: true, retry_count: 1000000}",
            "up to 1000",
        ),
        (
            "addr:\n  x: {reachable: true, timeout: '500'}",
            "number of milliseconds",
        ),
        ("service:\n  x: {enable: true}", "service has no \"enable\""),
    ] {
        let text = format!("user:\n  root: {{exists: true}}\n{bad}\n");
        let (_dir, root) = tree(&[("/t.yaml", &text)]);
        let suite = load(&[root.path("/t.yaml")]);
        assert_eq!(suite.problems().count(), 0, "{bad}");
        assert_eq!(suite.len(), 2, "{bad}");
        let broken: Vec<String> = suite.broken().collect();
        assert!(
            broken.len() == 1 && broken[0].contains(what),
            "{bad}: {broken:?}"
        );
    }
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    for (text, line, what) in [
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
        ("file: [a]\n", 1, "expected a map"),
        ("- file\n", 1, "expected a map"),
    ] {
        let problem = ours(text).expect_err(text);
        assert!(problem.what.contains(what), "{text}: {}", problem.what);
        assert_eq!(problem.line, line, "{text}: {}", problem.what);
    }
}

#[test]
fn null_and_empty_are_not_set() {
    let text = "command:\n  x:\n    exit-status: 0\n    stdout: []\n    stderr: ~\n    timeout: 0\n    title:\n";
    let (tests, _) = ours(text).expect("good");
    let asserted: Vec<&str> = tests[0].asserts.iter().map(|a| a.property).collect();
    assert_eq!((asserted, &tests[0].broken), (vec!["exit-status"], &None));
}

#[test]
fn what_stands_there_and_is_not_tested_is_a_warning() {
    for (text, what) in [
        (
            "interfaces: {eth0: {exists: true}}\nfile: {/x: {exists: true}}\n",
            "no resource \"interfaces\"",
        ),
        (
            "file: {/x: {exists: true}}\n---\nfile: {/y: {exists: true}}\n",
            "second document",
        ),
        ("file: {/x: {exists: true, mode: []}}\n", "asserts nothing"),
        (
            "file: {/x: {exists: true, mode: {have-prefix: ''}}}\n",
            "asserts nothing",
        ),
        (
            "file: {/x: {exists: true, contents: ['']}}\n",
            "asserts nothing",
        ),
    ] {
        let (_dir, root) = tree(&[("/t.yaml", text)]);
        let suite = load(&[root.path("/t.yaml")]);
        let warnings: Vec<String> = suite.warnings().collect();
        assert!(
            suite.len() == 1 && warnings.len() == 1 && warnings[0].contains(what),
            "{text}: {warnings:?}"
        );
    }
}

#[test]
fn files_of_a_suite_are_read_once_and_variables_are_no_tests() {
    let (_dir, root) = tree(&[
        (
            "/t/main.yaml",
            "gossfile: {part.yaml: {}, 'more/*.yaml': {}}\nfile: {/{{ .Vars.name }}: {exists: true}}\n",
        ),
        ("/t/part.yaml", "file: {/part: {exists: true}}\n"),
        (
            "/t/more/x.yaml",
            "file: {/part: {exists: false}, /x: {exists: true}}\n",
        ),
        ("/t/vars.yaml", "name: black-pearl\n"),
        (
            "/t/one.json",
            "{\n\t\"file\": {\"/json\": {\"exists\": true}}\n}\n",
        ),
    ]);
    let suite = load(&[root.path("/t")]);
    assert_eq!(suite.problems().collect::<Vec<_>>(), Vec::<String>::new());
    let names: Vec<&str> = suite.tests.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["/black-pearl", "/part", "/x", "/json"]);
    // The later one counts, and it is said.
    let part = suite
        .tests
        .iter()
        .find(|t| t.name == "/part")
        .expect("there");
    assert_eq!(part.asserts[0].expected, serde_json::json!(true));
    assert!(suite.warnings().any(|w| w.contains("/part is also in")));
}

#[test]
fn an_error_of_a_template_has_file_line_and_column() {
    let (_dir, root) = tree(&[("/t.yaml", "file:\n  {{ .Vars.nothing }}: {exists: true}\n")]);
    let suite = load(&[root.path("/t.yaml")]);
    let problems: Vec<String> = suite.problems().collect();
    assert!(
        problems[0].contains("t.yaml: line 2, column 11: map has no entry for key \"nothing\""),
        "{problems:?}"
    );
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
        ("/t/2.yaml", "file: {[{"),
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
            .any(|p| p.contains("file:/a is asserted in") && p.contains("1.yaml too; keep one")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|p| p.contains("levels of gossfile")),
        "{problems:?}"
    );
}
