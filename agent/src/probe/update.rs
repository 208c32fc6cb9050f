//! Slot and trial, as checks: a board on trial is fine but not settled, one that fell back says why.

use super::{Finding, Found, Look};
use crate::report::{AttemptView, Severity, Status, UpdateView};

pub(super) fn probe(look: &Look<'_>) -> Found {
    let view = &look.context.update;
    let mut found = Found::default();
    // None on a system without slots, where the agent was installed as a package.
    if let Some(booted) = view.booted.as_deref() {
        found.add("slot", judge_slot(view, booted));
        found.add("update", judge_update(view));
    }
    if let Some(tests) = &look.context.selftests {
        found.gauge("selftests_passed", f64::from(tests.passed));
        found.gauge("selftests_failed", f64::from(tests.failed));
        let finding = Finding::pass(
            Severity::Wanted,
            "failed",
            format!(
                "{} hold, {} failed, {} skipped",
                tests.passed, tests.failed, tests.skipped
            ),
        )
        .observed(f64::from(tests.failed), "tests");
        found.add(
            "selftests",
            if tests.failed_required.is_empty() {
                finding
            } else {
                finding
                    .worse(Status::Fail, "hypriot-agent selftest on the board shows what was expected and what was found")
                    .detail(Some(tests.failed_required.join("\n")))
            },
        );
    }
    found
}

fn judge_slot(view: &UpdateView, booted: &str) -> Finding {
    let finding = Finding::pass(Severity::Required, "state", format!("slot {booted} runs"));
    match (&view.trial, view.default.as_deref()) {
        (Some(trial), _) if trial.slot == booted && trial.state == "trying" => {
            let mut finding = finding;
            finding.output = format!("slot {booted} is on trial with {}", trial.version);
            finding
        }
        (_, Some(default)) if default != booted => finding.worse(
            Status::Warn,
            "the boot loader starts the other slot by default: hypriot-agent status shows both",
        ),
        _ if view.worn.is_some() => finding
            .worse(
                Status::Warn,
                "the card may be wearing out: have another one ready; the update itself was fetched whole and is good",
            )
            .detail(view.worn.clone()),
        _ => finding,
    }
}

fn judge_update(view: &UpdateView) -> Finding {
    let ok = |output: String| Finding::pass(Severity::Wanted, "outcome", output);
    if let Some(trouble) = &view.trouble {
        let finding = ok("updates cannot go on".into());
        return finding
            .worse(
                Status::Fail,
                "hypriot-agent status on the board says what stands in the way",
            )
            .detail(Some(trouble.clone()));
    }
    if let Some(lock) = view.lock.as_ref().filter(|l| l.state == "kept") {
        let since = lock
            .since
            .map_or_else(String::new, |t| format!(" since {t}"));
        return ok("an update failed here, and the fleet's lock is kept for it".into())
            .worse(Status::Warn, "hypriot-agent why on the board tells more; hypriot-agent unlock lets the next board go on")
            .detail(Some(format!("the lock is kept{since}")));
    }
    match &view.last_attempt {
        None => ok(phase(view)),
        Some(AttemptView {
            version,
            outcome,
            reason,
            ..
        }) if outcome == "failed" || outcome == "unknown" => {
            let why = reason.as_deref().unwrap_or("the reason is not known");
            ok(format!("{version} was rolled back"))
                .worse(Status::Warn, "hypriot-agent status on the board tells more; this release is not tried again by itself")
                .detail(Some(why.to_owned()))
        }
        Some(attempt) => ok(format!(
            "{}; {} is the last one ({})",
            phase(view),
            attempt.version,
            attempt.outcome
        )),
    }
}

fn phase(view: &UpdateView) -> String {
    if view.phase.is_empty() {
        "idle".into()
    } else {
        view.phase.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TrialView;
    use crate::report::tests::example;

    #[test]
    fn rolled_back_update_warns_and_keeps_its_reason_for_the_owner() {
        let found = judge_update(&example().update);
        assert_eq!(found.status, Status::Warn);
        assert_eq!(found.output, "1.2.4 was rolled back");
        assert!(found.detail.expect("a reason").contains("/etc/hostname"));
    }

    #[test]
    fn a_slot_that_reads_wrong_is_told_to_the_owner() {
        let mut view = example().update;
        view.worn = Some("slot a: 1 MiB did not read as they were written".into());
        let found = judge_slot(&view, "b");
        assert_eq!(found.status, Status::Warn);
        assert!(found.detail.expect("a reason").contains("slot a: 1 MiB"));
    }

    #[test]
    fn trial_is_good_but_foreign_default_warns() {
        let mut view = example().update;
        assert_eq!(judge_slot(&view, "b").status, Status::Pass);
        view.default = Some("a".into());
        assert_eq!(judge_slot(&view, "b").status, Status::Warn);
        view.trial = Some(TrialView {
            slot: "b".into(),
            version: "1.2.3".into(),
            state: "trying".into(),
            deadline_seconds: 900,
        });
        let found = judge_slot(&view, "b");
        assert_eq!(
            (found.status, found.output.as_str()),
            (Status::Pass, "slot b is on trial with 1.2.3")
        );
    }
}
