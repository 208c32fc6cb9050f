//! Metrics of the service, in Prometheus' text format.

use std::collections::BTreeMap;

use super::desk::Shown;
use crate::lock::Group;
use crate::rollout::Health;

/// Of each group: name, help, and how it is counted.
type OfGroup = (&'static str, &'static str, fn(&Group, u64) -> u64);

const OF_GROUPS: [OfGroup; 10] = [
    ("slots", "Boards that may be out at a time.", |g, _| {
        count(g.settings.slots)
    }),
    ("out", "Boards that are out.", |g, _| count(g.locks.len())),
    (
        "out_failed",
        "Boards that are out and in whose return nobody believes.",
        |g, _| count(g.locks.values().filter(|l| l.failed.is_some()).count()),
    ),
    (
        "paused",
        "1: nobody gets a lock until an operator says so.",
        |g, _| u64::from(g.paused.is_some()),
    ),
    ("failures", "Failures that no operator has seen.", |g, _| {
        count(g.failures.len())
    }),
    ("boards", "Boards that were heard of.", |g, _| {
        count(g.boards.len())
    }),
    (
        "boards_silent",
        "Boards that should have said something long ago.",
        |g, at| count(g.boards.values().filter(|b| b.silent(at)).count()),
    ),
    (
        "boards_ill",
        "Boards that say that they are not well.",
        |g, _| {
            count(
                g.boards
                    .values()
                    .filter(|b| b.report.health() == Health::Fail)
                    .count(),
            )
        },
    ),
    ("rollout_running", "1: a rollout goes on.", |g, _| {
        u64::from(g.rollout.as_ref().is_some_and(|r| r.runs()))
    }),
    (
        "rollout_stopped",
        "1: the rollout stopped by itself.",
        |g, _| {
            u64::from(
                g.rollout
                    .as_ref()
                    .is_some_and(|r| r.journal.stopped.is_some()),
            )
        },
    ),
];

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

pub(super) fn text(shown: &Shown) -> String {
    let mut lines = Vec::new();
    for (name, help, value) in OF_GROUPS {
        let groups = shown.books.groups.iter();
        let samples = groups.map(|(group, g)| (label("group", group), value(g, shown.at)));
        family(&mut lines, name, "gauge", help, samples);
    }
    let counts = &shown.counts;
    let by_group = |map: &BTreeMap<String, u64>| -> Vec<(String, u64)> {
        map.iter().map(|(k, v)| (label("group", k), *v)).collect()
    };
    family(
        &mut lines,
        "grants_total",
        "counter",
        "Locks given by this server.",
        by_group(&counts.granted),
    );
    family(
        &mut lines,
        "failures_total",
        "counter",
        "Failures that this server noticed.",
        by_group(&counts.failed),
    );
    let refused = counts.refused.iter().map(|(k, v)| (label("kind", k), *v));
    family(
        &mut lines,
        "refusals_total",
        "counter",
        "Requests that this server refused.",
        refused,
    );
    for (name, kind, help, value) in [
        (
            "store_up",
            "gauge",
            "1: the store could be used last time.",
            u64::from(shown.trouble.is_none()),
        ),
        (
            "store_errors_total",
            "counter",
            "Times that the store could not be used.",
            counts.trouble,
        ),
        (
            "store_conflicts_total",
            "counter",
            "Times that another server was first.",
            counts.conflicts,
        ),
    ] {
        family(&mut lines, name, kind, help, [(String::new(), value)]);
    }
    lines.concat()
}

/// Names of groups and kinds are of harmless characters.
fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

fn family(
    lines: &mut Vec<String>,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    lines.push(format!(
        "# HELP hypriot_fleet_{name} {help}\n# TYPE hypriot_fleet_{name} {kind}\n"
    ));
    lines.extend(
        samples
            .into_iter()
            .map(|(labels, value)| format!("hypriot_fleet_{name}{labels} {value}\n")),
    );
}
