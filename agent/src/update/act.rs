//! Performs one step. What the step is, [`hypriot_updater::decide`] said; in which order it writes stands there too.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::boot::Phase;
use hypriot_updater::decide::{Offer, Seen, Step};
use hypriot_updater::health::{self, TestResult};
use hypriot_updater::index::Target;
use hypriot_updater::record::{Attempt, Outcome, Pending};
use hypriot_updater::slot::{Digest, Release, Slot};

use crate::card::ports::{Bootloader, Disk, TrialChange};
use crate::exec::Cmd;
use crate::selftest;
use crate::update::board::{self, Board, JUDGED, Session};
use crate::update::install::{self, Progress};
use crate::update::offer::{Hurry, Repository};
use crate::update::store::FailureReport;

/// Off trial nobody waits for the self-tests, so they may take this long.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// What an act needs besides the board.
pub struct Hands<'a> {
    /// The repository that was asked last.
    pub repository: Option<Repository>,
    /// Where updates come from.
    pub url: Option<String>,
    /// How its rollouts are looked at.
    pub hurry: Hurry,
    /// The clock, as it is now.
    pub clock: &'a dyn Fn() -> Timestamp,
    /// Hears how far a long step is. Called often enough for a watchdog.
    pub tell: &'a mut dyn FnMut(Tell<'_>),
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// What is told while a step is done.
#[derive(Debug, Clone, Copy)]
pub enum Tell<'a> {
    /// An installation goes on.
    Installing(&'a Release, Progress),
    /// It is done.
    Installed(&'a Release, install::Summary),
    /// The board restarts.
    Rebooting,
}

impl<'a> Hands<'a> {
    /// For steps that ask no repository.
    pub fn offline(clock: &'a dyn Fn() -> Timestamp, tell: &'a mut dyn FnMut(Tell<'_>)) -> Self {
        Self {
            repository: None,
            url: None,
            hurry: Hurry::No,
            clock,
            tell,
        }
    }

    /// The time as far as anybody trusted knows it: never before what was signed already.
    fn now(&self, board: &Board) -> Timestamp {
        let floor = self
            .repository
            .as_ref()
            .map_or(board.settings.built, Repository::floor);
        (self.clock)().max(floor)
    }
}

/// Does `step`. [`Step::Wait`] does nothing.
pub fn act(
    step: &Step,
    seen: &Seen,
    board: &mut Board,
    session: &mut Session,
    hands: &mut Hands<'_>,
) -> anyhow::Result<()> {
    match step {
        Step::Wait(_) => Ok(()),
        Step::Ask => {
            session.offer = ask(seen, board, hands);
            Ok(())
        }
        Step::SelfTest => {
            let results = self_test(seen, board)?;
            session.tested = board::uptime()?;
            renew_baseline(&results, seen, board)?;
            session.tests = Some(results);
            Ok(())
        }
        Step::Install { into, release } => match install(*into, release, board, hands) {
            Ok(()) => Ok(()),
            Err(error) => {
                // tried again after the next question; what was written is not written twice
                session.offer =
                    Offer::Unreachable(format!("installing {}: {error:#}", release.version));
                Err(error)
            }
        },
        Step::Arm { slot, release } => arm(*slot, release, seen, board, session),
        Step::Retry(slot) => retry(*slot, seen, board, session),
        Step::RebootToTry => {
            let mut record = seen.record.clone();
            if let Some(pending) = &mut record.pending {
                pending.ignored += 1;
            }
            board.memory.save(&record)?;
            reboot(hands)
        }
        Step::Commit(slot) => {
            board.boot.commit(*slot).context("committing the slot")?;
            settle(Outcome::Confirmed, &[], seen, board, hands.now(board))
        }
        Step::Fail(reasons) => {
            fail(reasons, seen, board)?;
            reboot(hands)
        }
        Step::RebootBack => reboot(hands),
        Step::Settle(outcome, reasons) => {
            settle(*outcome, reasons, seen, board, hands.now(board))?;
            if seen.boot.trial.is_some() {
                board
                    .boot
                    .change(TrialChange::Cancel)
                    .context("clearing the trial")?;
            }
            Ok(())
        }
        Step::Adopt(slot) => {
            let reason = format!(
                "slot {} did not load; slot {slot} runs and is kept",
                seen.boot.default
            );
            tracing::warn!("{reason}");
            settle(Outcome::Unknown, &[reason], seen, board, hands.now(board))?;
            board.boot.commit(*slot).context("keeping the running slot")
        }
    }
}

fn ask(seen: &Seen, board: &Board, hands: &mut Hands<'_>) -> Offer {
    let Some(url) = hands.url.clone() else {
        return Offer::Nothing;
    };
    let answer = Repository::ask(
        &url,
        &board.memory.trust(),
        &board.settings,
        (hands.clock)(),
    )
    .and_then(|repository| Ok((board::id()?, repository)));
    match answer {
        Ok((id, repository)) => {
            let now = (hands.clock)().max(repository.floor());
            let offer = repository.offer(&id, &seen.running, &seen.record, hands.hurry, now);
            hands.repository = Some(repository);
            offer
        }
        Err(error) => Offer::Unreachable(format!("{error:#}")),
    }
}

/// Runs the self-tests; on trial they must be done before the deadline.
fn self_test(seen: &Seen, board: &Board) -> anyhow::Result<Vec<TestResult>> {
    let on_trial = seen
        .boot
        .trial
        .as_ref()
        .is_some_and(|t| t.slot == board.booted);
    let left = Duration::from_secs(
        board
            .settings
            .policy
            .trial_deadline
            .saturating_sub(seen.uptime),
    );
    selftest::judge(
        &board.settings.board,
        board.settings.built,
        if on_trial { left } else { PATIENCE },
    )
}

/// While the other slot is armed, the newest results are what its trial is compared with.
fn renew_baseline(results: &[TestResult], seen: &Seen, board: &Board) -> anyhow::Result<()> {
    let armed = seen
        .boot
        .trial
        .as_ref()
        .is_some_and(|t| t.slot != seen.booted && t.phase == Phase::Armed);
    let mut record = seen.record.clone();
    match &mut record.pending {
        Some(pending) if armed => pending.baseline = health::baseline(results),
        _ => return Ok(()),
    }
    board.memory.save(&record)
}

fn install(
    into: Slot,
    release: &Release,
    board: &Board,
    hands: &mut Hands<'_>,
) -> anyhow::Result<()> {
    let Some(repository) = &hands.repository else {
        bail!("the repository was not asked yet")
    };
    board.card.check_table()?;
    let index = repository.index(release, &board.settings.board)?;
    let mut record = board.memory.record()?;
    record.set_content(into, None);
    board.memory.save(&record)?;
    let open = |target: Target| -> anyhow::Result<Box<dyn Disk>> {
        Ok(Box::new(board.card.open_idle(&target.partition(into))?))
    };
    let mut disks = [open(Target::Boot)?, open(Target::Root)?];
    let tell = &mut hands.tell;
    let summary = install::install(&index, repository.source(), &mut disks, &mut |p| {
        tell(Tell::Installing(release, p));
    })?;
    record.set_content(into, Some(release.clone()));
    board.memory.save(&record)?;
    tell(Tell::Installed(release, summary));
    Ok(())
}

fn fresh_baseline(session: &Session) -> Vec<TestResult> {
    session
        .tests
        .as_deref()
        .map(health::baseline)
        .unwrap_or_default()
}

fn arm(
    slot: Slot,
    release: &Release,
    seen: &Seen,
    board: &mut Board,
    session: &Session,
) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    // after a power cut between the two writes it is pending already, with a baseline that may be old
    let before = record.pending.take().filter(|p| p.release == *release);
    record.pending = Some(Pending {
        release: release.clone(),
        slot,
        baseline: fresh_baseline(session),
        lost: before.as_ref().map_or(0, |p| p.lost),
        ignored: before.as_ref().map_or(0, |p| p.ignored),
    });
    if record.content(seen.booted).is_none() {
        // what was flashed has no index, so no digest; its version is enough to go back to it by hand
        record.set_content(
            seen.booted,
            Some(Release {
                version: seen.running.clone(),
                digest: Digest([0; 32]),
            }),
        );
    }
    board.memory.save(&record)?;
    board
        .boot
        .try_once(slot, &release.digest.short())
        .context("arming the slot")
}

/// Goes back to what lies in the other slot, as a trial of its own; what runs now is not installed again by itself.
pub fn roll_back(
    seen: &Seen,
    board: &mut Board,
    session: &Session,
    at: Timestamp,
) -> anyhow::Result<Release> {
    if seen.boot.trial.is_some() {
        bail!("a trial is going on; it ends by itself, or by restarting the board");
    }
    let slot = !seen.booted;
    let mut record = seen.record.clone();
    let Some(release) = record.content(slot).cloned() else {
        bail!("slot {slot} holds nothing complete to go back to");
    };
    if let Some(running) = record.content(seen.booted).cloned() {
        record.refuse(running, vec!["the owner rolled it back".into()], at);
    }
    record.pending = Some(Pending {
        release: release.clone(),
        slot,
        // an unplugged cable must not veto the owner's way back either
        baseline: fresh_baseline(session),
        lost: 0,
        ignored: 0,
    });
    board.memory.save(&record)?;
    board
        .boot
        .try_once(slot, &release.digest.short())
        .context("arming the slot")?;
    Ok(release)
}

fn retry(slot: Slot, seen: &Seen, board: &mut Board, session: &Session) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    let pending = record.pending.as_mut().context("no update is pending")?;
    pending.lost += 1;
    pending.ignored = 0;
    pending.baseline = fresh_baseline(session);
    let id = pending.release.digest.short();
    tracing::warn!(
        "the trial of {} ended without a verdict; trying once more",
        pending.release.version
    );
    board.memory.save(&record)?;
    board
        .boot
        .try_once(slot, &id)
        .context("arming the slot again")
}

