//! What the programs of this workspace say about themselves: `--help` of each command, and what their exit codes mean.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::exec;

/// The programs that people run.
pub const PROGRAMS: [&str; 4] = [
    "hypriot-agent",
    "hypriot-imagegen",
    "hypriot-fleet",
    "hypriot-keys",
];

/// One command, its words behind the program's name, and its help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program, and the words that lead to the command.
    pub words: Vec<String>,
    /// What `--help` prints.
    pub help: String,
}

/// A program's help and that of each of its commands, in its own order.
pub fn commands(program: &str) -> Result<Vec<Command>> {
    ensure!(
        PROGRAMS.contains(&program),
        "{program} is none of {PROGRAMS:?}"
    );
    let mut all = Vec::new();
    collect(&[program.to_owned()], &mut all)?;
    Ok(all)
}

fn collect(words: &[String], all: &mut Vec<Command>) -> Result<()> {
    let help = ask(words)?;
    let below: Vec<String> = below(&help).map(str::to_owned).collect();
    all.push(Command {
        words: words.to_vec(),
        help,
    });
    for name in below {
        let mut words = words.to_vec();
        words.push(name);
        collect(&words, all)?;
    }
    Ok(())
}

/// The commands a help lists.
fn below(help: &str) -> impl Iterator<Item = &str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    list.lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
}

fn ask(words: &[String]) -> Result<String> {
    let (program, rest) = words.split_first().context("no program")?;
    let mut c = exec::command(exec::workspace_program(program)?);
    // Neither this machine's settings nor the width of its terminal belong into a page.
    c.env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("COLUMNS", "100")
        .args(rest)
        .arg("--help");
    let said = exec::run(c, Duration::from_mins(1))?;
    let lines: Vec<&str> = said.trim().lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

/// The page of a program: a heading and a block for each command.
pub fn page(program: &str) -> Result<String> {
    let mut text = String::new();
    for command in commands(program)? {
        let name = command.words.join(" ");
        write!(text, "## `{name}`\n\n```text\n{}```\n\n", command.help)?;
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// What the exit codes of every command mean, as the helps say it.
pub fn exit_codes() -> Result<String> {
    let mut text = "| command | exit codes |\n|---|---|\n".to_owned();
    for program in PROGRAMS {
        let mut said = Vec::new();
        for command in commands(program)? {
            let Some(codes) = codes(&command.help) else {
                continue;
            };
            // A command that repeats what its program says, says nothing.
            if !said.contains(&codes) {
                let row = codes.replace('|', "\\|");
                writeln!(text, "| `{}` | {row} |", command.words.join(" "))?;
                said.push(codes);
            }
        }
        ensure!(!said.is_empty(), "{program} --help names no exit codes");
    }
    Ok(text)
}

/// The sentences of a help about exit codes.
fn codes(help: &str) -> Option<String> {
    let sentence = |from: &str| {
        let lines = from.lines().take_while(|l| !l.trim().is_empty());
        let text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
        let after = text.split_once(':').map_or(text.as_str(), |(_, rest)| rest);
        after.trim().to_owned()
    };
    if let Some(at) = help.find("Exit codes:") {
        return Some(sentence(&help[at..]));
    }
    let at = help.lines().next()?.find("; exit code ")?;
    Some(help.lines().next()?[at + "; exit code ".len()..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_a_help() {
        let help = "Usage: x\n\nCommands:\n  one   does\n        more\n  two   does\n  help  me\n\nOptions:\n  -h\n";
        assert_eq!(below(help).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(below("Options:\n  -h\n").count(), 0);
    }

    #[test]
    fn exit_codes_are_read_over_line_ends() {
        let help = "x\n\nExit codes: 0 done,\n1 failed\n\nmore";
        assert_eq!(codes(help).unwrap(), "0 done, 1 failed");
        assert_eq!(
            codes("Run it; exit code 0 good, 1 not\n\nUsage").unwrap(),
            "0 good, 1 not"
        );
        assert_eq!(codes("Usage"), None);
    }
}
