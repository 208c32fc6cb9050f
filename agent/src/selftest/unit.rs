//! Tests in a unit of their own, which systemd gives a time, a memory and a number of processes, and ends as a whole.
//!
//! The agent has its own view of the file systems, in which nearly nothing can be written. The image's tests must see the mounts
//! as they are: their unit sees all, and may change nothing that takes a capability. The owner's have the rights of a root
//! shell, or what passes by hand would fail here for ever.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hypriot_updater::health::{Severity as Weight, TestResult as Vote};
use serde::{Deserialize, Serialize};

use super::{Setting, whole};
use crate::exec::{Cmd, ExecError, Exit};
use crate::report::UpdateView;

/// What they may print to us. 20,000 results of 200 bytes.
const KEEP: usize = 8 * 1024 * 1024;
/// What we may tell them: slots and trial.
const TELL: u64 = 1024 * 1024;
/// Half of the board's memory: a test must not take the containers down with it.
const MEMORY: &str = "MemoryMax=50%";
const TASKS: &str = "TasksMax=512";
const PROGRAM: &str = "/usr/bin/hypriot-agent";
/// systemd-run talks to systemd through it.
const BUS: &str = "/run/dbus/system_bus_socket";
/// So long for ending what an agent that crashed left running.
const ENDING: Duration = Duration::from_secs(30);

/// What the unit of the image's tests may not: all that looking does not need. No name space, or it would see other mounts. It
/// reads what belongs to others, and their open sockets; a Raspberry Pi's firmware tells of its heat through the mailbox.
pub const WALLS: [&str; 17] = [
    "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_SYS_PTRACE",
    "DevicePolicy=closed",
    "DeviceAllow=/dev/vcio rw",
    "KeyringMode=private",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "ProtectClock=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
];

/// Whose tests, and what they are run for; no two of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// The image's.
    Image,
    /// The owner's, for the verdict on a trial, or the baseline of one.
    Trial,
    /// The owner's, for the health of the board.
    Watch,
}

impl Run {
    const ALL: [Self; 3] = [Self::Image, Self::Trial, Self::Watch];

    const fn unit(self) -> &'static str {
        match self {
            Self::Image => "hypriot-tests-image",
            Self::Trial => "hypriot-tests-trial",
            Self::Watch => "hypriot-tests",
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Trial | Self::Watch => "owner",
        }
    }

    const fn is_owners(self) -> bool {
        matches!(self, Self::Trial | Self::Watch)
    }
}

/// What crosses from the unit to us.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    votes: Vec<Vote>,
    /// Ids of those whose time was up.
    cut_short: Vec<String>,
}

