//! The commands of the owner that change slots: parses nothing, prints what was done.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hypriot_updater::decide::{Automatic, Offer, Policy, Seen, Step, Why};
use hypriot_updater::record::Will;
use hypriot_updater::slot::Digest;

use super::{NOTHING, locked, open, print};
use crate::lock::Lock;
use crate::update::act::{self, Hands, Tell};
use crate::update::board::Session;
use crate::update::spool::{self, Spool};
use crate::update::{self, daemon, trial};

/// Nobody stands beside a stick who could try again. At the first start of a card all self-tests are run, which takes minutes.
const PATIENCE: u64 = 1200;
/// The word of `--json` for a board that has nothing to do.
const UP_TO_DATE: &str = "up-to-date";

pub(super) fn check(source: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let seen = board.see(&session);
    let url = source.or_else(|| board.settings.url.clone());
    let mut hands = Hands {
        url,
        will: Will::Settings,
        tell: &mut |_| (),
    };
    act::act(&Step::Ask, &seen, &mut board, &mut session, &mut hands)?;
    let (word, text, code) = match &session.offer {
        Offer::Release { release, hold } => match hold {
            None if seen.record.refusal(&release.digest).is_some() => (
                "refused",
                format!(
                    "{} is offered, but it failed here before (`status` says why)",
                    release.version
                ),
                NOTHING,
            ),
            None => (
                "available",
                format!(
                    "{} is offered; `hypriot-agent install` installs it",
                    release.version
                ),
                0,
            ),
            Some(why) => ("held", why.clone(), NOTHING),
        },
        Offer::UpToDate | Offer::Due => (
            UP_TO_DATE,
            format!("{} is the newest", seen.running),
            NOTHING,
        ),
        Offer::Nothing => (
            "nothing",
            "no update source is set, or it has nothing for this board".into(),
            NOTHING,
        ),
        Offer::Stuck(why) => ("stuck", why.clone(), NOTHING),
        Offer::Unreachable(why) => bail!("{why}"),
    };
    let version = if let Offer::Release { release, .. } = &session.offer {
        Some(release.version.to_string())
    } else {
        None
    };
    print(&if json {
        format!(
            "{}\n",
            serde_json::json!({ "result": word, "offered": version, "running": seen.running, "why": text })
        )
    } else {
        format!("{text}\n")
    });
    Ok(ExitCode::from(code))
}

/// How an installation ended, for `--json` and for people.
struct End {
    result: &'static str,
    why: String,
    code: u8,
}

pub(super) fn install(
    source: Option<String>,
    no_reboot: bool,
    only: Option<&semver::Version>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let ended = installed(source, no_reboot, only, json);
    let end = match ended {
        Err(error) if json => End {
            result: "failed",
            why: format!("{error:#}"),
            code: 1,
        },
        ended => ended?,
    };
    let End { result, why, code } = end;
    print(&if json {
        let line = serde_json::json!({ "event": "end", "result": result, "why": why });
        format!("{line}\n")
    } else {
        format!("{why}\n")
    });
    Ok(ExitCode::from(code))
}

/// Installs what the repository offers, and restarts to try it. Gives whether the board has it then, and in which words.
pub(super) fn by_hand(source: &str) -> anyhow::Result<(bool, String)> {
    let lock = super::lock_within(PATIENCE)?.context(super::BUSY)?;
    let end = install_with(&lock, Some(source.to_owned()), false, None, false)?;
    Ok((end.code == 0 || end.result == UP_TO_DATE, end.why))
}

fn installed(
    source: Option<String>,
    no_reboot: bool,
    only: Option<&semver::Version>,
    json: bool,
) -> anyhow::Result<End> {
    let spool = received(source.as_deref())?;
    let source = match &spool {
        Some(spool) => Some(spool.path().display().to_string()),
        None => source,
    };
    install_with(&locked()?, source, no_reboot, only, json)
}

