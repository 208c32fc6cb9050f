//! Real probes: what the kernel, systemd and Docker say about this board, as a [`Report`].
//!
//! Each probe is two functions: one reads text from below a [`Root`] (so that tests use a directory tree), the other
//! decides from values. A probe that breaks becomes a `warn` with the reason; it never takes the others along.

mod boot;
mod canary;
mod card;
pub(crate) mod clock;
pub(crate) mod disk;
pub mod docker;
pub(crate) mod heat;
mod kernel;
mod memory;
mod network;
mod packages;
pub(crate) mod power;
mod recent;
mod root;
mod stick;
mod units;
mod update;
mod vitals;

use std::collections::BTreeMap;
use std::time::Duration;

use hypriot_keys::time::Timestamp;

use crate::card::canary::Known;
use crate::report::{Check, Knowledge, Report, SCHEMA, Severity, Status, TestsView, UpdateView};
pub(crate) use clock::synchronised;
pub(crate) use kernel::duration;
pub use kernel::uptime;
pub use root::Root;
pub use vitals::{Meter, Vitals};

/// Checks that start processes or ask Docker for much are repeated only this often.
const COSTLY: Duration = Duration::from_secs(30);

/// What the caller knows and the probes cannot see.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// Name of the board file.
    pub board: String,
    /// Version of the running system.
    pub version: String,
    /// Slots, trial and last update.
    pub update: UpdateView,
    /// The last run of the self-tests in this boot.
    pub selftests: Option<TestsView>,
    /// The last run of the owner's tests; `Err` while the first one has not ended.
    pub owner_tests: OwnerTests,
    /// What the card did with what was written to it to try it.
    pub canary: Known,
    /// The newest time that is known to have passed: a clock before it is wrong.
    pub time_floor: Timestamp,
    /// Memory, load and the like, read just now.
    pub vitals: Vitals,
    /// The report before this one: carries `since`, and costly checks that are not repeated yet.
    pub previous: Option<&'a Report>,
}

/// What is known of the owner's tests.
#[derive(Debug, Clone, Default)]
pub enum OwnerTests {
    /// There are none.
    #[default]
    None,
    /// Their first run has not ended.
    Pending,
    /// The last run.
    Ran(TestsView),
    /// They could not be run, and why.
    Broken(String),
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq)]
struct Finding {
    status: Status,
    severity: Severity,
    measurement: &'static str,
    observed: Option<f64>,
    unit: Option<&'static str>,
    output: String,
    detail: Option<String>,
    fix: Option<String>,
    knowledge: Knowledge,
}

impl Finding {
    /// A check that passes; the methods below make it worse.
    fn pass(severity: Severity, measurement: &'static str, output: impl Into<String>) -> Self {
        Self {
            status: Status::Pass,
            severity,
            measurement,
            observed: None,
            unit: None,
            output: output.into(),
            detail: None,
            fix: None,
            knowledge: Knowledge::Known,
        }
    }

    /// This board has nothing to measure it with: shown as that, and never counted as well.
    fn unknown(measurement: &'static str, output: impl Into<String>) -> Self {
        let mut finding = Self::pass(Severity::Info, measurement, output);
        (finding.status, finding.knowledge) = (Status::Warn, Knowledge::Unknown);
        finding
    }

    /// It is not well yet, and there is time left for it.
    fn starting(mut self, fix: impl Into<String>) -> Self {
        self = self.worse(Status::Warn, fix);
        self.knowledge = Knowledge::Starting;
        self
    }

    fn observed(mut self, value: f64, unit: &'static str) -> Self {
        (self.observed, self.unit) = (Some(value), Some(unit));
        self
    }

    fn worse(mut self, status: Status, fix: impl Into<String>) -> Self {
        if status > self.status {
            (self.status, self.fix) = (status, Some(fix.into()));
        }
        self
    }

    fn detail(mut self, detail: Option<String>) -> Self {
        self.detail = detail;
        self
    }
}

/// What a probe gives: named findings (none when the board has no such thing) and numbers.
#[derive(Debug, Default)]
struct Found {
    findings: Vec<(String, Finding)>,
    gauges: Vec<(String, f64)>,
}

impl Found {
    fn add(&mut self, component: impl Into<String>, finding: Finding) {
        self.findings.push((component.into(), finding));
    }

    fn gauge(&mut self, name: impl Into<String>, value: f64) {
        self.gauges.push((name.into(), value));
    }
}

/// What every probe gets.
struct Look<'a> {
    root: &'a Root,
    context: &'a Context<'a>,
    now: Timestamp,
    uptime: f64,
}

