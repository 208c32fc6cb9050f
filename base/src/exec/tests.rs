//! Tests of [`super`]. Shell scripts stand for the programs that misbehave.

use std::time::Instant;

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
    assert!(matches!(&error, ExecError::TimedOut { last, .. } if last == "last"));
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
fn what_is_left_in_the_background_is_heard_where_somebody_waits_for_it() {
    let late = sh("(sleep 0.6; echo late) & echo early");
    assert_eq!(late.run().expect("ends").text(), "early");
    let heard = late.linger(Duration::from_secs(20)).run().expect("ends");
    assert_eq!(heard.text(), "early\nlate");
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
fn a_flood_has_a_limit_in_time_as_well() {
    let started = Instant::now();
    let flood = Cmd::new("cat").arg("/dev/zero").keep(10);
    let error = flood.timeout(Duration::from_millis(300)).run();
    assert!(matches!(error, Err(ExecError::TimedOut { .. })));
    assert!(started.elapsed() < Duration::from_secs(10));
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
fn a_program_that_prints_more_than_it_may_is_ended_where_nothing_may_be_cut() {
    let started = Instant::now();
    let error = sh("yes").whole(1 << 20).run().expect_err("no end");
    assert!(error.to_string().contains("1048576 bytes"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let fits = sh("head -c 1000 /dev/zero").whole(1000).run();
    assert_eq!(fits.expect("fits").stdout.len(), 1000);
}

#[test]
fn lines_are_told_whole_as_they_come_and_the_last_one_needs_no_end() {
    let mut told = Vec::new();
    let script = "printf a; sleep 0.2; echo b; echo c >&2; sleep 0.2; echo; printf d";
    let tell = |line: &str| told.push(line.to_owned());
    sh(script).run_telling(tell).expect("ends");
    assert_eq!(told, ["ab", "c", "", "d"]);
}

#[test]
fn a_line_without_end_is_told_in_pieces_and_memory_stays() {
    let mut longest = 0;
    let tell = |line: &str| longest = longest.max(line.len());
    let done = sh("head -c 3000000 /dev/zero | tr '\\0' x").keep(10);
    done.run_telling(tell).expect("ends");
    assert!((1..100_000).contains(&longest), "{longest}");
}

#[test]
fn the_last_words_are_the_last_however_much_came_before_and_those_of_stdout_if_there_are_no_others()
{
    let much = "seq 100000 >&2; echo why >&2; exit 1";
    let text = sh(much).keep(100).shown_lines(1).run().expect_err("fails");
    assert_eq!(text.to_string(), "sh: exit code 1: why");
    let text = sh("echo why; exit 1").run().expect_err("fails").to_string();
    assert_eq!(text, "sh: exit code 1: why");
}

#[test]
fn errors_that_go_to_the_terminal_are_not_waited_for() {
    let shown = sh("echo kept").show_stderr().run().expect("ends");
    assert_eq!(shown.text(), "kept");
}

#[test]
fn a_program_at_the_terminal_stays_in_our_group_and_still_has_a_limit() {
    let group = "cut -d' ' -f5 /proc/self/stat";
    let own = sh(group).run().expect("ends").text();
    let ours = sh(group).at_the_terminal().run().expect("ends").text();
    let we = nix::unistd::getpgrp().to_string();
    assert!(own != we && ours == we, "{own} {ours} {we}");
    let hangs = Cmd::new("sleep").arg("600").at_the_terminal();
    let error = hangs.timeout(Duration::from_millis(200)).run();
    assert!(matches!(error, Err(ExecError::TimedOut { .. })));
}

#[test]
fn a_held_program_acts_when_it_is_released() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    let script = format!("cat > {}", file.display());
    let held = sh(&script).hold().expect("starts");
    held.release(b"all").expect("ends well");
    assert_eq!(std::fs::read(&file).expect("written"), b"all");
    let held = sh("cat; exit 3").hold().expect("starts");
    assert!(held.release(b"").is_err());
}

#[test]
fn environment_and_directory_arrive() {
    let output = sh("echo $A $LC_ALL; pwd")
        .env("A", "b")
        .directory("/")
        .run()
        .expect("ends");
    assert_eq!(output.stdout, b"b C.UTF-8\n/\n");
    let hidden = Cmd::new("env").without_env(["PATH".into()]);
    assert!(!hidden.run().expect("ends").text().contains("\nPATH="));
    let empty = Cmd::new("/usr/bin/env").clear_env().env("A", "b");
    assert_eq!(empty.run().expect("ends").text(), "A=b");
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
