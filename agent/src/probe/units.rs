//! systemd: units that failed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Finding, Found, Look, Root};
use crate::exec::Cmd;
use crate::report::{Severity, Status};

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
    Ok(found)
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
/// failed. A unit that failed and waits for its next try is not starting, it fails.
pub(super) fn starting(root: &Root, unit: &str) -> bool {
    if !root.is_live() {
        return false;
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
    ask.is_ok_and(|output| is_starting(&String::from_utf8_lossy(&output.stdout)))
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
