//! `make test`: compiles every test of the workspace, runs the test programs side by side, the longest first, and says at the end
//! where the time went.
//!
//! `cargo test` runs one test program after the other, each on all cores; a virtual board that waits for its boot loader keeps
//! all others waiting. Here another one runs meanwhile. What a program prints is shown when it has ended: all of it if it failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::exec;
use crate::narrate::seconds;
use crate::papers::root;

/// Longer than the slowest test program takes on the slowest machine.
const WITHIN: Duration = Duration::from_hours(2);
/// More programs at once would only take memory from each other: each uses all cores where it can.
const SIDE_BY_SIDE: usize = 2;
/// How long each took the last time: decides who begins, nothing else.
const MEMORY: &str = "target/test-times.json";

/// A compiled test program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    /// `imagegen/root`.
    name: String,
    file: PathBuf,
    /// The folder of its crate, in which cargo would run it.
    dir: PathBuf,
}

/// How a stage or a program ended.
#[derive(Debug)]
struct Done {
    name: String,
    took: Duration,
    /// `ok`, with the number of tests; or what it printed.
    outcome: std::result::Result<String, String>,
}

/// What cargo says of each thing it has built (The Cargo Book, "Artifact messages").
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// Seconds each program took.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Times(BTreeMap<String, u64>);

/// Runs every test, or those of the programs whose names contain one of the arguments.
pub fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    match run(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("hypriot-test: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &[String]) -> Result<bool> {
    let (root, began) = (root(), Instant::now());
    let mut done = Vec::new();
    let mut stage = |name: &str, act: &mut dyn FnMut() -> Result<()>| {
        let began = Instant::now();
        let result = act();
        done.push(Done {
            name: name.to_owned(),
            took: began.elapsed(),
            outcome: result
                .as_ref()
                .map_or_else(|e| Err(format!("{e:#}")), |()| Ok(String::new())),
        });
        result
    };
    let mut programs = Vec::new();
    stage("compiling the tests", &mut || {
        programs = compile(&root)?;
        Ok(())
    })?;
    // Tests that need the programs find them; nobody waits for cargo's lock in the middle.
    stage("compiling the programs", &mut || {
        exec::run_shown(cargo(&root, &["build", "--workspace", "--bins"]), WITHIN).map(drop)
    })?;
    if asked.is_empty() {
        // A test of documentation that fails is shown by cargo itself, and the others run all the same.
        let mut documented =
            || exec::run_shown(cargo(&root, &["test", "--workspace", "--doc"]), WITHIN).map(drop);
        drop(stage("tests in documentation", &mut documented));
    }
    programs.retain(|p| asked.is_empty() || asked.iter().any(|a| p.name.contains(a.as_str())));
    ensure!(
        !programs.is_empty(),
        "no test program is called like {asked:?}"
    );
    let memory = root.join(MEMORY);
    let times = Times::read(&memory);
    programs.sort_by_key(|p| std::cmp::Reverse(times.of(&p.name)));
    done.extend(play(programs)?);
    Times::of_run(&done, times).write(&memory);
    say(&table(&done, began.elapsed()));
    Ok(done.iter().all(|d| d.outcome.is_ok()))
}

fn cargo(root: &Path, args: &[&str]) -> std::process::Command {
    let mut cargo = exec::cargo();
    cargo.current_dir(root).args(args);
    cargo
}

/// Compiles all tests and says which programs came out.
fn compile(root: &Path) -> Result<Vec<Program>> {
    let args = [
        "test",
        "--workspace",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ];
    let said = exec::run_shown(cargo(root, &args), WITHIN)?;
    let messages = said.lines().map(serde_json::from_str::<Message>);
    let programs: Vec<_> = messages
        .collect::<std::result::Result<Vec<_>, _>>()
        .context("reading what cargo says")?
        .into_iter()
        .filter_map(program)
        .collect();
    ensure!(!programs.is_empty(), "cargo has built no test program");
    Ok(programs)
}

fn program(message: Message) -> Option<Program> {
    let test = message.reason == "compiler-artifact" && message.profile?.test;
    let (file, manifest, target) = (message.executable?, message.manifest_path?, message.target?);
    let dir = manifest.parent()?.to_owned();
    let krate = dir.file_name()?.to_str()?;
    let name = match target.kind.first()?.as_str() {
        "lib" => format!("{krate}/src"),
        "bin" => format!("{krate}/src ({})", target.name),
        _ => format!("{krate}/{}", target.name),
    };
    test.then_some(Program { name, file, dir })
}

/// Runs them side by side, in this order.
fn play(programs: Vec<Program>) -> Result<Vec<Done>> {
    let total = programs.len();
    let (queue, done) = (Mutex::new(programs.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let one = execute(&program);
                    if let Ok(mut done) = done.lock() {
                        done.push(one);
                        say(&line(&done[done.len() - 1], done.len(), total));
                    }
                }
            });
        }
    });
    let done = done
        .into_inner()
        .ok()
        .context("a test program's thread died")?;
    ensure!(
        done.len() == total,
        "{} of {total} test programs have ended",
        done.len()
    );
    Ok(done)
}

