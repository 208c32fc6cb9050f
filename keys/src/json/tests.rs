//! The reader against serde_json, the canonical form against known bytes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{MAX_DEPTH, canonical, parse};
use crate::Error;

/// Values that have a canonical form.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_alike(value in values()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(&parse("t", &text).unwrap(), &value);
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(parse("t", &pretty).unwrap(), value);
    }

    #[test]
    fn any_bytes_are_read_as_serde_json_reads_them_or_refused(bytes in any::<Vec<u8>>()) {
        if let Ok(value) = parse("t", &bytes) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }

    #[test]
    fn an_altered_text_is_read_alike_or_refused(value in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(value) = parse("t", &text) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        }
    }

    /// Two values have one canonical form only when they are one value: otherwise a signature of one would be good for the
    /// other.
    #[test]
    fn canonical_forms_differ_when_values_do(one in values(), two in values()) {
        prop_assert_eq!(one == two, canonical(&one) == canonical(&two));
    }
}

#[test]
fn canonical_bytes_are_those_of_python() {
    // What securesystemslib's encode_canonical gives for the same values.
    for (value, bytes) in [
        (
            json!({"b": 1, "a": [true, null, -5]}),
            r#"{"a":[true,null,-5],"b":1}"#,
        ),
        (
            json!({"é": "ü", "z": "\u{10ffff}"}),
            "{\"z\":\"\u{10ffff}\",\"é\":\"ü\"}",
        ),
        (
            json!("quote \" back \\ slash / tab \t line \n nul \u{0}"),
            "\"quote \\\" back \\\\ slash / tab \t line \n nul \u{0}\"",
        ),
        (json!({"": {}, " ": []}), r#"{"":{}," ":[]}"#),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        assert_eq!(String::from_utf8(canonical(&value)).unwrap(), bytes);
    }
}

#[test]
fn texts_that_two_readers_could_read_differently_are_refused() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "01",
        "-",
        "+1",
        "-0",
        "1.0",
        "1e3",
        "0x1",
        "NaN",
        "Infinity",
        "tru",
        "nullx",
        "1 2",
        "[1] ]",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "18446744073709551616",
        "-9223372036854775809",
        "\u{feff}{}",
        "{\"a\" 1}",
        "[1 2]",
        "\"",
        "\"\\",
        "// c\n1",
    ] {
        assert!(
            matches!(parse("t", text.as_bytes()), Err(Error::Json { .. })),
            "{text:?}"
        );
    }
    let twice = parse("t", br#"{"a":1,"b":{"x":1,"\u0078":2}}"#);
    assert!(
        matches!(&twice, Err(Error::DuplicateJsonKey { key, .. }) if key == "x"),
        "{twice:?}"
    );
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(parse("t", nested(MAX_DEPTH + 1).as_bytes()).is_ok());
    for depth in [MAX_DEPTH + 2, 1_000_000] {
        let refused = parse("t", nested(depth).as_bytes());
        assert_eq!(
            refused,
            Err(Error::TooDeep {
                file: "t".to_string(),
                limit: MAX_DEPTH
            })
        );
    }
}
