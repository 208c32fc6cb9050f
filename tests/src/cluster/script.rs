//! The language of what is done with a cluster: a TOML list of steps.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// A cluster, and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Host names of the boards.
    pub boards: Vec<String>,
    /// Those that manage a Swarm.
    pub managers: BTreeSet<String>,
    /// MiB of each.
    pub memory: u32,
    /// In order.
    pub step: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// In plain words, for who watches.
    pub say: String,
    /// What happens.
    #[serde(rename = "do")]
    pub action: Action,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Switches all boards on, in turn.
    Start(Start),
    /// Puts a release where the boards look for updates.
    Publish(String),
    /// Runs a script on boards as root.
    Run(Task),
    /// Runs hypriot-fleet on this machine.
    Fleet(Order),
    /// From here on the boards are watched from outside.
    Mark,
    /// What was seen since the mark.
    Seen(Seen),
}

/// Boards that are switched on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Seconds for each.
    pub within: u64,
    /// What they must run, by the name that the factory gives it.
    pub release: String,
}

/// A script for boards.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Their names.
    pub on: Vec<String>,
    /// Shell commands, of which none may fail. `@self@` is the board's name.
    pub script: String,
    /// Seconds, for each board.
    pub within: u64,
    /// What the output must contain, in this order.
    #[serde(default)]
    pub expect: Vec<String>,
    /// Whether no two boards may have one line in common.
    #[serde(default)]
    pub differ: bool,
    /// Later steps know the outputs by this name.
    pub keep: Option<String>,
    /// Whether who watches sees the output.
    #[serde(default)]
    pub show: bool,
}

/// What the operator does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Arguments of hypriot-fleet; which boards there are, and how they are reached, is added. `@n1@` is a board, `@run@` the last run.
    pub words: String,
    /// Its exit code.
    pub code: i32,
    /// Seconds.
    pub within: u64,
    /// What it must say, in this order.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// What must have been seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seen {
    /// The release that all boards run now.
    pub runs: String,
    /// So many boards were out at one moment, at most.
    pub most_out: usize,
    /// How often each restarted, at least and at most. A board that is not named was not out at all.
    pub restarts: BTreeMap<String, (usize, usize)>,
}

impl Script {
    /// Reads it, and checks what types cannot say.
    pub fn parse(text: &str) -> Result<Self> {
        let script: Self = toml::from_str(text).context("reading the steps")?;
        let names: BTreeSet<&str> = script.boards.iter().map(String::as_str).collect();
        ensure!(names.len() == script.boards.len(), "a board is named twice");
        ensure!(!script.step.is_empty(), "no steps");
        let known = |name: &String| -> Result<()> {
            ensure!(names.contains(name.as_str()), "there is no board {name:?}");
            Ok(())
        };
        script.managers.iter().try_for_each(known)?;
        for step in &script.step {
            let (timed, boards): (bool, Vec<&String>) = match &step.action {
                Action::Start(start) => (start.within > 0, Vec::new()),
                Action::Run(task) => (task.within > 0, task.on.iter().collect()),
                Action::Fleet(order) => (order.within > 0, Vec::new()),
                Action::Seen(seen) => (true, seen.restarts.keys().collect()),
                Action::Publish(_) | Action::Mark => (true, Vec::new()),
            };
            ensure!(timed, "{:?}: `within` must not be 0", step.say);
            boards
                .into_iter()
                .try_for_each(known)
                .with_context(|| step.say.clone())?;
        }
        Ok(script)
    }

    /// The releases that it needs.
    pub fn published(&self) -> Vec<&str> {
        self.step
            .iter()
            .filter_map(|step| match &step.action {
                Action::Publish(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// Fails if two outputs have a line in common, or one has none.
pub fn all_differ(outputs: &[String]) -> Result<()> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, output) in outputs.iter().enumerate() {
        ensure!(!output.trim().is_empty(), "board {n} says nothing");
        for line in output.lines().filter(|l| !l.trim().is_empty()) {
            if let Some(other) = seen.insert(line, n) {
                ensure!(other == n, "boards {other} and {n} both say {line:?}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "boards=['n1','n2']\nmanagers=['n1']\nmemory=512\n";

    #[test]
    fn steps_that_could_wait_for_ever_or_name_nobody_are_refused() {
        assert!(Script::parse(&format!("{HEAD}step=[{{say='x',do='mark'}}]")).is_ok());
        for (danger, step) in [
            ("no steps", ""),
            ("unknown action", "{say='x',do='fly'}"),
            ("no limit", "{say='x',do.start={within=0,release='v1'}}"),
            (
                "nobody",
                "{say='x',do.run={on=['n3'],script='true',within=1}}",
            ),
            (
                "nobody restarts",
                "{say='x',do.seen={runs='v1',most-out=1,restarts={n3=[1,1]}}}",
            ),
            (
                "misspelt",
                "{say='x',do.fleet={words='status',code=0,within=1,expects=[]}}",
            ),
        ] {
            let text = format!("{HEAD}step=[{step}]");
            assert!(Script::parse(&text).is_err(), "{danger}");
        }
    }

    #[test]
    fn the_script_that_is_played_can_be_read() {
        let script = Script::parse(include_str!("../../cluster/steps.toml")).unwrap();
        assert_eq!(script.boards.len(), 4);
        assert_eq!(script.published(), ["v2", "v3"]);
    }

    #[test]
    fn two_boards_with_one_identity_are_told() {
        let of =
            |list: &[&str]| all_differ(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(of(&["a\nb\n", "c\nd\n"]).is_ok());
        assert!(of(&["a\na\n", "c\n"]).is_ok());
        assert!(of(&["a\nb\n", "b\n"]).is_err());
        assert!(of(&["a\n", ""]).is_err());
    }
}
