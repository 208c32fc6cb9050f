//! Memory: what is available, and how long tasks wait for it.

use anyhow::{Result, ensure};

use super::recent::grew;
use super::vitals::Vitals;
use super::{Finding, Found, Look};
use crate::report::{Severity, Status};

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let vitals = &look.context.vitals;
    ensure!(
        vitals.memory_total > 0,
        "the kernel does not say how much memory there is"
    );
    // Kernels without CONFIG_PSI, or that wait for psi=1, have no such file: unknown is not bad.
    let pressure = look.root.text("/proc/pressure/memory").ok();
    let pressure = pressure.as_deref().and_then(full_avg60);
    let mut found = Found::default();
    found.gauge("memory_total_bytes", float(vitals.memory_total));
    found.gauge("memory_available_bytes", float(vitals.memory_available));
    found.gauge("swap_total_bytes", float(vitals.swap_total));
    found.gauge("swap_free_bytes", float(vitals.swap_free));
    if let Some(bytes) = vitals.own_memory {
        found.gauge("agent_resident_bytes", float(bytes));
    }
    if let Some(pressure) = pressure {
        found.gauge("memory_pressure_ratio", pressure / 100.0);
    }
    if let Some(kills) = vmstat(
        &look.root.text("/proc/vmstat").unwrap_or_default(),
        "oom_kill",
    ) {
        found.gauge("oom_kills", kills);
        let lately = grew(&mut found, look, "oom_kills", kills, 1.0);
        found.add("oom", judge_kills(kills, lately.is_some()));
    }
    found.add("memory", judge(vitals, pressure));
    Ok(found)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 8 PiB, which is what JSON numbers carry"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

fn judge(vitals: &Vitals, pressure: Option<f64>) -> Finding {
    let (total, available) = (float(vitals.memory_total), float(vitals.memory_available));
    let used = 100.0 * (1.0 - available / total.max(1.0));
    let output = format!(
        "{:.0} of {:.0} MiB available",
        available / 1_048_576.0,
        total / 1_048_576.0
    );
    let mut finding =
        Finding::pass(Severity::Required, "utilization", output).observed(used, "percent");
    let fix = "stop a container or give it a memory limit; docker stats shows who uses the memory";
    if used >= 98.0 {
        finding = finding.worse(Status::Fail, fix);
    } else if used >= 90.0 {
        finding = finding.worse(Status::Warn, fix);
    }
    match pressure {
        // All tasks stood still for memory this share of the last minute.
        Some(share) if share >= 20.0 => {
            let thrashing = "the board is thrashing: stop a container or give it a memory limit";
            finding.output = format!(
                "all tasks wait for memory {share:.0} % of the time, {}",
                finding.output
            );
            finding.worse(Status::Warn, thrashing)
        }
        _ => finding,
    }
}

fn judge_kills(kills: f64, lately: bool) -> Finding {
    let finding = |output: String| {
        Finding::pass(Severity::Wanted, "kills", output).observed(kills, "processes")
    };
    if lately {
        return finding("the kernel ended a process for want of memory in the last hour".into()).worse(
            Status::Warn,
            "journalctl -k on the board says which; give the container a memory limit, or the board less to do",
        );
    }
    finding(format!(
        "{kills:.0} processes were ended for want of memory since boot"
    ))
}

/// The `avg60` of the `full` line of a pressure file, in percent.
fn full_avg60(pressure: &str) -> Option<f64> {
    let line = pressure.lines().find(|line| line.starts_with("full "))?;
    let field = line
        .split(' ')
        .find_map(|field| field.strip_prefix("avg60="))?;
    field.parse().ok()
}

/// One counter of `/proc/vmstat`.
fn vmstat(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(available: u64) -> Vitals {
        Vitals {
            memory_total: 1000 << 20,
            memory_available: available << 20,
            ..Vitals::default()
        }
    }

    #[test]
    fn little_memory_warns_and_none_fails() {
        for (available, status) in [
            (500, Status::Pass),
            (101, Status::Pass),
            (100, Status::Warn),
            (21, Status::Warn),
            (20, Status::Fail),
            (0, Status::Fail),
        ] {
            assert_eq!(
                judge(&memory(available), None).status,
                status,
                "{available}"
            );
        }
    }

    #[test]
    fn thrashing_warns_although_memory_seems_free() {
        assert_eq!(judge(&memory(500), Some(19.9)).status, Status::Pass);
        assert_eq!(judge(&memory(500), Some(20.0)).status, Status::Warn);
    }

    #[test]
    fn a_kill_for_want_of_memory_is_news_for_a_while() {
        assert_eq!(judge_kills(3.0, true).status, Status::Warn);
        assert_eq!(judge_kills(3.0, false).status, Status::Pass);
    }

    #[test]
    fn kernel_text_is_read() {
        let pressure = "some avg10=0.00 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=2.50 avg300=0.00 total=1\n";
        assert_eq!(full_avg60(pressure), Some(2.5));
        assert_eq!(full_avg60(""), None);
        assert_eq!(vmstat("oom_kill_x 3\noom_kill 4\n", "oom_kill"), Some(4.0));
    }
}
