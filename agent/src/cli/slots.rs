//! The commands of the owner that change slots: parses nothing, prints what was done.

use std::process::ExitCode;

use anyhow::bail;
use hypriot_updater::decide::{Automatic, Offer, Policy, Seen, Step};
use hypriot_updater::slot::Digest;

use super::{NOTHING, locked, open, print};
use crate::update::act::{self, Hands, Tell};
use crate::update::board::Session;
use crate::update::daemon;
use crate::update::offer::Hurry;

pub(super) fn check(source: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let seen = board.see(&session);
    let url = source.or_else(|| board.settings.url.clone());
    let mut hands = Hands {
        url,
        hurry: Hurry::No,
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
            "up-to-date",
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

pub(super) fn install(source: Option<String>, no_reboot: bool) -> anyhow::Result<ExitCode> {
    let (_lock, mut board, mut session) = (locked()?, open()?, Session::default());
    let url = source.or_else(|| board.settings.url.clone());
    let mut shown = String::new();
    let mut tell = |told: Tell<'_>| show(told, &mut shown);
    let mut hands = Hands {
        url,
        hurry: Hurry::Yes,
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
        ..board.settings.policy
    };
    // each step brings the update nearer to an end; the bound is for a board that cannot make up its mind
    for _ in 0..20 {
        let (seen, step, done) = act::turn(&mut board, &mut session, &policy, &mut hands);
        done?;
        if let Step::Wait(why) = step {
            return waited(&seen, &why.to_string());
        }
    }
    bail!("the update does not come to an end; `hypriot-agent status` shows how things stand")
}

fn waited(seen: &Seen, why: &str) -> anyhow::Result<ExitCode> {
    if let Offer::Unreachable(_) = seen.offer {
        bail!("{why}");
    }
    print(&format!("{why}\n"));
    let armed = seen.boot.trial.is_some();
    Ok(if armed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOTHING)
    })
}

/// One line for each new stage and each tenth of it.
fn show(told: Tell<'_>, shown: &mut String) {
    let line = match told {
        Tell::Installing(release, p) => format!(
            "{}: {} {} %",
            release.version,
            daemon::stage_name(p.stage),
            p.done * 10 / p.total.max(1) * 10
        ),
        Tell::Installed(release, s) => format!(
            "{}: {} of {} segments written, {} bytes fetched",
            release.version, s.written, s.total, s.fetched
        ),
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

pub(super) fn roll_back() -> anyhow::Result<ExitCode> {
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
        let release = act::roll_back(&seen, &mut board, &session)?;
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