fn install_with(
    _lock: &Lock,
    source: Option<String>,
    no_reboot: bool,
    only: Option<&semver::Version>,
    json: bool,
) -> anyhow::Result<End> {
    let (mut board, mut session) = (open()?, Session::default());
    let url = source.or_else(|| board.settings.url.clone());
    let will = if no_reboot {
        Will::AtRestart
    } else {
        Will::Now
    };
    let mut shown = String::new();
    let mut tell = |told: Tell<'_>| show(told, json, &mut shown);
    let mut hands = Hands {
        url,
        will,
        tell: &mut tell,
    };
    let reboot = if no_reboot {
        Automatic::No
    } else {
        Automatic::Yes
    };
    let policy = Policy {
        install: Automatic::Yes,
        reboot,
        will,
        ..board.settings.policy
    };
    if let Some(only) = only {
        // What is asked for here is what is installed below: nobody asks the repository again.
        let seen = board.see(&session);
        if seen.record.pending.is_none() {
            act::act(&Step::Ask, &seen, &mut board, &mut session, &mut hands)?;
        }
        if let Some(end) = other(only, &board.see(&session)) {
            return Ok(end);
        }
    }
    // each step brings the update nearer to an end; the bound is for a board that cannot make up its mind
    for _ in 0..20 {
        let (seen, step, done) = act::turn(&mut board, &mut session, &policy, &mut hands);
        done?;
        if let Step::Wait(why) = step {
            return waited(&seen, &why);
        }
    }
    bail!("the update does not come to an end; `hypriot-agent status` shows how things stand")
}

/// What comes through standard input, if it is to; before the lock is taken, since a line may be slow.
fn received(source: Option<&str>) -> anyhow::Result<Option<Spool>> {
    if source != Some("-") {
        return Ok(None);
    }
    let (directory, lock) = (Path::new(spool::DIRECTORY), Path::new(spool::LOCK));
    Spool::receive(directory, lock, std::io::stdin().lock()).map(Some)
}

/// Why another version than `only` would be installed, or none.
fn other(only: &semver::Version, seen: &Seen) -> Option<End> {
    let end = |result, why| {
        Some(End {
            result,
            why,
            code: NOTHING,
        })
    };
    if let Some(pending) = &seen.record.pending {
        let version = &pending.release.version;
        if version == only {
            return None;
        }
        return end(
            "other-version",
            format!("{version} is on its way here, not {only}"),
        );
    }
    match &seen.offer {
        Offer::Release { release, .. } if release.version == *only => None,
        Offer::Release { release, .. } => end(
            "other-version",
            format!("{} is offered, not {only}", release.version),
        ),
        _ if seen.running == *only => end(UP_TO_DATE, format!("{only} runs already")),
        // waited for below, and said there
        Offer::Unreachable(_) => None,
        _ => end("nothing", format!("{only} is not offered any more")),
    }
}

fn waited(seen: &Seen, why: &Why) -> anyhow::Result<End> {
    if let Offer::Unreachable(_) = seen.offer {
        bail!("{why}");
    }
    let (result, code) = match why {
        _ if seen.boot.trial.is_some() => ("armed", 0),
        Why::Refused(_) | Why::State { .. } => ("refused", NOTHING),
        Why::UpToDate => (UP_TO_DATE, NOTHING),
        _ => ("waits", NOTHING),
    };
    Ok(End {
        result,
        why: why.to_string(),
        code,
    })
}

/// One line for each new stage and each tenth of it.
fn show(told: Tell<'_>, json: bool, shown: &mut String) {
    let line = match told {
        Tell::Installing(release, p) if json => serde_json::json!({
            "event": "installing",
            "version": release.version,
            "stage": daemon::stage_name(p.stage),
            "percent": p.done * 100 / p.total.max(1),
        })
        .to_string(),
        Tell::Installed(release, s) if json => serde_json::json!({
            "event": "installed",
            "version": release.version,
            "segments": s.total,
            "written": s.written,
            "fetched": s.fetched,
            "lent": s.lent,
            "neighbours": s.neighbours,
            "delta_from": s.delta_from,
            "worn": s.worn,
        })
        .to_string(),
        Tell::Rebooting if json => serde_json::json!({ "event": "rebooting" }).to_string(),
        Tell::Installing(release, p) => format!(
            "{}: {} {} %",
            release.version,
            daemon::stage_name(p.stage),
            p.done * 10 / p.total.max(1) * 10
        ),
        Tell::Installed(release, s) => format!("{}: {s}", release.version),
        Tell::Rebooting => "restarting the board".into(),
    };
    if *shown != line {
        print(&format!("{line}\n"));
        *shown = line;
    }
}

