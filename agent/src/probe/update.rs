//! Slot and trial, as checks: a board on trial is fine but not settled, one that fell back says why.

use hypriot_updater::boot::Spoilt;

use super::{Finding, Found, Look, OwnerTests};
use crate::report::{AttemptView, Knowledge, Severity, SlotView, Status, TestsView, UpdateView};

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
        found.add("selftests", judge_tests(tests, Severity::Wanted));
    }
    if let Some(finding) = judge_owner(&look.context.owner_tests) {
        found.add("owner-tests", finding);
    }
    if let OwnerTests::Ran(tests) = &look.context.owner_tests {
        found.gauge("owner_tests_passed", f64::from(tests.passed));
        found.gauge("owner_tests_failed", f64::from(tests.failed));
    }
    found
}

fn judge_tests(tests: &TestsView, severity: Severity) -> Finding {
    if tests.passed + tests.failed == 0 {
        return Finding::unknown("failed", "unknown: no self-test applies to this board");
    }
    let flaky = match tests.flaky.len() {
        0 => String::new(),
        some => format!(", {some} flaky"),
    };
    let output = format!("{} hold, {} failed{flaky}", tests.passed, tests.failed);
    let finding =
        Finding::pass(severity, "failed", output).observed(f64::from(tests.failed), "tests");
    let fix = "hypriot-agent selftest on the board shows what was expected and what was found";
    let named = |what: &str, ids: &[String]| {
        ids.iter()
            .map(|id| format!("{what} {id}"))
            .collect::<Vec<_>>()
    };
    let detail = [
        named("failed", &tests.failed_required),
        named("failed, not required:", &tests.failed_wanted),
        named("flaky", &tests.flaky),
    ]
    .concat();
    let detail = (!detail.is_empty()).then(|| detail.join("\n"));
    let finding = if !tests.failed_required.is_empty() {
        finding.worse(Status::Fail, fix)
    } else if tests.failed > 0 || !tests.flaky.is_empty() {
        finding.worse(Status::Warn, fix)
    } else {
        finding
    };
    finding.detail(detail)
}

/// What goss would answer with 503, so does the board.
fn judge_owner(tests: &OwnerTests) -> Option<Finding> {
    let pending = || {
        Finding::pass(
            Severity::Required,
            "failed",
            "their first run has not ended",
        )
    };
    Some(match tests {
        OwnerTests::None => return None,
        OwnerTests::Pending => {
            pending().starting("wait for it: systemctl status 'hypriot-tests*' on the board")
        }
        OwnerTests::Ran(tests) => judge_tests(tests, Severity::Required),
        OwnerTests::Broken(why) => {
            let mut finding = pending();
            finding.output = "they could not be run".into();
            finding.knowledge = Knowledge::Broken;
            finding
                .worse(
                    Status::Fail,
                    "on the board: journalctl -u 'hypriot-tests*' -u hypriot-agent",
                )
                .detail(Some(why.clone()))
        }
    })
}

fn judge_slot(view: &UpdateView, booted: &str) -> Finding {
    let finding = Finding::pass(Severity::Required, "state", format!("slot {booted} runs"));
    match (&view.trial, view.default.as_deref()) {
        (Some(trial), _) if trial.slot == booted && trial.state == "trying" => {
            let mut finding = finding;
            finding.output = format!("slot {booted} is on trial with {}", trial.version);
            finding
        }
        (_, Some(default)) if default != booted => {
            let mut finding = finding.worse(
                Status::Warn,
                "the next start has the default's turn again; the next update writes that slot anew",
            );
            finding.output = format!("slot {booted} stands in: slot {default} did not come up");
            finding
        }
        _ if view.worn.is_some() => finding
            .worse(
                Status::Warn,
                "the card may be wearing out: have another one ready; the update itself was fetched whole and is good",
            )
            .detail(view.worn.clone()),
        _ => match left(view) {
            None => finding,
            Some(name) => {
                let mut finding = finding.worse(
                    Status::Warn,
                    "its kernel or root may be damaged: the next update writes it anew; if this comes again, replace the card",
                );
                finding.output = format!("slot {booted} runs because slot {name} did not come up");
                finding
            }
        },
    }
}

