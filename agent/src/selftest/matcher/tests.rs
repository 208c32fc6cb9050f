//! Tests of [`super`]: one row for each matcher and each way to misuse it.

use serde_json::json;

use super::*;
use crate::selftest::yaml;

fn read(text: &str, shape: Shape) -> Result<Matcher, String> {
    let node = yaml::parse(&format!("x: {text}")).expect(text);
    parse(&node.entries().expect("a map")[0].1.value(), shape)
}

type Row = (Shape, &'static str, Value, Value);

/// Shape, matcher, a value for which it holds, one for which it does not.
fn table() -> Vec<Row> {
    use Shape::{Text, Value as Values};
    vec![
        (Values, "root", json!("root"), json!("pirate")),
        (Values, "'0644'", json!("0644"), json!("644")),
        (Values, "0644", json!(420), json!("0644")),
        (Values, "3", json!("3"), json!(4)),
        (Values, "3", json!(3.0), json!("4")),
        (Values, "true", json!(true), json!("true")),
        (Values, "[a, b]", json!(["b", "c", "a"]), json!(["a"])),
        (
            Values,
            "[{have-prefix: '172.'}]",
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
            "{semver-constraint: '>=20.10.0 || 1.x'}",
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
        let why = matcher.check(&bad).expect_err(text).to_string();
        assert!(
            why.contains("expected") && why.contains("found"),
            "{text}: {why}"
        );
    }
}

#[test]
fn what_is_no_matcher_is_refused() {
    for text in [
        "",
        "~",
        "{}",
        "{gt: x}",
        "{gt: '1'}",
        "{have-len: -1}",
        "{have-len: '1'}",
        "{have-prefix: [a]}",
        "{match-regexp: '('}",
        "{semver-constraint: 'newer'}",
        "{semver-constraint: '>=1.0'}",
        "{xml: {xpath: a, result: b}}",
        "{gt: 1, lt: 2}",
        "{be-nice: 1}",
        "{not: {and: [~]}}",
        "{contain-element: [a]}",
        "{gjson: [a]}",
        "{have-patterns: a}",
    ] {
        assert!(read(text, Shape::Value).is_err(), "{text}");
    }
    for text in ["['!/(/']", "[[a]]", "[5]"] {
        assert!(read(text, Shape::Text).is_err(), "{text}");
    }
    let deep = format!("{}a{}", "{not: ".repeat(60), "}".repeat(60));
    assert!(read(&deep, Shape::Value).is_err());
}

/// What a matcher says of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Yes,
    No,
    /// It cannot look at such a value.
    Error,
}

fn says(matcher: &Matcher, value: &Value) -> Says {
    match matcher.check(value) {
        Ok(()) => Says::Yes,
        Err(why) if why.error.is_some() => Says::Error,
        Err(_) => Says::No,
    }
}

/// A value of a kind that the matcher cannot look at; none when it can look at all.
fn unfit(text: &str) -> Option<Value> {
    let of_lists = [
        "{contain-element",
        "{contain-elements",
        "{consist-of",
        "[a, b]",
        "[{have-prefix",
    ];
    let of_numbers = ["3", "{ge", "{le", "{and: [{gt"];
    if of_lists.iter().any(|start| text.starts_with(start)) || text.starts_with("{have-len") {
        Some(json!(true))
    } else if of_numbers.contains(&text)
        || of_numbers
            .iter()
            .any(|start| start.len() > 1 && text.starts_with(start))
    {
        Some(json!({"a": 1}))
    } else if text.starts_with("{have-key") || text.starts_with("{gjson") {
        Some(json!(7))
    } else if text.starts_with("{semver") {
        Some(json!("newest"))
    } else {
        None
    }
}

#[test]
fn every_matcher_keeps_yes_no_and_error_apart_under_not_and_or() {
    let yes = Matcher::Not(Box::new(Matcher::Equal(json!("surely not this"))));
    let no = Matcher::Equal(json!("surely not this"));
    let mut errors = 0;
    for (shape, text, good, bad) in table() {
        let one = read(text, shape).expect(text);
        let mut rows = vec![(good, Says::Yes), (bad, Says::No)];
        rows.extend(unfit(text).map(|value| (value, Says::Error)));
        for (value, found) in rows {
            use Says::{Error, No, Yes};
            // A list that is asked for a number is an error in itself: rows whose bad value is one stand as they are.
            let found = if found == No && says(&one, &value) == Error {
                Error
            } else {
                found
            };
            errors += usize::from(found == Error);
            let not = match found {
                Yes => No,
                No => Yes,
                Error => Error,
            };
            let boxed = || Box::new(one.clone());
            let all = |list: Vec<Matcher>| Matcher::All(list);
            let any = |list: Vec<Matcher>| Matcher::Any(list);
            for (name, matcher, expected) in [
                ("itself", one.clone(), found),
                ("not", Matcher::Not(boxed()), not),
                (
                    "not not",
                    Matcher::Not(Box::new(Matcher::Not(boxed()))),
                    found,
                ),
                ("yes and it", all(vec![yes.clone(), one.clone()]), found),
                ("no and it", all(vec![no.clone(), one.clone()]), No),
                ("it and yes", all(vec![one.clone(), yes.clone()]), found),
                (
                    "it and no",
                    all(vec![one.clone(), no.clone()]),
                    if found == Error { Error } else { No },
                ),
                ("no or it", any(vec![no.clone(), one.clone()]), found),
                ("yes or it", any(vec![yes.clone(), one.clone()]), Yes),
                (
                    "it or yes",
                    any(vec![one.clone(), yes.clone()]),
                    if found == Error { Error } else { Yes },
                ),
                (
                    "not (yes and it)",
                    Matcher::Not(Box::new(all(vec![yes.clone(), one.clone()]))),
                    not,
                ),
                (
                    "not (no or it)",
                    Matcher::Not(Box::new(any(vec![no.clone(), one.clone()]))),
                    not,
                ),
            ] {
                assert_eq!(
                    says(&matcher, &value),
                    expected,
                    "{name}: {text} on {value}"
                );
            }
        }
    }
    assert!(errors >= 12, "{errors}");
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
        ("{semver-constraint: '>1.0.0'}", json!("newest")),
        ("{semver-constraint: '>1.0.0'}", json!([])),
    ] {
        let why = read(text, Shape::Value)
            .expect(text)
            .check(&found)
            .expect_err(text)
            .to_string();
        assert!(
            ["found", "Path", "Invalid json"]
                .iter()
                .any(|word| why.contains(word)),
            "{why}"
        );
    }
}

#[test]
fn long_values_are_cut_in_messages() {
    let why = read("x", Shape::Value)
        .expect("a word")
        .check(&json!("ä".repeat(5000)))
        .expect_err("not x")
        .to_string();
    assert!(why.len() < 400 && why.ends_with('…'), "{}", why.len());
}
