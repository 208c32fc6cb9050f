//! The record over versions of the agent that share it.

use super::*;

const TODAY: &str = r#"{
    "contents": {"a": null, "b": null},
    "refused": [{"release": {"version": "2.0.0", "digest": "0202020202020202020202020202020202020202020202020202020202020202"}, "reasons": ["x"], "at": "2026-01-01T00:00:00Z"}]
}"#;

#[test]
fn a_record_of_a_newer_agent_keeps_its_refusals_and_what_is_new_in_it() {
    let newer = TODAY.replacen(
        '{',
        r#"{"waivers": [1, 2], "last": {"outcome": "withdrawn-by-fleet", "new": true},"#,
        1,
    );
    let newer = newer.replace(r#"["x"]"#, r#"[{"check": "x"}], "severity": 3"#);
    let newer = newer.replace(r#""2026-01-01T00:00:00Z""#, "1767225600");
    let newer = newer.replace(
        r#"{"a": null, "b": null}"#,
        r#"{"a": {"layers": 2}, "c": null}"#,
    );
    let record = Record::parse(newer.as_bytes()).unwrap();
    assert!(record.refusal(&Digest([2; 32])).is_some(), "{record:?}");
    assert_eq!(record.last, None, "an outcome nobody here knows");
    let again = Record::parse(&record.encode()).unwrap();
    assert_eq!(again.other["waivers"], serde_json::json!([1, 2]));
    assert_eq!(again, record);
}

#[test]
fn one_refusal_that_cannot_be_read_does_not_cost_the_others() {
    let broken = TODAY.replacen("[{", r#"[{"release": 7}, {"#, 1);
    let record = Record::parse(broken.as_bytes()).unwrap();
    assert_eq!(record.refused.len(), 1);
}

#[test]
fn what_did_not_come_up_is_written_anew_once_and_then_refused() {
    let release = Release {
        version: semver::Version::new(2, 0, 0),
        digest: Digest([2; 32]),
        state_version: 0,
    };
    let mut record = Record::default();
    for refused in [false, true] {
        record.set_content(Slot::B, Some(release.clone()));
        record.leave(Slot::B, Timestamp(1));
        record.leave(Slot::B, Timestamp(2));
        assert_eq!(record.content(Slot::B), None, "it is compared anew");
        assert_eq!(record.refusal(&release.digest).is_some(), refused);
    }
    assert_eq!(Record::parse(&record.encode()), Ok(record));
}

#[test]
fn text_that_is_no_record_is_none() {
    for text in ["", "[]", "{\"refused\": 1}", "\u{0}\u{0}"] {
        assert!(Record::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}
