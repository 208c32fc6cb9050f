//! Tests of [`super`]: programs that fail, hang and chatter.

use super::*;

#[test]
fn output_is_kept_and_input_given() {
    let out = run(Cmd::new("cat").stdin("hello\n")).unwrap();
    assert_eq!(out.text(), "hello");
}

#[test]
fn failure_shows_status_and_last_words() {
    let e = run(Cmd::new("sh").args(["-c", "echo why it broke >&2; exit 3"]))
        .unwrap_err()
        .to_string();
    assert!(e.contains("why it broke") && e.contains('3'), "{e}");
}

#[test]
fn missing_program_says_so() {
    let e = run(Cmd::new("no-such-program-here"))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("no-such-program-here") && e.contains("installed"),
        "{e}"
    );
}

#[test]
fn hanging_program_is_stopped() {
    let begun = Instant::now();
    let e = run(Cmd::new("sleep")
        .arg("30")
        .timeout(Duration::from_millis(200)))
    .unwrap_err();
    assert!(matches!(e, ExecError::Timeout { .. }));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn lines_arrive_as_they_come() {
    let mut seen = Vec::new();
    run(Cmd::new("sh")
        .args(["-c", "echo a; echo b"])
        .on_line(|l| seen.push(l.to_owned())))
    .unwrap();
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn output_ends_though_the_errors_go_to_the_terminal() {
    let shown = Cmd::new("sh").args(["-c", "echo kept"]).show_stderr();
    let begun = Instant::now();
    assert_eq!(
        run(shown.timeout(Duration::from_secs(30))).unwrap().text(),
        "kept"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
}
