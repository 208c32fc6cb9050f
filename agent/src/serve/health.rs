//! A report as `application/health+json` (draft-inadarei-api-health-check-06) and as the lines that Kubernetes prints.

use std::collections::BTreeMap;

use hypriot_keys::time::Timestamp;
use serde::Serialize;

use crate::report::{Check, Knowledge, Report, Severity, Status};

/// How much a stranger on the network is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Status and one line for each check.
    Open,
    /// Also names of units and containers, and reasons of failed updates.
    Detailed,
}

/// The document of a board. The order of the fields is that of the answer: what matters comes first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_id: Option<String>,
    description: &'static str,
    /// Section 3.5 of the draft: for what is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Update<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<String, [Entry<'a>; 1]>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    component_id: &'a str,
    component_type: &'static str,
    status: &'static str,
    severity: &'static str,
    /// Not in the draft: `starting`, `unknown` or `broken`; absent when it is as the status says.
    #[serde(skip_serializing_if = "Option::is_none")]
    knowledge: Option<Knowledge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'a str>,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Update<'a> {
    phase: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<Attempt<'a>>,
}

#[derive(Debug, Serialize)]
struct Trial<'a> {
    slot: &'a str,
    version: &'a str,
    state: &'a str,
}

#[derive(Debug, Serialize)]
struct Attempt<'a> {
    version: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    at: Timestamp,
}

/// The whole board.
pub(super) fn document(report: &Report, depth: Depth) -> Document<'_> {
    let bad: Vec<String> = bad(report)
        .map(|(name, check)| format!("{name}: {}", check.output))
        .collect();
    Document {
        status: report.status().name(),
        version: Some(&report.version),
        release_id: Some(format!("{}-{}", report.board, report.version)),
        output: (!bad.is_empty()).then(|| bad.join("; ")),
        time: Some(report.taken_at),
        description: match report.slot {
            Some(_) => "health of a HypriotOS board",
            None => "health of a board without slots",
        },
        board: Some(&report.board),
        slot: report.slot.as_deref(),
        boot_id: Some(&report.boot_id),
        update: report
            .update
            .booted
            .is_some()
            .then(|| update(report, depth)),
        checks: report
            .checks
            .iter()
            .map(|(name, check)| entry(name, check, depth))
            .collect(),
    }
}

/// One component.
pub(super) fn component<'a>(
    report: &'a Report,
    name: &'a str,
    check: &'a Check,
    depth: Depth,
) -> Document<'a> {
    Document {
        status: check.status.name(),
        version: Some(&report.version),
        description: "one component of a board",
        output: (check.status != Status::Pass).then(|| check.output.clone()),
        time: Some(report.taken_at),
        checks: [entry(name, check, depth)].into_iter().collect(),
        ..absent("")
    }
}

/// What is said instead of a document when there is no fresh report.
pub(super) fn absent(why: &str) -> Document<'static> {
    Document {
        status: Status::Fail.name(),
        version: None,
        release_id: None,
        description: "health of a board",
        output: (!why.is_empty()).then(|| why.to_owned()),
        time: None,
        board: None,
        slot: None,
        boot_id: None,
        update: None,
        checks: BTreeMap::new(),
    }
}

/// The lines of `?verbose`: `[+]memory pass (wanted): 600 of 1000 MiB available`.
pub(super) fn lines(report: &Report) -> String {
    let line = |(name, check): (&String, &Check)| {
        let sign = match check.status {
            _ if check.knowledge == Knowledge::Unknown => '?',
            Status::Pass => '+',
            Status::Warn => '!',
            Status::Fail => '-',
        };
        let (status, severity) = (check.status.name(), check.severity.name());
        format!("[{sign}]{name} {status} ({severity}): {}\n", check.output)
    };
    let lines: String = report.checks.iter().map(line).collect();
    lines + "health " + report.status().name() + "\n"
}

/// Whether the board may take work, and the lines that say why not: no required check fails, nothing is on trial.
pub(super) fn readiness(report: &Report) -> (bool, String) {
    let trial = report
        .update
        .trial
        .as_ref()
        .is_some_and(|trial| trial.state == "trying");
    let mut conditions = vec![
        (true, "report", ""),
        (!trial, "trial", "the running version is on trial"),
    ];
    let required = report
        .checks
        .iter()
        .filter(|(_, check)| check.severity == Severity::Required);
    conditions.extend(required.map(|(name, check)| {
        (
            check.status != Status::Fail && check.knowledge != Knowledge::Starting,
            name.as_str(),
            check.output.as_str(),
        )
    }));
    let ready = conditions.iter().all(|(good, ..)| *good);
    let line = |(good, name, why): (bool, &str, &str)| {
        if good {
            format!("[+]{name} ok\n")
        } else {
            format!("[-]{name} failed: {why}\n")
        }
    };
    let lines: String = conditions.into_iter().map(line).collect();
    let last = if ready {
        "readyz check passed\n"
    } else {
        "readyz check failed\n"
    };
    (ready, lines + last)
}

/// The checks that make the board what it is, worst first.
pub(crate) fn bad(report: &Report) -> impl Iterator<Item = (&String, &Check)> {
    let mut bad: Vec<_> = report
        .checks
        .iter()
        .filter(|(_, check)| check.weight() != Status::Pass)
        .collect();
    bad.sort_by_key(|(_, check)| std::cmp::Reverse(check.weight()));
    bad.into_iter()
}

fn entry<'a>(name: &'a str, check: &'a Check, depth: Depth) -> (String, [Entry<'a>; 1]) {
    let bad = check.status != Status::Pass;
    let entry = Entry {
        component_id: name,
        component_type: "system",
        status: check.status.name(),
        severity: check.severity.name(),
        knowledge: Some(check.knowledge).filter(|k| *k != Knowledge::Known),
        // One decimal: more is noise, and makes the answer longer.
        observed_value: check.observed.map(|value| (value * 10.0).round() / 10.0),
        observed_unit: check.unit.as_deref(),
        time: check.checked_at,
        since: bad.then_some(check.since),
        output: bad.then_some(&check.output),
        fix: check.fix.as_deref().filter(|_| bad),
        detail: check.detail.as_deref().filter(|_| depth == Depth::Detailed),
    };
    (format!("{name}:{}", check.measurement), [entry])
}

fn update(report: &Report, depth: Depth) -> Update<'_> {
    let view = &report.update;
    Update {
        phase: &view.phase,
        trial: view.trial.as_ref().map(|trial| Trial {
            slot: &trial.slot,
            version: &trial.version,
            state: &trial.state,
        }),
        last_attempt: view.last_attempt.as_ref().map(|attempt| Attempt {
            version: &attempt.version,
            outcome: &attempt.outcome,
            reason: attempt
                .reason
                .as_deref()
                .filter(|_| depth == Depth::Detailed),
            at: attempt.at,
        }),
    }
}
