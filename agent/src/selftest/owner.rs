//! The owner's tests. They run with the rights that a root shell has, or what passes by hand would fail here for ever: in a unit
//! of their own, which systemd gives a time, a memory and a number of processes, and ends as a whole. They run again and again.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hypriot_keys::time::Timestamp;
use hypriot_updater::health::{Severity as Weight, TestResult as Vote};
use serde::{Deserialize, Serialize};

use super::{Setting, run, summarise, whole};
use crate::exec::{Cmd, ExecError, Exit};
use crate::probe::OwnerTests;
use crate::report::TestsView;

/// How often they run when all is well.
pub const EVERY: Duration = Duration::from_mins(1);
/// When all of them together take less than [`CHEAP`].
const OFTEN: Duration = Duration::from_secs(20);
const CHEAP: Duration = Duration::from_secs(1);
/// When something has failed: a repair shows soon, and what fails only now and then shows as that.
const SOON: Duration = Duration::from_secs(5);
/// The first run may wait for what starts with the board, as `wait-for` says.
const FIRST: Duration = Duration::from_mins(5);
/// Later ones say how it is.
const LATER: Duration = Duration::from_secs(50);
/// What a test that failed once is remembered as flaky for.
const REMEMBERED: Duration = Duration::from_hours(1);
/// What they may print to us. 20,000 results of 200 bytes.
const KEEP: usize = 8 * 1024 * 1024;
/// Half of the board's memory: a test must not take the containers down with it.
const MEMORY: &str = "MemoryMax=50%";
const TASKS: &str = "TasksMax=512";

/// What they are run for; no two of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The verdict on a trial, or the baseline of one.
    Trial,
    /// The health of the board.
    Watch,
}

/// What crosses from the unit to us.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    votes: Vec<Vote>,
    /// Ids of those whose time was up.
    cut_short: Vec<String>,
}

/// Runs them here and tells the results as JSON: what the unit does.
pub fn here(setting: &Setting, patience: Duration) -> Result<String> {
    let votes = super::votes(&run(&whole().part(true), setting, patience));
    let cut_short = votes.iter().filter(|v| v.cut_short).map(|v| v.id.clone());
    let told = Told {
        cut_short: cut_short.collect(),
        votes,
    };
    Ok(serde_json::to_string(&told)?)
}

fn heard(text: &[u8]) -> Result<Vec<Vote>> {
    let told: Told = serde_json::from_slice(text).context("reading what the tests' unit told")?;
    let mut votes = told.votes;
    for vote in &mut votes {
        vote.cut_short = told.cut_short.contains(&vote.id);
    }
    Ok(votes)
}

/// Their votes, one of which says so when they could not be run.
pub(super) fn votes(why: Why, patience: Duration) -> Vec<Vote> {
    if whole().part(true).is_empty() {
        return Vec::new();
    }
    in_a_unit(why, patience).unwrap_or_else(|error| vec![not_run(&format!("{error:#}"))])
}

pub(super) fn not_run(why: &str) -> Vote {
    Vote {
        id: "suite:owner:run".into(),
        severity: Weight::Required,
        passed: false,
        found: why.to_owned(),
        cut_short: false,
    }
}

