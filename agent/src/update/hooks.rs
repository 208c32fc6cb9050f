//! Hooks: programs of the owner, run before the board restarts to try a release and after an update came to an end.
//!
//! `/etc/hypriot/hooks.d/<event>/` holds them; they run in the order of their names, each with a time limit, and the first that
//! does not end with 0 ends the row. They may run again after a power cut, so they must not mind. Before the first one runs it
//! is on record that those of after an update are owed: what was drained is put back, however the update ends.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hypriot_updater::record::Outcome;
use nix::unistd::geteuid;

use crate::exec::{Cmd, ExecError, Exit};

/// Where they lie: the owner's, so in both slots.
pub const DIRECTORY: &str = "/etc/hypriot/hooks.d";
/// All of one event together may take this long: less than the watchdog of the agent is told to wait.
pub const ALL: Duration = Duration::from_mins(20);
/// "Not now" (sysexits.h, EX_TEMPFAIL).
const LATER: i32 = 75;
/// Who says "not now" is asked again after this time.
const AGAIN: Duration = Duration::from_mins(1);

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The board is about to restart to try a release. Not 0: it does not restart.
    BeforeReboot,
    /// The release runs and was committed.
    AfterCommit,
    /// The update came to another end: rolled back, or never tried.
    AfterRollback,
}

impl Event {
    /// The name of its directory, and `HYPRIOT_EVENT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeReboot => "before-reboot",
            Self::AfterCommit => "after-commit",
            Self::AfterRollback => "after-rollback",
        }
    }

    /// Which one follows an update that ended so.
    pub const fn after(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Confirmed => Self::AfterCommit,
            Outcome::Failed | Outcome::Unknown | Outcome::NeverTried => Self::AfterRollback,
        }
    }
}

/// What hooks are told, in their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `HYPRIOT_EVENT`.
    pub event: Event,
    /// `HYPRIOT_VERSION`: what runs.
    pub version: String,
    /// `HYPRIOT_TARGET`: what is, or was, to be tried.
    pub target: String,
    /// `HYPRIOT_OUTCOME`, after an update: `confirmed`, `failed`, `unknown`, `never-tried`.
    pub outcome: Option<Outcome>,
    /// Each may take so long.
    pub limit: Duration,
}

/// A hook that did not say yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Which, and what it said.
    pub why: String,
    /// When it wants to be asked again.
    pub again: Option<Duration>,
}

/// How a hook is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As a service of its own, outside of the agent's sandbox.
    Service,
    /// As a child.
    Child,
}

/// Whether there is any for `event`.
pub fn any(directory: &Path, event: Event) -> bool {
    // a directory that cannot be read is found out when they are run
    list(&directory.join(event.name())).map_or(true, |all| !all.is_empty())
}

/// Runs those of one event.
pub fn run(directory: &Path, call: &Call, how: How) -> Result<(), Refusal> {
    let directory = directory.join(call.event.name());
    let refused = |why: String| Refusal { why, again: None };
    let all = list(&directory).map_err(|e| refused(format!("{}: {e}", directory.display())))?;
    let began = Instant::now();
    for path in all {
        let left = ALL.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(refused(format!(
                "hooks took more than {} min",
                ALL.as_secs() / 60
            )));
        }
        usable(&path).map_err(|why| refused(format!("{}: {why}", path.display())))?;
        tracing::info!("running {}", path.display());
        one(&path, call, call.limit.min(left), how)?;
    }
    Ok(())
}

/// Those there are, in order. Hidden files and what editors leave are none.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<io::Result<_>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    all.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && !name.ends_with('~')
    });
    all.sort();
    Ok(all)
}

/// Root runs it, so nobody else may have written it. What is there and cannot be run is a mistake that is said.
fn usable(path: &Path) -> Result<(), String> {
    let meta = fs::metadata(path).map_err(|e| e.to_string())?;
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return Err("it cannot be run: chmod +x, or take it away".into());
    }
    if meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return Err("others than root can write it: chown root, chmod go-w".into());
    }
    Ok(())
}

fn one(path: &Path, call: &Call, limit: Duration, how: How) -> Result<(), Refusal> {
    let mut told = vec![
        ("HYPRIOT_EVENT", call.event.name().to_owned()),
        ("HYPRIOT_VERSION", call.version.clone()),
        ("HYPRIOT_TARGET", call.target.clone()),
    ];
    told.extend(
        call.outcome
            .map(|o| ("HYPRIOT_OUTCOME", o.name().to_owned())),
    );
    let cmd = match how {
        How::Child => told
            .iter()
            .fold(Cmd::new(path), |cmd, (k, v)| cmd.env(k, v))
            .timeout(limit),
        How::Service => {
            let limits = format!("RuntimeMaxSec={}", limit.as_secs().max(1));
            let cmd = Cmd::new("systemd-run").args([
                "--quiet",
                "--wait",
                "--collect",
                "--pipe",
                "--service-type=exec",
                "-p",
                &limits,
                "-p",
                "TimeoutStopSec=5",
            ]);
            told.iter()
                .fold(cmd, |cmd, (k, v)| cmd.arg(format!("--setenv={k}={v}")))
                .arg("--")
                .arg(path)
                // systemd ends it first, and all that it started
                .timeout(limit + Duration::from_secs(15))
        }
    };
    match cmd.run() {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal {
            again: matches!(
                &error,
                ExecError::Failed {
                    exit: Exit::Code(LATER),
                    ..
                }
            )
            .then_some(AGAIN),
            why: said(path, &error),
        }),
    }
}

/// The hook's own words, without what would write on a terminal.
fn said(path: &Path, error: &ExecError) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = match error {
        ExecError::Failed { exit, last, .. } if last.is_empty() => exit.to_string(),
        ExecError::Failed { exit, last, .. } => format!("{exit}: {last}"),
        other => other.to_string(),
    };
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    format!("{name}: {text}")
        .chars()
        .map(clean)
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests;
