//! What makes a board valid.

use anyhow::anyhow;

use super::*;

pub(super) fn of(host: &str, body: &str) -> Validation {
    read(
        host,
        &Ok(Reply {
            status: 200,
            body: body.into(),
        }),
        &Expected::default(),
    )
}

pub(super) fn document(check: &str) -> String {
    format!(
        r#"{{"status":"warn","version":"1.0.0","board":"rpi4","bootId":"b1","time":"2026-11-23T14:00:00Z","checks":{{{check}}}}}"#
    )
}

const GOOD: &str = r#""selftests:failed":[{"status":"pass","observedValue":0}]"#;

#[test]
fn only_a_board_that_tested_itself_is_valid() {
    for (danger, body, expected) in [
        ("tests hold", document(GOOD), Verdict::Valid),
        (
            "a wanted one fails",
            document(r#""selftests:failed":[{"status":"warn","observedValue":1}]"#),
            Verdict::Valid,
        ),
        (
            "a required one fails",
            document(r#""selftests:failed":[{"status":"fail","output":"docker"}]"#),
            Verdict::Invalid,
        ),
        ("still testing", document(""), Verdict::Waiting),
        (
            "empty list",
            document(r#""selftests:failed":[]"#),
            Verdict::Waiting,
        ),
        ("some other server", "<html>".into(), Verdict::Waiting),
    ] {
        assert_eq!(of("h", &body).verdict, expected, "{danger}");
    }
    let silent = read("h", &Err(anyhow!("refused")), &Expected::default());
    assert_eq!(silent.verdict, Verdict::Waiting);
}

#[test]
fn an_old_card_in_the_slot_is_not_the_image_that_was_flashed() {
    let reply = Ok(Reply {
        status: 200,
        body: document(GOOD).into(),
    });
    for (version, board, expected) in [
        (Some("1.0.0"), Some("rpi4"), Verdict::Valid),
        (Some("1.1.0"), None, Verdict::Invalid),
        (None, Some("rpi64"), Verdict::Invalid),
    ] {
        let wanted = Expected {
            version: version.map(Into::into),
            board: board.map(Into::into),
        };
        let result = read("h", &reply, &wanted);
        assert_eq!(result.verdict, expected, "{}", result.note);
    }
}
