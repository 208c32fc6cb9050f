//! `hypriot-agent why`: looks, and prints the answer on one screen.

use std::path::Path;
use std::process::ExitCode;

use hypriot_updater::decide::Step;

use super::{BUSY, NOTHING, lock_within, open, print};
use crate::report::{self, Report};
use crate::update::act::{self, Hands};
use crate::update::board::Session;
use crate::update::machine;
use crate::update::why::{Answer, Facts, Rollback, State, answer, word};

/// Lines of the kernel log that fit on the screen; `--json` has all of them.
const LOG: usize = 12;

pub(super) fn why(json: bool) -> anyhow::Result<ExitCode> {
    let Some(_lock) = lock_within(10)? else {
        // the daemon holds it for as long as a step takes
        return show(&Answer::busy(BUSY), json);
    };
    let (mut board, mut session) = (open()?, Session::default());
    let before = board.see(&session);
    let mut quiet = |_: act::Tell<'_>| ();
    let mut hands = Hands {
        url: board.settings.url.clone(),
        ..Hands::offline(&mut quiet)
    };
    act::act(&Step::Ask, &before, &mut board, &mut session, &mut hands)?;
    let floor = board.releases.floor().unwrap_or(board.settings.built);
    let report = Report::load(Path::new(report::PATH)).ok();
    let seen = board.see(&session);
    let answer = answer(&Facts {
        seen: &seen,
        policy: board.settings.policy,
        url: board.settings.url.as_deref(),
        neighbours: board.settings.neighbours,
        failure: board.store.last_failure(),
        report: report.as_ref(),
        clock: (machine::clock(), floor),
    });
    show(&answer, json)
}

fn show(answer: &Answer, json: bool) -> anyhow::Result<ExitCode> {
    print(&if json {
        format!("{}\n", serde_json::to_string_pretty(answer)?)
    } else {
        human(answer)
    });
    Ok(match answer.state {
        State::UpToDate | State::Updating => ExitCode::SUCCESS,
        State::Waiting => ExitCode::from(NOTHING),
    })
}

/// The answer for people: what, why, what to do.
fn human(answer: &Answer) -> String {
    let state = match answer.state {
        State::UpToDate => "up to date",
        State::Updating => "updating",
        State::Waiting => "not updating",
    };
    let mut lines = vec![format!("{state}: {}", answer.because)];
    lines.extend(answer.fix.iter().map(|fix| format!("  do: {fix}")));
    for obstacle in &answer.also {
        lines.push(format!("also: {}", obstacle.what));
        lines.extend(obstacle.fix.iter().map(|fix| format!("  do: {fix}")));
    }
    if let Some(rollback) = &answer.rollback {
        lines.extend(rolled_back(rollback));
    }
    lines.join("\n") + "\n"
}

fn rolled_back(rollback: &Rollback) -> Vec<String> {
    let Rollback {
        version,
        slot,
        outcome,
        at,
        reasons,
        failed_units,
        kernel_log,
    } = rollback;
    let mut lines = vec![format!(
        "last: {version} in slot {slot} {} ({at})",
        word(*outcome)
    )];
    lines.extend(reasons.iter().map(|reason| format!("  failed: {reason}")));
    lines.extend(
        failed_units
            .iter()
            .map(|unit| format!("  unit: {}", unit.trim())),
    );
    let hidden = kernel_log.len().saturating_sub(LOG);
    if hidden > 0 {
        lines.push(format!(
            "  kernel: ({hidden} lines before; --json shows them)"
        ));
    }
    lines.extend(
        kernel_log
            .iter()
            .skip(hidden)
            .map(|line| format!("  kernel: {line}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::why::Obstacle;
    use hypriot_keys::time::Timestamp;
    use hypriot_updater::record::Outcome;
    use hypriot_updater::slot::Slot;

    #[test]
    fn one_screen_says_state_reason_advice_and_what_failed() {
        let text = human(&Answer {
            state: State::Waiting,
            because: "the release that is offered failed on this board before".into(),
            fix: Some("hypriot-agent forgive 02".into()),
            also: vec![Obstacle {
                what: "power: under-voltage".into(),
                fix: None,
            }],
            rollback: Some(Rollback {
                version: "2.0.0".into(),
                slot: Slot::B,
                outcome: Outcome::Failed,
                at: Timestamp(0),
                reasons: vec!["service:docker:running: inactive".into()],
                failed_units: vec!["docker.service loaded failed".into()],
                kernel_log: (0..50).map(|n| format!("line {n}")).collect(),
            }),
        });
        assert!(text.starts_with("not updating: the release that is offered failed"));
        assert!(text.contains("\n  do: hypriot-agent forgive 02\n"));
        assert!(text.contains("\n  failed: service:docker:running: inactive\n"));
        assert!(
            text.contains("line 49") && !text.contains("line 37\n"),
            "{text}"
        );
        assert!(text.lines().count() <= 24, "more than a screen:\n{text}");
    }
}
