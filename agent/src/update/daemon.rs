//! The daemon: look, decide, act, tell systemd; and beside it a report of the board every few seconds.
//!
//! The loop keeps nothing that it could not find out again, so it may be killed at any point. On a system without slots
//! there is nothing to decide: the self-tests of this boot, then the report alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Offer, Seen, Step, Tests, decide};

use crate::config::Settings;
use crate::probe::{self, Root};
use crate::report::{self, Report, TestsView, UpdateView};
use crate::selftest;
use crate::system::{NoSlots, Plain};
use crate::update::act::{self, Hands, Tell};
use crate::update::board::{self, Board, Lock, Session};
use crate::update::install::Stage;
use crate::update::offer::Hurry;

/// Held by whoever decides and acts.
pub const LOCK: &str = "/run/hypriot/lock";
/// The report is this fresh.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// systemd's watchdog wants to hear from us several times in `WatchdogSec=`.
const PULSE: Duration = Duration::from_secs(5);

/// What the loop tells the report.
#[derive(Debug, Default)]
struct Shared {
    update: UpdateView,
    selftests: Option<TestsView>,
    floor: Timestamp,
}

/// The clock. The only place of the agent that reads it.
pub fn clock() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the outermost loop, where the clock is read"
    )]
    let now = SystemTime::now();
    seconds(now)
}

fn seconds(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_secs()))
}

/// The date of this program: on a system without slots no time before it can be right.
pub fn program_date() -> anyhow::Result<Timestamp> {
    let program = std::fs::metadata("/proc/self/exe").and_then(|meta| meta.modified());
    let date = program.context("looking at the date of this program")?;
    Ok(seconds(date))
}

/// Runs until systemd ends it.
pub fn run(mut board: Board) -> anyhow::Result<()> {
    let shared = Arc::new(Mutex::new(Shared {
        floor: board.settings.built,
        ..Shared::default()
    }));
    let mut session = Session::default();
    // before the first report, which must not look like that of a system without slots
    publish(&shared, &board.see(&session)?, None);
    let Settings {
        board: name,
        version,
        ..
    } = &board.settings;
    report_forever(name.clone(), version.to_string(), &shared);
    let mut repository = None;
    let mut asked = 0;
    let Settings { version, url, .. } = &board.settings;
    tracing::info!(
        "{version} runs in slot {}; updates from {}",
        board.booted,
        url.as_deref().unwrap_or("nowhere")
    );
    loop {
        pulse("");
        let Some(lock) = Lock::try_take(Path::new(LOCK))? else {
            // a command of the owner is at work
            thread::sleep(PULSE);
            continue;
        };
        let seen = board.see(&session)?;
        publish(&shared, &seen, None);
        let step = next(&seen, &board);
        tell_systemd(&step, &seen);
        let mut hands = Hands {
            repository: repository.take(),
            url: board.settings.url.clone(),
            hurry: Hurry::No,
            clock: &clock,
            tell: &mut |told| hear(&shared, &seen, told),
        };
        let done = act::act(&step, &seen, &mut board, &mut session, &mut hands);
        repository = hands.repository;
        if let (Step::SelfTest, Some(results)) = (&step, &session.tests) {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.selftests = Some(selftest::summarise(results, clock()));
        }
        if step == Step::Ask {
            asked = board::uptime()?;
        }
        if let Err(error) = done {
            tracing::error!("{error:#}");
            thread::sleep(PULSE);
        }
        drop(lock);
        if matches!(step, Step::Wait(_)) {
            if board::uptime()?.saturating_sub(asked) >= board.settings.poll {
                session.offer = Offer::Due;
            }
            thread::sleep(PULSE);
        }
    }
}

/// On a system without slots: runs until systemd ends it. `floor` is a time that has passed for sure.
pub fn plain(system: &Plain, floor: Timestamp) -> anyhow::Result<()> {
    let shared = Arc::new(Mutex::new(Shared {
        update: Plain::view(),
        selftests: None,
        floor,
    }));
    report_forever(system.name.clone(), system.version.clone(), &shared);
    tracing::info!("{} {}: {NoSlots}", system.name, system.version);
    pulse("STATUS=running self-tests");
    let results = selftest::judge(&system.name, floor, act::PATIENCE)?;
    let view = selftest::summarise(&results, clock());
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .selftests = Some(view);
    loop {
        pulse(&format!("STATUS={NoSlots}"));
        thread::sleep(PULSE);
    }
}

/// The decision; and when there is nothing to decide, the self-tests of this boot, so that their result is known.
fn next(seen: &Seen, board: &Board) -> Step {
    match decide(seen, &board.settings.policy) {
        Step::Wait(_) if seen.tests == Tests::NotRun => Step::SelfTest,
        step => step,
    }
}

fn hear(shared: &Mutex<Shared>, seen: &Seen, told: Tell<'_>) {
    match told {
        Tell::Installing(release, p) => {
            let (percent, stage) = (p.done * 100 / p.total.max(1), stage_name(p.stage));
            pulse(&format!(
                "STATUS=installing {}: {stage} {percent} %",
                release.version
            ));
            publish(shared, seen, Some("installing"));
        }
        Tell::Installed(release, s) => {
            tracing::info!(
                "{} written: {} of {} segments, {} bytes fetched",
                release.version,
                s.written,
                s.total,
                s.fetched
            );
        }
        Tell::Rebooting => pulse("STATUS=restarting the board"),
    }
}

/// What a stage of an installation is called.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Survey => "looking at what is there",
        Stage::Write => "writing",
        Stage::ReadBack => "reading back",
    }
}

fn tell_systemd(step: &Step, seen: &Seen) {
    let status = match step {
        Step::Wait(why) => format!("{} runs in slot {}: {why}", seen.running, seen.booted),
        Step::Ask => "asking for updates".into(),
        Step::SelfTest => "running self-tests".into(),
        other => format!("{other:?}"),
    };
    tracing::debug!("{status}");
    pulse(&format!("STATUS={status}"));
}

/// Ready, alive, and what we do. systemd not listening is no reason to stop.
fn pulse(status: &str) {
    let alive = [
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Watchdog,
    ];
    let text = status
        .strip_prefix("STATUS=")
        .map(sd_notify::NotifyState::Status);
    let all: Vec<_> = alive.into_iter().chain(text).collect();
    drop(sd_notify::notify(&all));
}

fn publish(shared: &Mutex<Shared>, seen: &Seen, phase: Option<&str>) {
    let mut view = board::view(seen);
    if let Some(phase) = phase {
        view.phase = phase.into();
    }
    shared.lock().unwrap_or_else(PoisonError::into_inner).update = view;
}

/// Looks at the board every few seconds and leaves the report for the HTTP half.
fn report_forever(name: String, version: String, shared: &Arc<Mutex<Shared>>) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let (root, mut meter) = (Root::default(), probe::Meter::default());
        let mut previous: Option<Report> = None;
        loop {
            let (update, selftests, time_floor) = {
                let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                (
                    shared.update.clone(),
                    shared.selftests.clone(),
                    shared.floor,
                )
            };
            let context = probe::Context {
                board: name.clone(),
                version: version.clone(),
                update,
                selftests,
                time_floor,
                vitals: meter.read(),
                previous: previous.as_ref(),
            };
            let report = probe::collect(&root, &context, clock());
            if let Err(error) = report.store(Path::new(report::PATH)) {
                tracing::error!("{error:#}");
            }
            previous = Some(report);
            thread::sleep(REPORT_EVERY);
        }
    });
}