/// The slot that was the default and did not come up.
fn left(view: &UpdateView) -> Option<&'static str> {
    let is = |slot: &Option<SlotView>| {
        slot.as_ref()
            .is_some_and(|s| s.state == Spoilt::Left.name())
    };
    [("a", &view.a), ("b", &view.b)]
        .into_iter()
        .find(|(_, slot)| is(slot))
        .map(|(name, _)| name)
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
    let ended = ended(view, ok);
    match &view.newer_state {
        None => ended,
        Some(newer) => ended
            .worse(
                Status::Warn,
                "services may not start, or not find their data: put the data of before back, then: hypriot-agent state restored",
            )
            .detail(Some(newer.clone())),
    }
}

/// How the last update came to an end.
fn ended(view: &UpdateView, ok: impl Fn(String) -> Finding) -> Finding {
    match &view.last_attempt {
        // It fell back, and why is not in the record.
        None if ["rolled-back", "fallback"].contains(&view.phase.as_str()) => ok(phase(view))
            .worse(
                Status::Warn,
                "hypriot-agent status on the board tells what is known",
            ),
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
    fn data_that_is_too_new_for_what_runs_is_told_to_the_owner() {
        let mut view = example().update;
        view.last_attempt = None;
        view.newer_state = Some("2.0.0 may have given the data of services state version 2".into());
        let found = judge_update(&view);
        assert_eq!(found.status, Status::Warn);
        assert!(found.detail.expect("why").contains("state version 2"));
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
    fn what_fell_back_without_a_reason_is_not_well() {
        let mut view = example().update;
        view.last_attempt = None;
        assert_eq!(judge_update(&view).status, Status::Pass);
        for phase in ["rolled-back", "fallback"] {
            view.phase = phase.into();
            assert_eq!(judge_update(&view).status, Status::Warn, "{phase}");
        }
    }

    #[test]
    fn owners_tests_that_fail_are_the_boards_failure() {
        let view = |failed: &[&str], flaky: &[&str]| {
            let ids = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
            OwnerTests::Ran(TestsView {
                ran_at: hypriot_keys::time::Timestamp(0),
                passed: 1,
                failed: u32::try_from(failed.len()).expect("few"),
                failed_required: ids(failed),
                failed_wanted: Vec::new(),
                flaky: ids(flaky),
            })
        };
        let judged = |tests: &OwnerTests| judge_owner(tests).expect("a finding");
        assert!(judge_owner(&OwnerTests::None).is_none());
        for (tests, status, knowledge) in [
            (OwnerTests::Pending, Status::Warn, Knowledge::Starting),
            (view(&[], &[]), Status::Pass, Knowledge::Known),
            (
                view(&["port:tcp:80:listening"], &[]),
                Status::Fail,
                Knowledge::Known,
            ),
            (
                view(&[], &["dns:x:resolvable"]),
                Status::Warn,
                Knowledge::Known,
            ),
            (
                OwnerTests::Broken("x".into()),
                Status::Fail,
                Knowledge::Broken,
            ),
        ] {
            let found = judged(&tests);
            assert_eq!(
                (found.status, found.knowledge),
                (status, knowledge),
                "{tests:?}"
            );
            assert_eq!(found.severity, Severity::Required);
        }
        let nothing = judge_tests(
            &TestsView {
                ran_at: hypriot_keys::time::Timestamp(0),
                passed: 0,
                failed: 0,
                failed_required: Vec::new(),
                failed_wanted: Vec::new(),
                flaky: Vec::new(),
            },
            Severity::Required,
        );
        assert_eq!(nothing.knowledge, Knowledge::Unknown, "none is not well");
        let flaky = judged(&view(&[], &["dns:x:resolvable"]));
        assert_eq!(flaky.detail.as_deref(), Some("flaky dns:x:resolvable"));
    }

    #[test]
    fn a_slot_that_did_not_come_up_is_said() {
        let mut view = example().update;
        view.a = Some(SlotView {
            version: None,
            state: Spoilt::Left.name().into(),
        });
        let found = judge_slot(&view, "b");
        assert_eq!(found.status, Status::Warn);
        let said = "slot b runs because slot a did not come up";
        assert_eq!(found.output, said);
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
