//! Owns the language in which board tests are written: a TOML list of steps. The demo is such a list too.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::faults::Cell;
use crate::health::Health;

/// A list of steps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// In order.
    pub step: Vec<Step>,
    /// Lives that begin with a card that a step kept. Each is played, whatever became of the one before.
    #[serde(default)]
    pub cell: Vec<Cell>,
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
    /// What the time of this step is called in a table of boards.
    pub measures: Option<Measure>,
}

/// A time that boards are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// From power to health, the first time.
    Boot,
    /// From a release that is published to the same one committed.
    Update,
    /// From a broken release that is published to health in the old slot.
    Rollback,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Switches the board on.
    PowerOn,
    /// Pulls the plug.
    PowerOff,
    /// Waits until the board says all of this about itself.
    Wait(Expect),
    /// Shows the board's health.
    ShowHealth,
    /// Puts a release where the board looks for updates.
    Publish(String),
    /// Puts a stick in with a release that is published nowhere else.
    Stick(String),
    /// Pulls the plug at random moments and switches the board on again; every time it must come up on a good slot.
    PowerCuts(Cuts),
    /// Runs a script on the board as root; its output must contain a text.
    Run(Script),
    /// Asks the board, as after flashing, whether it is what was flashed, and runs the tests of the image against it.
    Validate,
    /// The console must have said this since the last power-on.
    Console(String),
    /// The board shuts itself down in order, and a copy of its card is kept under this name.
    Keep(String),
}

/// What the board must say about itself. What is not given may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Expect {
    /// Seconds.
    pub within: u64,
    /// The running slot.
    pub slot: Option<String>,
    /// The running release, by the name the scenario gave it.
    pub release: Option<String>,
    /// Words of which the board's status must be one.
    pub status: Vec<String>,
    /// What the update loop does.
    pub phase: Option<String>,
    /// The release of the last update that ended, and how it ended.
    pub last: Option<Last>,
}

/// How the last update ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// Which release.
    pub release: String,
    /// The word of `/health`.
    pub outcome: String,
}

/// Random power cuts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cuts {
    /// What the board is in the middle of.
    pub during: Moment,
    /// How often.
    pub times: u32,
    /// The plug is pulled at a random time within so many milliseconds after that began.
    pub spread: u64,
    /// The board must answer again within so many seconds after it is switched on.
    pub within: u64,
}

/// A part of an update, told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The payload is being fetched and written: the server was asked for it.
    Write,
    /// The payload was fetched to its end: read-back, arming, reboot.
    Arm,
    /// The boot loader started the slot on trial.
    Trial,
}

/// A script for the board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Shell commands.
    pub script: String,
    /// What their output must contain.
    pub expect: String,
    /// Seconds.
    pub within: u64,
    /// Whether who watches sees command and output.
    #[serde(default)]
    pub show: bool,
}

impl Scenario {
    /// Reads a scenario and checks what types cannot say.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text).context("reading the steps")?;
        ensure!(!scenario.step.is_empty(), "{}: no steps", scenario.name);
        for step in &scenario.step {
            let timed = match &step.action {
                Action::Wait(e) => e.within > 0,
                Action::PowerCuts(c) => c.within > 0 && c.times > 0,
                Action::Run(s) => s.within > 0,
                _ => true,
            };
            ensure!(
                timed,
                "{}: {:?}: `within` must not be 0",
                scenario.name,
                step.say
            );
        }
        for cell in &scenario.cell {
            cell.check()?;
            ensure!(
                scenario.kept().any(|name| name == cell.card),
                "{:?}: no step keeps a card {:?}",
                cell.say,
                cell.card
            );
        }
        Ok(scenario)
    }
}

impl Scenario {
    /// Whether the board needs USB.
    pub fn has_stick(&self) -> bool {
        self.step
            .iter()
            .any(|step| matches!(step.action, Action::Stick(_)))
    }

    /// The cards it keeps.
    fn kept(&self) -> impl Iterator<Item = &str> {
        let cells = self.cell.iter().filter_map(|cell| cell.keep.as_deref());
        self.step
            .iter()
            .filter_map(|step| match &step.action {
                Action::Keep(name) => Some(name.as_str()),
                _ => None,
            })
            .chain(cells)
    }