fn in_a_unit(why: Why, patience: Duration) -> Result<Vec<Vote>> {
    let output = unit(why, patience)
        .timeout(patience + Duration::from_secs(20))
        .keep(KEEP)
        .output()?;
    anyhow::ensure!(!output.truncated, "they told more than {KEEP} bytes");
    if output.exit != Exit::Code(0) {
        // systemd ends it for its time or its memory: neither is a result of a test.
        return Err(ExecError::Failed {
            program: "the unit of the tests".into(),
            exit: output.exit,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
        .into());
    }
    heard(&output.stdout)
}

/// systemd-run(1): a transient service, of which we have the output and wait for the end.
fn unit(why: Why, patience: Duration) -> Cmd {
    let name = match why {
        Why::Trial => "hypriot-tests-trial",
        Why::Watch => "hypriot-tests",
    };
    let seconds = patience.as_secs();
    Cmd::new("systemd-run")
        .args(["--quiet", "--wait", "--pipe", "--collect", "--unit", name])
        .args(["--description", "HypriotOS: the owner's self-tests"])
        // As in a shell of root: HOME, USER and SHELL are set, and nothing is taken away.
        .args(["-p", "User=root", "-p", "WorkingDirectory=/"])
        .args(["-p", &format!("RuntimeMaxSec={}", seconds + 10)])
        .args(["-p", MEMORY, "-p", "MemorySwapMax=0", "-p", TASKS])
        .args(["-p", "KillMode=control-group", "-p", "TimeoutStopSec=5"])
        .args([
            "-p",
            "OOMPolicy=kill",
            "-p",
            "Nice=5",
            "-p",
            "IOSchedulingClass=idle",
        ])
        .args([
            "--",
            PROGRAM,
            "selftest",
            "owner",
            "--timeout",
            &seconds.to_string(),
        ])
}

const PROGRAM: &str = "/usr/bin/hypriot-agent";

/// The runs of this boot.
#[derive(Debug, Default)]
pub struct Watch {
    ran: bool,
    /// When each failed last, and held at the look before it.
    failed: BTreeMap<String, Instant>,
    flaky: VecDeque<(Instant, String)>,
}

impl Watch {
    /// Whether there is anything to run.
    pub fn is_needed() -> bool {
        Path::new(super::OWNER).is_dir() && !whole().part(true).is_empty()
    }

    /// Runs them, and says what is known now and when to look again.
    pub fn look(&mut self, now: Timestamp) -> (OwnerTests, Duration) {
        let patience = if self.ran { LATER } else { FIRST };
        let start = Instant::now();
        let told = in_a_unit(Why::Watch, patience);
        self.ran = true;
        match told {
            Ok(votes) => self.weigh(&votes, start.elapsed(), start, now),
            Err(error) => (OwnerTests::Broken(format!("{error:#}")), OFTEN),
        }
    }

    fn weigh(
        &mut self,
        votes: &[Vote],
        took: Duration,
        at: Instant,
        now: Timestamp,
    ) -> (OwnerTests, Duration) {
        let mut view = summarise(votes, now);
        for vote in votes {
            if !vote.passed {
                self.failed.entry(vote.id.clone()).or_insert(at);
            } else if let Some(since) = self.failed.remove(&vote.id)
                // It held at the next look, with nothing done about it as far as anybody can see.
                && at.duration_since(since) <= 2 * SOON
            {
                self.flaky.retain(|(_, id)| *id != vote.id);
                self.flaky.push_back((at, vote.id.clone()));
            }
        }
        self.flaky
            .retain(|(when, _)| at.duration_since(*when) < REMEMBERED);
        let named = self.flaky.iter().rev().take(TestsView::NAMED);
        view.flaky = named.map(|(_, id)| id.clone()).collect();
        let pause = if view.failed > 0 {
            SOON
        } else if took < CHEAP {
            OFTEN
        } else {
            EVERY
        };
        (OwnerTests::Ran(view), pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(id: &str, passed: bool) -> Vote {
        Vote {
            id: id.into(),
            severity: Weight::Required,
            passed,
            found: String::new(),
            cut_short: false,
        }
    }

    #[test]
    fn what_failed_once_is_flaky_and_what_was_repaired_is_not() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut look = |second: u64, passed: bool| {
            let at = start + Duration::from_secs(second);
            let votes = [
                vote("dns:x:resolvable", passed),
                vote("file:/:exists", true),
            ];
            let (known, pause) = watch.weigh(&votes, Duration::from_secs(3), at, Timestamp(second));
            let OwnerTests::Ran(view) = known else {
                panic!("{known:?}")
            };
            (view.failed, view.flaky.len(), pause)
        };
        assert_eq!(look(0, true), (0, 0, EVERY));
        assert_eq!(look(60, false), (1, 0, SOON));
        assert_eq!(look(65, true), (0, 1, EVERY));
        assert_eq!(look(3600, true), (0, 1, EVERY));
        assert_eq!(look(3700, true), (0, 0, EVERY));
        // An hour of failure, then a repair.
        for second in (3800..7400).step_by(5) {
            assert_eq!(look(second, false), (1, 0, SOON));
        }
        assert_eq!(look(7400, true), (0, 0, EVERY));
    }

    #[test]
    fn cheap_tests_run_often_and_a_broken_run_is_no_result() {
        let mut watch = Watch::default();
        let at = Instant::now();
        let (_, pause) = watch.weigh(
            &[vote("a", true)],
            Duration::from_millis(5),
            at,
            Timestamp(0),
        );
        assert_eq!(pause, OFTEN);
        assert!(heard(b"").is_err() && heard(b"{\"votes\": []}").is_err());
    }

    #[test]
    fn what_was_cut_short_stays_that_on_its_way_out_of_the_unit() {
        let told = Told {
            votes: vec![vote("a", false), vote("b", false)],
            cut_short: vec!["b".into()],
        };
        let text = serde_json::to_vec(&told).expect("json");
        let heard = heard(&text).expect("heard");
        let cut: Vec<bool> = heard.iter().map(|v| v.cut_short).collect();
        assert_eq!(cut, [false, true]);
    }

    #[test]
    fn the_unit_has_limits_and_no_walls() {
        let shown = format!("{:?}", unit(Why::Watch, LATER));
        for limit in ["RuntimeMaxSec=60", MEMORY, TASKS, "KillMode=control-group"] {
            assert!(shown.contains(limit), "{shown}");
        }
        for wall in [
            "NoNewPrivileges",
            "Protect",
            "Restrict",
            "SystemCallFilter",
            "CapabilityBoundingSet",
        ] {
            assert!(!shown.contains(wall), "{shown}");
        }
    }
}
