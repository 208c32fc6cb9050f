//! Tests of [`super`]. What functions make is compared with goss itself in `tests/tests/goss_parity/corpus/templates.yaml`.

use super::*;

fn made(source: &str) -> Result<String, Error> {
    render(
        source,
        &Vars::new(
            Some("a: 1\nlist: [x, y]\nmap: {k: v}\n"),
            Some("{\"b\": \"two\"}"),
        )
        .expect("variables"),
    )
}

#[test]
fn language_is_that_of_go() {
    for (source, text) in [
        ("plain", "plain"),
        ("{{ .Vars.a }}-{{ .Vars.b }}", "1-two"),
        ("a {{- 1 -}} b", "a1b"),
        ("a {{/* {{ nothing }} */ -}}  b", "a b"),
        (
            "{{ range $i, $x := .Vars.list }}{{ $i }}{{ $x }}{{ end }}",
            "0x1y",
        ),
        ("{{ range .Vars.none }}{{ else }}e{{ end }}", ""),
        (
            "{{ if and .Vars.a (eq .Vars.b \"two\") }}y{{ else if 1 }}n{{ end }}",
            "y",
        ),
        (
            "{{ with $x := .Vars.map }}{{ $x.k }}{{ .k }}{{ end }}",
            "vv",
        ),
        (
            "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" .Vars.b }}",
            "<two>",
        ),
        ("{{ block \"t\" 5 }}[{{ . }}]{{ end }}", "[5]"),
        ("{{ \"a\\\"}}\" }}{{ `{{` }}", "a\"}}{{"),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}",
            "2",
        ),
        ("{{ .Vars.map | toJson }}", "{\"k\":\"v\"}"),
        (
            "{{ (index .Vars.list 1) | upper | printf \"%s-%s\" \"z\" }}",
            "z-Y",
        ),
        ("{{ or \"\" (fail \"not asked\") | empty }}", ""),
    ] {
        match (made(source), text) {
            (Ok(found), text) if !text.is_empty() => assert_eq!(found, text, "{source}"),
            (Ok(found), _) => panic!("{source} became {found}"),
            (Err(error), text) => assert!(text.is_empty(), "{source}: {error}"),
        }
    }
}

#[test]
fn every_mistake_has_its_place() {
    for (source, line, column, what) in [
        ("a\n  {{ .Vars.nope }}", 2, 11, "no entry for key \"nope\""),
        ("{{ nope }}", 1, 4, "function \"nope\" not defined"),
        ("x\n{{ if 1 }}y", 2, 1, "without end"),
        ("{{ end }}", 1, 0, "unexpected"),
        ("{{ \"a }}", 1, 4, "unterminated"),
        ("{{ ( }}", 1, 1, "unclosed left paren"),
        ("{{ 1 | 2 }}", 1, 8, "non-function"),
        ("{{ $x }}", 1, 4, "undefined variable"),
        ("{{ break }}", 1, 1, "outside"),
        ("{{ upper 5 }}", 1, 4, "expected string"),
        ("{{ lt 1 \"a\" }}", 1, 4, "incompatible types"),
        ("{{ fail \"why\" }}", 1, 4, "why"),
        ("{{ }}", 1, 1, "missing value"),
        ("{{ .Vars.a", 1, 3, "unclosed action"),
        ("{{ template \"none\" }}", 1, 1, "not defined"),
        ("{{ regexMatch \"(\" \"a\" }}", 1, 4, "error parsing regexp"),
        ("{{ index .Vars.list 7 }}", 1, 4, "out of range"),
    ] {
        let error = made(source).expect_err(source);
        assert!(error.what.contains(what), "{source}: {error}");
        assert_eq!(error.line, line, "{source}: {error}");
        assert!(column == 0 || error.column == column, "{source}: {error}");
    }
}

#[test]
fn what_loops_or_grows_ends() {
    let nested = format!("{}x{}", "{{ if 1 }}".repeat(5000), "{{ end }}".repeat(5000));
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let ranges = "{{ range until 90000 }}".repeat(4) + &"{{ end }}".repeat(4);
    for source in [
        "{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}",
        "{{ repeat 999999999 \"aaaaaaaaaa\" }}",
        "{{ range until 99999 }}{{ repeat 4000000 \"a\" }}{{ end }}",
        "{{ until 999999999 }}",
        "{{ range 999999999 }}{{ end }}",
        "{{ printf \"%999999999d\" 1 | len | until }}{{ range until 90000 }}{{ printf \"%9999d\" 1 }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 9999 }}{{ $x = concat $x $x }}{{ end }}",
        &nested,
        &parens,
        &ranges,
    ] {
        let started = std::time::Instant::now();
        assert!(made(source).is_err(), "{}", &source[..source.len().min(60)]);
        assert!(
            started.elapsed() < TIME * 3,
            "{}",
            &source[..source.len().min(60)]
        );
    }
}

#[test]
fn mutilated_templates_are_errors_not_panics() {
    let source = "{{- define \"t\" }}<{{ . }}>{{ end -}}{{ range $i, $x := .Vars.list }}{{ if eq $i 0 }}{{ $x | upper }}{{ else }}\
                  {{ printf \"%5d|%q\" (add 1 2) `ä` }}{{ end }}{{ end }}{{ template \"t\" (dict \"a\" 1.5) }}{{/* c */}}";
    for at in 0..source.len() {
        if let (Some(head), Some(tail)) = (source.get(..at), source.get(at + 1..)) {
            drop(made(head));
            for sign in [
                "{", "}", "(", "\"", "`", "$", ".", "|", "-", " ", "%", ":=", "ä", "\0", "9",
            ] {
                drop(made(&format!("{head}{sign}{tail}")));
            }
        }
    }
}