/// Runs the owner's tests, or the image's, here, and tells the results as JSON: what the unit does. What is known of slots
/// and trial comes through `input`; where nothing does, `setting` knows.
pub fn here(
    owner: bool,
    setting: &Setting,
    patience: Duration,
    input: impl std::io::Read,
) -> Result<String> {
    let mut view = Vec::new();
    input.take(TELL).read_to_end(&mut view)?;
    let mut setting = setting.clone();
    if !view.is_empty() {
        let view = serde_json::from_slice(&view).context("reading what the agent told")?;
        setting.update = Some(view);
    }
    let votes = super::votes(&super::run(&whole().part(owner), &setting, patience));
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

/// The votes of those of one part, one of which says so when they could not be run.
pub(super) fn votes(what: Run, view: Option<&UpdateView>, patience: Duration) -> Vec<Vote> {
    if whole().part(what.is_owners()).is_empty() {
        return Vec::new();
    }
    run(what, view, patience).unwrap_or_else(|error| vec![not_run(what, &format!("{error:#}"))])
}

pub(super) fn not_run(what: Run, why: &str) -> Vote {
    Vote {
        id: format!("suite:{}:run", what.command()),
        severity: Weight::Required,
        passed: false,
        found: why.to_owned(),
        cut_short: false,
    }
}

/// Whether there is a systemd that can be asked for a unit.
pub(super) fn can_be_had() -> bool {
    // sd_booted(3)
    Path::new("/run/systemd/system").is_dir() && Path::new(BUS).exists()
}

pub(super) fn run(what: Run, view: Option<&UpdateView>, patience: Duration) -> Result<Vec<Vote>> {
    let view = view.map(serde_json::to_vec).transpose()?;
    let output = unit(what, patience)
        .stdin(view.unwrap_or_default())
        .timeout(patience + Duration::from_secs(20))
        .keep(KEEP)
        .output()?;
    anyhow::ensure!(!output.truncated, "they told more than {KEEP} bytes");
    if output.exit != Exit::Code(0) {
        // systemd ends it for its time or its memory: neither is a result of a test.
        return Err(ExecError::Failed {
            program: "the unit of the tests".into(),
            exit: output.exit,
            last: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
        .into());
    }
    heard(&output.stdout)
}

/// Ends those that an agent before this one began: while one runs, there is no second one, and a trial would fail for it.
pub fn end_left() {
    if !can_be_had() {
        return;
    }
    let names = Run::ALL.map(|what| format!("{}.service", what.unit()));
    let ended = Cmd::new("systemctl")
        .arg("stop")
        .args(&names)
        .timeout(ENDING)
        .output();
    // 5: there is none of them, which is how it should be (systemctl(1), exit status)
    if let Err(error) = ended {
        tracing::warn!("{error}");
    }
}

/// systemd-run(1): a transient service, of which we have the output and wait for the end.
fn unit(what: Run, patience: Duration) -> Cmd {
    let seconds = patience.as_secs();
    let time = format!("RuntimeMaxSec={}", seconds + 10);
    let whose = if what.is_owners() {
        "HypriotOS: the owner's self-tests"
    } else {
        "HypriotOS: the self-tests of the image"
    };
    let common = [
        // As in a shell of root: HOME, USER and SHELL are set.
        "User=root",
        "WorkingDirectory=/",
        &time,
        MEMORY,
        "MemorySwapMax=0",
        TASKS,
        "KillMode=control-group",
        "TimeoutStopSec=5",
        "OOMPolicy=kill",
        "Nice=5",
        "IOSchedulingClass=idle",
    ];
    let walls = if what.is_owners() { &[][..] } else { &WALLS };
    let properties = common.iter().chain(walls);
    Cmd::new("systemd-run")
        .args(["--quiet", "--wait", "--pipe", "--collect"])
        .args(["--unit", what.unit(), "--description", whose])
        .args(properties.flat_map(|property| ["-p", property]))
        .args(["--", PROGRAM, "selftest", what.command()])
        .args(["--timeout", &seconds.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::tests::vote;

    #[test]
    fn a_broken_run_is_no_result() {
        assert!(heard(b"").is_err() && heard(b"{\"votes\": []}").is_err());
        let failed = not_run(Run::Image, "no bus");
        assert_eq!((&*failed.id, failed.passed), ("suite:image:run", false));
    }

    #[test]
    fn what_is_known_of_the_slots_comes_with_the_question() {
        let setting = Setting {
            root: crate::probe::Root::default(),
            board: "none".into(),
            update: None,
            built: hypriot_keys::time::Timestamp(0),
            now: hypriot_keys::time::Timestamp(0),
            packages: None,
        };
        let view = serde_json::to_vec(&crate::report::tests::example().update).expect("json");
        let wait = Duration::from_secs(1);
        for said in [&b""[..], &view] {
            let told = here(false, &setting, wait, said).expect("told");
            assert!(heard(told.as_bytes()).is_ok());
        }
        assert!(here(false, &setting, wait, &b"{"[..]).is_err());
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
    fn the_owners_unit_has_limits_and_no_walls_and_that_of_the_image_has_both() {
        for (what, walled) in [(Run::Watch, false), (Run::Trial, false), (Run::Image, true)] {
            let shown = format!("{:?}", unit(what, Duration::from_secs(50)));
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
                assert_eq!(shown.contains(wall), walled, "{shown}");
            }
            // one of these and it would see other mounts than the board has
            for name_space in [
                "ProtectSystem",
                "ProtectHome",
                "Private",
                "Paths",
                "ProtectKernel",
            ] {
                assert!(!shown.contains(name_space), "{shown}");
            }
        }
    }
}
