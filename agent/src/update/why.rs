//! Why the board is, or is not, updating, and after a rollback what failed: `status` says how things stand, this says
//! what follows from it and what to do.
//!
//! A pure function of what was looked at; `cli/why.rs` looks and prints.

use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::terms::is_kept;
use hypriot_updater::decide::{Offer, Policy, Seen, Step, Trouble, Why, decide};
use hypriot_updater::record::{Attempt, Outcome};
use hypriot_updater::slot::Slot;
use serde::Serialize;

use crate::report::{Report, Status};
use crate::update::store::FailureReport;

/// Everything the answer depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the update loop sees; its offer is that of a moment ago.
    pub seen: &'a Seen,
    /// What the owner set.
    pub policy: Policy,
    /// Where updates come from.
    pub url: Option<&'a str>,
    /// Whether neighbours may give what they have.
    pub neighbours: bool,
    /// What a failed trial left.
    pub failure: Option<FailureReport>,
    /// The agent's last look at the board, if there is one.
    pub report: Option<&'a Report>,
    /// The clock, and a time that has passed for sure.
    pub clock: (Timestamp, Timestamp),
}

/// The answer; the shape is stable, fields are only added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// How it stands.
    pub state: State,
    /// That in a sentence.
    pub because: String,
    /// What to do about it, if anything.
    pub fix: Option<String>,
    /// What also stands in the way, or soon may.
    pub also: Vec<Obstacle>,
    /// What became of the last update, if it was not kept.
    pub rollback: Option<Rollback>,
}

impl Answer {
    /// When nobody else may look, because the agent is at work.
    pub fn busy(because: &str) -> Self {
        Self {
            state: State::Updating,
            because: because.into(),
            fix: None,
            also: Vec::new(),
            rollback: None,
        }
    }
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing newer is there.
    UpToDate,
    /// Something is under way and comes to an end by itself.
    Updating,
    /// Something newer is there or may be there, and it is waited for a time, a person or a repair.
    Waiting,
}

/// One thing in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// An update that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollback {
    /// What was tried.
    pub version: String,
    /// Where it lay.
    pub slot: Slot,
    /// How it ended.
    pub outcome: Outcome,
    /// When that was seen.
    pub at: Timestamp,
    /// What failed, one line each.
    pub reasons: Vec<String>,
    /// Units that had failed, by the report of the failing slot.
    pub failed_units: Vec<String>,
    /// The last lines of its kernel log.
    pub kernel_log: Vec<String>,
}

/// Checks of the report that can keep an update from starting or succeeding.
const RELATED: [&str; 5] = ["card-errors", "card-wear", "clock", "disk-data", "power"];

/// Answers.
pub fn answer(facts: &Facts<'_>) -> Answer {
    let (state, because, fix) = standing(facts);
    let mut also = Vec::new();
    let (clock, floor) = facts.clock;
    if clock < floor {
        also.push(Obstacle {
            what: format!(
                "the clock says {clock}, but it is {floor} at least; certificates are judged by the later one"
            ),
            fix: Some("let it reach a time server: timedatectl timesync-status".into()),
        });
    }
    let checks = facts.report.iter().flat_map(|r| &r.checks);
    let related = checks
        .filter(|(name, check)| RELATED.contains(&name.as_str()) && check.status != Status::Pass)
        .map(|(name, check)| Obstacle {
            what: format!("{name}: {}", check.output),
            fix: check.fix.clone(),
        });
    also.extend(related);
    also.extend(terms(facts));
    Answer {
        state,
        because,
        fix,
        also,
        rollback: rollback(facts),
    }
}

/// What will also be asked before the board restarts.
fn terms(facts: &Facts<'_>) -> Vec<Obstacle> {
    let seen = facts.seen;
    let mut all: Vec<Obstacle> = Vec::new();
    let inhibited = matches!(decide(seen, &facts.policy), Step::Wait(Why::Inhibited(_)));
    if !inhibited {
        all.extend(seen.terms.inhibitors.iter().map(|who| Obstacle {
            what: format!("a restart is put off by {who}"),
            fix: Some(INHIBITED.into()),
        }));
    }
    if let Some(held) = &seen.record.lock
        && is_kept(&seen.record, held)
    {
        all.push(Obstacle {
            what: format!(
                "the lock of {} is kept, so that no other board tries what failed here",
                held.url
            ),
            fix: Some("hypriot-agent unlock, when others may go on".into()),
        });
    }
    if let (false, Offer::Release { release, .. }) = (facts.neighbours, &seen.offer)
        && release.version > seen.running
    {
        all.push(Obstacle {
            what: "neighbours are switched off: all of it comes from the update source".into(),
            fix: None,
        });
    }
    if let Some(why) = &seen.terms.after {
        all.push(Obstacle {
            what: format!("hooks of after an update: {why}"),
            fix: None,
        });
    }
    all
}

