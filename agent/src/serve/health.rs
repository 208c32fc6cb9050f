//! A report as `application/health+json` (draft-inadarei-api-health-check-06) and as the lines that Kubernetes prints.

use std::collections::BTreeMap;

use hypriot_keys::time::Timestamp;
use schemars::JsonSchema;
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

/// A board, or one of its checks, as draft-inadarei-api-health-check-06 has it. Words that are not the draft's are marked so.
// The order of the fields is that of the answer: what matters comes first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    /// That of the worst required check; at worst `warn` because of a wanted one.
    #[schemars(with = "Status")]
    status: &'static str,
    /// Version of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Board and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    release_id: Option<String>,
    /// What this is the health of.
    description: &'static str,
    /// What is not well, worst first; absent when all is well.
    // Section 3.5 of the draft: for what is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// About the request: names to exclude that no check has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub(super) notes: Vec<String>,
    /// Ours: when the board was looked at. The header `Age` says how many seconds ago that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    time: Option<Timestamp>,
    /// Ours: name of the board file.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<&'a str>,
    /// Ours: the running slot, `a` or `b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<&'a str>,
    /// Ours: the kernel's id of this boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_id: Option<&'a str>,
    /// Ours: where the update stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Update<'a>>,
    /// By component and measurement, `memory:utilization`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    checks: BTreeMap<String, [Entry<'a>; 1]>,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    /// Its name: `/health/<name>` shows it alone.
    component_id: &'a str,
    /// Always `system`.
    component_type: &'static str,
    /// What was found.
    #[schemars(with = "Status")]
    status: &'static str,
    /// Ours: what follows from it for the board.
    #[schemars(with = "Severity")]
    severity: &'static str,
    /// Ours: `starting`, `unknown` or `broken`; absent when it is as the status says.
    #[serde(skip_serializing_if = "Option::is_none")]
    knowledge: Option<Knowledge>,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_value: Option<f64>,
    /// Its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'a str>,
    /// When it was looked at.
    #[schemars(with = "Time")]
    time: Timestamp,
    /// Ours: since when it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    /// What was found, in words; absent when it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    /// Ours: what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    /// Ours: names that only the owner should read; with `--detail` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// Where the update stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Update<'a> {
    /// `committed`, `installing`, `armed`, `on-trial`, `rolled-back`, `fallback`.
    phase: &'a str,
    /// The trial that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial<'a>>,
    /// The last update that came to an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<Attempt<'a>>,
    /// Hooks of the owner's that are still to end well, `after-commit` or `after-rollback`: what was taken out of service before the
    /// restart is not back yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    owes: Option<&'a str>,
}

/// A trial that has not ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Trial<'a> {
    /// The slot on trial.
    slot: &'a str,
    /// The version on trial.
    version: &'a str,
    /// `armed`, `trying` or `lost`.
    state: &'a str,
}

/// An update that came to an end.
#[derive(Debug, Serialize, JsonSchema)]
struct Attempt<'a> {
    /// The version that was tried.
    version: &'a str,
    /// `confirmed`, `failed`, `never-tried`, `unknown`.
    outcome: &'a str,
    /// Why; with `--detail` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// When it ended.
    #[schemars(with = "Time")]
    at: Timestamp,
}

/// RFC 3339, in UTC, whole seconds.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "only describes how a Timestamp is written")]
struct Time(#[schemars(extend("format" = "date-time"))] String);

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
        notes: Vec::new(),
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
        notes: Vec::new(),
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

/// The report without some of its checks, and what is to be said of names that none has.
pub(super) fn without(report: &Report, excluded: &[&str]) -> (Report, Vec<String>) {
    let mut report = report.clone();
    let unknown = excluded
        .iter()
        .filter(|name| report.checks.remove(**name).is_none());
    let notes = unknown.map(|name| not_excluded(name)).collect();
    (report, notes)
}

/// Kubernetes' words for it.
fn not_excluded(name: &str) -> String {
    format!("some health checks cannot be excluded: no matches for {name:?}")
}

/// Whether the board may take work, and the lines that say why not: no required check fails, nothing is on trial.
/// Conditions that are excluded are not looked at.
pub(super) fn readiness(report: &Report, excluded: &[&str]) -> (bool, String) {
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
    let names = excluded.iter();
    let unknown = names.filter(|name| !conditions.iter().any(|(_, known, _)| known == *name));
    let unknown = unknown.fold(String::new(), |all, name| {
        all + "warn: " + &not_excluded(name) + "\n"
    });
    let is_excluded = |name: &str| excluded.contains(&name);
    let ready = conditions
        .iter()
        .all(|(good, name, _)| *good || is_excluded(name));
    let line = |(good, name, why): (bool, &str, &str)| {
        if is_excluded(name) {
            format!("[+]{name} excluded: ok\n")
        } else if good {
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
    (ready, unknown + &lines + last)
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
        owes: view.owes.as_deref(),
    }
}