fn execute(program: &Program) -> Done {
    let began = Instant::now();
    let mut c = exec::command(&program.file);
    c.current_dir(&program.dir)
        .env("CARGO_MANIFEST_DIR", &program.dir);
    let result = exec::run(c, WITHIN);
    Done {
        name: program.name.clone(),
        took: began.elapsed(),
        outcome: result
            .map(|said| passed(&said))
            .map_err(|e| format!("{e:#}")),
    }
}

/// `12 tests`, from the last line that libtest prints.
fn passed(said: &str) -> String {
    let result = said
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix("test result: ok. "));
    let number = result.and_then(|l| l.split(' ').next()).unwrap_or("?");
    format!("{number} tests")
}

fn line(done: &Done, number: usize, total: usize) -> String {
    let (took, name) = (seconds(done.took), &done.name);
    match &done.outcome {
        Ok(tests) => format!("[{number:>2}/{total}] {took:>10}  {name}: {tests}"),
        Err(words) => format!("[{number:>2}/{total}] {took:>10}  {name}: FAILED\n{words}"),
    }
}

/// Where the time went, the longest first; and what failed.
fn table(done: &[Done], whole: Duration) -> String {
    let mut rows: Vec<&Done> = done.iter().collect();
    rows.sort_by_key(|d| std::cmp::Reverse(d.took));
    let mut text = "\nWhere the time went\n".to_owned();
    for d in rows
        .iter()
        .filter(|d| d.took >= Duration::from_secs(1) || d.outcome.is_err())
    {
        let failed = if d.outcome.is_err() { "  FAILED" } else { "" };
        text += &[
            "  ",
            &format!("{:>10}", seconds(d.took)),
            "  ",
            &d.name,
            failed,
            "\n",
        ]
        .concat();
    }
    text + &format!(
        "  {:>10}  in all, {SIDE_BY_SIDE} side by side\n",
        seconds(whole)
    )
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

impl Times {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Of a program nobody has seen yet, it is said that it takes long.
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(u64::MAX)
    }

    fn of_run(done: &[Done], mut before: Self) -> Self {
        before
            .0
            .extend(done.iter().map(|d| (d.name.clone(), d.took.as_secs())));
        before
    }

    /// Without it the next run only begins in another order.
    fn write(&self, path: &Path) {
        let text = serde_json::to_string(self).unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "made again by every run")]
        drop(std::fs::write(path, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<Program> {
        program(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn test_programs_are_found_in_what_cargo_says() {
        let artifact = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/imagegen/Cargo.toml","executable":"/w/target/x",
                "target":{{"name":"root","kind":["{kind}"]}},"profile":{{"test":{test}}}}}"#
            )
        };
        assert_eq!(of(&artifact("test", true)).unwrap().name, "imagegen/root");
        assert_eq!(of(&artifact("lib", true)).unwrap().name, "imagegen/src");
        assert_eq!(of(&artifact("bin", false)), None);
        assert_eq!(of(r#"{"reason":"build-finished"}"#), None);
    }

    #[test]
    fn a_program_that_fails_is_shown_and_the_others_run_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let file = dir.path().join(name);
            #[expect(clippy::disallowed_methods, reason = "a scratch file of a test")]
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            Program {
                name: name.to_owned(),
                file,
                dir: dir.path().to_owned(),
            }
        };
        let good = "echo 'test result: ok. 7 passed; 0 failed'";
        let all = vec![
            script("bad", "echo the words it said; exit 101"),
            script("good", good),
            script("also", good),
        ];
        let done = play(all).unwrap();
        let find = |name: &str| done.iter().find(|d| d.name == name).unwrap();
        assert_eq!(find("good").outcome.as_deref(), Ok("7 tests"));
        assert!(
            find("bad")
                .outcome
                .as_ref()
                .unwrap_err()
                .contains("the words it said")
        );
        let table = table(&done, Duration::from_secs(61));
        assert!(
            table.contains("bad  FAILED") && table.contains("1:01 min"),
            "{table}"
        );
    }

    #[test]
    fn the_longest_of_the_last_run_and_the_unknown_begin() {
        let times = Times(BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 60)]));
        let mut names = ["a", "b", "new"];
        names.sort_by_key(|n| std::cmp::Reverse(times.of(n)));
        assert_eq!(names, ["new", "b", "a"]);
    }
}