const INHIBITED: &str = "systemd-inhibit --list, and the files in /run/hypriot/inhibit.d and /data/hypriot/inhibit.d, show who and for how long";

/// What the lock service said to the agent that runs; this command has not asked it.
fn refused(facts: &Facts<'_>) -> Option<String> {
    facts.report?.update.lock.as_ref()?.refused.clone()
}

type Standing = (State, String, Option<String>);

fn standing(facts: &Facts<'_>) -> Standing {
    let seen = facts.seen;
    let updating = |because: String| (State::Updating, because, None);
    match decide(seen, &facts.policy) {
        Step::Wait(why) => waiting(facts, &why),
        // with nothing else to do the agent runs the self-tests of this boot once: the offer decides the answer
        Step::SelfTest if seen.boot.trial.is_none() => match &seen.offer {
            Offer::Release {
                release,
                hold: None,
            } if release.version > seen.running => updating(format!(
                "{} lies in the other slot; the self-tests run that its trial is compared with",
                release.version
            )),
            _ => offered(facts),
        },
        Step::SelfTest => updating(match &seen.boot.trial {
            Some(t) if t.slot == seen.booted => {
                format!("slot {} is on trial and its self-tests run", t.slot)
            }
            _ => "the self-tests run that the next trial is compared with".into(),
        }),
        Step::Ask | Step::Steady | Step::KeepLock => offered(facts),
        Step::Install { into, release } => updating(format!(
            "{} is offered and is installed into slot {into} next",
            release.version
        )),
        Step::Arm { slot, release } => updating(format!(
            "{} lies in slot {slot} and is armed next",
            release.version
        )),
        Step::Retry(slot) => updating(format!(
            "the trial of slot {slot} ended without a verdict (power cut, hang or panic); it is tried once more"
        )),
        Step::Lock(_) if refused(facts).is_some() => {
            waiting(facts, &Why::Locked(refused(facts).unwrap_or_default()))
        }
        Step::Lock(release) => updating(format!(
            "the lock service is asked, then the board restarts to try {}",
            release.version
        )),
        Step::Prepare(release) => updating(format!(
            "hooks run, then the board restarts to try {}",
            release.version
        )),
        Step::Disarm(slot) => updating(format!("slot {slot} is not tried now, and disarmed")),
        Step::After(after) => updating(format!("hooks run after the update to {}", after.version)),
        Step::RebootToTry => updating("a slot is armed; the board restarts to try it".into()),
        Step::Commit(slot) => updating(format!("slot {slot} proved good and is kept")),
        Step::Fail(reasons) => updating(format!(
            "this slot failed its trial and the board goes back: {}",
            reasons.join("; ")
        )),
        Step::RebootBack => updating("the trial was judged bad; the board goes back".into()),
        Step::Settle(outcome, _) => updating(format!(
            "the last trial ended ({}) and is being put on record",
            word(outcome)
        )),
        Step::Adopt(slot) => updating(format!(
            "the default slot did not come up; slot {slot} runs and is kept"
        )),
        Step::CameUp => updating("the boot loader is told that this start went well".into()),
    }
}

/// What the offer alone says: for steps that only prepare an answer.
fn offered(facts: &Facts<'_>) -> Standing {
    let seen = facts.seen;
    match &seen.offer {
        Offer::Due => (
            State::Waiting,
            "the update source has not been asked yet".into(),
            Some("hypriot-agent check asks it now".into()),
        ),
        Offer::Unreachable(why) => waiting(facts, &Why::Unreachable(why.clone())),
        Offer::Nothing => waiting(facts, &Why::NoOffer),
        Offer::UpToDate => waiting(facts, &Why::UpToDate),
        Offer::Release { release, .. } if release.version <= seen.running => {
            waiting(facts, &Why::UpToDate)
        }
        Offer::Release { release, .. } if seen.record.refusal(&release.digest).is_some() => {
            waiting(facts, &Why::Refused(release.digest))
        }
        Offer::Stuck(why) => waiting(facts, &Why::Hold(why.clone())),
        Offer::Release { release, hold } => {
            let held = || hold.clone().map(Why::Hold);
            let why = seen.too_new_for(release).or_else(held);
            waiting(
                facts,
                &why.unwrap_or_else(|| Why::OwnerInstalls(release.clone())),
            )
        }
    }
}

