//! A report as metrics: OpenMetrics 1.0 text, or the older Prometheus text 0.0.4, from one list of families.
//!
//! Own prefix, never `node_*`: a board may run the node exporter as well. Base units, `_total` for counters,
//! no label of unbounded values.

mod numbers;

use std::fmt::Write as _;

use crate::report::{Knowledge, Report, Status};
use numbers::NUMBERS;

/// Content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older text format.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which of the two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// [`OPENMETRICS`].
    OpenMetrics,
    /// [`CLASSIC`].
    Classic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Info,
    StateSet,
}

/// One family: name without prefix and suffix, its kind, unit and what it says.
struct Family {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

type Labels = Vec<(&'static str, String)>;

/// The text of all metrics of `report`.
pub fn render(report: &Report, format: Format) -> String {
    let mut out = String::with_capacity(12 * 1024);
    for family in families(report) {
        if !family.samples.is_empty() {
            write(&mut out, &family, format);
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// What is said before the first report: that there is none. Absence must not look green.
pub fn render_none(format: Format) -> String {
    let up = Family {
        name: "report_present",
        kind: Kind::Gauge,
        unit: "",
        help: PRESENT,
        samples: vec![(Vec::new(), 0.0)],
    };
    let mut out = String::new();
    write(&mut out, &up, format);
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// What a metric is, for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its full name, as Prometheus knows it.
    pub name: String,
    /// `gauge`, `counter`, `info` or `stateset`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// Every metric there is, in the order they are written.
pub fn catalogue() -> Vec<Metric> {
    let metric = |family: &Family| {
        let (suffix, kind) = match family.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Info => ("_info", "info"),
            Kind::Gauge => ("", "gauge"),
            Kind::StateSet => ("", "stateset"),
        };
        Metric {
            name: format!("hypriot_{}{suffix}", family.name),
            kind,
            help: family.help,
        }
    };
    families(&Report::default()).iter().map(metric).collect()
}

const PRESENT: &str = "Whether the agent's other half has left a fresh report.";

fn families(report: &Report) -> Vec<Family> {
    let family = |name, kind, unit, help, samples| Family {
        name,
        kind,
        unit,
        help,
        samples,
    };
    let mut all = vec![
        family(
            "report_present",
            Kind::Gauge,
            "",
            PRESENT,
            vec![(Vec::new(), 1.0)],
        ),
        family(
            "report_timestamp_seconds",
            Kind::Gauge,
            "seconds",
            "When the board was looked at last: an old time means that the agent is stuck.",
            vec![(Vec::new(), float(report.taken_at.0))],
        ),
        family(
            "build",
            Kind::Info,
            "",
            "The agent.",
            vec![(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0)],
        ),
        family(
            "system",
            Kind::Info,
            "",
            "What runs on this board.",
            vec![(system(report), 1.0)],
        ),
        family(
            "health",
            Kind::StateSet,
            "",
            "Status of the whole board.",
            states("hypriot_health", &Vec::new(), report.status()),
        ),
    ];
    all.extend(checks(report));
    all.extend(updates(report));
    all.extend(attempts(report));
    all.push(fetched(report));
    all.extend(drills(report));
    for &(key, name, kind, unit, factor, help) in NUMBERS {
        let samples = report
            .gauges
            .get(key)
            .map(|value| (Vec::new(), value * factor));
        all.push(family(
            name,
            kind,
            unit,
            help,
            samples.into_iter().collect(),
        ));
    }
    all
}

fn checks(report: &Report) -> [Family; 3] {
    let label = |name: &String| ("check", name.clone());
    let mut status = Vec::new();
    let (mut success, mut ran) = (Vec::new(), Vec::new());
    for (name, check) in &report.checks {
        let labels = vec![label(name), ("severity", check.severity.name().into())];
        status.extend(states("hypriot_check_status", &labels, check.status));
        success.push((
            vec![label(name)],
            f64::from(u8::from(check.knowledge != Knowledge::Broken)),
        ));
        ran.push((vec![label(name)], float(check.checked_at.0)));
    }
    [
        Family {
            name: "check_status",
            kind: Kind::StateSet,
            unit: "",
            help: "Status of each check.",
            samples: status,
        },
        Family {
            name: "check_success",
            kind: Kind::Gauge,
            unit: "",
            help: "Whether the check could be made at all: 0 means that nothing is known.",
            samples: success,
        },
        Family {
            name: "check_last_run_timestamp_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            help: "When the check was made.",
            samples: ran,
        },
    ]
}

fn updates(report: &Report) -> Vec<Family> {
    let view = &report.update;
    // A system without slots has none of these numbers, not zeros.
    let with_slots = |sample: (Labels, f64)| view.booted.iter().map(|_| sample.clone()).collect();
    let slots = [("a", &view.a), ("b", &view.b)]
        .into_iter()
        .filter_map(|(name, slot)| {
            let slot = slot.as_ref()?;
            let version = slot.version.clone().unwrap_or_default();
            Some((
                vec![
                    ("slot", name.into()),
                    ("version", version),
                    ("state", slot.state.clone()),
                ],
                1.0,
            ))
        });
    vec![
        Family {
            name: "slot",
            kind: Kind::Info,
            unit: "",
            help: "What each slot holds.",
            samples: slots.collect(),
        },
        Family {
            name: "update",
            kind: Kind::Info,
            unit: "",
            help: "What the update loop is doing.",
            samples: with_slots((vec![("phase", view.phase.clone())], 1.0)),
        },
        Family {
            name: "update_waits",
            kind: Kind::Info,
            unit: "",
            help: "What the update loop waits for; absent while it does something.",
            samples: view
                .waits
                .iter()
                .map(|w| (vec![("reason", w.reason.clone())], 1.0))
                .collect(),
        },
        Family {
            name: "update_lock",
            kind: Kind::Info,
            unit: "",
            help: "The lock of the fleet's lock service: none, asked, held, or kept because an update failed here.",
            samples: view
                .lock
                .iter()
                .map(|l| (vec![("state", l.state.clone())], 1.0))
                .collect(),
        },
        Family {
            name: "update_trial",
            kind: Kind::Gauge,
            unit: "",
            help: "Whether a version is on trial.",
            samples: with_slots((Vec::new(), f64::from(u8::from(view.trial.is_some())))),
        },
    ]
}

/// How the last update ended.
fn attempts(report: &Report) -> Vec<Family> {
    let attempt = report.update.last_attempt.as_ref();
    vec![
        Family {
            name: "update_last_attempt",
            kind: Kind::Info,
            unit: "",
            help: "How the last update ended.",
            samples: attempt
                .map(|a| {
                    (
                        vec![
                            ("version", a.version.clone()),
                            ("outcome", a.outcome.clone()),
                        ],
                        1.0,
                    )
                })
                .into_iter()
                .collect(),
        },
        Family {
            name: "update_last_attempt_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            help: "From the restart that tried the last update to its end: the time to commit, or to roll back.",
            samples: attempt
                .and_then(|a| a.seconds)
                .map(|s| (Vec::new(), float(s)))
                .into_iter()
                .collect(),
        },
        Family {
            name: "update_last_attempt_timestamp_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            help: "When the last update ended.",
            samples: attempt
                .map(|a| (Vec::new(), float(a.at.0)))
                .into_iter()
                .collect(),
        },
    ]
}

/// Whence the last installation came.
fn fetched(report: &Report) -> Family {
    let fetched = report.update.fetched.iter();
    let from = |whence: &str, bytes| (vec![("from", whence.into())], float(bytes));
    Family {
        name: "update_fetched_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "What the last installation fetched, from the source and from neighbours.",
        samples: fetched
            .flat_map(|f| [from("source", f.source), from("neighbours", f.neighbours)])
            .collect(),
    }
}

/// How the last drill went.
fn drills(report: &Report) -> Vec<Family> {
    let drill = &report.update.drill;
    vec![
        Family {
            name: "drill_passed",
            kind: Kind::Gauge,
            unit: "",
            help: "Whether the board came back by itself in the last drill.",
            samples: drill
                .iter()
                .map(|d| (Vec::new(), f64::from(u8::from(d.passed))))
                .collect(),
        },
        Family {
            name: "drill_timestamp_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            help: "When the last drill ended.",
            samples: drill.iter().map(|d| (Vec::new(), float(d.at.0))).collect(),
        },
        Family {
            name: "drill_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            help: "From the restart of the last drill to a healthy old slot: the time that a rollback takes.",
            samples: drill
                .iter()
                .filter_map(|d| d.seconds)
                .map(|s| (Vec::new(), float(s)))
                .collect(),
        },
    ]
}

fn system(report: &Report) -> Labels {
    vec![
        ("board", report.board.clone()),
        ("version", report.version.clone()),
        ("slot", report.slot.clone().unwrap_or_default()),
    ]
}

/// One sample per state, exactly one of them 1 (OpenMetrics 1.0, "StateSet"): the label bears the family's name.
fn states(label: &'static str, labels: &Labels, now: Status) -> Vec<(Labels, f64)> {
    let sample = |status: Status| {
        let mut labels = labels.clone();
        labels.push((label, status.name().into()));
        (labels, f64::from(u8::from(status == now)))
    };
    Status::ALL.into_iter().map(sample).collect()
}

fn write(out: &mut String, family: &Family, format: Format) {
    let suffix = match family.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::StateSet => "",
    };
    // OpenMetrics names the family without the suffix of its samples, the older format with it.
    let (title, kind) = match (format, family.kind) {
        (Format::OpenMetrics, Kind::Gauge) => ("", "gauge"),
        (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
        (Format::OpenMetrics, Kind::Info) => ("", "info"),
        (Format::OpenMetrics, Kind::StateSet) => ("", "stateset"),
        (Format::Classic, Kind::Counter) => (suffix, "counter"),
        (Format::Classic, _) => (suffix, "gauge"),
    };
    let name = family.name;
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("a String takes any text");
    };
    line(format_args!("# TYPE hypriot_{name}{title} {kind}\n"));
    if format == Format::OpenMetrics && !family.unit.is_empty() {
        line(format_args!("# UNIT hypriot_{name} {}\n", family.unit));
    }
    line(format_args!(
        "# HELP hypriot_{name}{title} {}\n",
        family.help
    ));
    for (labels, value) in &family.samples {
        line(format_args!("hypriot_{name}{suffix}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            line(format_args!("{open}{label}=\"{}\"", escape(text)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        line(format_args!("{close} {value}\n"));
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are exact in 53 bits"
)]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