pub(super) fn commit() -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let seen = board.see(&session);
    if seen.on_trial().is_none() {
        print("no trial is going on in this slot\n");
        return Ok(ExitCode::from(NOTHING));
    }
    let mut quiet = |_: Tell<'_>| ();
    let mut hands = Hands::offline(&mut quiet);
    act::act(
        &Step::Commit(seen.booted),
        &seen,
        &mut board,
        &mut session,
        &mut hands,
    )?;
    print(&format!("slot {} is the default now\n", seen.booted));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn roll_back(newer_state: bool) -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let seen = board.see(&session);
    let mut quiet = |_: Tell<'_>| ();
    let mut hands = Hands::offline(&mut quiet);
    if seen.on_trial().is_some() {
        act::act(
            &Step::Fail(vec!["the owner ended the trial".into()]),
            &seen,
            &mut board,
            &mut session,
            &mut hands,
        )?;
    } else {
        print("running the self-tests, which the older release is compared with\n");
        let tested = act::act(&Step::SelfTest, &seen, &mut board, &mut session, &mut hands);
        if let Err(error) = tested {
            tracing::warn!("the self-tests cannot run: {error:#}; every failure will count");
        }
        let release = trial::roll_back(&seen, &mut board, &session, newer_state)?;
        print(&format!("going back to {}\n", release.version));
        let seen = board.see(&session);
        act::act(
            &Step::RebootToTry,
            &seen,
            &mut board,
            &mut session,
            &mut hands,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn drill(replace: bool, json: bool) -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let mut shown = String::new();
    let mut say = |event: &str, percent: u64, words: String| {
        let line = if json {
            serde_json::json!({ "event": event, "percent": percent }).to_string()
        } else {
            words
        };
        if line != shown {
            print(&format!("{line}\n"));
            shown = line;
        }
    };
    let mut quiet = |_: Tell<'_>| ();
    let mut hands = Hands {
        url: None,
        will: Will::Now,
        tell: &mut quiet,
    };
    let seen = board.see(&session);
    say(
        "self-tests",
        0,
        "running the self-tests, which the trial is compared with".into(),
    );
    act::act(&Step::SelfTest, &seen, &mut board, &mut session, &mut hands)?;
    let seen = board.see(&session);
    update::drill::begin(replace, &seen, &mut board, &session, &mut |done, total| {
        let percent = done * 10 / total.max(1) * 10;
        say(
            "copying",
            percent,
            format!("copying the running slot: {percent} %"),
        );
    })?;
    say(
        "armed",
        100,
        "the board restarts into a trial that fails, and comes back; `hypriot-agent status` then says how it went".into(),
    );
    let policy = Policy {
        will: Will::Now,
        ..board.settings.policy
    };
    for _ in 0..20 {
        let (_, step, done) = act::turn(&mut board, &mut session, &policy, &mut hands);
        done?;
        if let Step::Wait(why) = step {
            print(&format!(
                "{why}\nthe drill goes on by itself when that is over\n"
            ));
            return Ok(ExitCode::from(NOTHING));
        }
    }
    bail!("the drill does not begin; `hypriot-agent why` shows what it waits for")
}

pub(super) fn forgive(text: &str) -> anyhow::Result<ExitCode> {
    let (_lock, mut board) = (locked()?, open()?);
    let mut record = board.store.record()?;
    let matching: Vec<Digest> = record
        .refused
        .iter()
        .map(|r| r.release.digest)
        .filter(|d| text.len() >= 6 && d.to_string().starts_with(text))
        .collect();
    match matching.as_slice() {
        [digest] => {
            record.forgive(digest);
            board.store.save(&record)?;
            board.boot.forgive(&digest.short())?;
            print("it may be installed again\n");
            Ok(ExitCode::SUCCESS)
        }
        [] => {
            print("no refused release has a digest that starts so (at least 6 digits)\n");
            Ok(ExitCode::from(NOTHING))
        }
        _ => bail!("several refused releases start so; give more digits"),
    }
}
