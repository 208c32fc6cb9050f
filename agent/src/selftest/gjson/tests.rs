//! Tests of [`super`].

use serde_json::json;

use super::*;

#[test]
fn paths_find_what_gjson_finds() {
    let text = r#"{"name": {"first": "Tom", "last": "A"}, "age": 37, "l": [{"n": "x", "v": 1, "s": [1]}, {"n": "y", "v": 2, "s": [2, 3]}],
        "a.b": 5, "nest": [[1], [2, [3]]], "t": true, "z": null, "str": "{\"q\": 1}", "cols": {"a": [1, 2], "b": [3, 4]}}"#;
    let json = parse(text).expect("JSON");
    for (path, wanted) in [
        ("name.last", json!("A")),
        ("age", json!(37)),
        ("l.#", json!(2)),
        ("l.1.n", json!("y")),
        ("l.#.n", json!(["x", "y"])),
        ("l.#.s.#", json!([1, 2])),
        (r#"l.#(n=="y").v"#, json!(2)),
        ("l.#(v>0)#.n", json!(["x", "y"])),
        ("l.#(v>1)#|0.n", json!("y")),
        (r#"l.#(n%"x*").v"#, json!(1)),
        (r#"l.#(n!%"x*").v"#, json!(2)),
        ("l.#(s.#(==3)).n", json!("y")),
        ("na*.first", json!("Tom")),
        ("a?e", json!(37)),
        (r"a\.b", json!(5)),
        ("l|0|n", json!("x")),
        ("name.@keys", json!(["first", "last"])),
        ("name.@values", json!(["Tom", "A"])),
        ("l|@reverse|0.n", json!("y")),
        ("nest|@flatten", json!([1, 2, [3]])),
        (r#"nest|@flatten:{"deep":true}"#, json!([1, 2, 3])),
        ("@this.age", json!(37)),
        ("[age,name.first]", json!([37, "Tom"])),
        (r#"{age,"x":name.first}"#, json!({"age": 37, "x": "Tom"})),
        ("str.@fromstr.q", json!(1)),
        ("cols.@group", json!([{"a": 1, "b": 3}, {"a": 2, "b": 4}])),
        ("@dig:n", json!(["x", "y"])),
        ("..#", json!(1)),
        ("z", json!(null)),
        (r#"!"word""#, json!("word")),
    ] {
        assert_eq!(get(&json, path).map(|j| j.value()), Some(wanted), "{path}");
    }
    for path in [
        "none",
        "l.2",
        "name.first.x",
        "age.x",
        "l.#(v>5)",
        "",
        "l.x",
        "name.#",
    ] {
        assert_eq!(get(&json, path), None, "{path}");
    }
}

#[test]
fn a_deep_path_ends() {
    let json = parse("[[[[1]]]]").expect("JSON");
    assert_eq!(get(&json, &"0.".repeat(5000)), None);
    assert!(parse(&"[".repeat(100_000)).is_err());
}
