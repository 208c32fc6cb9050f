//! Real programs, and what hooks may do wrong.

use super::*;
use crate::files;

fn call(event: Event) -> Call {
    Call {
        event,
        version: "1.0.0".into(),
        target: "2.0.0".into(),
        outcome: (event != Event::BeforeReboot).then_some(Outcome::Failed),
        limit: Duration::from_secs(2),
    }
}

fn put(dir: &Path, event: Event, name: &str, text: &str, mode: u32) {
    let at = dir.join(event.name());
    files::make_directories(&at).unwrap();
    files::replace(
        &at.join(name),
        format!("#!/bin/sh\n{text}\n").as_bytes(),
        mode,
    )
    .unwrap();
}

#[test]
fn hooks_run_in_order_and_know_what_for() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, event) = (dir.path(), Event::AfterRollback);
    assert!(!any(dir, event));
    assert_eq!(run(dir, &call(event), How::Child), Ok(()), "none");
    let told = dir.join("told");
    let tell = format!(
        "echo $0 $HYPRIOT_EVENT $HYPRIOT_VERSION $HYPRIOT_TARGET $HYPRIOT_OUTCOME >> {}",
        told.display()
    );
    put(dir, event, "20-second", &tell, 0o755);
    put(dir, event, "10-first", &tell, 0o755);
    put(dir, event, "10-first~", "exit 1", 0o755);
    put(dir, event, ".hidden", "exit 1", 0o755);
    put(dir, Event::AfterCommit, "other", "exit 1", 0o755);
    assert!(any(dir, event));
    assert_eq!(run(dir, &call(event), How::Child), Ok(()));
    let text = fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].ends_with("10-first after-rollback 1.0.0 2.0.0 failed"),
        "{text}"
    );
    assert!(lines[1].contains("20-second"), "{text}");
}

#[test]
fn a_hook_that_says_no_hangs_or_cannot_be_run_ends_the_row_and_is_named() {
    let event = Event::BeforeReboot;
    for (danger, text, mode, expected, again) in [
        (
            "not now",
            "echo a backup runs >&2; exit 75",
            0o755,
            "10-x: exit code 75: a backup runs",
            Some(AGAIN),
        ),
        ("no", "exit 3", 0o755, "10-x: exit code 3", None),
        (
            "a hang, with a child",
            "sleep 60 & sleep 60",
            0o755,
            "killed after 1",
            None,
        ),
        (
            "killed",
            "kill -9 $$",
            0o755,
            "10-x: killed by signal 9",
            None,
        ),
        ("not executable", "exit 0", 0o644, "cannot be run", None),
        (
            "anybody can write it",
            "exit 0",
            0o777,
            "others than root",
            None,
        ),
        (
            "writes on the terminal",
            "printf 'a\\033[31mb' >&2; exit 1",
            0o755,
            "a [31mb",
            None,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        put(dir, event, "10-x", text, mode);
        put(
            dir,
            event,
            "20-y",
            &format!("touch {}", dir.join("ran").display()),
            0o755,
        );
        let call = Call {
            limit: Duration::from_secs(1),
            ..call(event)
        };
        let refusal = run(dir, &call, How::Child).expect_err(danger);
        assert!(refusal.why.contains(expected), "{danger}: {refusal}");
        assert_eq!(refusal.again, again, "{danger}");
        assert!(!dir.join("ran").exists(), "{danger}: the row went on");
    }
}
