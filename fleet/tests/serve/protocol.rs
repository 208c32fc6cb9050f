//! What is said over HTTP, and what is answered.

use serde_json::Value;

use crate::server::{Server, ask};

const BOARD: &str = r#"{"client_params":{"id":"a","group":"default"}}"#;

const FLEET: (&str, &str) = ("fleet-lock-protocol", "true");

/// Danger; method, path, header and body; status and kind.
type Exchange = (
    &'static str,
    &'static str,
    &'static str,
    (&'static str, &'static str),
    &'static str,
    u16,
    &'static str,
);

const PROTOCOL: [Exchange; 17] = [
    (
        "a stray POST",
        "POST",
        "pre-reboot",
        ("x", "y"),
        BOARD,
        400,
        "missing_header",
    ),
    (
        "another protocol",
        "POST",
        "pre-reboot",
        ("fleet-lock-protocol", "false"),
        BOARD,
        400,
        "missing_header",
    ),
    (
        "no POST",
        "GET",
        "pre-reboot",
        FLEET,
        "",
        405,
        "method_not_allowed",
    ),
    (
        "no JSON",
        "POST",
        "pre-reboot",
        FLEET,
        "{",
        400,
        "decode_error",
    ),
    (
        "no parameters",
        "POST",
        "steady-state",
        FLEET,
        "{}",
        400,
        "decode_error",
    ),
    (
        "no id",
        "POST",
        "pre-reboot",
        FLEET,
        r#"{"client_params":{"id":"","group":"default"}}"#,
        400,
        "invalid_client_identity",
    ),
    (
        "no group",
        "POST",
        "pre-reboot",
        FLEET,
        r#"{"client_params":{"id":"a","group":"de fault"}}"#,
        400,
        "invalid_client_group",
    ),
    (
        "a group of elsewhere",
        "POST",
        "pre-reboot",
        FLEET,
        r#"{"client_params":{"id":"a","group":"x"}}"#,
        400,
        "unknown_group",
    ),
    (
        "another version",
        "POST",
        "../v2/pre-reboot",
        FLEET,
        BOARD,
        404,
        "not_found",
    ),
    ("the first", "POST", "pre-reboot", FLEET, BOARD, 200, ""),
    (
        "the first again",
        "POST",
        "pre-reboot",
        FLEET,
        BOARD,
        200,
        "",
    ),
    (
        "the second",
        "POST",
        "pre-reboot",
        FLEET,
        r#"{"client_params":{"id":"b","group":"default"},"new":[1]}"#,
        423,
        "failed_lock_semaphore_full",
    ),
    (
        "ours: of a board that is out, and says of nothing that it failed",
        "POST",
        "failed",
        FLEET,
        BOARD,
        409,
        "not_failed",
    ),
    (
        "of one that is not out",
        "POST",
        "failed",
        FLEET,
        r#"{"client_params":{"id":"b","group":"default"}}"#,
        200,
        "",
    ),
    (
        "no POST",
        "GET",
        "failed",
        FLEET,
        "",
        405,
        "method_not_allowed",
    ),
    ("steady", "POST", "steady-state", FLEET, BOARD, 200, ""),
    (
        "steady again",
        "POST",
        "steady-state",
        FLEET,
        BOARD,
        200,
        "",
    ),
];

#[test]
fn the_protocol_is_zincatis() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::new(dir.path(), 1);
    for (danger, method, path, header, body, status, kind) in PROTOCOL {
        let path = format!("/v1/{path}").replace("/v1/../", "/");
        let (got, text) = ask(server.port, method, &path, &[header], body).expect("answers");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(got, status, "{danger}: {text}");
        assert_eq!(
            answer["kind"].as_str().unwrap_or_default(),
            kind,
            "{danger}: {text}"
        );
        assert_eq!(
            answer["value"].is_string(),
            !kind.is_empty(),
            "{danger}: {text}"
        );
    }
    let (status, _) = ask(
        server.port,
        "POST",
        "/v1/pre-reboot",
        &[FLEET],
        &" ".repeat(70_000),
    )
    .expect("answers");
    assert_eq!(status, 413, "no board says so much");
}
