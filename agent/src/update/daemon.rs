//! The daemon: look, decide, act, tell systemd; and beside it a report of the board every few seconds.
//!
//! The loop keeps nothing that it could not find out again, so it may be killed at any point. On a system without slots
//! there is nothing to decide: the self-tests of this boot, then the report alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Policy, Seen, Step, decide};
use hypriot_updater::record::Will;

use super::act::{self, Hands, Tell};
use super::board::{self, Board, Session};
use super::heartbeat::{self, Heartbeat};
use super::install::Stage;
use super::machine::{self, PATIENCE, clock};
use super::ports::Machine as _;
use super::{spool, store};
use crate::card::canary;
use crate::config::Settings;
use crate::lock::Lock;
use crate::probe::{self, OwnerTests, Root};
use crate::report::{self, Report, TestsView, UpdateView};
use crate::selftest;
use crate::system::{NoSlots, Plain};

/// Held by whoever decides and acts. In a directory that root alone can enter, see [`Lock::try_take`].
pub const LOCK: &str = "/run/hypriot/private/lock";
/// The agent's folder where there is no data partition; the Debian package makes it.
const PLAIN: &str = "/var/lib/hypriot";
/// The report is this fresh.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// systemd's watchdog wants to hear from us several times in `WatchdogSec=`.
const PULSE: Duration = Duration::from_secs(5);
/// A step that fails is tried again after 5 s, 10 s, 20 s, … and at last this often.
const MOST_PATIENT: u32 = 6;
/// A lock that cannot be had for so many pulses (10 minutes) is said: an installation that long is rare, a stuck command is not.
const LOCKED_OUT: u32 = 120;

/// What the loop tells the report.
#[derive(Debug, Default)]
struct Shared {
    update: UpdateView,
    selftests: Option<TestsView>,
    owner_tests: OwnerTests,
    canary: canary::Known,
    floor: Timestamp,
}

/// Runs until systemd ends it.
pub fn run(mut board: Board) -> anyhow::Result<()> {
    let shared = Arc::new(Mutex::new(Shared {
        floor: board.settings.built,
        ..Shared::default()
    }));
    let mut session = Session::default();
    // before the first report, which must not look like that of a system without slots
    publish(
        &shared,
        &board.see(&session),
        &session,
        &board.settings.policy,
        None,
    );
    let Settings {
        board: name,
        version,
        url,
        ..
    } = &board.settings;
    report_forever(name.clone(), version.to_string(), &shared);
    selftest::unit::end_left();
    watch_forever(&shared);
    canary_forever(Path::new(store::DIRECTORY), &shared);
    tracing::info!(
        "{version} runs in slot {}; updates from {}",
        board.booted,
        url.as_deref().unwrap_or("nowhere")
    );
    if let Err(error) = board.boot.keep_local(board.settings.local) {
        tracing::warn!("the boot state does not learn who may ask for the health: {error}");
    }
    tidy_up();
    // before systemd hears from us, which then opens what is laid out here for the server
    match (&board.near, board.store.record()) {
        (Some(shelves), Ok(record)) => shelves.lay_out(&record),
        (None, _) | (_, Err(_)) => (),
    }
    let heart = Heartbeat::start(PULSE, alive);
    let mut locked_out = 0;
    loop {
        pulse("");
        let lock = match Lock::try_take(Path::new(LOCK)) {
            Ok(Some(lock)) => Some(lock),
            // a command of the owner is at work
            Ok(None) => {
                locked_out += 1;
                if locked_out % LOCKED_OUT == 0 {
                    tracing::warn!("{LOCK} is held for {} min: updates wait", locked_out / 12);
                }
                thread::sleep(PULSE);
                continue;
            }
            // two at once are worse than none, but a slot on trial must be judged
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        };
        locked_out = 0;
        let rest = one_turn(&mut board, &mut session, &shared, &heart);
        // Whoever rests holds nothing: else the owner's commands would wait for ever.
        drop(lock);
        for _ in 0..rest {
            pulse("");
            thread::sleep(PULSE);
        }
    }
}

/// Clears what power cuts and restarts left. Under the lock: nobody is replacing a file.
fn tidy_up() {
    let (lock, data) = (Lock::try_take(Path::new(LOCK)), Path::new(store::DIRECTORY));
    if !data.exists() || !matches!(lock, Ok(Some(_))) {
        return;
    }
    for error in store::sweep(data) {
        tracing::warn!("{error}");
    }
    // an installation from standard input ends with a restart, which leaves what it came from: as large as the release
    if let Err(error) = spool::clear_left(Path::new(spool::DIRECTORY), Path::new(spool::LOCK)) {
        tracing::warn!("{error:#}");
    }
}

