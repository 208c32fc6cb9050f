//! systemd: units that failed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Finding, Found, Look};
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
}