/// Records how the pending update ended. Nothing is pending when a trial was made by hand and its record lost.
fn settle(
    outcome: Outcome,
    reasons: &[String],
    seen: &Seen,
    board: &Board,
    at: Timestamp,
) -> anyhow::Result<()> {
    let mut record = seen.record.clone();
    let Some(pending) = record.pending.clone() else {
        return Ok(());
    };
    tracing::info!(
        "update to {} in slot {}: {outcome:?} {}",
        pending.release.version,
        pending.slot,
        reasons.join("; ")
    );
    let Pending { release, slot, .. } = pending;
    record.settle(Attempt {
        release,
        slot,
        outcome,
        reasons: reasons.to_vec(),
        at,
    });
    board.memory.save(&record)
}

/// Leaves the reasons for the other slot, then gives the trial up.
pub fn fail(reasons: &[String], seen: &Seen, board: &mut Board) -> anyhow::Result<()> {
    let Some(trial) = &seen.boot.trial else {
        bail!("no trial is going on")
    };
    tracing::error!("this slot failed its trial: {}", reasons.join("; "));
    let lines = |program: &str, arguments: &[&str]| -> Vec<String> {
        let printed = Cmd::new(program)
            .args(arguments)
            .timeout(Duration::from_secs(10))
            .run();
        // the report is worth having without them
        printed.map_or_else(
            |e| vec![e.to_string()],
            |o| {
                String::from_utf8_lossy(&o.stdout)
                    .lines()
                    .map(str::to_owned)
                    .collect()
            },
        )
    };
    board.memory.leave_failure(&FailureReport {
        trial: trial.id.clone(),
        reasons: reasons.to_vec(),
        kernel_log: lines(
            "journalctl",
            &[
                "-k",
                "-b",
                "-n",
                "50",
                "--no-pager",
                "-o",
                "short-monotonic",
            ],
        ),
        failed_units: lines(
            "systemctl",
            &[
                "list-units",
                "--failed",
                "--plain",
                "--no-legend",
                "--no-pager",
            ],
        ),
    })?;
    File::create(JUDGED).with_context(|| format!("making {JUDGED}"))?;
    board
        .boot
        .change(TrialChange::Fail)
        .context("marking the trial failed")
}

/// An orderly restart; a hard one if that hangs. Does not come back.
fn reboot(hands: &mut Hands<'_>) -> anyhow::Result<()> {
    (hands.tell)(Tell::Rebooting);
    Cmd::new("systemctl")
        .arg("reboot")
        .run()
        .context("asking systemd to restart the board")?;
    for _ in 0..12 {
        // systemd ends this process while it waits here
        std::thread::sleep(Duration::from_secs(10));
        (hands.tell)(Tell::Rebooting);
    }
    tracing::error!("the orderly restart hangs; restarting hard");
    Cmd::new("systemctl")
        .args(["reboot", "--force", "--force"])
        .run()
        .context("restarting hard")?;
    bail!("the board does not restart")
}