fn waiting(facts: &Facts<'_>, why: &Why) -> Standing {
    let source = facts.url.unwrap_or("nowhere");
    let running = &facts.seen.running;
    let wait = |because: String, fix: Option<&str>| (State::Waiting, because, fix.map(Into::into));
    match why {
        Why::UpToDate => (
            State::UpToDate,
            format!("{running} is the newest release for this board at {source}"),
            None,
        ),
        Why::NoOffer if facts.url.is_none() => wait(
            "no update source is set".into(),
            Some("set `url` under [update] in /etc/hypriot/agent.d/update.toml"),
        ),
        Why::NoOffer => wait(
            format!("{source} has no release for this board"),
            Some(
                "hypriot-agent check shows what it answers; the board's name must be the one it was published for",
            ),
        ),
        Why::Unreachable(why) => wait(
            format!("{source} cannot be used: {why}"),
            Some("hypriot-agent check tries it again, now"),
        ),
        Why::Refused(digest) => (
            State::Waiting,
            "the release that is offered failed on this board before".into(),
            Some(format!(
                "wait for the next release, or allow it again: hypriot-agent forgive {}",
                digest.short()
            )),
        ),
        Why::State { .. } => wait(
            why.to_string(),
            Some(
                "wait for a release that reads it; or put the data of before back and say so: hypriot-agent state restored",
            ),
        ),
        Why::Hold(why) => wait(
            format!("the release's rollout: {why}"),
            Some("wait, or hypriot-agent install takes it now"),
        ),
        Why::Held(hold) => wait(hold.to_string(), Some("hypriot-agent hold --release")),
        Why::Pinned(version) => wait(
            format!("the board is pinned to {version}"),
            Some("hypriot-agent pin --release"),
        ),
        Why::Downloaded(release) => wait(
            format!(
                "{} lies in the other slot, and trying it is by hand here",
                release.version
            ),
            Some("hypriot-agent install"),
        ),
        Why::Window(Some(_)) => wait(
            why.to_string(),
            Some("wait, or hypriot-agent install takes it now"),
        ),
        Why::Window(None) => wait(
            why.to_string(),
            Some("correct [[update.window]] in /etc/hypriot/agent.d"),
        ),
        Why::NoClock => wait(
            why.to_string(),
            Some("let it reach a time server: timedatectl timesync-status"),
        ),
        Why::Inhibited(_) => wait(why.to_string(), Some(INHIBITED)),
        Why::Locked(_) => wait(
            why.to_string(),
            Some("it is asked again by itself; whoever runs the service sees who has its lock"),
        ),
        Why::Hook(_) => wait(
            why.to_string(),
            Some("correct the hook in /etc/hypriot/hooks.d; it is tried again by itself"),
        ),
        Why::OwnerInstalls(release) => wait(
            format!(
                "{} is offered, and installing is by hand here",
                release.version
            ),
            Some("hypriot-agent install"),
        ),
        Why::OwnerReboots(slot) => wait(
            format!("slot {slot} is installed and armed, and restarting is by hand here"),
            Some("restart the board when it suits you: systemctl reboot"),
        ),
        Why::Trouble(trouble) => wait(trouble.to_string(), remedy(trouble)),
    }
}

/// What mends it, where the trouble does not say so itself.
const fn remedy(trouble: &Trouble) -> Option<&'static str> {
    match trouble {
        Trouble::DataLost => Some(
            "journalctl -k -b shows why; the how-to \"Recover\" says how a data partition is repaired",
        ),
        Trouble::Record(_) => {
            Some("make room on /data, or remount it for writing: df -h /data, findmnt /data")
        }
        Trouble::Settings(_) => {
            Some("correct or remove that file, then systemctl restart hypriot-agent")
        }
        Trouble::BootState(_) | Trouble::Card(_) => None,
    }
}

/// The last attempt, if it was not kept, with what its slot left behind when that is of the same trial.
fn rollback(facts: &Facts<'_>) -> Option<Rollback> {
    let Attempt {
        release,
        slot,
        outcome,
        reasons,
        at,
        ..
    } = facts
        .seen
        .record
        .last
        .clone()
        .filter(|a| a.outcome != Outcome::Confirmed)?;
    let left = facts
        .failure
        .as_ref()
        .filter(|f| f.trial == release.digest.short());
    Some(Rollback {
        version: release.version.to_string(),
        slot,
        outcome,
        at,
        reasons,
        failed_units: left.map(|f| f.failed_units.clone()).unwrap_or_default(),
        kernel_log: left.map(|f| f.kernel_log.clone()).unwrap_or_default(),
    })
}

/// How a trial ended, for people.
pub const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Confirmed => "kept",
        Outcome::Failed => "failed",
        Outcome::Unknown => "ended without a verdict",
        Outcome::NeverTried => "never started",
    }
}

#[cfg(test)]
pub(crate) mod tests;
