//! systemd: units that failed, and services that it starts again and again.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::recent::grew;
use super::{Finding, Found, Look, Root};
use crate::exec::Cmd;
use crate::report::{Severity, Status};

/// Fewer restarts in an hour than this are no loop.
const FLAPS: f64 = 3.0;

/// One unit of `systemctl list-units --output=json`, as far as we use it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Unit {
    unit: String,
    #[serde(default)]
    description: String,
}

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let mut found = Found::default();
    // sd_booted(3): this directory exists where systemd is the init.
    if !look.root.is_live() || !look.root.exists("/run/systemd/system") {
        return Ok(found);
    }
    let output = Cmd::new("systemctl")
        .args([
            "list-units",
            "--failed",
            "--all",
            "--output=json",
            "--no-pager",
        ])
        .timeout(Duration::from_secs(4))
        .run()?;
    let failed = parse(&output.stdout)?;
    let count = u32::try_from(failed.len()).map_or(f64::INFINITY, f64::from);
    found.gauge("units_failed", count);
    found.add("units", judge(&failed));
    // Of the services that run or wait for their next try: systemd works out a hundred properties for each that it is asked for,
    // and for all that are loaded a small board needs longer than a look may take.
    let shown = Cmd::new("systemctl")
        .args([
            "show",
            "--state=running,auto-restart",
            "--property=Id,NRestarts",
            "*.service",
        ])
        .timeout(Duration::from_secs(4))
        .run();
    let shown = match shown {
        Ok(shown) => shown,
        Err(error) => {
            let finding = Finding::unknown("restarts", "systemd did not say in time");
            found.add("units-restarts", finding.detail(Some(error.to_string())));
            return Ok(found);
        }
    };
    let restarts = restarts(&String::from_utf8_lossy(&shown.stdout));
    let sum = restarts.iter().map(|(_, count)| f64::from(*count)).sum();
    found.gauge("units_restarts", sum);
    let lately = grew(&mut found, look, "units_restarts", sum, FLAPS);
    found.add(
        "units-restarts",
        judge_restarts(&restarts, sum, lately.is_some()),
    );
    Ok(found)
}

/// Services that systemd has restarted by itself, the most restless first.
fn restarts(shown: &str) -> Vec<(String, u32)> {
    let mut all: Vec<(String, u32)> = shown
        .split("\n\n")
        .filter_map(|unit| {
            let value = |name: &str| {
                unit.lines()
                    .find_map(|l| l.strip_prefix(name)?.strip_prefix('='))
            };
            let count = value("NRestarts")?
                .parse()
                .ok()
                .filter(|count| *count > 0)?;
            Some((value("Id")?.to_owned(), count))
        })
        .collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all
}

fn judge_restarts(restarts: &[(String, u32)], sum: f64, lately: bool) -> Finding {
    let output = format!("systemd restarted services {sum:.0} times since boot");
    let finding = Finding::pass(Severity::Wanted, "restarts", output).observed(sum, "restarts");
    let lines = restarts
        .iter()
        .take(20)
        .map(|(unit, count)| format!("{unit}: {count}"));
    let lines: Vec<String> = lines.collect();
    let detail = (!lines.is_empty()).then(|| lines.join("\n"));
    let finding = if lately {
        let fix = "a service ends again and again: systemctl list-units 'auto-restart' and journalctl -u UNIT on the board";
        finding.worse(Status::Warn, fix)
    } else {
        finding
    };
    finding.detail(detail)
}

fn parse(json: &[u8]) -> Result<Vec<Unit>> {
    serde_json::from_slice(json).context("reading what systemctl list-units printed")
}

fn judge(failed: &[Unit]) -> Finding {
    let count = u32::try_from(failed.len()).map_or(f64::INFINITY, f64::from);
    if failed.is_empty() {
        return Finding::pass(Severity::Wanted, "failed", "no unit failed")
            .observed(count, "units");
    }
    let names: Vec<String> = failed
        .iter()
        .take(20)
        .map(|unit| format!("{} ({})", unit.unit, unit.description))
        .collect();
    Finding::pass(Severity::Wanted, "failed", format!("{count} failed"))
        .observed(count, "units")
        .worse(
            Status::Fail,
            "systemctl --failed on the board names them; journalctl -u UNIT says why",
        )
        .detail(Some(names.join("\n")))
}

/// Whether systemd is starting `unit`, or will in this boot: within the time that the unit has for it, or systemd would call it
/// failed. A unit that failed and waits for its next try is not starting, it fails. `None`: systemd does not answer in time.
pub(super) fn starting(root: &Root, unit: &str) -> Option<bool> {
    if !root.is_live() {
        return Some(false);
    }
    let ask = Cmd::new("systemctl")
        .args([
            "show",
            "--property=ActiveState,SubState,Job,NRestarts",
            "--",
            unit,
        ])
        .timeout(Duration::from_secs(2))
        .output();
    let output = ask.ok()?;
    Some(is_starting(&String::from_utf8_lossy(&output.stdout)))
}

fn is_starting(shown: &str) -> bool {
    let value = |name: &str| {
        let line = shown
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default()
    };
    let first = value("NRestarts").parse::<u32>().unwrap_or(0) == 0;
    match value("ActiveState") {
        "activating" => first && value("SubState") != "auto-restart",
        // Its turn has not come yet: a job of this boot waits for others.
        "inactive" => value("Job").parse::<u32>().is_ok_and(|job| job > 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_are_counted_openly_and_named_to_the_owner() {
        let json = br#"[{"unit":"my-secret.service","load":"loaded","active":"failed","sub":"failed","description":"Mine"}]"#;
        let found = judge(&parse(json).expect("json"));
        assert_eq!(found.status, Status::Fail);
        assert_eq!(found.observed, Some(1.0));
        assert!(!found.output.contains("secret"));
        assert_eq!(found.detail.as_deref(), Some("my-secret.service (Mine)"));
        assert_eq!(judge(&parse(b"[]").expect("json")).status, Status::Pass);
        assert!(parse(b"0 loaded units listed.").is_err());
    }

    #[test]
    fn services_that_end_again_and_again_are_counted_openly_and_named_to_the_owner() {
        let shown = "NRestarts=0\nId=ssh.service\n\nNRestarts=7\nId=my-secret.service\n\nId=x.service\n\nNRestarts=9\nId=b.service\n";
        let restarts = restarts(shown);
        assert_eq!(
            restarts,
            [
                ("b.service".to_owned(), 9),
                ("my-secret.service".to_owned(), 7)
            ]
        );
        let found = judge_restarts(&restarts, 16.0, true);
        assert_eq!(found.status, Status::Warn);
        assert!(
            !found.output.contains("secret") && found.detail.expect("names").contains("secret")
        );
        assert_eq!(judge_restarts(&restarts, 16.0, false).status, Status::Pass);
    }

    #[test]
    fn starting_is_neither_failing_nor_well() {
        for (state, sub, job, restarts, starting) in [
            ("activating", "start", "", "0", true),
            ("activating", "start-pre", "12", "0", true),
            ("inactive", "dead", "77", "0", true),
            ("inactive", "dead", "", "0", false),
            ("activating", "auto-restart", "", "3", false),
            ("activating", "start", "", "3", false),
            ("failed", "failed", "", "0", false),
            ("active", "running", "", "0", false),
        ] {
            let shown =
                format!("ActiveState={state}\nSubState={sub}\nJob={job}\nNRestarts={restarts}\n");
            assert_eq!(is_starting(&shown), starting, "{shown}");
        }
        assert!(!is_starting(""));
    }
}
