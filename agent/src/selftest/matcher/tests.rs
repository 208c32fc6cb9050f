//! Tests of [`super`]: one row for each matcher and each way to misuse it.

use serde_json::json;

use super::super::yaml;
use super::*;

fn read(text: &str, shape: Shape) -> Result<Matcher, Problem> {
    parse(
        &yaml::parse(&format!("x: {text}"))
            .expect(text)
            .entries()
            .expect("a map")[0]
            .1,
        shape,
    )
}

type Row = (Shape, &'static str, Value, Value);

/// Shape, matcher, a value for which it holds, one for which it does not.
fn table() -> Vec<Row> {
    use Shape::{Text, Value as Values};
    vec![
        (Values, "root", json!("root"), json!("pirate")),
        (Values, "'0644'", json!("0644"), json!("644")),
        (Values, "0644", json!("0644"), json!("0600")),
        (Values, "3", json!("3"), json!(4)),
        (Values, "3", json!(3.0), json!("4")),
        (Values, "true", json!(true), json!("true")),
        (Values, "[a, b]", json!(["b", "c", "a"]), json!(["a"])),
        (
            Values,
            "[{have-prefix: 172.}]",
            json!(["10.0.0.1/8", "172.17.0.1/16"]),
            json!(["10.0.0.1/8"]),
        ),
        (
            Text,
            "[hello, '!bye', '/^w.*d$/', '!/x{3}/']",
            json!("hello\nworld"),
            json!("hello\nbye\nworld"),
        ),
        (Text, "hello", json!("hello"), json!("hello world")),
        (
            Text,
            "{contain-substring: lo wo}",
            json!("hello world"),
            json!("hello"),
        ),
        (Values, "{equal: [1, 2]}", json!([1, 2.0]), json!([2, 1])),
        (
            Values,
            "{have-suffix: .service}",
            json!("a.service"),
            json!("a.timer"),
        ),
        (
            Values,
            "{match-regexp: '^v[0-9]+$'}",
            json!("v12"),
            json!("v12a"),
        ),
        (Values, "{have-len: 2}", json!(["a", "b"]), json!("abc")),
        (Values, "{have-patterns: [a]}", json!("xax"), json!("b")),
        (
            Values,
            "{have-key: foo}",
            json!({"foo": 1}),
            json!({"bar": 1}),
        ),
        (
            Values,
            "{contain-element: {gt: 3}}",
            json!([1, 4]),
            json!([1, 2]),
        ),
        (
            Values,
            "{contain-elements: [a, {have-prefix: b}]}",
            json!(["bb", "a"]),
            json!(["a"]),
        ),
        (
            Values,
            "{consist-of: [{have-prefix: a}, ab]}",
            json!(["ab", "ac"]),
            json!(["ab", "ab", "ac"]),
        ),
        (Values, "{consist-of: []}", json!([]), json!(["x"])),
        (Values, "{not: root}", json!("x"), json!("root")),
        (Values, "{and: [{gt: 0}, {lt: 95}]}", json!(50), json!(95)),
        (Values, "{or: [a, b]}", json!("b"), json!("c")),
        (Values, "{ge: 5}", json!("5"), json!(4.9)),
        (Values, "{le: 5}", json!(5), json!(6)),
        (
            Values,
            "{semver-constraint: '>1.0.0 <2.0.0 !=1.5.0'}",
            json!(["1.0.1", "1.9.9"]),
            json!(["1.0.1", "1.5.0"]),
        ),
        (
            Values,
            "{semver-constraint: '>= 20.10 || 1.x'}",
            json!("26.1.5"),
            json!("19.3.0"),
        ),
        (
            Values,
            "{gjson: {a.1.b: 2, 'a.#': 2}}",
            json!(r#"{"a":[0,{"b":2}]}"#),
            json!(r#"{"a":[0,{"b":3}]}"#),
        ),
        (
            Values,
            "{gjson: {'a.#.b': [1, 2]}}",
            json!(r#"{"a":[{"b":2},{"b":1}]}"#),
            json!(r#"{"a":[{"b":1}]}"#),
        ),
    ]
}

#[test]
fn matchers_hold_and_fail() {
    for (shape, text, good, bad) in table() {
        let matcher = read(text, shape).expect(text);
        assert_eq!(matcher.check(&good), Ok(()), "{text} on {good}");
        let why = matcher.check(&bad).expect_err(text);
        assert!(
            why.contains("expected") && why.contains("found"),
            "{text}: {why}"
        );
    }
}

#[test]
fn what_could_never_fail_or_never_hold_is_refused() {
    for text in [
        "",
        "~",
        "[]",
        "{}",
        "{and: []}",
        "{or: []}",
        "{contain-elements: []}",
        "{have-patterns: []}",
        "{gjson: {}}",
        "{have-prefix: ''}",
        "{have-suffix: ''}",
        "{contain-substring: ''}",
        "{match-regexp: ''}",
        "{not: {and: []}}",
        "{gt: x}",
        "{have-len: -1}",
        "{match-regexp: '('}",
        "{semver-constraint: 'newer'}",
        "{xml: {xpath: a, result: b}}",
        "{gt: 1, lt: 2}",
        "{be-nice: 1}",
        "{have-patterns: ['']}",
        "{have-patterns: ['!']}",
        "{have-patterns: ['//']}",
    ] {
        assert!(read(text, Shape::Value).is_err(), "{text}");
    }
    for text in ["[]", "['']", "['!/(/']", "[[a]]"] {
        assert!(read(text, Shape::Text).is_err(), "{text}");
    }
}

#[test]
fn wrong_kinds_are_failures_that_say_so_not_panics() {
    for (text, found) in [
        ("3", json!("many")),
        ("{gt: 3}", json!({"a": 1})),
        ("{have-len: 1}", json!(true)),
        ("{have-key: a}", json!("a")),
        ("{contain-element: a}", json!(1)),
        ("{gjson: {a: 1}}", json!("not json")),
        ("{gjson: {a: 1}}", json!("{}")),
        ("{semver-constraint: '>1'}", json!("newest")),
        ("{semver-constraint: '>1'}", json!([])),
    ] {
        let why = read(text, Shape::Value)
            .expect(text)
            .check(&found)
            .expect_err(text);
        assert!(why.contains("found"), "{why}");
    }
}

#[test]
fn long_values_are_cut_in_messages() {
    let why = read("x", Shape::Value)
        .expect("a word")
        .check(&json!("ä".repeat(5000)))
        .expect_err("not x");
    assert!(why.len() < 400 && why.ends_with('…'), "{}", why.len());
}