    /// The releases it needs.
    pub fn published(&self) -> Vec<&str> {
        self.step
            .iter()
            .filter_map(|step| match &step.action {
                Action::Publish(name) | Action::Stick(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl Expect {
    /// What does not fit yet, in words; nothing if all fits. `version` knows the version of a release's name.
    pub fn misfit(&self, health: &Health, version: impl Fn(&str) -> String) -> Option<String> {
        if !self.status.is_empty() && !self.status.contains(&health.status) {
            let (found, all) = (&health.status, self.status.join(" or "));
            return Some(format!("status is {found:?}, not {all}: {}", health.output));
        }
        let last = health.update.last_attempt.as_ref();
        let pairs = [
            ("slot", &self.slot, health.slot.clone()),
            ("phase", &self.phase, health.update.phase.clone()),
            (
                "version",
                &self.release.as_deref().map(&version),
                health.version.clone(),
            ),
            (
                "last update",
                &self
                    .last
                    .as_ref()
                    .map(|l| format!("{} {}", version(&l.release), l.outcome)),
                last.map_or_else(
                    || "none".to_owned(),
                    |l| format!("{} {}", l.version, l.outcome),
                ),
            ),
        ];
        pairs.into_iter().find_map(|(what, wanted, found)| {
            let wanted = wanted.as_ref()?;
            (*wanted != found).then(|| format!("{what} is {found:?}, not {wanted:?}"))
        })
    }

    /// How long to wait.
    pub fn within(&self) -> Duration {
        Duration::from_secs(self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_could_wait_for_ever_or_are_misspelt_are_refused() {
        for (danger, text) in [
            ("no steps", "name='x'\nstep=[]"),
            ("unknown action", "name='x'\n[[step]]\nsay='x'\ndo='fly'"),
            (
                "unknown expectation",
                "name='x'\n[[step]]\nsay='x'\ndo.wait={within=1,slott='b'}",
            ),
            (
                "no limit",
                "name='x'\n[[step]]\nsay='x'\ndo.wait={slot='b'}",
            ),
            (
                "a cell whose card nobody keeps",
                "name='x'\nstep=[{say='x',do='power-on'}]\n[[cell]]\nsay='x'\ncard='y'\nend={within=1,slot='a',release='v1'}",
            ),
            (
                "a cell that may end anywhere",
                "name='x'\nstep=[{say='x',do.keep='y'}]\n[[cell]]\nsay='x'\ncard='y'\nend={within=1}",
            ),
            (
                "a fault that there is none of",
                "name='x'\nstep=[{say='x',do.keep='y'}]\n[[cell]]\nsay='x'\ncard='y'\nstrike=['rain']\nend={within=1,slot='a',release='v1'}",
            ),
            (
                "no cuts",
                "name='x'\n[[step]]\nsay='x'\ndo.power-cuts={during='arm',times=0,spread=1,within=1}",
            ),
        ] {
            assert!(Scenario::parse(text).is_err(), "{danger}");
        }
    }

    #[test]
    fn every_scenario_that_is_played_can_be_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("steps");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let scenario = Scenario::parse(&text);
                scenario.unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
                read += 1;
            }
        }
        assert!(read >= 5, "only {read}");
    }

    #[test]
    fn the_fault_matrix_on_a_board_has_a_dozen_cells_and_every_fault() {
        use std::collections::BTreeSet;
        let scenario = Scenario::parse(include_str!("../steps/faults.toml")).unwrap();
        assert!(scenario.cell.len() >= 12);
        let faults: BTreeSet<_> = scenario
            .cell
            .iter()
            .flat_map(|cell| cell.strike.iter().chain(&cell.strike_in_trial))
            .collect();
        let software: BTreeSet<_> = scenario.cell.iter().map(|cell| cell.software).collect();
        assert_eq!((faults.len(), software.len()), (9, 5));
        for cell in &scenario.cell {
            // what the release's script looks for
            let script = include_str!("../steps/faults/agent.sh");
            let word = cell.software.word();
            assert!(script.contains(word), "{word}");
        }
    }

    #[test]
    fn the_first_thing_that_does_not_fit_is_named() {
        let health = Health::parse(r#"{"status":"pass","version":"1.1.0","slot":"b"}"#).unwrap();
        let version = |name: &str| format!("1.{name}.0");
        let expect = |text: &str| toml::from_str::<Expect>(text).unwrap();
        for (text, want) in [
            ("within=1", None),
            ("within=1\nslot='b'\nrelease='1'", None),
            ("within=1\nstatus=['warn', 'pass']", None),
            (
                "within=1\nstatus=['fail']",
                Some("status is \"pass\", not fail: "),
            ),
            ("within=1\nslot='a'", Some("slot is \"b\", not \"a\"")),
            (
                "within=1\nrelease='2'",
                Some("version is \"1.1.0\", not \"1.2.0\""),
            ),
            (
                "within=1\nlast={release='2',outcome='failed'}",
                Some("last update is \"none\", not \"1.2.0 failed\""),
            ),
        ] {
            assert_eq!(
                expect(text).misfit(&health, version).as_deref(),
                want,
                "{text}"
            );
        }
    }
}