type Probe = fn(&Look<'_>) -> anyhow::Result<Found>;

/// Probes that only read a few small files of the kernel.
const CHEAP: &[(&str, Probe)] = &[
    ("memory", memory::probe),
    ("disk", disk::probe),
    ("clock", |look| Ok(clock::probe(look))),
    ("slot", |look| Ok(update::probe(look))),
    ("temperature", |look| Ok(heat::probe(look))),
    ("power", |look| Ok(power::probe(look))),
    ("network", |look| Ok(network::probe(look))),
    ("boot", |look| Ok(boot::probe(look))),
    ("card", card::probe),
    ("card-canary", |look| Ok(canary::probe(look))),
    ("kernel", kernel::probe),
    ("stick", stick::probe),
    ("packages", |look| Ok(packages::probe(look))),
];

/// Probes that start a process or ask another one. Their components must bear the probe's name.
const SLOW: &[(&str, Probe)] = &[
    ("units", units::probe),
    ("docker", |look| Ok(docker::probe(look))),
];

/// Looks at everything once. Takes milliseconds, and at worst the few seconds that the slow probes may wait.
pub fn collect(root: &Root, context: &Context<'_>, now: Timestamp) -> Report {
    let uptime = uptime(root).unwrap_or(0.0);
    let boot_id = root
        .text("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default();
    let mut report = Report {
        schema: SCHEMA,
        board: context.board.clone(),
        version: context.version.clone(),
        slot: context.update.booted.clone(),
        boot_id,
        taken_at: now,
        uptime,
        checks: BTreeMap::new(),
        gauges: BTreeMap::new(),
        update: context.update.clone(),
        selftests: context.selftests.clone(),
        owner_tests: match &context.owner_tests {
            OwnerTests::Ran(view) => Some(view.clone()),
            _ => None,
        },
    };
    let look = Look {
        root,
        context,
        now,
        uptime,
    };
    // The slow ones wait for each other's sockets and processes side by side.
    std::thread::scope(|scope| {
        let slow: Vec<_> = SLOW
            .iter()
            .filter(|(name, _)| !keep(&mut report, context.previous, name, now))
            .map(|(name, probe)| {
                let look = &look;
                (*name, scope.spawn(move || probe(look)))
            })
            .collect();
        for (name, probe) in CHEAP {
            enter(&mut report, &look, name, probe(&look));
        }
        for (name, thread) in slow {
            let found = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the probe panicked")));
            enter(&mut report, &look, name, found);
        }
    });
    report
}

/// Takes over what a slow probe found a short while ago. False when it has to look again.
fn keep(report: &mut Report, previous: Option<&Report>, probe: &str, now: Timestamp) -> bool {
    let Some(previous) = previous.filter(|p| p.boot_id == report.boot_id) else {
        return false;
    };
    let Some(check) = previous.checks.get(probe) else {
        return false;
    };
    let age = now.0.checked_sub(check.checked_at.0);
    // What is bad is looked at each time, so that a repair shows at once.
    if check.status != Status::Pass || age.is_none_or(|age| age >= COSTLY.as_secs()) {
        return false;
    }
    let ours =
        |name: &str| name == probe || name.strip_prefix(probe).is_some_and(|r| r.starts_with('-'));
    for (name, check) in previous.checks.iter().filter(|(name, _)| ours(name)) {
        report.checks.insert(name.clone(), check.clone());
    }
    let gauge = |name: &str| name.strip_prefix(probe).is_some_and(|r| r.starts_with('_'));
    for (name, value) in previous.gauges.iter().filter(|(name, _)| gauge(name)) {
        report.gauges.insert(name.clone(), *value);
    }
    true
}

fn enter(report: &mut Report, look: &Look<'_>, probe: &str, found: anyhow::Result<Found>) {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let output = "this could not be looked at";
            let mut finding = Finding::pass(Severity::Wanted, "state", output)
                .worse(
                    Status::Warn,
                    "see the detail on the board: journalctl -u hypriot-agent",
                )
                .detail(Some(format!("{error:#}")));
            finding.knowledge = Knowledge::Broken;
            let mut found = Found::default();
            found.add(probe, finding);
            found
        }
    };
    for (component, finding) in found.findings {
        let before = look
            .context
            .previous
            .and_then(|p| p.checks.get(&component))
            .filter(|check| check.status == finding.status);
        let check = Check {
            status: finding.status,
            severity: finding.severity,
            measurement: finding.measurement.into(),
            observed: finding.observed.filter(|v| v.is_finite()),
            unit: finding.unit.map(Into::into),
            output: finding.output,
            detail: finding.detail,
            fix: finding.fix,
            since: before.map_or(look.now, |check| check.since),
            checked_at: look.now,
            knowledge: finding.knowledge,
        };
        report.checks.insert(component, check);
    }
    let finite = found.gauges.into_iter().filter(|(_, v)| v.is_finite());
    report.gauges.extend(finite);
}

#[cfg(test)]
pub(crate) mod tests;