/// Looks, decides and acts. Gives for how many pulses to rest before the next turn.
fn one_turn(
    board: &mut Board,
    session: &mut Session,
    shared: &Mutex<Shared>,
    heart: &Heartbeat,
) -> u32 {
    let seen = board.see(session);
    let policy = board.settings.policy;
    publish(shared, &seen, session, &policy, None);
    let next = decide(&seen, &policy);
    tell_systemd(&next, &seen);
    heart.grant(heartbeat::granted(&next, &seen));
    let mut hands = Hands {
        url: board.settings.url.clone(),
        will: Will::Settings,
        tell: &mut |told| {
            if matches!(told, Tell::Installing(..)) {
                heart.grant(heartbeat::SLOW);
            }
            hear(shared, &seen, &policy, told);
        },
    };
    let (_, step, done) = act::turn(board, session, &policy, &mut hands);
    heart.grant(Duration::ZERO);
    if let (Step::SelfTest, Some(results)) = (&step, &session.tests) {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.selftests = Some(selftest::summarise(results, clock()));
    }
    if let Err(error) = done {
        tracing::error!("{error:#}");
        publish(shared, &board.see(session), session, &policy, None);
        return pauses(session.failures);
    }
    u32::from(matches!(step, Step::Wait(_)))
}

/// How many pulses pass before a step that went wrong so often in a row is tried again.
fn pauses(failures: u32) -> u32 {
    1 << (failures.clamp(1, MOST_PATIENT) - 1)
}

/// On a system without slots: runs until systemd ends it. `floor` is a time that has passed for sure.
pub fn plain(system: &Plain, floor: Timestamp) -> anyhow::Result<()> {
    let shared = Arc::new(Mutex::new(Shared {
        update: Plain::view(),
        floor,
        ..Shared::default()
    }));
    report_forever(system.name.clone(), system.version.clone(), &shared);
    selftest::unit::end_left();
    watch_forever(&shared);
    canary_forever(Path::new(PLAIN), &shared);
    tracing::info!("{} {}: {NoSlots}", system.name, system.version);
    pulse("STATUS=running self-tests");
    let view = Some(Plain::view());
    let results = selftest::judge(&system.name, floor, view, clock(), PATIENCE)?;
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

fn hear(shared: &Mutex<Shared>, seen: &Seen, policy: &Policy, told: Tell<'_>) {
    match told {
        Tell::Installing(release, p) => {
            let (percent, stage) = (p.done * 100 / p.total.max(1), stage_name(p.stage));
            pulse(&format!(
                "STATUS=installing {}: {stage} {percent} %",
                release.version
            ));
            publish(
                shared,
                seen,
                &Session::default(),
                policy,
                Some("installing"),
            );
        }
        Tell::Installed(release, s) => {
            tracing::info!("{} written: {s}", release.version);
        }
        Tell::Rebooting => pulse("STATUS=restarting the board"),
    }
}

/// What a stage of an installation is called.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Survey => "looking at what is there",
        Stage::Write => "writing",
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

/// Alive, for the watchdog of another unit than the daemon's.
pub fn alive() {
    pulse("");
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

fn publish(
    shared: &Mutex<Shared>,
    seen: &Seen,
    session: &Session,
    policy: &Policy,
    phase: Option<&str>,
) {
    let mut view = board::view_of(seen, policy, session.error.as_deref());
    if let Some(phase) = phase {
        view.phase = phase.into();
    }
    shared.lock().unwrap_or_else(PoisonError::into_inner).update = view;
}

/// Runs the owner's tests again and again, beside everything else: one that hangs holds nothing up.
fn watch_forever(shared: &Arc<Mutex<Shared>>) {
    let shared = Arc::clone(shared);
    let know = move |known: OwnerTests| {
        shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .owner_tests = known;
    };
    thread::spawn(move || {
        let mut watch = selftest::owner::Watch::default();
        let mut first = true;
        loop {
            if !selftest::owner::Watch::is_needed() {
                know(OwnerTests::None);
                thread::sleep(selftest::owner::EVERY);
                continue;
            }
            if first {
                know(OwnerTests::Pending);
            }
            first = false;
            let (known, pause) = watch.look(clock());
            if let OwnerTests::Broken(why) = &known {
                tracing::error!("the owner's tests could not be run: {why}");
            }
            know(known);
            thread::sleep(pause);
        }
    });
}

/// Tries the card once a day, beside everything else: a dying one may hold up whoever writes to it for minutes.
fn canary_forever(folder: &'static Path, shared: &Arc<Mutex<Shared>>) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let uptime = || probe::uptime(&Root::default()).unwrap_or(0.0);
        canary::watch(folder, &machine::Board.boot_id(), uptime, |known| {
            shared.lock().unwrap_or_else(PoisonError::into_inner).canary = known;
        });
    });
}

/// Looks at the board every few seconds and leaves the report for the HTTP half.
fn report_forever(name: String, version: String, shared: &Arc<Mutex<Shared>>) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let (root, mut meter) = (Root::default(), probe::Meter::default());
        // That of before a restart of the agent: since when, and what grew lately. /run is of this boot.
        let mut previous: Option<Report> = Report::load(Path::new(report::PATH)).ok();
        loop {
            let (update, selftests, owner_tests, canary, time_floor) = {
                let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                (
                    shared.update.clone(),
                    shared.selftests.clone(),
                    shared.owner_tests.clone(),
                    shared.canary.clone(),
                    shared.floor,
                )
            };
            let context = probe::Context {
                board: name.clone(),
                version: version.clone(),
                update,
                selftests,
                owner_tests,
                canary,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_again_and_again_is_tried_ever_less() {
        let seconds = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|n| pauses(n) * 5);
        assert_eq!(seconds, [5, 5, 10, 20, 40, 80, 160, 160, 160]);
    }
}
