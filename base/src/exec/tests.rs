//! Tests of [`super`]. Shell scripts stand for the programs that misbehave.

use super::*;

fn sh(script: &str) -> Cmd {
    Cmd::new("sh").arg("-c").arg(script)
}

#[test]
fn captures_both_streams_and_the_code() {
    let output = sh("echo out; echo err >&2; exit 3").output().expect("runs");
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert!(!output.truncated);
}

#[test]
fn failure_names_the_program_its_code_and_its_last_words() {
    let text = sh("echo why >&2; exit 4")
        .run()
        .expect_err("fails")
        .to_string();
    assert_eq!(text, "sh: exit code 4: why");
    let text = sh("kill -9 $$").run().expect_err("fails").to_string();
    assert_eq!(text, "sh: killed by signal 9");
}

#[test]
fn missing_program_says_so() {
    let error = Cmd::new("no-such-program").run().expect_err("missing");
    assert!(matches!(error, ExecError::Missing { .. }), "{error}");
}

#[test]
fn hanging_program_is_killed_with_all_its_children() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let script = format!(
        "sleep 600 & echo $! > {}; echo last >&2; wait",
        pid.display()
    );
    let started = Instant::now();
    let error = sh(&script)
        .timeout(Duration::from_millis(300))
        .run()
        .expect_err("hangs");
    assert!(matches!(&error, ExecError::TimedOut { stderr, .. } if stderr == "last"));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(gone(&pid), "its child still runs");
}

#[test]
fn program_that_ignores_sigterm_is_killed_anyway() {
    let started = Instant::now();
    let error = sh("trap '' TERM; while :; do sleep 0.05; done")
        .timeout(Duration::from_millis(200))
        .run()
        .expect_err("hangs");
    assert!(matches!(error, ExecError::TimedOut { .. }));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn background_child_that_holds_the_pipe_neither_blocks_nor_survives() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let started = Instant::now();
    let output = sh(&format!(
        "sleep 600 & echo $! > {}; echo done",
        pid.display()
    ))
    .run()
    .expect("ends");
    assert_eq!(output.stdout, b"done\n");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(gone(&pid), "its child still runs");
}

#[test]
fn flood_of_output_is_bounded() {
    let output = sh("head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2")
        .keep(1000)
        .run()
        .expect("ends");
    assert_eq!((output.stdout.len(), output.stderr.len()), (1000, 1000));
    assert!(output.truncated);
}

#[test]
fn stdin_is_given_in_full_or_not_at_all() {
    let input = vec![b'x'; 1_000_000];
    let output = sh("wc -c").stdin(input.clone()).run().expect("ends");
    assert_eq!(output.stdout.trim_ascii(), b"1000000");
    // A program that does not read must not block us.
    sh("exit 0").stdin(input).run().expect("ends");
    assert_eq!(sh("cat").run().expect("ends").stdout, b"");
}

#[test]
fn environment_and_directory_arrive() {
    let output = sh("echo $A $LC_ALL; pwd")
        .env("A", "b")
        .directory("/")
        .run()
        .expect("ends");
    assert_eq!(output.stdout, b"b C.UTF-8\n/\n");
}

fn gone(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid)
        .expect("a pid")
        .trim()
        .to_owned();
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(3) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // Z: dead, and waiting for init to reap it.
        match stat {
            Err(_) => return true,
            Ok(stat) if stat.contains(") Z ") => return true,
            Ok(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    false
}
